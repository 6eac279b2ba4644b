"""IRC safety: changes of the scores of jet taggers by soft particles and collinear splittings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from femtobarn.events.storage.checksums import read_checked_json
from femtobarn.report.style import WIDTH, PlotStyle, legend_below, literal
from femtobarn.tasks.classification.comparison import SAFETY, Comparison

#: What was found for each training, by model.
Found = Mapping[str, Sequence[Mapping[str, Any]]]

PANELS = {
    "soft": ("A soft particle more", "its share of the jet's pT"),
    "collinear": ("The hardest particle splits in two", "angle between the two"),
}

#: Changes below this share of the spread are rounding, and are drawn there.
FLOOR = 1e-6


def irc_safety_of(comparison: Comparison) -> Found:
    """Results of `femtobarn irc-safety`, for the models whose trainings all have them."""
    paths = {row.label: [run.path / SAFETY for run in row.runs] for row in comparison.rows}
    return {
        label: [read_checked_json(path, "delete it and run `femtobarn irc-safety` again").content for path in files]
        for label, files in paths.items()
        if all(path.is_file() for path in files)
    }


def draw_irc_safety(measurements: Found, styles: Mapping[str, PlotStyle]) -> Figure:
    """By how much nine jets in ten change less, in units of the spread, against how soft or narrow the emission is."""
    figure = Figure(
        figsize=(WIDTH, 3.6 + 0.22 * -(-len(measurements) // 4)),
        layout=ConstrainedLayoutEngine(wspace=0.04, hspace=0.04),
    )
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (kind, (title, label)) in zip(panels, PANELS.items(), strict=True):
        for model, trainings in measurements.items():
            steps = [entry["step"] for entry in trainings[0][kind]]
            # the median would be 0 where more than half of the jets fill all slots of a network with harder particles
            shares = [[entry["most"] / training["spread"] for entry in training[kind]] for training in trainings]
            change = np.maximum(np.mean(shares, axis=0), FLOOR)
            style = styles[model]
            axes.plot(
                steps,
                change,
                color=style.color,
                linestyle=style.dash,
                marker=style.marker,
                markersize=4,
                label=literal(model),
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(FLOOR / 2, None)
        axes.invert_xaxis()
        axes.set_title(title)
        axes.set_xlabel(label)
    panels[0].set_ylabel("change of the log-odds / their spread")
    legend_below(figure, panels[0])
    return figure
