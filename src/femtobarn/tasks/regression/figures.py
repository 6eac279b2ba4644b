"""Figures of a comparison of regressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from femtobarn.evaluation.comparison import ModelResult
from femtobarn.evaluation.measurement import Metric
from femtobarn.report.model_points import draw_points
from femtobarn.report.style import WIDTH, PlotStyle, literal, panels
from femtobarn.tasks.regression.comparison import AnyComparison, targets_of
from femtobarn.tasks.regression.metrics import bins_of, relative_error, weighted_quantiles
from femtobarn.tasks.regression.regressor import PREDICTED, TRUE

#: Ratio of the 99 % to the 1 % quantile from which an axis is logarithmic.
MIN_LOG_RANGE = 50.0

#: Bins of histograms of the relative error.
ERROR_BINS = 60


def draw_overview(comparison: AnyComparison, styles: Mapping[str, PlotStyle]) -> Figure:
    """Resolution and bias of the first target for every model."""
    target = targets_of(comparison)[0]
    figure = Figure(figsize=(WIDTH, 0.36 * len(comparison.rows) + 1.3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    draw_points(left, comparison, Metric("resolution", target), styles)
    left.set(xlabel=f"resolution (68 %) of {literal(target)}", title="Resolution")
    draw_points(right, comparison, Metric("bias", target), styles)
    right.axvline(0, color="black", linewidth=0.8)
    right.set(xlabel=f"bias (median relative error) of {literal(target)}", title="Bias")
    left.set_yticks(range(len(comparison.rows)), [literal(row.label) for row in comparison.rows])
    left.set_ylim(len(comparison.rows) - 0.5, -0.5)
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    return figure


def draw_errors(comparison: AnyComparison, styles: Mapping[str, PlotStyle]) -> Figure:
    """Distribution of the relative error of each target, one line per model (first seed)."""
    targets = targets_of(comparison)
    figure, grid = panels(len(targets), columns=2, height=3.3, share=False)
    for axes, target in zip(grid, targets, strict=True):
        errors = {row.label: relative_error(row.runs[0].predictions, target) for row in comparison.rows}
        weight = comparison.rows[0].runs[0].predictions.weight[None]
        spans = [weighted_quantiles(error, weight, (0.005, 0.995))[0] for error in errors.values()]
        low, high = float(min(span[0] for span in spans)), float(max(span[1] for span in spans))
        edges = np.linspace(low, high, ERROR_BINS + 1)
        for row in comparison.rows:
            predictions, style = row.runs[0].predictions, styles[row.label]
            counts, _ = np.histogram(errors[row.label], edges, weights=predictions.weight)
            density = counts / predictions.weight.sum() / np.diff(edges)
            axes.stairs(density, edges, color=style.color, linestyle=style.dash, label=literal(row.label))
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(xlabel="relative error (predicted - true) / |true|", ylabel="density", title=literal(target))
    grid[0].legend(fontsize=8)
    return figure


def draw_bins(comparison: AnyComparison, styles: Mapping[str, PlotStyle], target: str, variable: str) -> Figure:
    """Bias and resolution of a target in bins of a target or an observable, one line per model."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    predictions = comparison.rows[0].runs[0].predictions
    bins = bins_of(predictions, variable, comparison.settings.bins)
    edges = np.array([(edge_bin.low, edge_bin.high) for edge_bin in bins]).T
    is_log = bool(edges.min() > 0 and edges[1, -1] > MIN_LOG_RANGE * edges[1, 0])
    low, high = np.log(edges) if is_log else edges
    scale = np.exp if is_log else np.asarray
    for axes, name in zip(figure.subplots(1, 2), ("bias", "resolution"), strict=True):
        for number, row in enumerate(comparison.rows):
            measurements = [row.measurements[Metric(name, target, at=bin_.label)] for bin_ in bins]
            values = [np.nan if measurement.value is None else measurement.value for measurement in measurements]
            errors = [measurement.statistical or 0.0 for measurement in measurements]
            style = styles[row.label]
            offset = 0.15 * (number - (len(comparison.rows) - 1) / 2) / len(comparison.rows)
            middles = scale(low + (0.5 + offset) * (high - low))
            axes.errorbar(
                middles,
                values,
                xerr=np.abs(edges - middles) if number == 0 else None,
                yerr=errors,
                color=style.color,
                marker=style.marker,
                linestyle=style.dash,
                linewidth=0.9,
                markersize=4,
                capsize=2,
                label=literal(row.label),
            )
        axes.set(xlabel=literal(variable), ylabel=f"{name} of {literal(target)}", xscale="log" if is_log else "linear")
        if name == "bias":
            axes.axhline(0, color="black", linewidth=0.8)
            axes.legend(fontsize=8)
    return figure


def spans_decades(values: NDArray[Any]) -> bool:
    """Whether values are positive and spread over so many orders of magnitude that an axis has to be logarithmic."""
    low, high = np.quantile(values, (0.01, 0.99))
    return bool(values.min() > 0 and high > MIN_LOG_RANGE * low)


def draw_scatter(row: ModelResult[Any], targets: tuple[str, ...]) -> Figure:
    """Predicted against true values of a model (first seed), as a two-dimensional histogram of event weights."""
    predictions = row.runs[0].predictions
    figure, grid = panels(len(targets), columns=2, height=3.9, share=False)
    for axes, target in zip(grid, targets, strict=True):
        true, predicted = predictions.columns[TRUE + target], predictions.columns[PREDICTED + target]
        low, high = np.quantile(np.concatenate([true, predicted]), (0.002, 0.998))
        is_log = spans_decades(true)
        edges = np.geomspace(low, high, 51) if is_log else np.linspace(low, high, 51)
        counts, x, y = np.histogram2d(true, predicted, bins=edges, weights=predictions.weight)
        shown = np.where(counts > 0, counts, np.nan).T
        mesh = axes.pcolormesh(x, y, shown, cmap="Blues", norm=LogNorm(), rasterized=True)
        figure.colorbar(mesh, ax=axes, label="weight of events")
        axes.plot([low, high], [low, high], color="#bd1f01", linewidth=1, linestyle=":")
        axes.set(xlabel=f"true {literal(target)}", ylabel=f"predicted {literal(target)}")
        axes.set(xscale="log", yscale="log") if is_log else None
        axes.set_aspect("equal")
    return figure
