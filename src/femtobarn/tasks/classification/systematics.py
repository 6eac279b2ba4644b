"""Systematics: changes of AUC, yields and significance of a trained model under variations of the detector.

The cut on the score stays where it was put on the nominal events, as in an analysis that takes data with a detector
other than it was simulated. Errors are those of the difference: nominal and varied events are the same ones, in the
same replicas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import bootstrap_std, draw_replicas
from femtobarn.evaluation.measurement import Measurement, Metric
from femtobarn.evaluation.runs import predictions_file
from femtobarn.events.storage.checksums import compare_checksums, read_checked_json
from femtobarn.events.storage.files import checksum
from femtobarn.tasks.classification.efficiency_curves import efficiency_curves
from femtobarn.tasks.classification.metrics import working_point_label
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.significance import significance

#: In the run folder: the numbers, and a folder with the scores of the varied events, one file per variation.
SUMMARY, FOLDER = "shifts.json", "shifts"

REMEDY = f"delete {SUMMARY} and run `femtobarn systematics` again"

Vector = NDArray[np.float64]

#: Kinds of significance: s/√b, and with the relative uncertainty of the background.
KINDS = ("plain", "systematic")

SIDES = ("signal", "background")

#: Quantities of which the relative change is told; of the others, the difference.
RELATIVE = ("yield", *SIDES)

#: What a reader of the numbers must know.
NOTE = (
    "Each source is varied by one standard deviation; the cut on the score stays where it was. value ± statistical "
    "error of the difference (± spread over seeds). Events that a variation would bring into the selection "
    "are not in the sample: yields under jes_up lack about as many events as jes_down takes out."
)


def evaluate_systematics(
    nominal: Scores, varied: Mapping[str, Scores], settings: ClassificationEvaluationConfig
) -> dict[str, Any]:
    """Changes under each systematic variation, with their statistical errors.

    Args:
        nominal: scores of the held-out events as they are.
        varied: scores of the same events in the same order by name of the variation; the weight of an event that has
            fallen out of the selection is 0.
        settings: working points, replicas and the systematic uncertainty of the background.

    Returns:
        `points` by working point: `threshold` on the score, expected `signal` and `background` events above it.
        `shifts` by name: `lost`, the part of each process's yield that has fallen out of the selection; and `auc` by
        background and in `total`, `mean_score` and `yield` by process, `signal` and `background` by working point,
        `significance` by working point and kind, each number as `nominal`, `shifted`, `change` and its `error`. The
        change is relative for yields and the difference otherwise. Null where there is nothing to measure.

    Raises:
        ValueError: the varied scores are of other events.
    """
    for name, scores in varied.items():
        same = len(scores) == len(nominal) and all(
            np.array_equal(getattr(scores, column), getattr(nominal, column))
            for column in ("process", "number", "hard")
        )
        if not same:
            raise ValueError(f"the scores varied by {name} are of other events than the nominal ones")
    plain = efficiency_curves(nominal, settings.efficiencies, replicas=settings.bootstrap, seed=settings.seed)
    thresholds = dict(zip(map(working_point_label, settings.efficiencies), plain.thresholds.tolist(), strict=True))
    before = _yields(nominal, nominal, thresholds, settings)
    before |= {Metric("auc", name): areas for name, areas in plain.auc.items()}
    points = {
        point: {"threshold": threshold, **{side: float(before[Metric(side, at=point)][0]) for side in SIDES}}
        for point, threshold in thresholds.items()
    }
    content: dict[str, Any] = {"points": points, "shifts": {}}
    for name, scores in varied.items():
        after = _yields(nominal, scores, thresholds, settings)
        after |= _areas(
            scores, {metric.of or "": after[metric] for metric in after if metric.name == "yield"}, settings
        )
        entries: dict[str, Any] = {"lost": _lost(nominal, scores)}
        for metric in before:
            branch = entries
            for step in metric.path[:-1]:
                branch = branch.setdefault(step, {})
            branch[metric.path[-1]] = _entry(before[metric], after[metric], relative=metric.name in RELATIVE)
        content["shifts"][name] = entries
    return content


def read_systematics(folder: Path) -> Mapping[str, Any] | None:
    """Results of `femtobarn systematics` for a run; None if there are none, or the run was evaluated again since.

    Raises:
        ValueError: the file can't be read, or it or the scores of a variation were changed or damaged.
    """
    path = folder / SUMMARY
    if not path.is_file():
        return None
    stored = read_checked_json(path, REMEDY)
    if stored.content.get("scores") != checksum(predictions_file(folder)):
        return None
    compare_checksums(folder, stored.files, stored.files, REMEDY)
    content: Mapping[str, Any] = stored.content
    return content


def effect(runs: Sequence[Mapping[str, Any]], variation: str, metric: Metric) -> Measurement:
    """Change of a metric under a variation: mean over trainings of one model, statistical error, spread over seeds.

    All trainings are evaluated on the same events, so the mean has the statistical error of one.

    Args:
        runs: what `evaluate_systematics` returned for each training.
        variation: name of the variation.
        metric: `auc`, `mean_score` or `yield` of a background or process, `signal` or `background` at a working point,
            `significance` of a kind at one, or `lost` of a process.
    """
    values, errors = [], []
    for run in runs:
        entry: Any = run["shifts"][variation]
        for step in metric.path:
            entry = entry[step]
        change, error = (entry["change"], entry["error"]) if isinstance(entry, Mapping) else (entry, None)
        if change is None:
            return Measurement()
        values.append(change)
        errors.append(error)
    measured = [error for error in errors if error is not None]
    seeds = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Measurement(float(np.mean(values)), float(np.mean(measured)) if measured else None, seeds)


def _yields(
    nominal: Scores, scores: Scores, thresholds: Mapping[str, float], settings: ClassificationEvaluationConfig
) -> dict[Metric, Vector]:
    """Yields before and after each cut, and mean scores: for the sample as it is, then for its replicas."""
    weighted = nominal.weight != 0
    ratio = np.divide(scores.weight, nominal.weight, out=np.zeros(len(nominal)), where=weighted)
    groups = {Metric("yield", name): ratio * (nominal.process == name) for name in nominal.processes}
    groups |= {Metric("score", name): groups[Metric("yield", name)] * scores.score for name in nominal.processes}
    for point, threshold in thresholds.items():
        passed = ratio * (scores.score >= threshold)
        groups[Metric("signal", at=point)] = passed * nominal.is_signal
        groups[Metric("background", at=point)] = passed * ~nominal.is_signal
    matrix = np.stack(list(groups.values()), axis=1).astype(np.float64)
    blocks = [weights @ matrix for weights in draw_replicas(nominal, settings.bootstrap, settings.seed)]
    sums: dict[Metric, Vector] = dict(zip(groups, np.concatenate(blocks).T, strict=True))
    for name in nominal.processes:
        sums[Metric("mean_score", name)] = sums.pop(Metric("score", name)) / sums[Metric("yield", name)]
    for point in thresholds:
        for kind, systematic in zip(KINDS, (0.0, settings.systematic), strict=True):
            sums[Metric("significance", kind, at=point)] = significance(
                sums[Metric("signal", at=point)], sums[Metric("background", at=point)], systematic
            )
    return sums


def _areas(
    scores: Scores, yields: Mapping[str, Vector], settings: ClassificationEvaluationConfig
) -> dict[Metric, Vector]:
    """Areas against each background and their mixture, whose shares differ from replica to replica."""
    areas = efficiency_curves(scores, (), replicas=settings.bootstrap, seed=settings.seed).auc
    shares = np.stack([yields[name] for name in scores.backgrounds])
    mixed = (np.stack([areas[name] for name in scores.backgrounds]) * shares).sum(axis=0) / shares.sum(axis=0)
    return {Metric("auc", name): mixed if name == "total" else area for name, area in areas.items()}


def _lost(nominal: Scores, scores: Scores) -> dict[str, float]:
    gone = nominal.weight * (scores.weight == 0)
    masks = {name: nominal.process == name for name in nominal.processes}
    return {name: float(gone[mask].sum() / nominal.weight[mask].sum()) for name, mask in masks.items()}


def _entry(before: Vector, after: Vector, *, relative: bool) -> dict[str, float | None]:
    with np.errstate(divide="ignore", invalid="ignore"):
        change = after / before - 1 if relative else after - before
    numbers = {"nominal": before[0], "shifted": after[0], "change": change[0], "error": bootstrap_std(change)}
    return {name: float(value) if math.isfinite(value) else None for name, value in numbers.items()}
