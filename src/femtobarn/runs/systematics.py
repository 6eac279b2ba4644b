"""Systematics: trained runs evaluated again on events with systematic variations of one standard deviation.

    shifts.json            changes of area, scores, yields and significance, with errors; written last
    shifts/NAME.parquet    scores of the varied test events, in the order of predictions.parquet; weights are those of
                           the variation, 0 for an event that has fallen out of the selection

Training and threshold stay as they are. Events are selected again after each variation, with the cuts of the
sample's simulation and `data.selection`; an event that would come in from outside of the region is not in the sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from femtobarn.evaluation.comparison import by_model
from femtobarn.evaluation.runs import predictions_file
from femtobarn.events import VARIATIONS, Events, select, vary
from femtobarn.events.storage.checksums import write_checked_json
from femtobarn.events.storage.files import checksum
from femtobarn.events.systematics import parse_variation
from femtobarn.inputs import EVENTS, Batch, make_batch
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.predictor import Predictor, require_classifier
from femtobarn.runs.provenance import folder_lock
from femtobarn.runs.run import Progress, Step
from femtobarn.runs.splits import DataSplits
from femtobarn.tasks.classification.comparison import load_run
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.systematics import FOLDER, SUMMARY, evaluate_systematics, read_systematics


class VariedEvents(NamedTuple):
    """Test events of a sample after a systematic variation.

    Args:
        factor: by which the weight of each event changes, 0 where it has fallen out of the selection.
        batch: the events as models see them; None where they look as before.
    """

    factor: NDArray[np.float64]
    batch: Batch | None


def vary_runs(
    folders: Sequence[Path], names: Sequence[str] = VARIATIONS, *, progress: Progress = lambda step: None
) -> dict[str, list[Mapping[str, Any]]]:
    """Evaluate runs with systematic variations, see `vary_run`; results by model."""
    models = by_model([load_run(folder) for folder in folders])  # an error of an unfinished run comes first
    results: dict[Path, Mapping[str, Any]] = {}
    cache = EventCache()
    for done, folder in enumerate(folders, 1):

        def report(step: Step, at: str = f"{folder} ({done} of {len(folders)}): ") -> None:
            progress(step._replace(stage=at + step.stage))

        results[folder] = vary_run(folder, names, progress=report, cache=cache)
    return {model: [results[run.path] for run in members] for model, members in models.items()}


def vary_run(
    folder: str | Path,
    names: Sequence[str] = VARIATIONS,
    *,
    progress: Progress = lambda step: None,
    cache: EventCache | None = None,
) -> Mapping[str, Any]:
    """Changes of the evaluation of a trained run under systematic variations; stored results are read back.

    Args:
        folder: of an evaluated run.
        names: from `femtobarn.events.VARIATIONS`.
        progress: called before each variation.
        cache: events of other runs, which are varied only once.

    Returns:
        what `shifts.json` holds: see `femtobarn.tasks.classification.systematics.evaluate_systematics`; and `cuts`, the
        selection that each process was subjected to again.

    Raises:
        ValueError: no evaluated run in the folder, its events have changed since, or they lack the truth that a
            variation needs.
    """
    folder = Path(folder)
    for name in names:
        parse_variation(name)
    run = load_run(folder)
    settings = ClassificationEvaluationConfig.model_validate(run.metrics["settings"])
    stored = read_systematics(folder)
    if stored is not None and set(stored["shifts"]) >= set(names) and stored["settings"] == run.metrics["settings"]:
        return stored
    predictor = Predictor.load(folder)
    task = require_classifier(predictor, folder)
    if predictor.experiment.inputs.domain is not EVENTS:
        raise ValueError(f"{folder}: systematic variations change jets of events, not the constituents of one jet")
    cache = EventCache() if cache is None else cache
    splits = predictor.splits(folder, cache)
    cuts = region(splits, predictor.experiment.data.selection)
    nominal = run.scores
    representation = predictor.experiment.inputs.slots, predictor.experiment.model.momenta
    with folder_lock(folder) as lock:
        scores = {}
        for place, name in enumerate(names):
            progress(Step(name, place, len(names)))
            key = (splits, name, representation, tuple(cuts.items()))
            after = cache.get("variation", key, partial(_varied_events, *key), max_entries=2 * len(VARIATIONS))
            score = nominal.score
            if after.batch is not None:
                score = task.predict(predictor.model.outputs(after.batch))["score"]
            scores[name] = replace(nominal, weight=nominal.weight * after.factor, score=score, probabilities={})
        progress(Step("evaluating", len(names), len(names)))
        effects = evaluate_systematics(nominal, scores, settings)
        (folder / FOLDER).mkdir(exist_ok=True)
        for name, variation in scores.items():
            variation.write(folder / FOLDER / f"{name}.parquet", check=lock.check)
        origin = {"settings": run.metrics["settings"], "scores": checksum(predictions_file(folder)), "cuts": cuts}
        files = [f"{FOLDER}/{name}.parquet" for name in scores]
        write_checked_json(folder / SUMMARY, origin | effects, files=files, check=lock.check)
    return origin | effects


def region(splits: DataSplits, selection: str | None) -> dict[str, tuple[str, ...]]:
    """Cuts that the events of each process fulfil: of the simulation, if the sample records them, and of the run."""
    records = splits.provenance.get("processes") or {}
    cuts: dict[str, tuple[str, ...]] = {}
    for name in splits.yields:
        record = records.get(name) or {}
        simulations = [part.get("simulation") or {} for part in record.get("samples", [record])]
        common = [
            cut
            for cut in simulations[0].get("select") or ()
            if all(cut in (simulation.get("select") or ()) for simulation in simulations)
        ]
        cuts[name] = (*common, *([selection] if selection else []))
    return cuts


def _varied_events(
    splits: DataSplits,
    name: str,
    representation: tuple[int, torch.dtype],
    cuts: tuple[tuple[str, tuple[str, ...]], ...],
) -> VariedEvents:
    events = splits.test.events
    after = vary(events, name)
    weighted = events.weight != 0
    factor = np.divide(after.weight, events.weight, out=np.ones(len(events)), where=weighted)
    if not parse_variation(name)[0].changes_objects:
        return VariedEvents(factor, None)
    for process, expressions in cuts:
        rows = np.flatnonzero(events.process == process)
        if expressions:
            passed = [passes_selection(part[rows], expressions) for part in (events, after)]
            factor[rows[passed[0] & ~passed[1]]] = 0.0
    return VariedEvents(factor, make_batch(after, *representation))


def passes_selection(events: Events, expressions: Sequence[str]) -> NDArray[np.bool_]:
    """Which events pass all of some selections."""
    return select(events, " and ".join(f"({expression})" for expression in expressions))
