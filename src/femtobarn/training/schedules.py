"""Schedules: the learning rate of each step, as a fraction of the largest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

ScheduleName = Literal["flat_then_decay", "cosine", "constant"]

#: Fraction of the steps at the largest learning rate (ParT, arXiv:2202.03772, section 5.1).
FLAT_FRACTION = 0.7

#: Learning rate at the end, as a fraction of the largest one.
FINAL_FRACTION = 0.01


def flat_then_decay(progress: float) -> float:
    """1 for 70 % of the training, then exponentially to 1 %."""
    decay = (progress - FLAT_FRACTION) / (1 - FLAT_FRACTION)
    return 1.0 if progress < FLAT_FRACTION else FINAL_FRACTION**decay


def cosine(progress: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter, arXiv:1608.03983, without restarts)."""
    return (1 + math.cos(math.pi * progress)) / 2


def constant(progress: float) -> float:
    """1."""
    return 1.0


SCHEDULES: dict[ScheduleName, Callable[[float], float]] = {
    "flat_then_decay": flat_then_decay,
    "cosine": cosine,
    "constant": constant,
}
assert set(SCHEDULES) == set(get_args(ScheduleName))


def factor(name: ScheduleName, step: int, steps: int, warmup: int = 0) -> float:
    """What the largest learning rate is multiplied by at a step; a pure function, so a resumed training needs no state.

    Args:
        name: of the schedule.
        step: counts from 0.
        steps: of the whole training.
        warmup: over the first so many steps the factor also rises linearly from 1 / warmup to 1.
    """
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rising * SCHEDULES[name](step / max(1, steps))
