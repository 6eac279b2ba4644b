"""Values of the parts of a selection: numbers, conditions and names of events or objects, and momenta."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.selection.ragged import Collection
from femtobarn.physics.object_arrays import invariant_mass, light_cone
from femtobarn.physics.objects import BJET, ELECTRONS, JET, JETS, LEPTONS, MUONS, NAMES, PHOTON

#: Collections of objects by name.
COLLECTIONS: dict[str, tuple[int, ...]] = {
    "jet": JETS,
    "bjet": (BJET,),
    "ljet": (JET,),
    "electron": ELECTRONS,
    "muon": MUONS,
    "lepton": LEPTONS,
    "photon": (PHOTON,),
    "object": tuple(range(1, len(NAMES))),
}

#: Quantities of each object of a collection, of a sum of objects, and of the missing momentum.
ATTRIBUTES = ("pt", "eta", "phi", "E", "mass", "charge")
SUM_ATTRIBUTES = ATTRIBUTES[:-1]
MISSING_ATTRIBUTES = ("pt", "phi")

#: What a name in the arguments of a function of objects must be to stand for the missing momentum.
MISSING = "MET"


@runtime_checkable
class Columns(Protocol):
    """The events that a selection is about: their numbers by name, and their objects by type."""

    def names(self) -> Sequence[str]:
        """Names of the numbers."""

    def number(self, name: str) -> NDArray[Any] | None:
        """The column of a name, or None where there is no such name."""

    def collection(self, name: str) -> Collection:
        """The objects of one of `COLLECTIONS`."""


class Value(NamedTuple):
    """Numbers, conditions or names: of each event, of each object of a collection one after the other, or a constant.

    `defined` is False where there is no such number, as for the pT of a third lepton in an event with two.
    """

    values: NDArray[Any]
    defined: NDArray[np.bool_]
    collection: str | None = None

    @property
    def category(self) -> str:
        """A condition, a name or a number."""
        return {"b": "condition", "U": "name"}.get(self.values.dtype.kind, "number")

    def repeated(self, collection: Collection) -> Value:
        """The value of each event, given to each of its objects."""
        if self.collection is not None or not self.values.ndim:
            return self
        return Value(self.values[collection.rows], self.defined[collection.rows] if self.defined.ndim else self.defined)


class Momentum:
    """Momenta of one object in each event, or of each object of a collection; quantities are computed when used.

    Args:
        compute: the column of a quantity.
        defined: False where there is no such object.
        collection: name of the collection, where there is one momentum for each of its objects.
        quantities: the quantities that these momenta have.
    """

    category = "object"

    def __init__(
        self,
        compute: Callable[[str], NDArray[Any]],
        defined: NDArray[np.bool_],
        collection: str | None = None,
        quantities: Sequence[str] = ATTRIBUTES,
    ) -> None:
        self._compute, self.defined, self.collection, self.quantities = compute, defined, collection, tuple(quantities)
        self._computed: dict[str, NDArray[Any]] = {}

    def __getitem__(self, quantity: str) -> NDArray[Any]:
        if quantity not in self._computed:
            self._computed[quantity] = self._compute(quantity)
        return self._computed[quantity]

    def repeated(self, collection: Collection) -> Momentum:
        """The momentum of each event, given to each object of a collection."""
        if self.collection is not None:
            return self
        rows = collection.rows
        return Momentum(lambda quantity: self[quantity][rows], self.defined[rows], None, self.quantities)


def of(values: Any, defined: Any, collection: str | None = None) -> Value:
    """A value; scalars become arrays, which numpy's functions do not return for them."""
    return Value(np.asarray(values), np.asarray(defined, dtype=np.bool_), collection)


def number(values: Any, defined: Any = True, collection: str | None = None) -> Value:
    """A number, which is not known where it is infinite or none."""
    values = np.asarray(values)
    finite = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, dtype=np.bool_)
    return of(values, finite & defined, collection)


def condition(values: Any, collection: str | None = None) -> Value:
    """A condition, which is true or false everywhere."""
    values = np.asarray(values, dtype=np.bool_)
    return of(values, np.ones_like(values), collection)


def contained(values: NDArray[Any], items: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Whether values are among constants; whole numbers are compared as such, whatever their size."""
    if not items:
        return np.zeros(values.shape, dtype=np.bool_)
    if values.dtype.kind not in "iu":
        return np.isin(values, np.array([item.item() for item in items]))
    integers = [int(item) for item in items if float(item).is_integer() and abs(float(item)) < 2.0**63]
    return np.isin(values, np.array(integers, dtype=np.int64))


def place(index: int, collection: Collection) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where the object with an index stands among those of all events (0 where there is none), and where there is one.

    Args:
        index: 0 for the hardest object of each event, -1 for the softest.
        collection: the objects.
    """
    wanted = max(min(index, 2**31), -(2**31))
    shift = wanted if wanted >= 0 else collection.counts + wanted
    present = np.asarray((shift >= 0) & (shift < collection.counts))
    return np.where(present, collection.ends[:-1] + shift, 0), present


def taken(values: NDArray[Any], places: NDArray[np.int64], present: NDArray[np.bool_]) -> NDArray[Any]:
    """The values at some places; 0 where there is none."""
    if not len(values):
        return np.zeros(len(places), dtype=values.dtype)
    return np.where(present, values[places], np.zeros((), dtype=values.dtype))


def total(momenta: Sequence[Momentum], collection: str | None) -> Momentum:
    """The sum of momenta."""
    cones = [light_cone(part["pt"], part["eta"], part["phi"], part["E"]) for part in momenta]
    plus, minus, px, py = (np.sum(parts, axis=0) for parts in zip(*cones, strict=True))

    def compute(quantity: str) -> NDArray[Any]:
        if quantity == "mass":
            return invariant_mass(plus, minus, px, py)
        if quantity == "phi":
            return np.asarray(np.arctan2(py, px))
        if quantity == "E":
            return np.asarray((plus + minus) / 2)
        pt = np.hypot(px, py)
        return np.asarray(pt if quantity == "pt" else np.arcsinh((plus - minus) / 2 / pt))

    defined = np.logical_and.reduce([part.defined for part in momenta])
    return Momentum(compute, defined, collection, SUM_ATTRIBUTES)


def arithmetic(work: Callable[[Any, Any], Any], left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """A sum, difference, product or remainder; exact for integers, where float64 has only 53 bits of them."""
    values = np.asarray(work(left.astype(np.float64), right.astype(np.float64)))
    if left.dtype.kind not in "iu" or right.dtype.kind not in "iu" or work not in EXACT_OPERATIONS:
        return values
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) >= 2.0**62:
        return values
    return np.asarray(work(left, right))


#: Operations that have whole results of whole numbers.
EXACT_OPERATIONS = (np.add, np.subtract, np.multiply, np.remainder)
