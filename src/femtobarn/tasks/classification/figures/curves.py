"""Curves: efficiencies and rejections against signal efficiency, with their bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import bootstrap_std
from femtobarn.report.style import MANY, WIDTH, PlotStyle, label_edges, legend_below, literal, panels
from femtobarn.tasks.classification.comparison import Comparison, ModelResult
from femtobarn.tasks.classification.efficiency_curves import efficiency_curves

GRID = np.linspace(0.02, 1.0, 99)

#: Rejections are drawn where they are known better than this.
KNOWN = 0.5

#: Ratios known better than this share the scale of their axes.
CLEAR = 0.2


@dataclass(frozen=True, eq=False)
class Curve:
    """Background efficiency of one model at the signal efficiencies of `GRID`.

    Args:
        mean: over the trainings, by background and in `total`; shape (1 + replicas, points).
        each: of every training, by background and in `total`; shape (trainings, points).
    """

    mean: Mapping[str, NDArray[np.float64]]
    trainings: Mapping[str, NDArray[np.float64]]


def curve(row: ModelResult, comparison: Comparison) -> Curve:
    """The curve of a model, with replicas that are paired over the models."""
    settings = comparison.settings
    measured = [
        efficiency_curves(run.scores, GRID.tolist(), replicas=settings.bootstrap, seed=settings.seed).background
        for run in row.runs
    ]
    names = ("total", *comparison.backgrounds)
    return Curve(
        mean={name: np.mean([background[name] for background in measured], axis=0) for name in names},
        trainings={name: np.stack([background[name][0] for background in measured]) for name in names},
    )


def draw_roc(curves: Mapping[str, Curve], styles: Mapping[str, PlotStyle], signal: str) -> Figure:
    """ROC and background rejection of all models, all backgrounds together."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for label, curve_ in curves.items():
        style, passing = styles[label], curve_.mean["total"]
        error = bootstrap_std(passing)
        left.plot(passing[0], GRID, color=style.color, linestyle=style.dash, label=literal(label))
        if len(curves) <= MANY:
            left.fill_betweenx(GRID, passing[0] - error, passing[0] + error, color=style.color, alpha=0.15, linewidth=0)
        _rejection(right, passing, style, label, band=len(curves) <= MANY)
    left.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    left.text(0.6, 0.57, "guessing", color="#777777", fontsize=8, rotation=38, ha="center", va="top")
    left.set(
        xlabel=r"background efficiency $\epsilon_B$",
        ylabel=rf"signal efficiency $\epsilon_S$ ({literal(signal)})",
        xlim=(0, 1),
        ylim=(0, 1.01),
        title="ROC curve",
    )
    _rejection_axes(right)
    right.set_title("Background rejection")
    legend_below(figure, left)
    return figure


def draw_backgrounds(
    curves: Mapping[str, Curve], styles: Mapping[str, PlotStyle], backgrounds: Sequence[str]
) -> Figure:
    """Rejection of each background on its own."""
    figure, grid = panels(len(backgrounds), columns=2, height=3.1, share=False)
    for axes, name in zip(grid, backgrounds, strict=True):
        for label, curve_ in curves.items():
            _rejection(axes, curve_.mean[name], styles[label], label, band=len(curves) <= MANY)
        _rejection_axes(axes)
        axes.set_title(f"against {literal(name)}")
    legend_below(figure, grid[0])
    return figure


def draw_ratios(curves: Mapping[str, Curve], styles: Mapping[str, PlotStyle], baseline: str) -> Figure:
    """Rejection of each model divided by the baseline's: statistical band, and each training as a thin line."""
    others = [label for label in curves if label != baseline]
    columns, height = (4, 1.9) if len(others) > MANY else (3, 2.4)
    figure, grid = panels(len(others), columns=columns, height=height)
    shown = (GRID >= 0.1) & (GRID <= 0.98)
    low, high = 1.0, 1.0
    reference = curves[baseline].mean["total"]
    for axes, label in zip(grid, others, strict=True):
        style, curve_ = styles[label], curves[label]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = reference / curve_.mean["total"]
            lines = reference[0] / curve_.trainings["total"]
            error = bootstrap_std(ratio)
            clear = shown & np.isfinite(error) & (error < KNOWN * ratio[0])
        x, middle, error = GRID[clear], ratio[0, clear], error[clear]
        axes.axhline(1, color="black", linewidth=0.8)
        axes.fill_between(x, middle - error, middle + error, color=style.color, alpha=0.3, linewidth=0)
        for line in lines if len(lines) > 1 else ():
            axes.plot(x, line[clear], color="#222222", linewidth=0.6)
        axes.plot(x, middle, color=style.color)
        axes.set_title(literal(label))
        if clear.any():
            settled = error < CLEAR * middle  # what is hardly known must not set the scale for the rest
            low = min(low, float((middle - error)[settled].min(initial=1.0)))
            high = max(high, float((middle + error)[settled].max(initial=1.0)))
    margin = 0.06 * (high - low) + 0.01
    for axes in grid:
        axes.set(xlim=(0.1, 1), ylim=(low - margin, high + margin))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_edges(grid, r"signal efficiency $\epsilon_S$", "", columns=columns)
    figure.supylabel(f"rejection / that of {literal(baseline)}", fontsize="medium")
    return figure


def _rejection(axes: Axes, passing: NDArray[np.float64], style: PlotStyle, label: str, *, band: bool) -> None:
    error = bootstrap_std(passing)
    with np.errstate(divide="ignore", invalid="ignore"):
        measured = (passing[0] > 0) & (error < KNOWN * passing[0])
        middle, low, high = (
            1 / efficiency[measured] for efficiency in (passing[0], passing[0] + error, passing[0] - error)
        )
    axes.plot(
        GRID[measured],
        middle,
        color=style.color,
        linestyle=style.dash,
        linewidth=1.6 if band else 1.2,
        label=literal(label),
    )
    if band:
        axes.fill_between(GRID[measured], low, high, color=style.color, alpha=0.15, linewidth=0)


def _rejection_axes(axes: Axes) -> None:
    axes.set(
        xlabel=r"signal efficiency $\epsilon_S$",
        ylabel=r"background rejection $1/\epsilon_B$",
        xlim=(0, 1),
        yscale="log",
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=1)
