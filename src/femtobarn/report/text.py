"""Pieces of sentences and numbers for pages and summaries."""

from __future__ import annotations

import math
from collections.abc import Sequence


def listing(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`.

    Example:
        >>> listing(["ttH", "ttW", "ttZ"])
        'ttH, ttW and ttZ'
    """
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def value_range(values: Sequence[int], separator: str = "–") -> str:
    """One number, or the smallest and the largest."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}{separator}{high}"


def duration(seconds: float) -> str:
    """Seconds in the usual units: 42 s, 3 min 5 s, 2 h 10 min.

    Example:
        >>> duration(185.0)
        '3 min 5 s'
    """
    rounded = round(seconds)
    if rounded < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def deviations(deviation: float) -> str:
    """A difference in standard deviations, as a sentence has it."""
    if not math.isfinite(deviation):
        return "in every replica of the test events"
    return f"{abs(deviation):.1f} standard deviations"
