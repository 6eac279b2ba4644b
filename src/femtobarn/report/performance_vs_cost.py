"""Performance against cost: a metric of each model against its operations and its speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from femtobarn.evaluation.comparison import Comparison, ModelResult
from femtobarn.evaluation.cost_table import mean_of
from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.rounding import format_si
from femtobarn.evaluation.tables import Column
from femtobarn.report.labels import place_labels
from femtobarn.report.style import WIDTH, PlotStyle, mix_color, plain_log, subscripts

#: Costs by their name in `meta.json`.
COSTS = ("flops", "scored_per_second")

#: Costs nearer than this factor to each other have ticks at 2 and 5 as well: there may be no power of ten among them.
NARROW = 30


def draw_performance_vs_cost(
    comparison: Comparison[Any], styles: Mapping[str, PlotStyle], column: Column, item: str, *, log: bool = False
) -> Figure | None:
    """A metric against operations per event and against speed; None without costs.

    Args:
        comparison: the models.
        styles: by label of the model.
        column: the metric and the label of its axis.
        item: `event` or `jet`.
        log: logarithmic axis of the metric.
    """
    rows, metric = comparison.rows, column.metric
    measured = {name: _points(rows, name, metric) for name in COSTS}
    shown = {name: points for name, points in measured.items() if len(points) > 1}
    if not shown:
        return None
    figure = Figure(figsize=(WIDTH if len(shown) > 1 else 0.6 * WIDTH, 4.8), layout="constrained")
    grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, points) in zip(grid, shown.items(), strict=True):
        for row, x, y, error in points:
            style = styles[row.label]
            axes.vlines(x, y - error, y + error, color=style.color, linewidth=1, alpha=0.45)
            axes.plot(x, y, color=style.color, marker=style.marker, markersize=6)
        below = f"floating-point operations per {item}" if name == "flops" else f"{item}s scored per second"
        axes.set(xscale="log", xlabel=below)
        axes.xaxis.set_major_formatter(_short)
        axes.xaxis.set_minor_formatter(NullFormatter())
        costs = [x for _, x, *_ in points]
        if max(costs) < NARROW * min(costs):
            axes.xaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
            axes.xaxis.set_minor_formatter(_short)
        axes.margins(x=0.12, y=0.08)
    grid[0].set_ylabel(subscripts(column.heading))
    if log:
        plain_log(grid[0])
    for axes, points in zip(grid, shown.values(), strict=True):
        names = [row.label for row, *_ in points]
        place_labels(
            axes, [point[1:] for point in points], names, [mix_color(styles[name].color, -0.4) for name in names]
        )
    return figure


def _short(value: float, _: int) -> str:
    return format_si(value).replace(".00 ", " ").replace(".0 ", " ")


def _points(
    rows: Sequence[ModelResult[Any]], name: str, metric: Metric
) -> list[tuple[ModelResult[Any], float, float, float]]:
    """Model, cost, metric and its statistical error, where both exist."""
    points = []
    for row in rows:
        cost, number = mean_of(row, name), row.measurements[metric]
        if cost and number.value is not None:
            points.append((row, cost, number.value, number.statistical or 0.0))
    return points
