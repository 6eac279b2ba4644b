"""Optimal cut: the cut on the score with the largest expected significance, evaluated on other events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import draw_replicas, effective, hard_events
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.significance import asimov

#: Fewest effective background events that an optimised cut, or a bin of a fit, must leave: its background is then known
#: to 1/√25 = 20 % or better.
MIN_BACKGROUND = 25.0

#: Number of parts of the test events: the cut for each part is chosen on the others.
FOLDS = 5


@dataclass(frozen=True, eq=False)
class OptimalCut:
    """The working point of largest expected significance.

    Args:
        threshold: the cut that all test events together choose.
        efficiency: its signal efficiency.
        signal, background: expected events after the cuts, each event with a cut that was chosen without it.
        effective: number of background events of equal weight behind `background`.
        significance: with the background's systematic uncertainty, for the sample and its replicas.
    """

    threshold: float
    efficiency: float
    signal: float
    background: float
    effective: float
    significance: NDArray[np.float64]


def optimal_cut(
    scores: Scores, systematic: float, *, least: float = MIN_BACKGROUND, replicas: int = 0, seed: int = 0
) -> OptimalCut | None:
    """The cut with the largest Asimov significance among those that leave enough background events to trust it.

    The highest point of a fluctuating curve lies above the curve, and a cut behind the last background event would win
    always. So the events are dealt into five parts by their hard event; the cut for each is chosen on the other four,
    and signal and background add up over the parts. A cut must leave `least` effective background events.

    Args:
        scores: the held-out events.
        systematic: relative uncertainty of the background.
        least: fewest effective background events, (Σw)²/Σw² over hard events, among those that choose.
        replicas: of the test events for the statistical error, the cuts being held; see `draw_replicas`.
        seed: of the replicas.

    Returns:
        None where no cut leaves enough background events.
    """
    fold = _folds(scores)
    cuts = [_choose(scores, fold != part, systematic, least) for part in range(FOLDS)]
    overall = _choose(scores, np.ones(len(scores), dtype=bool), systematic, least)
    thresholds = [cut for cut in cuts if cut is not None]
    if overall is None or len(thresholds) < FOLDS:
        return None
    passing = scores.score >= np.array(thresholds)[fold]
    signal, background = passing & scores.is_signal, passing & ~scores.is_signal
    blocks = list(draw_replicas(scores, replicas, seed))
    s, b = (np.concatenate([weights[:, chosen].sum(axis=1) for weights in blocks]) for chosen in (signal, background))
    above = scores.is_signal & (scores.score >= overall)
    return OptimalCut(
        threshold=overall,
        efficiency=float(scores.weight[above].sum() / scores.weight[scores.is_signal].sum()),
        signal=float(s[0]),
        background=float(b[0]),
        effective=effective(scores.weight[background], hard_events(scores)[background]),
        significance=asimov(s, b, systematic),
    )


def _folds(scores: Scores) -> NDArray[np.intp]:
    """The part of each event: hard events in turn, so that copies stay together and every process is in every part."""
    return np.asarray(hard_events(scores) % FOLDS)


def _choose(scores: Scores, chosen: NDArray[np.bool_], systematic: float, least: float) -> float | None:
    """The cut of largest significance on some of the events, every process scaled to its full yield."""
    order = np.flatnonzero(chosen)[np.argsort(-scores.score[chosen], kind="stable")]
    weight = scores.weight[order].astype(np.float64)
    for name in scores.processes:
        in_process = scores.process[order] == name
        if not weight[in_process].sum() > 0:
            return None
        weight[in_process] *= scores.weight[scores.process == name].sum() / weight[in_process].sum()
    is_signal = scores.is_signal[order]
    signal, background = np.cumsum(np.where(is_signal, weight, 0)), np.cumsum(np.where(is_signal, 0, weight))
    squares = np.cumsum(np.where(is_signal, 0, _growth(weight, hard_events(scores)[order])))
    with np.errstate(divide="ignore", invalid="ignore"):
        enough = (background**2 >= least * squares) & (background > 0)
    score = scores.score[order]
    last = np.append(score[1:] < score[:-1], True)  # events of one score pass together
    reached = np.where(enough & last & (signal > 0), asimov(np.maximum(signal, 0), background, systematic), -np.inf)
    place = int(np.nanargmax(reached))
    return float(score[place]) if reached[place] > -np.inf else None


def _growth(weight: NDArray[np.float64], group: NDArray[np.intp]) -> NDArray[np.float64]:
    """By how much each event raises the sum of squared weights of hard events, as the events come in this order."""
    order = np.argsort(group, kind="stable")
    sums = np.cumsum(weight[order])
    first = np.append(True, group[order][1:] != group[order][:-1])
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    before = np.empty(len(order))
    before[order] = sums - weight[order] - (sums - weight[order])[start]
    return weight**2 + 2 * weight * before
