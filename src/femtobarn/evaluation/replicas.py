"""Replicas: the test events as they might have been, for statistical errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.scores import Scores

# numbers of one block of replicas: 32 MB in float64, whatever the sample
BLOCK = 4_000_000


def hard_events(scores: Scores) -> NDArray[np.intp]:
    """Index of the hard event of each event, counted by process and number; copies of one collision share it."""
    _, code = np.unique(scores.process, return_inverse=True)
    group: NDArray[np.intp]
    _, group = np.unique(np.stack([code, scores.hard], axis=1), axis=0, return_inverse=True)
    return group


def draw_replicas(scores: Scores, count: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Weights of all events: a block with the sample as it is, then `count` replicas in blocks that fit the memory.

    A replica multiplies the weights by independent exponential numbers of mean 1 (the Bayesian bootstrap: Rubin, Ann.
    Statist. 9, 130, 1981, doi:10.1214/aos/1176345338). Its variance is that of the Poisson bootstrap, and no process
    ever vanishes from a replica, nor the last event of a tail. All copies of one hard event get the same number, and
    each process keeps its yield, which is known from cross section and the whole sample, not from the test events.

    Args:
        scores: the held-out events.
        count: how many replicas; 0 for the sample only.
        seed: the same events and seed give the same replicas, in whatever order the events stand.
    """
    yield scores.weight[None].astype(np.float64)
    group = hard_events(scores)
    groups = int(group.max()) + 1
    parts = [np.flatnonzero(scores.process == name) for name in scores.processes]
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK // len(scores))
    for start in range(0, count, size):
        draws = rng.exponential(size=(min(size, count - start), groups))
        weights = np.empty((len(draws), len(scores)))
        for part in parts:
            drawn = scores.weight[part] * draws[:, group[part]]
            weights[:, part] = drawn * (scores.weight[part].sum() / drawn.sum(axis=1, keepdims=True))
        yield weights


def effective(weight: NDArray[np.float64], group: NDArray[np.intp]) -> float:
    """As many hard events of equal weight would have the same statistical error, (Σw)²/Σw²; 0 without events."""
    summed = np.bincount(group, weights=weight)
    squares = float((summed**2).sum())
    return float(summed.sum()) ** 2 / squares if squares > 0 else 0.0


def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The statistical error: standard deviation over the replicas (rows from 1 on), not-a-number where one is."""
    return np.asarray(values[1:].std(axis=0, ddof=1), dtype=np.float64)
