"""A metric of every model at a glance, and against the number of training events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from femtobarn.evaluation.comparison import Comparison, ModelResult
from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.rounding import group_digits
from femtobarn.evaluation.runs import Run
from femtobarn.evaluation.tables import Column
from femtobarn.report.style import MANY, WIDTH, PlotStyle, label_edges, literal, panels, plain_log, subscripts


def draw_sizes(
    rows: Mapping[str, list[ModelResult[Any]]],
    styles: Mapping[str, PlotStyle],
    kinds: Mapping[str, str],
    column: Column,
    members: str,
) -> Figure:
    """A number against the number of training events, one line per model.

    Args:
        rows: the rows of each model, one per size of the training set.
        styles: by label of the model.
        kinds: family of each model; with many models each family has a panel.
        column: the metric and the label of its axis.
        members: `events` or `jets`.
    """
    if len(rows) <= MANY:
        figure = Figure(figsize=(0.62 * WIDTH, 3.8), layout="constrained")
        axes = figure.subplots()
        for label, sizes in rows.items():
            _growth(axes, label, sizes, styles[label], column)
        axes.set(xlabel=f"training {members}", ylabel=subscripts(column.heading))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        _growth_axes(axes, rows, column)
        return figure
    groups = _by_kind(kinds)
    figure, grid = panels(len(groups), columns=2, height=3.4)
    for axes, (kind, labels) in zip(grid, groups.items(), strict=True):
        for label, sizes in rows.items():
            if label not in labels:
                axes.plot(*_points_of(sizes, column.metric)[:2], color="#dddddd", linewidth=0.9, zorder=0)
        for label in labels:
            _growth(axes, label, rows[label], styles[label], column)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)  # a dozen models would hide the lines
        axes.set_title(literal(kind))
        _growth_axes(axes, rows, column)
    label_edges(grid, f"training {members}", subscripts(column.heading), columns=2)
    return figure


def _growth_axes(axes: Axes, rows: Mapping[str, list[ModelResult[Any]]], column: Column) -> None:
    """Logarithmic in the training events, with a tick at each size there is, and for rejections in the number too."""
    axes.set_xscale("log")
    axes.set_xticks(sorted({training_events(row) for sizes in rows.values() for row in sizes}))
    axes.xaxis.set_major_formatter(lambda value, _: group_digits(value))
    axes.minorticks_off()
    if column.metric.name == "rejection":
        plain_log(axes)


def _by_kind(kinds: Mapping[str, str]) -> dict[str, list[str]]:
    """Labels of models of one kind together; those that are the only one of theirs share the last group."""
    groups: dict[str, list[str]] = {}
    for label, kind in kinds.items():
        groups.setdefault(kind, []).append(label)
    alone = {kind: labels[0] for kind, labels in groups.items() if len(labels) == 1}
    shared = {kind: labels for kind, labels in groups.items() if len(labels) > 1}
    return shared | ({", ".join(alone) if len(alone) < 3 else "others": list(alone.values())} if alone else {})


def _points_of(sizes: Sequence[ModelResult[Any]], metric: Metric) -> tuple[list[float], list[float], list[float]]:
    """Training events, a number and its statistical error of a model, the smallest size first."""
    ordered = sorted(sizes, key=lambda row: row.fraction)
    numbers = [row.measurements[metric] for row in ordered]
    values = [number.value if number.value is not None else float("nan") for number in numbers]
    return [training_events(row) for row in ordered], values, [number.statistical or 0.0 for number in numbers]


def _growth(axes: Axes, label: str, sizes: Sequence[ModelResult[Any]], style: PlotStyle, column: Column) -> None:
    events, values, errors = _points_of(sizes, column.metric)
    axes.errorbar(
        events,
        values,
        yerr=errors,
        color=style.color,
        linestyle=style.dash,
        marker=style.marker,
        markersize=4,
        capsize=2,
        label=literal(label),
    )


def training_events(row: ModelResult[Any]) -> float:
    """Events that the trainings of a row learned from; the fraction, where the runs do not say."""
    run = row.runs[0]
    counted = (run.meta.get("events") or {}).get("train")
    return float(counted if counted is not None else run.fraction)


def draw_points(
    axes: Axes,
    comparison: Comparison[Any],
    metric: Metric,
    styles: Mapping[str, PlotStyle],
    value: Callable[[Any, Metric], float | None] | None = None,
) -> None:
    """A metric of every model with its statistical error, and a small mark for each training.

    Args:
        axes: one row per model.
        comparison: the models.
        metric: what is drawn.
        styles: by label of the model.
        value: value of the metric in a single training; default: from its `metrics.json`.
    """
    rows = comparison.rows
    best = comparison.best(metric)
    for place, row in enumerate(rows):
        number, style = row.measurements[metric], styles[row.label]
        if number.value is None:
            axes.text(0.5, place, "not measurable", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
            continue
        axes.errorbar(
            number.value,
            place,
            xerr=number.statistical or None,
            color=style.color,
            marker=style.marker,
            markersize=8 if row is best else 6,
            elinewidth=2,
            capsize=3,
            linestyle="none",
        )
        for run in row.runs if len(row.runs) > 1 else ():
            single = (value or training_value)(run, metric)
            if single is not None:
                axes.plot(single, place + 0.26, marker="|", color="#333333", markersize=6, linestyle="none")


def training_value(run: Run, metric: Metric) -> float | None:
    """Value of a metric in a single training."""
    entry: object = run.metrics
    for step in metric.path:
        entry = entry[step] if isinstance(entry, Mapping) and step in entry else None
    value = entry.get("value") if isinstance(entry, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
