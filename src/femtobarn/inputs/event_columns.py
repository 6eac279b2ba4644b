"""Columns of events from which a task makes its targets, with the weights of its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from femtobarn.events import Events


@dataclass(frozen=True, eq=False)
class EventColumns:
    """Columns with one entry per event, from memory or from shards.

    Args:
        process: index of the process in `processes`.
        processes: names of the processes.
        weight: weight of the loss: not negative, with a mean of 1 over an epoch.
        values: numeric columns that the task asked for (`columns`), by name.
    """

    process: NDArray[np.int64]
    processes: tuple[str, ...]
    weight: NDArray[np.float64]
    values: Mapping[str, NDArray[np.float64]]


@runtime_checkable
class TargetMaker(Protocol):
    """Part of a task that makes targets from columns of events."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Numeric columns of the events, besides process and weight, from which the targets are made."""

    def weight_factors(self, absolute_weights: Mapping[str, float]) -> Mapping[str, float]:
        """Factor of the absolute event weights of each process, such that the products add up to 1.

        Events of other processes take no part in the training.

        Args:
            absolute_weights: sum of the absolute weights of each process.
        """

    def targets(self, columns: EventColumns) -> tuple[Tensor, ...]:
        """Targets with one row per event, such as labels or values, and weights of the loss."""


def event_columns(
    events: Events, names: Sequence[str], factors: Mapping[str, float], scale: float = 1.0
) -> EventColumns:
    """Columns of events in memory.

    Args:
        events: any.
        names: numeric columns of the context, or `weight`, `number` and `hard`.
        factors: factor of the absolute weights of each process; 0 for other processes.
        scale: factor of all weights.

    Raises:
        ValueError: the events lack a column; the message lists the available ones.
    """
    processes, codes = np.unique(events.process, return_inverse=True)
    factor = np.array([factors.get(str(name), 0.0) for name in processes], dtype=np.float64)
    return EventColumns(
        process=codes.astype(np.int64),
        processes=tuple(str(name) for name in processes),
        weight=np.abs(events.weight) * (scale * factor)[codes],
        values={name: numeric_column(events, name) for name in names},
    )


def numeric_column(events: Events, name: str) -> NDArray[np.float64]:
    """Column of the context, or `weight`, `number` or `hard`, as float64.

    Raises:
        ValueError: the events lack the column; the message lists the available ones.
    """
    if name in ("weight", "number", "hard"):
        return np.asarray(getattr(events, name), dtype=np.float64)
    if name not in events.context.fields:
        available = ", ".join([*events.context.fields, "weight", "number", "hard"])
        raise ValueError(f"the events have no column {name!r}; there are {available}")
    return np.asarray(events.context[name], dtype=np.float64)
