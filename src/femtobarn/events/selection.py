"""Selections: cuts written as a physicist says them, `n_jet >= 6 and HT >= 500 and jet.pt[0] > 100`.

A small language on Python's grammar, of which only what is listed here is understood; nothing is ever run as Python.
Units are GeV and radians.

- Numbers of the event: the observables of `femtobarn.physics.observables` (`n_jet, HT, MET, mT, ...`), further columns
  of the context, `weight`, `number` and `hard`.
- `process`, compared with names: `process == "tttt"`, `process in ("ttW", "ttZ")`.
- Objects, hardest first: `jet` (b-tagged ones included), `bjet`, `ljet` (not b-tagged), `electron`, `muon`, `lepton`,
  `photon`, `object` (all), each with `pt, eta, phi, E, mass, charge`: `jet.pt[0]` is the hardest one's, `jet.pt[-1]`
  the softest one's. A comparison with an object that is not there is false.
- `count(jet.pt > 50)`, `any(...)`, `all(...)` of a condition on objects; `sum(jet.pt)`, `min`, `max` of a quantity.
  The sum over no object is 0, `all` is true of none, a comparison with `min` or `max` over none is false.
- `and`, `or`, `not`, chained comparisons, `+ - * / **`, `abs(...)`, `sqrt(...)`, `min(a, b)`, `max(a, b)`. A comparison
  with the root of a negative number or a quotient by zero is false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.expression import Expression, SelectionError
from femtobarn.events.record import MISSING_MOMENTUM, Events, Padded
from femtobarn.physics.observables import observables

__all__ = ["SelectionError", "Step", "check", "cutflow", "select"]

#: Columns of the record that a selection may use.
OWN = ("weight", "number", "hard", "process")


class Step(NamedTuple):
    """What is left after a cut: events, and their expected number."""

    cut: str
    events: int
    expected: float


def select(events: Events, expression: str) -> NDArray[np.bool_]:
    """Which events pass a selection; `events.select("n_jet >= 6")` keeps them.

    Raises:
        SelectionError: the expression cannot be understood; it points at the place and names what there is.
    """
    return _Columns(events).mask(expression)


def cutflow(events: Events, cuts: Mapping[str, str]) -> tuple[list[Step], NDArray[np.bool_]]:
    """Events and expected yield after each cut upon the cuts before, and which events pass them all.

    Args:
        cuts: selections by the name to show, in order.

    Returns:
        the steps, the first one before any cut, and True for each event that passes all cuts.

    Raises:
        SelectionError: a cut cannot be understood.
    """
    columns = _Columns(events)
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
    nothing = _Columns(_no_events(tuple(context or ())))

    def column(name: str) -> NDArray[Any] | None:
        found = nothing.number(name)
        return np.zeros(0) if found is None and context is None else found

    Expression(expression, column, nothing.names, lambda: nothing.padded).mask()


class _Columns:
    """What an expression can ask of events, worked out once and when asked for."""

    def __init__(self, events: Events) -> None:
        self.events = events

    @cached_property
    def padded(self) -> Padded:
        return self.events.padded()

    @cached_property
    def observables(self) -> Mapping[str, NDArray[np.float64]]:
        met, phi = (np.asarray(self.events.context[name], dtype=np.float64) for name in MISSING_MOMENTUM)
        return observables(self.padded, met, phi)

    def names(self) -> list[str]:
        return [*_observable_names(), *OWN, *(set(self.events.context.fields) - set(MISSING_MOMENTUM))]

    def number(self, name: str) -> NDArray[Any] | None:
        if name in OWN:
            column: NDArray[Any] = getattr(self.events, name)
            return column
        if name in self.events.context.fields:
            return np.asarray(ak.to_numpy(self.events.context[name]))
        return self.observables[name] if name in _observable_names() else None

    def mask(self, expression: str) -> NDArray[np.bool_]:
        passed = Expression(expression, self.number, self.names, lambda: self.padded).mask()
        return np.broadcast_to(passed, len(self.events)).copy()


@lru_cache
def _no_events(context: tuple[str, ...] = ()) -> Events:
    numbers = np.zeros(0, dtype=np.int64)
    columns = dict.fromkeys(("pt", "eta", "phi", "E"), np.zeros(0)) | {"kind": np.zeros(0, dtype=np.int8)}
    return Events(
        particles=ak.unflatten(ak.zip(columns, with_name="Momentum4D"), numbers),
        context=ak.zip(dict.fromkeys((*MISSING_MOMENTUM, *context), np.zeros(0))),
        weight=np.zeros(0),
        process=np.zeros(0, dtype="<U1"),
        number=numbers,
        hard=numbers,
    )


@lru_cache
def _observable_names() -> tuple[str, ...]:
    return tuple(_Columns(_no_events()).observables)
