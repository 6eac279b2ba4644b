"""PairedTest: does one model separate better than another, or were the test events kind to it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import hard_events
from femtobarn.tasks.classification.comparison import Comparison, ModelResult
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.scores import Scores


@dataclass(frozen=True)
class PairedTest:
    """The areas of two models on the same events, and what their difference is worth.

    Args:
        first, second: labels of the models.
        difference: area of the first minus that of the second, each a mean over trainings.
        statistical: its error from the test events, replica by replica, as everywhere.
        delong: the same error from a formula, as a check.
        training: its error from the spread over seeds; None if no model was trained more than once.
        deviation: difference over both errors in quadrature.
        p: probability of a deviation as large or larger, of either sign, between models that are equally good.
    """

    first: str
    second: str
    difference: float
    statistical: float
    delong: float
    training: float | None
    deviation: float
    p: float


def paired_test(comparison: Comparison, first: ModelResult, second: ModelResult) -> PairedTest:
    """The paired test of two models by the area under the curve, all backgrounds together.

    The seeds of two models have nothing to do with each other, so trainings are not paired: areas are averaged over
    them, and their spread, pooled over all models, adds to the error of the means. p is that of a Gaussian; with few
    seeds it is too small where the spread over trainings dominates.
    """
    difference, statistical, training = comparison.difference(first, second, AUC)
    deviation = comparison.deviation(first, second, AUC)
    _, formula = delong(*([run.scores for run in row.runs] for row in (first, second)))
    p = math.erfc(abs(deviation) / math.sqrt(2))
    spread = training if comparison.pooled else None
    return PairedTest(first.label, second.label, difference, statistical, formula, spread, deviation, p)


def against_baseline(comparison: Comparison) -> list[PairedTest]:
    """Every other model against the baseline."""
    baseline = comparison[comparison.baseline]
    return [paired_test(comparison, row, baseline) for row in comparison.rows if row is not baseline]


def best_against_others(comparison: Comparison) -> list[PairedTest]:
    """The model with the largest area against every other one."""
    best = comparison.best(AUC)
    return (
        [paired_test(comparison, best, row) for row in comparison.rows if row is not best] if best is not None else []
    )


def delong(first: Sequence[Scores], second: Sequence[Scores]) -> tuple[float, float]:
    r"""Difference of two areas and its statistical error, each model being the mean of several trainings.

    With the placement :math:`V_i` of an event, the part of the other side (by weight, ties half) that it is rightly
    above (a background event: below), the area is the mean of V over the signal, and over the background. Its
    variance is

    .. math:: \sum_p f_p^2 \frac{G_p}{G_p - 1} \sum_{g \in p}
              \Big[ \sum_{i \in g} w_i (V_i - \bar V_p) \Big/ \sum_{i \in p} w_i \Big]^2

    over processes p with share f of their side and their G hard events g; for a difference, V is the difference of
    placements. With weights of 1, one background and no copies it is the estimate of DeLong, DeLong and Clarke-Pearson;
    processes of known yield are strata, copies of a hard event clusters.

    Args:
        first, second: scores of the trainings of each model, all for the same events in any order.

    Source: DeLong, DeLong and Clarke-Pearson, doi:10.2307/2531595; in n log n steps as Sun and Xu,
    doi:10.1109/LSP.2014.2337313; clusters as Obuchowski, doi:10.2307/2533958.
    """
    reference = _sort_events(first[0])
    placement = np.mean([_placements(_sort_events(scores)) for scores in first], axis=0)
    placement = placement - np.mean([_placements(_sort_events(scores)) for scores in second], axis=0)
    weight, group = reference.weight, hard_events(reference)
    yields = {name: float(weight[reference.process == name].sum()) for name in reference.processes}
    variance = 0.0
    for name in reference.processes:
        side = reference.signal if name in reference.signal else reference.backgrounds
        in_process = reference.process == name
        mean = float(weight[in_process] @ placement[in_process]) / yields[name]
        _, own = np.unique(group[in_process], return_inverse=True)
        sums = np.bincount(own, weights=weight[in_process] * (placement[in_process] - mean)) / yields[name]
        share = yields[name] / sum(yields[other] for other in side)
        variance += share**2 * len(sums) / max(len(sums) - 1, 1) * float((sums**2).sum())
    signal = reference.is_signal
    difference = float(weight[signal] @ placement[signal] / weight[signal].sum())
    return difference, math.sqrt(variance)


def _sort_events(scores: Scores) -> Scores:
    """The same events in an order that all runs share."""
    order = np.lexsort((scores.number, scores.process))
    columns = {name: getattr(scores, name)[order] for name in ("process", "number", "hard", "weight", "score")}
    return Scores(**columns, signal=scores.signal, luminosity=scores.luminosity)


def _placements(scores: Scores) -> NDArray[np.float64]:
    """The part of the other side, by weight, that each event is on the right side of; ties count half."""
    placements = np.empty(len(scores))
    for on_side, sign in ((scores.is_signal, 1), (~scores.is_signal, -1)):
        value, weight = sign * scores.score[~on_side], scores.weight[~on_side]
        order = np.argsort(value, kind="stable")
        below = np.concatenate([[0.0], np.cumsum(weight[order])])
        places = [np.searchsorted(value[order], sign * scores.score[on_side], side=side) for side in ("left", "right")]
        placements[on_side] = (below[places[0]] + below[places[1]]) / (2 * below[-1])
    return placements
