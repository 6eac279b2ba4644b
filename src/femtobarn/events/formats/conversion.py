"""Numbers of tables as float64 and int64, without a digit lost: integers never pass through floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.formats.row_checks import RowChecks

#: Whole numbers up to this are exact in float64; above it, a float may stand for another integer.
MAX_WHOLE_FLOAT = 2.0**53

#: Largest integer of the columns `number` and `hard`.
MAX_INTEGER = 2**63 - 1

WHOLE = "whole numbers from -2^63 to 2^63 - 1; floats up to 2^53"


def whole(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Integers of a numeric array, and a mask of the values that are none (their integer is 0).

    Integers stay as they are; floats must be whole and at most 2^53 in magnitude.

    Raises:
        TypeError: values of another type.
    """
    match values.dtype.kind:
        case "i" | "b":
            return values.astype(np.int64), np.zeros(values.shape, dtype=np.bool_)
        case "u":
            large = values > np.uint64(MAX_INTEGER)
            return np.where(large, 0, values).astype(np.int64), large
        case "f":
            double = values.astype(np.float64)
            with np.errstate(invalid="ignore"):
                wrong = ~((np.abs(double) <= MAX_WHOLE_FLOAT) & (np.floor(double) == double))
            return np.where(wrong, 0, double).astype(np.int64), wrong
        case _:
            raise TypeError(f"{values.dtype} holds no numbers")


def integers(
    values: NDArray[Any], name: str, checks: RowChecks, row: NDArray[np.integer[Any]] | None = None
) -> NDArray[np.int64]:
    """A column as int64; a value that is no integer is refused with its row.

    Args:
        values: numbers of any type.
        name: of the column, for messages.
        checks: of the table.
        row: row of each value; without it the values are one per row.

    Raises:
        EventError: a value that is no integer, or a column of another type.
    """
    if values.dtype.kind not in "iuf":
        raise EventError(checks.path, f"{name} holds {values.dtype}, no integers", remedy=f"write {WHOLE}")
    result, wrong = whole(values)
    checks.refuse_entries(wrong, row, lambda at: f"{name} is {plain(values[at])}", f"{WHOLE} can be read here")
    return result


def floats(values: NDArray[Any], name: str, checks: RowChecks, *, truth: bool = False) -> NDArray[np.float64]:
    """A column as float64.

    Args:
        values: numbers of any type.
        name: of the column, for messages.
        checks: of the table.
        truth: whether True and False count as 1 and 0.

    Raises:
        EventError: a column of another type.
    """
    if values.dtype.kind not in ("iufb" if truth else "iuf"):
        raise EventError(checks.path, f"{name} holds {values.dtype}, no numbers", remedy="write integers or floats")
    return values.astype(np.float64)


def context(values: NDArray[Any], name: str, checks: RowChecks) -> NDArray[Any]:
    """A column of further numbers per row: integers as int64, other numbers as float64.

    Raises:
        EventError: an integer beyond int64, or a column of another type.
    """
    return integers(values, name, checks) if values.dtype.kind in "iu" else floats(values, name, checks, truth=True)


def plain(value: Any) -> str:
    """A number as a person writes it, with all its digits."""
    if isinstance(value, np.generic):
        value = value.item()
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def energy(pt: NDArray[np.float64], eta: NDArray[np.float64], mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energies of objects whose masses are given, in the unit of both.

    A negative mass is that of a negative square, which rounding makes. A fill value such as -999 ends below |p|, which
    `femtobarn.events.faults` refuses.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.maximum((pt * np.cosh(eta)) ** 2 + mass * np.abs(mass), 0))
