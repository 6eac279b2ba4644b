"""Cuts on events: `select` and `cutflow`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.selection.expression import Expression
from femtobarn.events.selection.ragged import Collection, RaggedObjects
from femtobarn.events.selection.syntax import SelectionError
from femtobarn.events.selection.values import COLLECTIONS
from femtobarn.physics.observables import OBSERVABLES, EventQuantities

__all__ = ["SelectionError", "Step", "check", "cutflow", "select"]

#: Columns of the record that a selection may use.
OWN = ("weight", "number", "hard", "process")


@runtime_checkable
class EventTable(Protocol):
    """Events as `femtobarn.events.Events` holds them."""

    @property
    def particles(self) -> ak.Array: ...
    @property
    def context(self) -> ak.Array: ...
    @property
    def weight(self) -> NDArray[np.float64]: ...
    @property
    def process(self) -> NDArray[Any]: ...
    @property
    def number(self) -> NDArray[np.int64]: ...
    @property
    def hard(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...


class Step(NamedTuple):
    """What is left after a cut: events, and their expected number."""

    cut: str
    events: int
    expected: float


def select(events: EventTable, expression: str) -> NDArray[np.bool_]:
    """Which events pass a selection; `events.select("n_jet >= 6")` keeps them.

    Raises:
        SelectionError: the expression cannot be understood; it points at the place and names what there is.
    """
    return _Columns.of(events).mask(expression)


def cutflow(events: EventTable, cuts: Mapping[str, str]) -> tuple[list[Step], NDArray[np.bool_]]:
    """Events and expected yield after each cut upon the cuts before, and which events pass them all.

    Args:
        cuts: selections by the name to show, in order.

    Returns:
        the steps, the first one before any cut, and True for each event that passes all cuts.

    Raises:
        SelectionError: a cut cannot be understood.
    """
    columns = _Columns.of(events)
    left = np.ones(len(events), dtype=np.bool_)
    steps = [Step("all", len(events), float(events.weight.sum()))]
    for name, expression in cuts.items():
        left = left & columns.mask(expression)
        steps.append(Step(name, int(left.sum()), float(events.weight[left].sum())))
    return steps, left


def check(expression: str, context: Sequence[str] | None = None) -> None:
    """Complain about a selection before any file is opened.

    Args:
        context: columns that the events will have beside MET and phi_MET; if that is not known yet, unknown names pass.

    Raises:
        SelectionError: the expression cannot be understood.
    """
    Expression(expression, _no_events(None if context is None else tuple(context))).mask()


class _Columns:
    """The numbers and objects of events, each read or computed once and when it is needed.

    Args:
        particles: objects of the events, as in `Events`.
        context: one record per event.
        record: the columns of `OWN`.
    """

    def __init__(self, particles: ak.Array, context: ak.Array, record: Mapping[str, NDArray[Any]]) -> None:
        self.context, self.record = context, record
        self.objects = RaggedObjects(particles)
        self._computed: dict[str, NDArray[Any]] = {}

    @classmethod
    def of(cls, events: EventTable) -> _Columns:
        return cls(events.particles, events.context, {name: getattr(events, name) for name in OWN})

    @cached_property
    def quantities(self) -> EventQuantities:
        return EventQuantities(self.objects, *(np.asarray(self.context[name]) for name in ("MET", "phi_MET")))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*OBSERVABLES, *OWN, *self.context.fields]))

    def names(self) -> tuple[str, ...]:
        return self._names

    def number(self, name: str) -> NDArray[Any] | None:
        if name not in self._names:
            return None
        if name not in self._computed:
            self._computed[name] = self._column(name)
        return self._computed[name]

    def _column(self, name: str) -> NDArray[Any]:
        if name in OWN:
            column = np.asarray(self.record[name])
            return column.astype(np.str_) if name == "process" else column
        if name not in self.context.fields:
            return OBSERVABLES[name](self.quantities)
        try:
            return np.asarray(ak.to_numpy(self.context[name]))
        except ValueError:  # lists of several lengths
            return np.zeros((self.objects.n_events, 0))

    def collection(self, name: str) -> Collection:
        return self.objects.select(COLLECTIONS[name])

    def mask(self, expression: str) -> NDArray[np.bool_]:
        passed = Expression(expression, self).mask()
        return np.broadcast_to(passed, self.objects.n_events).copy()


class _Unknown(_Columns):
    """The columns of events whose context is not known yet, so that any name may be a number."""

    def number(self, name: str) -> NDArray[Any] | None:
        column = super().number(name)
        return np.zeros(0) if column is None else column


@lru_cache
def _no_events(context: tuple[str, ...] | None) -> _Columns:
    columns = dict.fromkeys(("pt", "eta", "phi", "E"), np.zeros(0)) | {"kind": np.zeros(0, dtype=np.int8)}
    numbers = np.zeros(0, dtype=np.int64)
    record = {"weight": np.zeros(0), "number": numbers, "hard": numbers, "process": np.zeros(0, dtype="<U1")}
    return (_Unknown if context is None else _Columns)(
        ak.unflatten(ak.zip(columns), numbers),
        ak.zip(dict.fromkeys(("MET", "phi_MET", *(context or ())), np.zeros(0))),
        record,
    )
