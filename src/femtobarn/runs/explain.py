"""Explanation: what the model of a run uses, found on held-out events and written into its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events import Events
from femtobarn.events.storage.checksums import write_checked_json
from femtobarn.explain import EXPLAIN, Tally
from femtobarn.inputs import EVENTS
from femtobarn.runs import provenance
from femtobarn.runs.predictor import Predictor, require_classifier, require_trained
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig


def explain(
    folder: str | Path,
    *,
    events: int = 1000,
    seed: int = 1,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """What a trained model uses, on held-out events; written as `explain.json` into its run folder.

    Args:
        folder: of a trained run.
        events: most events of each process.
        seed: of their choice.
        progress: called with each step as it begins, for whoever watches.

    Returns:
        what `explain.json` holds: the explained events, and the findings of `femtobarn.explain`.

    Raises:
        ValueError: no trained run in the folder, its events have changed since, or they are jets.
    """
    folder = Path(folder)
    require_trained(folder)
    with provenance.open_folder(folder) as held:
        result = _explain(Predictor.load(folder), folder, events, seed, progress)
        write_checked_json(folder / EXPLAIN, result, check=held.check)
    return result


def _explain(
    predictor: Predictor, folder: Path, events: int, seed: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    if predictor.experiment.inputs.domain is not EVENTS:
        raise ValueError(f"{folder}: only models of the objects of events are explained, no jet tagger")
    task = require_classifier(predictor, folder)
    progress("reading the events")
    held_out = predictor.splits(folder).test.events
    chosen = held_out[choose(held_out, events, seed)]
    evaluation = predictor.experiment.evaluation
    assert isinstance(evaluation, ClassificationEvaluationConfig)
    weight = chosen.expected(evaluation.luminosity)
    for name in chosen.processes:
        in_process = chosen.process == name
        weight[in_process] *= task.yields[name] / weight[in_process].sum()
    tally = Tally(chosen.process, chosen.hard, weight, task.signal)
    batch = predictor.batch(chosen)

    def watch(step: str, done: int) -> None:
        progress(f"{step}: {done} of {len(chosen)} events" if done else step)

    attributions = predictor.model.explain(task.log_odds, batch, tally, watch)
    return {
        "label": predictor.experiment.label,
        "signal": list(task.signal),
        "events": {name: int((chosen.process == name).sum()) for name in tally.groups if name in chosen.processes},
        "seed": seed,
        **attributions,
    }


def choose(events: Events, n_events: int, seed: int) -> NDArray[np.intp]:
    """Rows of up to `n_events` events of each process, chosen at random, in the order they have."""
    rng = np.random.default_rng(seed)
    chosen = []
    for name in sorted(events.processes):
        rows = np.flatnonzero(events.process == name)
        chosen.append(rng.permutation(rows)[:n_events])
    return np.sort(np.concatenate(chosen))
