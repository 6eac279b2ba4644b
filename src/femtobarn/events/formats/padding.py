"""Padding: values that files of rectangular arrays hold where an event has no further object.

One rule for all layouts (lists, lists of a fixed size, numbered columns, arrays of NumPy, HDF5 and ROOT). An entry is
padding if its pT is missing, 0 or one of `FILL_VALUES`, and so is its energy, where the file has one. A pT of NaN, -1
or -9 may also be a damaged number: such an entry is padding only if all its other kinematic values are missing, NaN, 0
or a fill value too. Of Cartesian momenta all four components are 0, all NaN or all the same fill value. Padding stands
behind the last object of a list; in front of one it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.formats.row_checks import RowChecks

#: Negative values that stand for "no object", and that no damage produces.
FILL_VALUES = (-99.0, -999.0, -9999.0, -99999.0, -999999.0)

#: Further such values, which may be wrong numbers as well.
DOUBTFUL_VALUES = (-1.0, -9.0)

#: Values that stand for "no object", for messages.
LISTED = "null, NaN, 0, -1 or -9, -99, -999, ..."

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


def is_fill(values: Values) -> Mask:
    """Whether each value may stand for "no object": NaN (also for missing ones), 0, or a fill value."""
    fill: Mask = np.isnan(values) | (values == 0) | np.isin(values, (*FILL_VALUES, *DOUBTFUL_VALUES))
    return fill


def pt_padding(pt: Values, others: Sequence[Values], energy: Values | None = None, missing: Mask | None = None) -> Mask:
    """Which entries are no objects, by their pT.

    Args:
        pt: transverse momentum, in any unit.
        others: angles and whatever else says that a pT of NaN belongs to an object.
        energy: energies or masses that were given with it.
        missing: where pT is null; NaN there.
    """
    doubtful: Mask = np.isnan(pt) | np.isin(pt, DOUBTFUL_VALUES)
    certain: Mask = (pt == 0) | np.isin(pt, FILL_VALUES)
    if missing is not None:
        certain, doubtful = certain | missing, doubtful & ~missing
    if not (certain.any() or doubtful.any()):
        return certain
    filled = np.ones(pt.shape, dtype=np.bool_)
    for values in others:
        filled &= is_fill(values)
    padding: Mask = certain | (doubtful & filled)
    return padding if energy is None else padding & is_fill(energy)


def cartesian_padding(*components: Values) -> Mask:
    """Which four-momenta are no objects: all components are 0, all NaN or all the same fill value."""
    first = components[0]
    missing, same = np.isnan(first), is_fill(first)
    for values in components[1:]:
        missing = missing & np.isnan(values)
        same = same & (values == first)
    padding: Mask = missing | same
    return padding


def real_entries(padding: Mask, counts: NDArray[np.int64], checks: RowChecks, describe: Callable[[int], str]) -> Mask:
    """Which entries are objects; the padding behind them is counted in `checks`.

    Args:
        padding: of the entries of all rows, one after another.
        counts: entries of each row.
        checks: of the table.
        describe: an entry for the message, as in "entry 3 of jet_pt is -999".

    Raises:
        EventError: padding in front of an object.
    """
    if not padding.any():
        return ~padding
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(padding)) - np.repeat(np.cumsum(counts) - counts, counts)
    objects = np.flatnonzero(~padding)
    length = np.zeros(len(counts), dtype=np.int64)
    length[row[objects]] = place[objects] + 1  # of repeated indices the last counts
    behind = place >= length[row]
    checks.refuse_entries(
        padding & ~behind,
        row,
        lambda at: f"{describe(at)}, which stands for no object, in front of entry {length[row[at]] - 1}",
        f"padding ({LISTED}) stands behind the objects",
    )
    checks.padded += np.bincount(row[behind], minlength=len(counts))
    return ~padding


def first_entries(padding: Mask, zero: Mask, counts: NDArray[np.int64]) -> Mask:
    """Padding of rows that must have an entry: a first one that is not 0 is damaged, and no padding."""
    first = np.zeros(len(padding), dtype=np.bool_)
    first[(np.cumsum(counts) - counts)[counts > 0]] = True
    damaged: Mask = padding & first & ~zero
    return padding & ~damaged
