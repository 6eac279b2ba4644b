"""Functions of box and bubble integrals with massless lines, free of spurious poles.

Arguments are ratios of invariants r = s_x/s_y, of either sign, with their logarithms ln r = ln(-s_x) - ln(-s_y), which
are real where both invariants have the same sign.

Source: Bern, Dixon and Kosower, Phys. Rev. Lett. 70 (1993) 2677, hep-ph/9302280.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

#: Below this |1 - r| the series replaces the closed form, which loses three digits there.
SERIES_RADIUS = 0.1

#: Terms of the series: SERIES_RADIUS to this power is below the precision of float64.
SERIES_TERMS = 17

#: Coefficients B_2k / (2k + 1)! of u^(2k + 1), k = 1 to 8, in the series u - u²/4 + ... of the dilogarithm.
BERNOULLI = (
    1 / 36,
    -1 / 3600,
    1 / 211680,
    -1 / 10886400,
    1 / 526901760,
    -4.064761645144226e-11,
    8.921691020456453e-13,
    -1.9939295860721076e-14,
)

Points = Float[Tensor, " points"]
ComplexPoints = Complex[Tensor, " points"]


def log_minus(s: Points) -> ComplexPoints:
    """ln(-s - i0) = ln|s| - i π θ(s)."""
    return torch.complex(s.abs().log(), -math.pi * (s > 0).to(s))


def dilogarithm(x: Points) -> Points:
    """Real dilogarithm Li2(x) for x <= 1.

    Source: 't Hooft and Veltman, Nucl. Phys. B 153 (1979) 365, appendix A.
    """
    # x in [-1, 1/2] by x -> 1/x and x -> 1 - x
    is_large, is_upper = x < -1, x > 0.5
    safe = torch.where(is_large, x, -1.0)
    y = torch.where(is_large, 1 / safe, torch.where(is_upper, 1 - x, x))
    u = -torch.log1p(-y)
    square = u * u
    total = u - square / 4
    power = u
    for coefficient in BERNOULLI:
        power = power * square
        total = total + coefficient * power
    large = -(math.pi**2) / 6 - torch.log(-safe).square() / 2 - total
    upper = torch.where(is_upper, x, 0.75).clamp_max(1.0)
    mirrored = math.pi**2 / 6 - upper.log() * torch.where(upper < 1, torch.log1p(-upper), 0.0) - total
    return torch.where(is_large, large, torch.where(is_upper, mirrored, total))


def complement_dilogarithm(r: Points, log_r: ComplexPoints) -> ComplexPoints:
    """Li2(1 - r), continued to r < 0 by π²/6 - ln r ln(1 - r) - Li2(r)."""
    is_negative = r < 0
    argument = torch.where(is_negative, r, 1 - r)
    value = dilogarithm(argument)
    continued = math.pi**2 / 6 - log_r * torch.log1p(torch.where(is_negative, -r, 0.0)) - value
    return torch.where(is_negative, continued, value.to(log_r.dtype))


def _series(x: Points, first: int, offset: float) -> Points:
    """Sum over k of (offset - 1/(k + first)) x^k."""
    total = torch.zeros_like(x)
    for k in reversed(range(SERIES_TERMS)):
        total = total * x + (offset - 1 / (k + first))
    return total


def _near(r: Points, direct: ComplexPoints, first: int, offset: float) -> ComplexPoints:
    """The series in 1 - r where r is close to 1, the closed form elsewhere."""
    x = 1 - r
    is_near = x.abs() < SERIES_RADIUS
    series = _series(torch.where(is_near, x, 0.0), first, offset)
    return torch.where(is_near, series.to(direct.dtype), direct)


def _apart(r: Points) -> Points:
    """1 - r, and 1 where the series is used."""
    return torch.where((1 - r).abs() < SERIES_RADIUS, 1.0, 1 - r)


def l0(r: Points, log_r: ComplexPoints) -> ComplexPoints:
    """L0 = ln r / (1 - r)."""
    return _near(r, log_r / _apart(r), 1, 0.0)


def l1(r: Points, log_r: ComplexPoints) -> ComplexPoints:
    """L1 = (L0 + 1) / (1 - r)."""
    x = _apart(r)
    return _near(r, (log_r / x + 1) / x, 2, 0.0)


def l2(r: Points, log_r: ComplexPoints) -> ComplexPoints:
    """L2 = (ln r - (r - 1/r)/2) / (1 - r)³."""
    return _near(r, (log_r - (r - 1 / r) / 2) / _apart(r) ** 3, 3, 0.5)


def ls1(r1: Points, r2: Points, log_r1: ComplexPoints, log_r2: ComplexPoints) -> ComplexPoints:
    """Ls1 = {Li2(1-r1) + Li2(1-r2) + ln r1 ln r2 - π²/6 + (1-r1-r2)(L0(r1) + L0(r2))} / (1-r1-r2)²."""
    rest = 1 - r1 - r2
    dilogarithms = complement_dilogarithm(r1, log_r1) + complement_dilogarithm(r2, log_r2)
    box = dilogarithms + log_r1 * log_r2 - math.pi**2 / 6
    return (box + rest * (l0(r1, log_r1) + l0(r2, log_r2))) / rest**2
