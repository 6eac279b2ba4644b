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
        values = np.where(variance > 0, signal / np.sqrt(np.maximum(variance, 0)), np.nan)
    return values if isinstance(signal, np.ndarray) else float(values)


def asimov(signal: Number, background: Number, systematic: float = 0.0) -> Number:
    r"""Median significance with which a counting experiment would discover the signal, in standard deviations.

    .. math:: Z_A^2 = 2 (s + b) \ln\frac{(s + b)(b + \sigma^2)}{b^2 + (s + b)\sigma^2}
              - \frac{2 b^2}{\sigma^2} \ln\left[1 + \frac{\sigma^2 s}{b (b + \sigma^2)}\right]

    with :math:`\sigma = b \delta`; without it :math:`Z_A^2 = 2 [(s + b) \ln(1 + s/b) - s]`. Unlike s/√b it holds for
    small backgrounds too, where s/√b promises too much; for s ≪ b it turns into :func:`significance`.

    Args:
        signal: expected signal events s, not negative.
        background: expected background events b.
        systematic: relative uncertainty δ of the background, as if it were known from a side band with 1/δ² events.

    Returns:
        Not-a-number where no background is left: a finite sample can't say how significant that is.

    Source: Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727, eq. 97; with σ: Cowan, *Discovery sensitivity for a
    counting experiment with background uncertainty* (2012), eq. 20, here with logarithms that keep their digits for
    small σ; the test statistic is that of Li and Ma, doi:10.1086/161295.
    """
    s, b = np.asarray(signal, dtype=np.float64), np.asarray(background, dtype=np.float64)
    variance = systematic**2
    with np.errstate(divide="ignore", invalid="ignore"):
        has_background = b > 0
        ratio = s / np.where(has_background, b, 1.0)
        pull = np.log1p(variance * s / (1 + variance * b))
        doubt = pull / variance if variance > 0 else s
        squared = 2 * ((s + b) * (np.log1p(ratio) - pull) - doubt)
        values = np.where(has_background, np.sqrt(np.maximum(squared, 0)), np.nan)
    return values if isinstance(signal, np.ndarray) else float(values)


def luminosity_gain(better: Number, baseline: Number) -> Number:
    r"""How many times the luminosity the baseline needs to reach the significance of the better model.

    .. math:: L_\mathrm{baseline} / L = (\sigma_\mathrm{better} / \sigma_\mathrm{baseline})^2

    Exact for s/√b, which grows as √L. With a systematic it is the convention of the literature: there, no luminosity
    makes up for the uncertainty of the background.
    """
    return (better / baseline) ** 2
