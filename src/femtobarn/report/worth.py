"""Worth: the quality of each model against what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from femtobarn.evaluation import Comparison, ModelResult
from femtobarn.evaluation.costs import mean_of
from femtobarn.evaluation.measurement import AUC, Metric
from femtobarn.evaluation.rounding import shortened
from femtobarn.evaluation.sections import percent
from femtobarn.report.labels import place_labels
from femtobarn.report.style import WIDTH, Look, plain_log, shaded

#: Costs by their name in `meta.json`.
COSTS = ("flops", "scored_per_second")

#: Costs nearer than this factor to each other have ticks at 2 and 5 as well: there may be no power of ten among them.
NARROW = 30


def draw_worth(comparison: Comparison, rows: Sequence[ModelResult], looks: Mapping[str, Look]) -> Figure | None:
    """Rejection of taggers, area of others, against operations of an event and against speed; None without costs."""
    metric: Metric = Metric("rejection", "total", at=comparison.points[-1]) if comparison.settings.tagging else AUC
    measured = {name: _points(rows, name, metric) for name in COSTS}
    shown = {name: points for name, points in measured.items() if len(points) > 1}
    if not shown:
        return None
    figure = Figure(figsize=(WIDTH if len(shown) > 1 else 0.6 * WIDTH, 4.8), layout="constrained")
    grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, points) in zip(grid, shown.items(), strict=True):
        for row, x, y, error in points:
            look = looks[row.label]
            axes.vlines(x, y - error, y + error, color=look.color, linewidth=1, alpha=0.45)
            axes.plot(x, y, color=look.color, marker=look.marker, markersize=6)
        what = "jet" if comparison.settings.tagging else "event"
        below = f"floating-point operations of one {what}" if name == "flops" else f"{what}s scored in a second"
        axes.set(xscale="log", xlabel=below)
        axes.xaxis.set_major_formatter(_short)
        axes.xaxis.set_minor_formatter(NullFormatter())
        costs = [x for _, x, *_ in points]
        if max(costs) < NARROW * min(costs):
            axes.xaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
            axes.xaxis.set_minor_formatter(_short)
        axes.margins(x=0.12, y=0.08)
    _quality(grid[0], metric)
    for axes, points in zip(grid, shown.values(), strict=True):
        names = [row.label for row, *_ in points]
        place_labels(axes, [one[1:] for one in points], names, [shaded(looks[name].color, -0.4) for name in names])
    return figure


def _short(value: float, _: int) -> str:
    return shortened(value).replace(".00 ", " ").replace(".0 ", " ")


def _points(rows: Sequence[ModelResult], name: str, metric: Metric) -> list[tuple[ModelResult, float, float, float]]:
    """Model, cost, quality and its statistical error, where both are known."""
    found = []
    for row in rows:
        cost, number = mean_of(row, name), row.measurements[metric]
        if cost and number.value is not None:
            found.append((row, cost, number.value, number.statistical or 0.0))
    return found


def _quality(axes: Axes, metric: Metric) -> None:
    if metric.at is None:
        axes.set_ylabel("area under the ROC curve (AUC)")
        return
    axes.set_ylabel(rf"background rejection 1/ε$_B$ at ε$_S$ = {percent(metric.at)}")
    plain_log(axes)
