"""Objects of ragged events by type, hardest first, column by column as they are needed."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.physics.objects import CHARGES


class RaggedObjects:
    """The objects of events, which are counted and selected by type without rectangular arrays of all of them.

    Columns are read when they are first used, and sorted by falling pT only where they are not sorted already.

    Args:
        particles: ragged records with `pt, eta, phi, E` (GeV, radians) and `kind`, as in `Events`.
    """

    def __init__(self, particles: ak.Array) -> None:
        self.particles = particles
        self.n_events = len(particles)
        self._columns: dict[str, NDArray[Any]] = {}
        self._counts: dict[tuple[int, ...], NDArray[np.int64]] = {}
        self._collections: dict[tuple[int, ...], Collection] = {}

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Index of the first object of each event among those of all events, and behind the last event."""
        return _ends(np.asarray(ak.to_numpy(ak.num(self.particles, axis=1)), dtype=np.int64))

    @cached_property
    def order(self) -> NDArray[np.int64] | None:
        """Index of the objects by event and falling pT; None where they stand in that order."""
        pt = self._stored("pt")
        falling = pt[1:] <= pt[:-1]
        borders = self.ends[1:-1]
        falling[borders[(borders > 0) & (borders < len(pt))] - 1] = True
        if falling.all():
            return None
        # as `Events.padded` sorts, so that objects of the same pT have one order everywhere
        order = ak.flatten(ak.argsort(self.particles.pt, ascending=False, stable=True), axis=1)
        starts = np.repeat(self.ends[:-1], np.diff(self.ends))
        return np.asarray(ak.to_numpy(order), dtype=np.int64) + starts

    def column(self, name: str) -> NDArray[Any]:
        """A column of all objects, event by event, hardest first."""
        if name not in self._columns:
            stored = self._stored(name)
            self._columns[name] = stored if self.order is None else stored[self.order]
        return self._columns[name]

    def count(self, kinds: tuple[int, ...]) -> NDArray[np.int64]:
        """Number of objects of some kinds in each event."""
        if kinds not in self._counts:
            running = np.cumsum(_is_of(self._stored("kind"), kinds), dtype=np.int64)
            self._counts[kinds] = np.diff(np.concatenate([[0], running])[self.ends])
        return self._counts[kinds]

    def select(self, kinds: tuple[int, ...]) -> Collection:
        """The objects of some kinds, hardest first."""
        if kinds not in self._collections:
            self._collections[kinds] = Collection(self, kinds)
        return self._collections[kinds]

    def _stored(self, name: str) -> NDArray[Any]:
        """A column in the order of the events' own objects."""
        column = ak.to_numpy(ak.flatten(self.particles[name], axis=1))
        return np.asarray(np.ma.filled(column, 0))


class Collection:
    """The objects of some kinds in all events, hardest first: as flat columns, and in rectangular arrays.

    Args:
        source: objects of all kinds.
        kinds: codes of `femtobarn.physics.objects`.
    """

    def __init__(self, source: RaggedObjects, kinds: tuple[int, ...]) -> None:
        self.source, self.kinds = source, kinds
        self.counts = source.count(kinds)
        self._padded: dict[str, NDArray[Any]] = {}

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Index of the first object of each event in the flat columns, and behind the last event."""
        return _ends(self.counts)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Index of the event of each object."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def width(self) -> int:
        """Most objects in an event."""
        return int(self.counts.max(initial=0))

    def flat(self, name: str) -> NDArray[Any]:
        """A quantity of all objects, event by event: pt, eta, phi, E, mass, charge, kind."""
        if name == "charge":
            charge: NDArray[np.int64] = np.asarray(CHARGES)[self.flat("kind")]
            return charge
        if name == "mass":
            pt, energy = self.flat("pt"), self.flat("E")
            along = pt * np.sinh(self.flat("eta"))
            mass: NDArray[np.float64] = np.sqrt(np.maximum((energy - along) * (energy + along) - pt**2, 0))
            return mass
        column = self.source.column(name)[self._index]
        return np.asarray(column, dtype=np.int64 if name == "kind" else np.float64)

    def pad(self, values: NDArray[Any]) -> NDArray[Any]:
        """A flat column as a rectangular array (events, objects), zeros behind the last object."""
        array = np.zeros(len(self.counts) * self.width, dtype=values.dtype)
        array[self._slots] = values
        return array.reshape(len(self.counts), self.width)

    @property
    def pt(self) -> NDArray[np.float64]:
        """Transverse momentum in GeV, (events, objects)."""
        return self._rectangular("pt")

    @property
    def eta(self) -> NDArray[np.float64]:
        """Pseudorapidity, (events, objects)."""
        return self._rectangular("eta")

    @property
    def phi(self) -> NDArray[np.float64]:
        """Azimuth in radians, (events, objects)."""
        return self._rectangular("phi")

    @property
    def E(self) -> NDArray[np.float64]:
        """Energy in GeV, (events, objects)."""
        return self._rectangular("E")

    @property
    def kind(self) -> NDArray[np.int64]:
        """Codes of `femtobarn.physics.objects`, 0 behind the last object, (events, objects)."""
        return self._rectangular("kind")

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """True where there is an object, (events, objects)."""
        mask: NDArray[np.bool_] = np.arange(self.width) < self.counts[:, None]
        return mask

    @cached_property
    def _index(self) -> NDArray[np.int64]:
        return np.flatnonzero(_is_of(self.source.column("kind"), self.kinds))

    @cached_property
    def _slots(self) -> NDArray[np.int64]:
        """Place of each object in the rectangular array, read row by row."""
        shifts = np.arange(len(self.counts)) * self.width - self.ends[:-1]
        return np.arange(len(self.rows)) + np.repeat(shifts, self.counts)

    def _rectangular(self, name: str) -> NDArray[Any]:
        if name not in self._padded:
            self._padded[name] = self.pad(self.flat(name))
        return self._padded[name]


def _ends(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _is_of(kind: NDArray[Any], kinds: tuple[int, ...]) -> NDArray[np.bool_]:
    """True for objects of these kinds."""
    if kind.dtype != np.int8:
        return np.isin(kind, kinds)
    table = np.zeros(256, dtype=np.bool_)
    table[list(kinds)] = True
    # negative codes, of nothing, become 128 and more
    chosen: NDArray[np.bool_] = table[kind.view(np.uint8)]
    return chosen
