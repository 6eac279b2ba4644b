"""Significance: what a selection is worth, in standard deviations and in luminosity."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])


def significance(signal: Number, background: Number, systematic: float = 0.0) -> Number:
    r"""Expected significance of `signal` events on top of `background` events, in standard deviations.

    .. math:: \sigma = s / \sqrt{b + (b \delta)^2}

    Args:
        signal: expected signal events s.
        background: expected background events b.
        systematic: relative uncertainty δ of the background; 0 leaves s/√b.

    Returns:
        Not-a-number where no background is left: a finite sample can't say how significant that is.
    """
    variance = np.asarray(background + (background * systematic) ** 2, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(variance > 0, signal / np.sqrt(np.maximum(variance, 0)), np.nan)
    return found if isinstance(signal, np.ndarray) else float(found)


def luminosity_gain(better: Number, baseline: Number) -> Number:
    r"""How many times the luminosity the baseline needs to reach the significance of the better model.

    .. math:: L_\mathrm{baseline} / L = (\sigma_\mathrm{better} / \sigma_\mathrm{baseline})^2

    Exact for s/√b, which grows as √L. With a systematic it is the convention of the literature: there, no luminosity
    makes up for the uncertainty of the background.
    """
    return (better / baseline) ** 2
