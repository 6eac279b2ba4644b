"""Angles in radians, wrapped to half a turn: tensors of torch, arrays of numpy and awkward."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from femtobarn.physics.constants import TWO_PI

#: A torch tensor, or an array of numpy or awkward; functions return what they get. No torch is needed to import them.
Angle = TypeVar("Angle")


def wrap(angle: Angle) -> Angle:
    r"""Wrap an angle into [-π, π): 179° and -179° are 2° apart, not 358°.

    .. math:: \phi - 2\pi \lfloor (\phi + \pi) / 2\pi \rfloor

    Args:
        angle: radians, any shape; the result is exact up to the rounding of its precision, bounds included.
    """
    array: Any = angle
    turns = (array + math.pi) / TWO_PI
    # floor, because the remainder of floats drifts between ONNX runtimes
    wrapped: Angle = array - TWO_PI * (turns.floor() if hasattr(turns, "floor") else np.floor(turns))
    return wrapped


def delta_phi(first: Angle, second: Angle) -> Angle:
    """Difference of two azimuths in radians, first - second, in [-π, π)."""
    minuend: Any = first
    difference: Angle = wrap(minuend - second)
    return difference


def abs_delta_phi(first: Angle, second: Angle) -> Angle:
    """Absolute difference of two azimuths in radians, in [0, π]; exactly symmetric in its arguments."""
    minuend: Any = first
    difference: Angle = abs(wrap(abs(minuend - second)))
    return difference
