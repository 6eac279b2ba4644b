"""Overview: every model's area and worth at a glance, and how it grows with the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from femtobarn.evaluation import Comparison, ModelResult
from femtobarn.evaluation.measurement import AUC, Metric
from femtobarn.evaluation.rounding import spaced
from femtobarn.evaluation.sections import Column, percent
from femtobarn.report.style import MANY, WIDTH, Look, label_edges, literal, panels, plain_log, subscripts


def draw_overview(comparison: Comparison, rows: Sequence[ModelResult], looks: Mapping[str, Look]) -> Figure:
    """AUC of every model beside its luminosity gain, or a tagger's rejection.

    Bars are for the test events, a small mark for each training.
    """
    figure = Figure(figsize=(WIDTH, 0.36 * len(rows) + 1.3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [1, 1]})
    _points(left, comparison, rows, AUC, looks)
    left.set(xlabel="area under the ROC curve (AUC)", title="Separation")
    left.set_yticks(range(len(rows)), [literal(row.label) for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    point = comparison.points[-1]
    if comparison.settings.tagging:
        _points(right, comparison, rows, Metric("rejection", "total", at=point), looks)
        right.set(xlabel=r"background rejection 1/ε$_B$", title=f"Rejection at ε$_S$ = {percent(point)}")
    else:
        _points(right, comparison, rows, Metric("gain", "plain", at=point), looks)
        right.axvline(1, color="black", linewidth=0.8)
        right.set(
            xlabel=f"luminosity {literal(comparison.baseline)} needs to match,\nin units of its own",
            title=f"Worth in luminosity at ε$_S$ = {percent(point)}",
        )
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    return figure


def draw_sizes(
    rows: Mapping[str, list[ModelResult]],
    looks: Mapping[str, Look],
    kinds: Mapping[str, str],
    column: Column,
    what: str,
) -> Figure:
    """A number against the number of training events, a line a model: does more data still help?

    Args:
        rows: the rows of each model, one a size of the training set.
        looks: by label of the model.
        kinds: what kind of model each is; those of a kind share a panel where there are many models.
        column: the number, and what its axis is called.
        what: `events` or `jets`.
    """
    if len(rows) <= MANY:
        figure = Figure(figsize=(0.62 * WIDTH, 3.8), layout="constrained")
        axes = figure.subplots()
        for label, sizes in rows.items():
            _growth(axes, label, sizes, looks[label], column)
        axes.set(xlabel=f"training {what}", ylabel=subscripts(column.heading))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        _growth_axes(axes, rows, column)
        return figure
    groups = _by_kind(kinds)
    figure, grid = panels(len(groups), columns=2, height=3.4)
    for axes, (kind, mine) in zip(grid, groups.items(), strict=True):
        for label, sizes in rows.items():
            if label not in mine:
                axes.plot(*_points_of(sizes, column.metric)[:2], color="#dddddd", linewidth=0.9, zorder=0)
        for label in mine:
            _growth(axes, label, rows[label], looks[label], column)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)  # a dozen models would hide the lines
        axes.set_title(literal(kind))
        _growth_axes(axes, rows, column)
    label_edges(grid, f"training {what}", subscripts(column.heading), columns=2)
    return figure


def _growth_axes(axes: Axes, rows: Mapping[str, list[ModelResult]], column: Column) -> None:
    """Logarithmic in the training events, with a tick at each size there is, and for rejections in the number too."""
    axes.set_xscale("log")
    axes.set_xticks(sorted({training_events(row) for sizes in rows.values() for row in sizes}))
    axes.xaxis.set_major_formatter(lambda value, _: spaced(value))
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


def _points_of(sizes: Sequence[ModelResult], metric: Metric) -> tuple[list[float], list[float], list[float]]:
    """Training events, a number and its statistical error of a model, the smallest size first."""
    ordered = sorted(sizes, key=lambda row: row.fraction)
    numbers = [row.measurements[metric] for row in ordered]
    values = [number.value if number.value is not None else float("nan") for number in numbers]
    return [training_events(row) for row in ordered], values, [number.statistical or 0.0 for number in numbers]


def _growth(axes: Axes, label: str, sizes: Sequence[ModelResult], look: Look, column: Column) -> None:
    events, values, errors = _points_of(sizes, column.metric)
    axes.errorbar(
        events,
        values,
        yerr=errors,
        color=look.color,
        linestyle=look.dash,
        marker=look.marker,
        markersize=4,
        capsize=2,
        label=literal(label),
    )


def training_events(row: ModelResult) -> float:
    """Events that the trainings of a row learned from; the fraction, where the runs do not say."""
    run = row.runs[0]
    counted = (run.meta.get("events") or {}).get("train")
    return float(counted if counted is not None else run.fraction)


def _points(
    axes: Axes, comparison: Comparison, rows: Sequence[ModelResult], metric: Metric, looks: Mapping[str, Look]
) -> None:
    best = comparison.best(metric)
    for place, row in enumerate(rows):
        number, look = row.measurements[metric], looks[row.label]
        if number.value is None:
            axes.text(0.5, place, "not measurable", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
            continue
        axes.errorbar(
            number.value,
            place,
            xerr=number.statistical or None,
            color=look.color,
            marker=look.marker,
            markersize=8 if row is best else 6,
            elinewidth=2,
            capsize=3,
            linestyle="none",
        )
        for run in row.runs if len(row.runs) > 1 else ():
            value = _single(run.metrics, metric, comparison)
            if value is not None:
                axes.plot(value, place + 0.26, marker="|", color="#333333", markersize=6, linestyle="none")


def _single(metrics: Mapping[str, object], metric: Metric, comparison: Comparison) -> float | None:
    """A number of one training: from its own file or, for a gain, against the mean of the baseline."""
    found: object = metrics
    significance = replace(metric, name="significance")
    for step in (significance if metric.name == "gain" else metric).path:
        found = found[step] if isinstance(found, Mapping) and step in found else None
    value = found.get("value") if isinstance(found, Mapping) else None
    if not isinstance(value, int | float):
        return None
    if metric.name != "gain":
        return float(value)
    reference = comparison[comparison.baseline].measurements[significance].value
    return (float(value) / reference) ** 2 if reference else None
