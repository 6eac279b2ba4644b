"""Averages over weighted events, with errors that know that copies of one hard event are no new events."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

#: Numbers from fewer hard events are not told: their spread says next to nothing of their error.
FEW = 5


def ratio(
    above: Float[np.ndarray, "events numbers"],
    below: Float[np.ndarray, "events numbers"],
    weight: Float[np.ndarray, " events"],
    group: Int[np.ndarray, " events"],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Ratios of weighted sums over events and their statistical errors; not-a-number below `FEW` hard events.

    .. math:: v = \frac{\sum_e w_e a_e}{\sum_e w_e b_e}, \quad
              \sigma^2 = \frac{\sum_h \bigl(\sum_{e \in h} w_e (a_e - v b_e)\bigr)^2}{(\sum_e w_e b_e)^2}

    where h are the hard events: the linearised variance of a ratio for clustered samples (Cochran, *Sampling
    Techniques*, Wiley 1977, chapter 6). With b = 1 this is the weighted mean.

    Args:
        above, below: a and b, a row an event.
        weight: of each event; may be negative.
        group: the hard event that each event comes from; numbers from 0 on.
    """
    total = weight @ below
    groups = int(group.max(initial=-1)) + 1
    counting = np.zeros((groups, below.shape[1]), dtype=bool)
    np.logical_or.at(counting, group, (weight[:, None] * below) != 0)
    enough = (counting.sum(axis=0) >= FEW) & (total != 0)
    safe = np.where(enough, total, 1.0)
    value = (weight @ above) / safe
    rest = weight[:, None] * (above - value * below)
    summed = np.zeros((groups, above.shape[1]))
    np.add.at(summed, group, rest)
    error = np.sqrt((summed**2).sum(axis=0)) / np.abs(safe)
    return np.where(enough, value, np.nan), np.where(enough, error, np.nan)
