"""Plain arrays as columns of events: ragged awkward arrays, or arrays of NumPy with padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.faults import event_faults, object_faults, track_faults, wrap_phi
from femtobarn.physics.objects import BJET, JET, KINDS

#: What to do about a fault of an object; the first entry that begins a fault is its remedy.
REMEDIES = {
    "NaN or infinity": "leave such objects out, or set mask to False there",
    "negative": "if it stands for padding, set mask to False there, or write 0 or NaN",
    "energy above": "divide pt, E, mass and MET by 1000 if they are in MeV",
    "unknown object": f"codes are {', '.join(f'{code} {name}' for code, name in enumerate(KINDS))}",
    "energy below": "check the order of the arrays and that all are in GeV; or give mass in place of E",
    "phi": "angles are in radians: numpy.radians converts degrees",
    "|eta|": "check the order of the arrays: pt, eta, phi, E",
}


class FlatArray(NamedTuple):
    """The entries of an array of objects, event after event.

    Args:
        values: the entries, NaN where one is missing.
        counts: number of entries of each event.
        is_ragged: whether the number of entries differs between events, so that nothing is padding.
        is_missing: where an entry is None, or masked in NumPy.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    is_ragged: bool
    is_missing: NDArray[np.bool_]


def flatten(name: str, array: Any) -> FlatArray:
    """An array (events, objects), ragged or rectangular, as flat numbers.

    Args:
        name: of the array, for messages.
        array: awkward array, array of NumPy (masked, too), tensor, or lists.

    Raises:
        ValueError: not numbers, or not two-dimensional.
    """
    try:
        ragged = array if isinstance(array, ak.Array) else ak.from_iter(array) if isinstance(array, list) else None
        if ragged is not None:
            is_regular = ragged.ndim == 2 and ragged.layout.is_regular
            flat = ak.flatten(ragged, axis=1) if ragged.ndim == 2 else ragged
            counts = np.asarray(ak.num(ragged, axis=1) if ragged.ndim == 2 else [], dtype=np.int64)
            filled = np.ma.asarray(ak.to_numpy(flat), dtype=np.float64)
            n_axes = ragged.ndim
        else:
            rectangular = np.ma.asarray(array, dtype=np.float64)
            is_regular, n_axes = True, rectangular.ndim
            filled = rectangular.ravel()
            counts = np.full(rectangular.shape[:1], rectangular.shape[-1] if n_axes else 0, dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array of numbers (events, objects): {error}") from error
    if n_axes != 2:
        raise ValueError(
            f"{name} has {n_axes} axes, not 2; give an array (events, objects): ragged, or padded with 0 or NaN"
        )
    missing = np.ma.getmaskarray(filled)
    return FlatArray(np.ma.filled(filled, np.nan), counts, not is_regular, missing)


def flat_objects(arrays: Mapping[str, Any], mask: Any | None) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Columns of real objects, event after event, and the number of objects of each event.

    Args:
        arrays: arrays by name, `pt` and `kind` among them, and `E` or `mass`; a single number holds for all objects.
        mask: True where an object is real. None: of rectangular arrays, objects with a pT of 0 or NaN are padding.

    Raises:
        ValueError: arrays that do not fit together, or impossible objects, with array, event and remedy.
    """
    pt = flatten("pt", arrays["pt"])
    columns = {name: _column_like(pt, name, array) for name, array in arrays.items()}
    real = _real_objects(pt, columns, arrays, mask)
    columns = {name: column[real] for name, column in columns.items()}
    event = np.repeat(np.arange(len(pt.counts)), pt.counts)[real]
    counts = np.bincount(event, minlength=len(pt.counts)).astype(np.int64)
    if "E" not in columns:
        mass = columns.pop("mass")
        with np.errstate(over="ignore", invalid="ignore"):
            columns["E"] = np.sqrt((columns["pt"] * np.cosh(columns["eta"])) ** 2 + mass**2)
    _check_objects(columns, event, counts)
    return columns | {"kind": columns["kind"].astype(np.int8), "phi": wrap_phi(columns["phi"])}, counts


def _column_like(pt: FlatArray, name: str, array: Any) -> NDArray[np.float64]:
    """A column with one entry per entry of `pt`."""
    if _is_scalar(array):
        return np.full(len(pt.values), array, dtype=np.float64)
    flat = flatten(name, array)
    if len(flat.counts) != len(pt.counts):
        raise ValueError(f"{name} has {len(flat.counts)} events, pt has {len(pt.counts)}; give all arrays one length")
    differs = np.flatnonzero(flat.counts != pt.counts)
    if len(differs):
        row = int(differs[0])
        raise ValueError(
            f"{name} has {flat.counts[row]} objects in event {row}, pt has {pt.counts[row]}; "
            "all arrays have the same objects in the same order"
        )
    return flat.values


def _is_scalar(array: Any) -> bool:
    return isinstance(array, int | float | np.number) or (isinstance(array, np.ndarray) and array.ndim == 0)


def _real_objects(
    pt: FlatArray, columns: Mapping[str, NDArray[np.float64]], arrays: Mapping[str, Any], mask: Any | None
) -> NDArray[np.bool_]:
    """Where an entry is an object, and not padding."""
    real: NDArray[np.bool_]
    if mask is not None:
        real = _column_like(pt, "mask", mask) == 1
        return real
    if pt.is_ragged:
        return ~pt.is_missing
    padding = pt.is_missing | np.isnan(pt.values) | (pt.values == 0)
    # an energy, or any number beside a pT of NaN, belongs to an object
    for name in ("E", "mass", "eta", "phi"):
        if name not in columns or _is_scalar(arrays[name]):
            continue
        column = columns[name]
        doubtful = padding & ~pt.is_missing & ~np.isnan(column) & (column != 0)
        if name in ("eta", "phi"):
            doubtful &= np.isnan(pt.values)
        if doubtful.any():
            row, place = _location(int(np.argmax(doubtful)), pt.counts)
            raise ValueError(
                f"pt of event {row}, object {place} is {pt.values[np.argmax(doubtful)]:g}, which stands for padding, "
                f"but {name} is {column[np.argmax(doubtful)]:g}; write 0 or NaN in both, or give mask"
            )
    real = ~padding
    return real


def _location(at: int, counts: NDArray[np.int64]) -> tuple[int, int]:
    """Event and place in it of an entry."""
    ends = np.cumsum(counts)
    row = int(np.searchsorted(ends, at, side="right"))
    return row, int(at - (ends[row] - counts[row]))


def _check_objects(columns: Mapping[str, NDArray[np.float64]], event: NDArray[Any], counts: NDArray[np.int64]) -> None:
    kind = columns["kind"]
    fractional = ~(np.rint(kind) == kind)
    if fractional.any():
        at = int(np.argmax(fractional))
        raise ValueError(
            f"kind of event {event[at]}, object {_location(at, counts)[1]} is {kind[at]:g}, no code of an object; "
            + REMEDIES["unknown object"]
        )
    faults = object_faults(columns["pt"], columns["eta"], columns["phi"], columns["E"], kind.astype(np.int64))
    own = ("pt", "eta", "phi", "E", "kind")
    faults |= track_faults({name: column for name, column in columns.items() if name not in own})
    for fault, where in faults.items():
        at = int(np.argmax(where))
        values = ", ".join(f"{name} {columns[name][at]:g}" for name in columns)
        remedy = next((text for start, text in REMEDIES.items() if fault.startswith(start)), "correct the array")
        raise ValueError(f"event {event[at]}, object {_location(at, counts)[1]}: {fault} ({values}); {remedy}")


def event_column(name: str, values: Any, n_events: int, dtype: Any = np.float64) -> NDArray[Any]:
    """One value per event; a single value holds for all events.

    Args:
        name: of the column, for messages.
        values: array (events,), or a single value.
        n_events: number of events.
        dtype: float64, int64 or str.

    Raises:
        ValueError: another length, or values of another type.
    """
    array = np.asarray(ak.to_numpy(values) if isinstance(values, ak.Array) else values)
    if array.ndim == 0:
        array = np.full(n_events, array)
    if array.shape != (n_events,):
        raise ValueError(f"{name} has the shape {array.shape}; give one value per event, ({n_events},)")
    types = {np.float64: "iufb", np.int64: "iu", np.str_: "U"}[dtype]
    if array.dtype.kind not in types:
        expected = {np.float64: "numbers", np.int64: "whole numbers", np.str_: "names"}[dtype]
        raise ValueError(f"{name} holds {array.dtype}, not {expected}")
    return array if dtype is np.str_ else array.astype(dtype)


def context_columns(met: Any, phi_met: Any, kind: NDArray[Any], n_events: int) -> dict[str, NDArray[np.float64]]:
    """MET and phi_MET of each event; 0 for jets made of constituents, which have none.

    Raises:
        ValueError: one of them is missing, or events with jets have neither.
    """
    if met is None and phi_met is None:
        if np.isin(kind, (JET, BJET)).any():
            raise ValueError(
                "MET and phi_MET are missing; events with jets need the missing transverse momentum in GeV and its "
                "azimuth in radians, MET=0 and phi_MET=0 if it was not measured"
            )
        met = phi_met = 0.0
    for name, values in (("MET", met), ("phi_MET", phi_met)):
        if values is None:
            raise ValueError(f"{name} is missing; MET and phi_MET are given together")
    return {name: event_column(name, values, n_events) for name, values in (("MET", met), ("phi_MET", phi_met))}


def check_event_columns(weight: NDArray[np.float64], context: Mapping[str, NDArray[Any]]) -> None:
    """Check weight, MET and phi_MET of every event.

    Raises:
        ValueError: NaN, a negative MET, an angle in degrees, with the event.
    """
    for fault, where in event_faults(weight, context["MET"], context["phi_MET"]).items():
        row = int(np.argmax(where))
        values = f"weight {weight[row]:g}, MET {context['MET'][row]:g}, phi_MET {context['phi_MET'][row]:g}"
        remedy = "numpy.radians converts degrees" if "phi_MET outside" in fault else "correct or leave out the event"
        raise ValueError(f"event {row}: {fault} ({values}); {remedy}")
