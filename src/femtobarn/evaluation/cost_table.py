"""Costs: parameters, operations and speed of each model beside its quality."""

from __future__ import annotations

from typing import Any

import numpy as np

from femtobarn.evaluation.comparison import Comparison, ModelResult
from femtobarn.evaluation.rounding import NOTHING, format_si, group_digits
from femtobarn.evaluation.table import Table

HEADINGS = ("parameters", "FLOPs an event", "events/s in training", "events/s in scoring")

#: What the numbers mean.
NOTE = (
    "Parameters are the trained ones, of trees their leaves; FLOPs: two for each multiplication with addition in the "
    "linear layers, convolutions and attention of a forward pass, mean over test events with their real multiplicities "
    "(element-wise functions, sums, norms, softmax, sorting and neighbour search are left out); events/s by the device "
    "of the training, validation included (of trees: in one iteration, without the making of columns), and from raw "
    "objects to scores; means over seeds, and times depend on what "
    "else the machine was doing"
)


def cost_table(comparison: Comparison[Any]) -> Table:
    """Costs of each model; a dash for what its runs do not state."""
    return Table.of_texts("Cost", HEADINGS, [(row.label, _texts(row)) for row in comparison.rows], f"{NOTE}.")


def mean_of(row: ModelResult[Any], name: str) -> float | None:
    """A number of the trainings' `meta.json`, its mean; None where one does not have it."""
    values = [run.meta.get(name) for run in row.runs]
    numbers = [value for value in values if isinstance(value, int | float)]
    return float(np.mean(numbers)) if len(numbers) == len(values) else None


def _texts(row: ModelResult[Any]) -> list[str]:
    parameters, leaves, flops = (mean_of(row, name) for name in ("parameters", "leaves", "flops"))
    speeds = [mean_of(row, name) for name in ("events_per_second", "scored_per_second")]
    size = group_digits(parameters) if parameters else f"{group_digits(leaves)} leaves" if leaves else NOTHING
    return [size, format_si(flops) if flops else NOTHING, *(_speed(speed) if speed else NOTHING for speed in speeds)]


def _speed(value: float) -> str:
    """Events a second to three digits."""
    return group_digits(float(f"{value:.3g}")) if value >= 100 else f"{value:.3g}"
