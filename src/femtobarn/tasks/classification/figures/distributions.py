"""Distributions of the score, process by process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hist
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullFormatter

from femtobarn.report.style import MANY, WIDTH, PlotStyle, label_edges, legend_below, literal, panels
from femtobarn.tasks.classification.comparison import Comparison, ModelResult
from femtobarn.tasks.classification.efficiency_curves import efficiency_curves
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.sections import percent

BINS = 25


def draw_best(row: ModelResult, comparison: Comparison, styles: Mapping[str, PlotStyle]) -> Figure:
    """Scores of one model: the shape of each process, and the expected events stacked, with the working points."""
    scores = row.runs[0].scores
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    filled = histograms(scores)
    _shapes(left, scores, filled, styles)
    left.set_title("Shapes, each process normalised to 1")
    mplhep.histplot(
        [filled[name] for name in scores.backgrounds],
        ax=right,
        stack=True,
        histtype="fill",
        color=[styles[name].color for name in scores.backgrounds],
        edgecolor="white",
        linewidth=0.4,
    )
    signal = sum((filled[name] for name in scores.signal[1:]), filled[scores.signal[0]])
    right.stairs(
        signal.values(),
        signal.axes[0].edges,
        color=styles[scores.signal[0]].color,
        linewidth=2.0,
        # black on a dark stack needs a light edge
        path_effects=[withStroke(linewidth=4.0, foreground="white")],
    )
    total = np.sum([filled[name].values() for name in scores.backgrounds], axis=0)
    counted = "expected jets" if comparison.settings.tagging else "expected events"
    right.set(xlabel="score", ylabel=f"{counted} / {1 / BINS:g}, {scores.luminosity:g} fb$^{{-1}}$", yscale="log")
    positive = np.concatenate([total[total > 0], signal.values()[signal.values() > 0]])
    right.set_ylim(positive.min() * 0.5, positive.max() * 4)
    cuts = efficiency_curves(scores, comparison.settings.efficiencies).thresholds
    for point, cut in zip(comparison.points, cuts, strict=True):
        right.axvline(cut, color="black", linewidth=0.9, linestyle=":")
        right.text(
            cut, 0.985, f"ε$_S$ = {percent(point)} ", transform=right.get_xaxis_transform(), rotation=90, fontsize=8,
            va="top", ha="right",
        )  # fmt: skip
    right.set_title(f"{counted.capitalize()}, backgrounds stacked")
    right.grid(visible=False)
    right.set_xlim(0, 1)
    legend_below(figure, left, columns=6)
    return figure


def draw_others(rows: Mapping[str, Scores], styles: Mapping[str, PlotStyle]) -> Figure:
    """Shapes of the scores of several models, a panel each."""
    columns, height = (4, 1.9) if len(rows) > MANY else (3, 2.3)
    figure, grid = panels(len(rows), columns=columns, height=height)
    for axes, (label, scores) in zip(grid, rows.items(), strict=True):
        _shapes(axes, scores, histograms(scores), styles, errors=False)
        axes.set_title(literal(label))
    label_edges(grid, "score", "", columns=columns)
    figure.supylabel(f"fraction of events / {1 / BINS:g}", fontsize="medium")
    legend_below(figure, grid[0], columns=6)
    return figure


def histograms(scores: Scores) -> dict[str, hist.Hist[Any]]:
    """The weighted distribution of the score of each process, with its statistical errors."""
    filled = {}
    for name in scores.processes:
        in_process = scores.process == name
        filled[name] = hist.Hist.new.Reg(BINS, 0, 1, name="score", flow=False).Weight()
        # a score of exactly 1 belongs into the last bin
        filled[name].fill(
            np.clip(scores.score[in_process], 0, np.nextafter(1.0, 0.0)), weight=scores.weight[in_process]
        )
    return filled


def _shapes(
    axes: Axes,
    scores: Scores,
    filled: Mapping[str, hist.Hist[Any]],
    styles: Mapping[str, PlotStyle],
    *,
    errors: bool = True,
) -> None:
    for name in scores.processes:
        style = styles[name]
        mplhep.histplot(
            filled[name] * (1 / filled[name].values().sum()),
            ax=axes,
            histtype="step",
            yerr=errors,
            edges=False,
            color=style.color,
            linestyle=style.dash,
            linewidth=2.0 if name in scores.signal else 1.4,
            label=literal(name),
        )
    axes.set(xlabel="score", ylabel=f"fraction of events / {1 / BINS:g}", xlim=(0, 1), yscale="log")
    axes.set_ylim(top=1)
    axes.yaxis.set_minor_formatter(NullFormatter())
