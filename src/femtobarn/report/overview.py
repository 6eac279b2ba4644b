"""Overview: every model's area and luminosity gain at a glance, and how both grow with the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from femtobarn.evaluation import Comparison, Row
from femtobarn.evaluation.judge import Key
from femtobarn.report.style import WIDTH, Look


def draw_overview(comparison: Comparison, rows: Sequence[Row], looks: Mapping[str, Look]) -> Figure:
    """AUC of every model and its luminosity gain: bars for the test events, a small mark for each training."""
    figure = Figure(figsize=(WIDTH, 0.36 * len(rows) + 1.3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [1, 1]})
    _points(left, comparison, rows, ("auc", "total"), looks)
    left.set(xlabel="area under the ROC curve (AUC)", title="Separation")
    left.set_yticks(range(len(rows)), [row.label for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    point = comparison.points[-1]
    _points(right, comparison, rows, ("gain", point, "plain"), looks)
    right.axvline(1, color="black", linewidth=0.8)
    right.set(
        xlabel=rf"luminosity {comparison.baseline} needs to match, in units of its own",
        title=f"Worth in luminosity at ε$_S$ = {float(point):.0%}",
    )
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    return figure


def draw_sizes(rows: Mapping[str, list[Row]], looks: Mapping[str, Look]) -> Figure:
    """AUC against the number of training events, a line a model: does more data still help?

    Args:
        rows: the rows of each model, one a size of the training set.
        looks: by label of the model.
    """
    figure = Figure(figsize=(0.62 * WIDTH, 3.8), layout="constrained")
    axes = figure.subplots()
    for label, sizes in rows.items():
        look = looks[label]
        ordered = sorted(sizes, key=lambda row: row.runs[0].fraction)
        numbers = [row.numbers["auc", "total"] for row in ordered]
        axes.errorbar(
            [training_events(row) for row in ordered],
            [number.value if number.value is not None else float("nan") for number in numbers],
            yerr=[number.statistical or 0.0 for number in numbers],
            color=look.color,
            linestyle=look.dash,
            marker=look.marker,
            markersize=4,
            capsize=2,
            label=label,
        )
    axes.set(xlabel="training events", ylabel="area under the ROC curve (AUC)", xscale="log")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def training_events(row: Row) -> float:
    """Events that the trainings of a row learned from; the fraction, where the runs do not say."""
    run = row.runs[0]
    counted = (run.meta.get("events") or {}).get("train")
    return float(counted if counted is not None else run.fraction)


def _points(axes: Axes, comparison: Comparison, rows: Sequence[Row], key: Key, looks: Mapping[str, Look]) -> None:
    best = comparison.best(key)
    for place, row in enumerate(rows):
        number, look = row.numbers[key], looks[row.label]
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
            value = _single(run.metrics, key, comparison)
            if value is not None:
                axes.plot(value, place + 0.26, marker="|", color="#333333", markersize=6, linestyle="none")


def _single(metrics: Mapping[str, object], key: Key, comparison: Comparison) -> float | None:
    """A number of one training: from its own file or, for a gain, against the mean of the baseline."""
    found: object = metrics
    for step in key if key[0] != "gain" else ("significance", *key[1:]):
        found = found[step] if isinstance(found, Mapping) and step in found else None
    value = found.get("value") if isinstance(found, Mapping) else None
    if not isinstance(value, int | float):
        return None
    if key[0] != "gain":
        return float(value)
    reference = comparison[comparison.baseline].numbers["significance", *key[1:]].value
    return (float(value) / reference) ** 2 if reference else None
