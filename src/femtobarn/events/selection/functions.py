"""Functions of selections: their names, and the functions of objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.selection.ragged import Collection
from femtobarn.events.selection.values import Momentum, Value, condition, number
from femtobarn.physics.angles import delta_phi
from femtobarn.physics.object_arrays import transverse_mass

#: Functions of a condition on objects, of a quantity of objects, of any number, and of objects.
CONDITIONS = ("count", "any", "all")
QUANTITIES = ("sum", "min", "max")
NUMBERS: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    **{name: getattr(np, name) for name in ("sqrt", "exp", "log", "log10")},
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
}
OBJECTS = ("mass", "delta_r", "delta_phi", "delta_eta", "mT")
FUNCTIONS = (*CONDITIONS, *QUANTITIES, *NUMBERS, *OBJECTS)

#: How each function is called.
EXAMPLES = {
    **{name: f"{name}(jet.pt > 50)" for name in CONDITIONS},
    **{name: f"{name}(jet.pt)" for name in QUANTITIES},
    **{name: f"{name}(HT)" for name in NUMBERS},
    "abs": "abs(jet.eta[0])",
    "mass": "mass(lepton[0], lepton[1])",
    "delta_r": "delta_r(jet[0], lepton[0])",
    "delta_eta": "delta_eta(jet[0], jet[1])",
    "delta_phi": "delta_phi(jet[0], MET)",
    "mT": "mT(lepton[0], MET)",
}

#: Quantities of its objects that a function needs.
NEEDED_QUANTITIES = {
    "mass": ("pt", "eta", "phi", "E"),
    "delta_r": ("eta", "phi"),
    "delta_eta": ("eta",),
    "delta_phi": ("phi",),
    "mT": ("pt", "phi"),
}


def reduced(name: str, value: Value, collection: Collection) -> Value:
    """One number or condition per event from the numbers or conditions of its objects.

    Args:
        name: one of `CONDITIONS` or `QUANTITIES`.
        value: conditions for the former, numbers for the latter.
        collection: the objects.
    """
    if name == "count":
        return number(_per_event(value.values, collection))
    if name == "any":
        return condition(_per_event(value.values, collection) > 0)
    if name == "all":
        return condition(_per_event(value.values, collection) == collection.counts)
    if name == "sum":
        return number(collection.pad(np.where(value.defined, value.values, 0)).sum(axis=1))
    return _extreme(value, collection, largest=name == "max")


def pair_quantity(name: str, first: Momentum, second: Momentum, collection: str | None) -> Value:
    """Distance, angle or transverse mass of two objects.

    Args:
        name: delta_r, delta_phi, delta_eta or mT.
        first, second: the objects; differences are first minus second.
        collection: of which one of them goes through all objects, if it does.
    """
    defined = first.defined & second.defined
    if name == "mT":
        return number(transverse_mass(first["pt"], first["phi"], second["pt"], second["phi"]), defined, collection)
    values = first["eta"] - second["eta"] if name != "delta_phi" else delta_phi(first["phi"], second["phi"])
    if name == "delta_r":
        values = np.sqrt(values**2 + delta_phi(first["phi"], second["phi"]) ** 2)
    return number(values, defined, collection)


def _per_event(flags: NDArray[np.bool_], collection: Collection) -> NDArray[np.int64]:
    """Number of the objects of each event for which something is true."""
    running = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    return np.asarray(np.diff(running[collection.ends]))


def _extreme(value: Value, collection: Collection, largest: bool) -> Value:
    """The largest or smallest known number among the objects of each event; unknown without any."""
    empty = -np.inf if largest else np.inf
    filled = np.where(value.defined, np.broadcast_to(value.values, value.defined.shape), empty)
    extremes = np.full(len(collection.counts), empty)
    occupied = collection.counts > 0
    if occupied.any():
        reduce = np.maximum.reduceat if largest else np.minimum.reduceat
        extremes[occupied] = reduce(filled, collection.ends[:-1][occupied])
    return number(extremes)
