"""Angles: differences that are wrapped to half a turn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from femtobarn.physics.constants import TWO_PI


def wrap(angle: Tensor) -> Tensor:
    r"""Wrap an angle into [-π, π): 179° and -179° are 2° apart, not 358°.

    .. math:: \phi - 2\pi \lfloor (\phi + \pi) / 2\pi \rfloor

    Args:
        angle: radians, any shape; the result is exact up to the rounding of its precision, bounds included.
    """
    # floor, because the remainder of floats drifts between ONNX runtimes
    return angle - TWO_PI * torch.floor((angle + math.pi) / TWO_PI)


def delta_phi(first: Tensor, second: Tensor) -> Tensor:
    """Difference of two azimuths in radians, first - second, in [-π, π)."""
    return wrap(first - second)


def abs_delta_phi(first: Tensor, second: Tensor) -> Tensor:
    """Absolute difference of two azimuths in radians, in [0, π]; exactly symmetric in its arguments."""
    return wrap((first - second).abs()).abs()
