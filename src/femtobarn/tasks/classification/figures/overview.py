"""Overview: AUC of every model beside its luminosity gain or its rejection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from matplotlib.figure import Figure

from femtobarn.evaluation.measurement import Metric
from femtobarn.report.model_points import draw_points, training_value
from femtobarn.report.style import WIDTH, PlotStyle, literal
from femtobarn.tasks.classification.comparison import ClassifierRun, Comparison
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.sections import percent


def draw_overview(comparison: Comparison, styles: Mapping[str, PlotStyle]) -> Figure:
    """AUC of every model beside its luminosity gain, for taggers beside its rejection.

    Bars are the errors of the test events, small marks are single trainings.
    """
    figure = Figure(figsize=(WIDTH, 0.36 * len(comparison.rows) + 1.3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [1, 1]})
    draw_points(left, comparison, AUC, styles)
    left.set(xlabel="area under the ROC curve (AUC)", title="Separation")
    left.set_yticks(range(len(comparison.rows)), [literal(row.label) for row in comparison.rows])
    left.set_ylim(len(comparison.rows) - 0.5, -0.5)
    point = comparison.points[-1]
    if comparison.settings.tagging:
        draw_points(right, comparison, Metric("rejection", "total", at=point), styles)
        right.set(xlabel=r"background rejection 1/ε$_B$", title=f"Rejection at ε$_S$ = {percent(point)}")
    else:

        def gain(run: ClassifierRun, metric: Metric) -> float | None:
            """Luminosity gain of a single training over the mean of the baseline."""
            significance = replace(metric, name="significance")
            value = training_value(run, significance)
            reference = comparison[comparison.baseline].measurements[significance].value
            return (value / reference) ** 2 if value is not None and reference else None

        draw_points(right, comparison, Metric("gain", "plain", at=point), styles, gain)
        right.axvline(1, color="black", linewidth=0.8)
        right.set(
            xlabel=f"luminosity {literal(comparison.baseline)} needs to match,\nin units of its own",
            title=f"Luminosity gain at ε$_S$ = {percent(point)}",
        )
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    return figure
