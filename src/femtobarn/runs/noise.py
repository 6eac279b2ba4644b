"""Noise in the events of a training: known errors of the truth, to see what a network makes of them."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events import Events
from femtobarn.events.selection.cuts import select
from femtobarn.events.split import hash_uniform
from femtobarn.experiments.amplitudes import NoiseConfig
from femtobarn.inputs.event_columns import numeric_column


def add_noise(events: Events, noise: NoiseConfig | None) -> Events:
    """Events with relative Gaussian noise in a column, or without those of a window.

    The noise of an event follows from its process, its number and the seed alone: subsets of the events, other orders
    and other machines get the same.

    Args:
        events: training or validation events.
        noise: the settings; None changes nothing.

    Raises:
        ValueError: the events lack the column.
    """
    if noise is None:
        return events
    is_concerned = np.ones(len(events), dtype=bool) if noise.where is None else select(events, noise.where)
    if noise.drop:
        return events[~is_concerned]
    if noise.column not in events.context.fields:
        raise ValueError(
            f"data.noise.column: the events have no column {noise.column!r}; there are "
            f"{', '.join(events.context.fields)}"
        )
    values = numeric_column(events, noise.column)
    factor = 1 + noise.relative * is_concerned * standard_normal(events, noise.seed)
    return replace(events, context=ak.with_field(events.context, values * factor, noise.column))


def standard_normal(events: Events, seed: int) -> NDArray[np.float64]:
    """One normally distributed number per event, by the method of Box and Muller."""
    names, codes = np.unique(events.process, return_inverse=True)
    radius, angle = (
        hash_uniform(names.tolist(), codes, events.number, f"noise {seed} {part}") for part in ("radius", "angle")
    )
    normal: NDArray[np.float64] = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
    return normal
