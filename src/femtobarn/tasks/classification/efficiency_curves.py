"""EfficiencyCurves: efficiencies and areas of a set of scores, for the sample as it is and for replicas of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import draw_replicas, effective, hard_events
from femtobarn.tasks.classification.scores import Scores


@dataclass(frozen=True, eq=False)
class EfficiencyCurves:
    """What the scores say; row 0 of every array is the sample itself, the other rows are its replicas.

    Args:
        efficiencies: signal efficiencies, shape (points,).
        thresholds: the score at which each is reached, shape (points,).
        auc: area under the ROC curve against each background and the `total`, shape (1 + replicas,).
        background: background efficiency at each signal efficiency, shape (1 + replicas, points).
        yields: expected events of each process.
        effective: effective number of events of each process, (Σw)²/Σw² over hard events.
        signal: names of the signal processes.
    """

    efficiencies: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    auc: Mapping[str, NDArray[np.float64]]
    background: Mapping[str, NDArray[np.float64]]
    yields: Mapping[str, float]
    effective: Mapping[str, float]
    signal: tuple[str, ...]

    @property
    def signal_yield(self) -> float:
        """Expected signal events before any cut on the score."""
        return sum(self.yields[name] for name in self.signal)

    @property
    def background_yield(self) -> float:
        """Expected background events before any cut on the score."""
        return sum(value for name, value in self.yields.items() if name not in self.signal)


def efficiency_curves(
    scores: Scores, efficiencies: Sequence[float], *, replicas: int = 0, seed: int = 0
) -> EfficiencyCurves:
    r"""AUC and background efficiency at chosen signal efficiencies, weighted, with replicas for their errors.

    Events with the same score can't be told apart: they count half for each other in the area, and a working point
    in their midst takes the same fraction of all of them. Negative weights are allowed; the working point is then
    the tightest cut that reaches the signal efficiency.

    Args:
        scores: the held-out events.
        efficiencies: signal efficiencies, each in (0, 1].
        replicas: how many, see `draw_replicas`; 0 for the plain numbers only.
        seed: of the replicas. The same events and seed give the same replicas, in whatever order they stand.
    """
    targets = np.asarray(efficiencies, dtype=np.float64)
    if targets.ndim != 1 or not ((targets > 0) & (targets <= 1)).all():
        raise ValueError(f"signal efficiencies must lie in (0, 1]; got {list(efficiencies)}")
    group = hard_events(scores)
    order = np.argsort(-scores.score, kind="stable")
    parts = {name: order[scores.process[order] == name] for name in scores.processes}
    yields = {name: float(scores.weight[part].sum()) for name, part in parts.items()}

    signal = order[scores.is_signal[order]]
    steps = scores.score[signal]
    starts = np.flatnonzero(np.concatenate([[True], steps[1:] != steps[:-1]]))
    places = {name: _places(scores.score[parts[name]], steps[starts]) for name in scores.backgrounds}
    total = sum(yields[name] for name in scores.signal)

    auc: dict[str, list[NDArray[np.float64]]] = {name: [] for name in scores.backgrounds}
    background: dict[str, list[NDArray[np.float64]]] = {name: [] for name in scores.backgrounds}
    thresholds: NDArray[np.float64] | None = None
    for weights in draw_replicas(scores, replicas, seed):
        above = _cumulative(np.add.reduceat(weights[:, signal], starts, axis=1))
        index, fraction = _crossings(above, targets * total)
        if thresholds is None:
            thresholds = steps[starts][index[0]].astype(np.float64)
        for name in scores.backgrounds:
            weight, place = weights[:, parts[name]], places[name]
            # an even place lies between two signal scores, an odd one on a signal score
            halfway = (above[:, place // 2] + above[:, (place + 1) // 2]) / 2
            auc[name].append((weight * halfway).sum(axis=1) / (total * yields[name]))
            passed = _cumulative(weight)
            rows = np.arange(len(weights))[:, None]
            strict = passed[rows, np.searchsorted(place, 2 * index + 1, side="left")]
            loose = passed[rows, np.searchsorted(place, 2 * index + 1, side="right")]
            background[name].append((strict + fraction * (loose - strict)) / yields[name])
    assert thresholds is not None
    shares = {name: yields[name] / sum(yields[other] for other in scores.backgrounds) for name in scores.backgrounds}
    areas = {name: np.concatenate(blocks) for name, blocks in auc.items()}
    passing = {name: np.concatenate(blocks) for name, blocks in background.items()}
    return EfficiencyCurves(
        efficiencies=targets,
        thresholds=thresholds,
        auc={"total": _mixture(areas, shares), **areas},
        background={"total": _mixture(passing, shares), **passing},
        yields=yields,
        effective={name: effective(scores.weight[part], group[part]) for name, part in parts.items()},
        signal=scores.signal,
    )


def _mixture(parts: Mapping[str, NDArray[np.float64]], shares: Mapping[str, float]) -> NDArray[np.float64]:
    mixed = np.zeros_like(next(iter(parts.values())))
    for name, values in parts.items():
        mixed += shares[name] * values
    return mixed


def _places(score: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.intp]:
    """Where scores stand among the falling, distinct signal scores: 2k just above the k-th, 2k + 1 on it."""
    higher = np.searchsorted(-steps, -score, side="left")
    reached = np.searchsorted(-steps, -score, side="right")
    return higher + reached


def _cumulative(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _crossings(
    above: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For every row, the first step that reaches each target, and the fraction of the step that is needed."""
    # rounding must not add an event where the target is met exactly
    wanted = targets * (1 - 1e-12)
    rising = np.maximum.accumulate(above[:, 1:], axis=1)
    index = np.stack([np.searchsorted(row, wanted, side="left") for row in rising])
    index = np.minimum(index, rising.shape[1] - 1)
    rows = np.arange(len(above))[:, None]
    low, high = above[rows, index], above[rows, index + 1]
    return index, np.clip((targets - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
