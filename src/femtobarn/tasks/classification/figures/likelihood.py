"""Likelihood: significance against the working point, and the histogram that a fit sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from femtobarn.evaluation.bootstrap import bootstrap_std
from femtobarn.report.style import MANY, WIDTH, PlotStyle, legend_below, literal
from femtobarn.tasks.classification.comparison import Comparison, ModelResult
from femtobarn.tasks.classification.figures.curves import GRID, Curve
from femtobarn.tasks.classification.optimal_cut import MIN_BACKGROUND, optimal_cut
from femtobarn.tasks.classification.significance import asimov

#: Curves are drawn where the background is known to this, as well as behind a best cut.
KNOWN = MIN_BACKGROUND**-0.5


def draw_significance(
    comparison: Comparison, rows: Sequence[ModelResult], curves: Mapping[str, Curve], styles: Mapping[str, PlotStyle]
) -> Figure:
    """Asimov significance of all models against signal efficiency, without and with the background's uncertainty."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    panels = figure.subplots(1, 2)
    delta = comparison.settings.systematic
    measured = rows[0].runs[0].metrics["events"]
    signal = sum(measured[name]["yield"] for name in comparison.signal)
    background = sum(measured[name]["yield"] for name in comparison.backgrounds)
    for axes, systematic in zip(panels, (0.0, delta), strict=True):
        for row in rows:
            style, passing = styles[row.label], curves[row.label].mean["total"]
            values = asimov(np.broadcast_to(GRID * signal, passing.shape).copy(), passing * background, systematic)
            with np.errstate(invalid="ignore"):
                measured_points = bootstrap_std(passing) < KNOWN * passing[0]
            middle, error = np.where(measured_points, values[0], np.nan), bootstrap_std(values)
            axes.plot(GRID, middle, color=style.color, linestyle=style.dash, label=literal(row.label))
            if len(rows) <= MANY:
                axes.fill_between(GRID, middle - error, middle + error, color=style.color, alpha=0.12, linewidth=0)
            if systematic == delta:
                best = optimal_cut(row.runs[0].scores, delta)
                if best is not None:
                    axes.plot(
                        best.efficiency, best.significance[0], color=style.color, marker=style.marker, markersize=7
                    )
        axes.set(
            xlabel=r"signal efficiency $\epsilon_S$", xlim=(0, 1), title=f"Background known to {100 * systematic:g} %"
        )
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0].set(ylabel=f"expected significance $Z_A$, {comparison.settings.luminosity:g} fb$^{{-1}}$")
    panels[0].set_title("Background known exactly")
    legend_below(figure, panels[0])
    return figure


def draw_fit(fit: Mapping[str, Any], signal: Sequence[str], styles: Mapping[str, PlotStyle]) -> Figure:
    """The histogram of a fit: expected events in its bins, and the signal over the background."""
    yields = {name: np.asarray(values) for name, values in fit["yields"].items()}
    backgrounds = [name for name in yields if name not in signal]
    total = np.sum([yields[name] for name in backgrounds], axis=0)
    wanted = np.sum([yields[name] for name in signal], axis=0)
    error = np.sqrt(np.sum([np.square(fit["errors"][name]) for name in backgrounds], axis=0))
    edges = np.arange(len(total) + 1)
    figure = Figure(figsize=(0.8 * WIDTH, 4.8), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    base = np.zeros(len(total))
    for name in backgrounds:
        top.stairs(
            base + yields[name],
            edges,
            baseline=base,
            fill=True,
            color=styles[name].color,
            label=literal(name),
            edgecolor="white",
        )
        base = base + yields[name]
    top.stairs(
        total + error, edges, baseline=total - error, fill=True, facecolor="none", edgecolor="#444444", hatch="////",
        linewidth=0, label="statistical error of the simulation",
    )  # fmt: skip
    name = literal(" + ".join(signal))
    outline = [withStroke(linewidth=4.0, foreground="white")]
    top.stairs(wanted, edges, color=styles[signal[0]].color, linewidth=2.0, path_effects=outline, label=name)
    positive = np.concatenate([total[total > 0], wanted[wanted > 0]])
    top.set(yscale="log", ylabel="expected events in a bin", ylim=(positive.min() * 0.4, positive.max() * 3))
    top.grid(visible=False)
    bottom.stairs(wanted / np.sqrt(total), edges, color="black", linewidth=1.4)
    bottom.set(xlabel="score, at the edges of the bins", ylabel="s/√b", xlim=(0, len(total)))
    bottom.set_ylim(bottom=0)
    bottom.set_xticks(edges, [f"{edge:.2f}" if edge < 0.995 else f"{edge:.4g}" for edge in fit["edges"]])
    legend_below(figure, top, columns=4)
    return figure
