"""Reliability: do the probabilities that a model states come true?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import bootstrap_std, draw_replicas, effective, hard_events
from femtobarn.tasks.classification.scores import Scores

#: Bins of a reliability diagram, each with the same weight of events.
BINS = 10

#: Name of the row for signal against the mixture of backgrounds.
SCORE = "score"


@dataclass(frozen=True, eq=False)
class Reliability:
    """Stated probability against what was observed, in bins of the stated one.

    Args:
        edges: of the bins, shape (bins + 1,).
        stated: mean probability stated in each bin.
        observed: fraction of the events in each bin for which it came true.
        error: statistical error of the difference of the two; in a bin without a true (or without a false) event at
            least the change that one effective event of that kind would make, as for background efficiencies.
        effective: number of hard events of equal weight that stand behind each bin.
        gap: expected calibration error, the mean of |observed - stated|: for the sample, then its replicas.
        floor: the gap that fluctuations alone would give a perfectly calibrated model.
    """

    edges: NDArray[np.float64]
    stated: NDArray[np.float64]
    observed: NDArray[np.float64]
    error: NDArray[np.float64]
    effective: NDArray[np.float64]
    gap: NDArray[np.float64]
    floor: float


@dataclass(frozen=True, eq=False)
class CalibrationResult:
    """How well a model is calibrated on the held-out events.

    Args:
        reliability: for the `score` and, with more than two classes, the probability of each.
        surprise: mean of -ln(probability of the true class) at equal class yields, for the sample and its replicas;
            None for scores without probabilities.
    """

    reliability: Mapping[str, Reliability]
    surprise: NDArray[np.float64] | None


def evaluate_calibration(scores: Scores, *, replicas: int, seed: int = 0) -> CalibrationResult:
    r"""Reliability of a model's probabilities, each with the class yields that it refers to.

    The score is compared with signal and background of equal yield, each side mixed as expected in collisions; the
    probability of a class with all classes of equal yield. Bins hold equal weight, so that none is nearly empty. The
    expected calibration error is

    .. math:: \mathrm{ECE} = \sum_k W_k |o_k - p_k| / \sum_k W_k

    which is never 0 for a finite sample: `floor` is :math:`\sqrt{2/\pi} \sum_k W_k \sigma_k / \sum_k W_k`, its mean if
    all :math:`o_k - p_k` were Gaussian around 0.

    Replicas of a bin without a true event have none either. Its error therefore has a floor, as the error of a
    background efficiency of 0 has: one effective true event of weight w (:math:`\\sum w^2 / \\sum w` over the hard
    events of the process where that is largest) would raise the observed fraction by :math:`w / (W_k + w)`. The same
    holds for a bin without a false event. Both errors, of the bin and of the ECE, contain it.

    Args:
        scores: the held-out events.
        replicas: for the statistical errors, see `draw_replicas`.
        seed: of the replicas.

    Source: Guo, Pleiss, Sun and Weinberger, arXiv:1706.04599; the diagram is that of DeGroot and Fienberg,
    doi:10.2307/2987588.
    """
    truths = {name: scores.process == name for name in scores.probabilities if name in scores.processes}
    truths = truths or {"signal": scores.is_signal, "background": ~scores.is_signal}
    equal = _balance(scores, list(truths.values()))
    shown = {SCORE: (scores.score, scores.is_signal, _balance(scores, [scores.is_signal, ~scores.is_signal]))}
    if len(scores.probabilities) > 2:
        shown |= {name: (scores.probabilities[name], truth, equal) for name, truth in truths.items()}
    bins = {name: _Bins.of(scores, *columns) for name, columns in shown.items()}
    sums: dict[str, list[NDArray[np.float64]]] = {name: [] for name in bins}
    surprise = _surprise(scores, truths)
    surprises: list[NDArray[np.float64]] = []
    for weights in draw_replicas(scores, replicas, seed):
        for name, bins_ in bins.items():
            sums[name].append(weights @ bins_.columns)
        if surprise is not None:
            surprises.append(weights @ (equal * surprise) / (weights @ equal))
    # the same numbers for every model: errors of differences between models are taken replica by replica
    fluctuations = np.random.default_rng([seed, 1]).exponential(size=(replicas, BINS)) - 1
    return CalibrationResult(
        {name: bins_.reliability(np.concatenate(sums[name]), fluctuations) for name, bins_ in bins.items()},
        np.concatenate(surprises) if surprises else None,
    )


def to_dict(calibration: CalibrationResult) -> dict[str, Any]:
    """What `metrics.json` holds of it: calibration errors, and bins with errors and effective numbers of events."""

    def number(values: NDArray[np.float64]) -> dict[str, float]:
        return {"value": float(values[0]), "error": float(bootstrap_std(values))}

    entries: dict[str, Any] = {}
    for name, reliability in calibration.reliability.items():
        columns = zip(
            reliability.edges,
            reliability.edges[1:],
            reliability.stated,
            reliability.observed,
            reliability.error,
            reliability.effective,
            strict=False,
        )
        keys = ("low", "high", "stated", "observed", "error", "effective")
        bins = [dict(zip(keys, map(float, row), strict=True)) for row in columns]
        entries[name] = {"ece": number(reliability.gap), "floor": reliability.floor, "bins": bins}
    surprise = {} if calibration.surprise is None else {"surprise": number(calibration.surprise)}
    return surprise | {SCORE: entries.pop(SCORE), "classes": entries}


@dataclass(frozen=True, eq=False)
class _Bins:
    """Columns (events, 3 x bins) whose product with weights is the weight, stated and true weight in each bin.

    `floor` is the least error of the observed fraction in each bin, 0 where the replicas know the error themselves.
    """

    edges: NDArray[np.float64]
    columns: NDArray[np.float64]
    effective: NDArray[np.float64]
    floor: NDArray[np.float64]

    @classmethod
    def of(
        cls, scores: Scores, stated: NDArray[np.float32], truth: NDArray[np.bool_], factor: NDArray[np.float64]
    ) -> _Bins:
        probability = stated.astype(np.float64)
        order = np.argsort(probability, kind="stable")
        below = np.cumsum(np.abs(factor * scores.weight)[order])
        places = np.searchsorted(below, below[-1] * np.arange(1, BINS) / BINS)
        inner = np.unique(probability[order][places])
        inner = inner[(inner > probability.min()) & (inner < 1)]
        where = np.searchsorted(inner, probability, side="right")
        inside = (where[:, None] == np.arange(len(inner) + 1)) * factor[:, None]
        group = hard_events(scores)
        numbers = [effective((scores.weight * factor)[where == k], group[where == k]) for k in range(len(inner) + 1)]
        columns = np.concatenate([inside, inside * probability[:, None], inside * truth[:, None]], axis=1)
        floor = np.maximum(
            _floor(scores, group, inside, truth & (factor != 0)), _floor(scores, group, inside, ~truth & (factor != 0))
        )
        return cls(np.concatenate([[0.0], inner, [1.0]]), columns, np.array(numbers), floor)

    def reliability(self, sums: NDArray[np.float64], fluctuations: NDArray[np.float64]) -> Reliability:
        """Reliability from the sums of the sample and its replicas.

        Args:
            sums: products of weights and columns, (1 + replicas, 3 x bins).
            fluctuations: numbers of mean 0 and variance 1, which stand for the events that a bin lacks,
                (replicas, at least the number of bins).
        """
        weight, stated, true = np.split(sums, 3, axis=1)
        difference = true - stated
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.hypot(bootstrap_std(difference / weight), self.floor)
            difference[1:] += weight[1:] * self.floor * fluctuations[:, : len(self.floor)]
            gap = np.abs(difference).sum(axis=1) / weight.sum(axis=1)
            floor = math.sqrt(2 / math.pi) * float(weight[0] @ error) / float(weight[0].sum())
            return Reliability(
                self.edges, stated[0] / weight[0], true[0] / weight[0], error, self.effective, gap, floor
            )


def _floor(
    scores: Scores, group: NDArray[np.intp], inside: NDArray[np.float64], members: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Change of the fraction in each bin by one effective event of some kind, where the bin has less than one; else 0.

    Args:
        scores: the held-out events.
        group: index of the hard event of each event.
        inside: factor of each event in its bin, 0 in the others, (events, bins).
        members: the events of that kind, with a factor of their own.
    """
    weight = np.abs(scores.weight) * inside.sum(axis=1)
    parts = [members & (scores.process == name) for name in np.unique(scores.process[members])]
    numbers = [(float(weight[part].sum()), effective(weight[part], group[part])) for part in parts]
    single = max((total / number for total, number in numbers if number > 0), default=0.0)
    total, present = np.abs(scores.weight) @ inside, np.where(members, np.abs(scores.weight), 0.0) @ inside
    # the rounding of a sum must not turn one event into less than one
    return (
        np.where(present < single * (1 - 1e-9), single / (total + single), 0.0) if single > 0 else np.zeros(len(total))
    )


def _balance(scores: Scores, classes: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Factors that give every class the same total weight; 0 for events of none."""
    factor = np.zeros(len(scores))
    for truth in classes:
        factor[truth] = 1 / scores.weight[truth].sum()
    return factor


def _surprise(scores: Scores, truths: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.float64] | None:
    """-ln of the probability that was stated for the true class of each event."""
    if not scores.probabilities:
        return None
    surprise = np.zeros(len(scores))
    for name, truth in truths.items():
        surprise[truth] = -np.log(np.maximum(scores.probabilities[name][truth], np.finfo(np.float32).tiny))
    return surprise
