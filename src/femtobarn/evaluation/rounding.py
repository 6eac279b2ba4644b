"""Rounding: numbers with errors as the Particle Data Group writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable

#: What stands for a number that could not be measured.
NOTHING = "–"


def decimals(error: float) -> int:
    """Digits after the point that an error deserves; negative for tens and hundreds.

    The rule of the Particle Data Group: if the three leading digits of the error lie between 100 and 354, two of them
    are kept; between 355 and 949, one; from 950 on, it is rounded up to 1000 and two are kept.

    Source: Review of Particle Physics, introduction, section 5.3 (doi:10.1103/PhysRevD.110.030001).

    Raises:
        ValueError: the error is not a positive number.
    """
    if not (math.isfinite(error) and error > 0):
        raise ValueError(f"only a positive error can be rounded; got {error}")
    exponent = math.floor(math.log10(error))
    # the third digit decides, so it is rounded first: 0.3549 counts as 355
    leading = round(error / 10.0 ** (exponent - 2))
    return 1 - exponent if leading <= 354 else -exponent


def fixed(value: float | None, digits: int) -> str:
    """A number with so many digits after the point, rounded to tens or hundreds where `digits` is negative."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{round(value, digits):.{max(digits, 0)}f}"


def rounded(value: float | None, *errors: float | None, digits: int | None = None) -> str:
    """`value ± error ± error`, with the digits that the largest error allows.

    Args:
        value: the number; None where it could not be measured.
        errors: None for one that is not known, which is then left out.
        digits: after the point, instead of those the errors allow (a column of a table reads better with the same).
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    finite = [error for error in errors if error is not None and math.isfinite(error)]
    if digits is None:
        digits = common_decimals([finite], default=4)
    return " ± ".join(fixed(number, digits) for number in (value, *finite))


def group_digits(number: int | float) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def format_si(number: int | float) -> str:
    """A large number with three digits and k, M, G or T: 211 M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            return f"{number / size:#.3g}".removesuffix(".") + f" {letter}"
    return f"{number:.3g}"


def common_decimals(errors: Iterable[Iterable[float | None]], default: int = 3) -> int:
    """Digits after the point for a column: what half of its numbers deserve, each by the largest of its errors."""
    wanted = []
    for row in errors:
        largest = max((error for error in row if error is not None and math.isfinite(error)), default=0.0)
        if largest > 0:
            wanted.append(decimals(largest))
    return sorted(wanted)[len(wanted) // 2] if wanted else default
