"""Matrix: what each process is taken for, as a coloured table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from femtobarn.report.style import WIDTH, literal
from femtobarn.tasks.classification.confusion import Confusion


def draw_confusions(confusions: Mapping[str, Confusion]) -> Figure:
    """One matrix a model, at most two side by side; rows are the true processes."""
    figure = Figure(figsize=(WIDTH * (1.0 if len(confusions) > 1 else 0.55), 3.9), layout="constrained")
    grid = figure.subplots(1, len(confusions), squeeze=False)[0]
    for axes, (label, confusion) in zip(grid, confusions.items(), strict=True):
        fractions = confusion.fractions
        axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(fractions):
            axes.text(
                column,
                row,
                percent(float(value)),
                ha="center",
                va="center",
                color="white" if value > 0.55 else "black",
            )
        axes.set_xticks(range(len(confusion.categories)), [literal(name) for name in confusion.categories])
        axes.set_yticks(range(len(confusion.processes)), [literal(name) for name in confusion.processes])
        axes.set(xlabel="taken for" if confusion.exclusive else "signal efficiency of the cut", ylabel="true process")
        axes.set_title(literal(label))
        axes.grid(visible=False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def percent(value: float) -> str:
    """A fraction as a percentage with a digit more where it is small."""
    return f"{100 * value:.0f} %" if value >= 0.0995 else f"{100 * value:.1f} %"
