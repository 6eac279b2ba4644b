"""Calibration: whether the probabilities that the models state come true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import bootstrap_std
from femtobarn.evaluation.measurement import Measurement
from femtobarn.evaluation.rounding import NOTHING, common_decimals, fixed
from femtobarn.evaluation.table import Cell, Row, Table
from femtobarn.evaluation.tables import trainings
from femtobarn.report.style import PlotStyle, literal, panels
from femtobarn.tasks.classification.comparison import Comparison
from femtobarn.tasks.classification.reliability import SCORE, CalibrationResult, Reliability, evaluate_calibration

HEADINGS = ("temperature", "calibration error of the score", "if perfectly calibrated", "−⟨ln p⟩ of the true class")


def calibrations(comparison: Comparison) -> dict[str, list[CalibrationResult]]:
    """The calibration of each training on the test events, by model."""
    replicas, seed = comparison.settings.bootstrap, comparison.settings.seed
    return {
        row.label: [evaluate_calibration(run.scores, replicas=replicas, seed=seed) for run in row.runs]
        for row in comparison.rows
    }


def calibration_table(comparison: Comparison, calibrations: Mapping[str, Sequence[CalibrationResult]]) -> Table:
    """Temperature, calibration error and surprise of each model."""
    gaps = {
        name: _mean([calibration.reliability[SCORE].gap for calibration in per_training])
        for name, per_training in calibrations.items()
    }
    surprises = {
        name: _mean([calibration.surprise for calibration in per_training if calibration.surprise is not None])
        for name, per_training in calibrations.items()
    }
    digits = [common_decimals((mean.errors for mean in column.values()), default=3) for column in (gaps, surprises)]
    rows = []
    for row in comparison.rows:
        temperatures = [(run.meta.get("task") or {}).get("temperature") for run in row.runs]
        fitted = [float(value) for value in temperatures if value is not None]
        floor = float(np.mean([calibration.reliability[SCORE].floor for calibration in calibrations[row.label]]))
        cells = [
            ", ".join(f"{value:.2f}" for value in fitted) if fitted else NOTHING,
            gaps[row.label].format(digits[0]),
            fixed(floor, digits[0]),
            surprises[row.label].format(digits[1]),
        ]
        rows.append(Row(row.label, [Cell(text) for text in cells], trainings(row)))
    note = (
        "Temperature: what a training's log-probabilities were divided by, fitted on the validation events; above 1, "
        "the model was too sure of itself. Calibration error: mean distance between stated and observed probability, "
        "which fluctuates above 0 even if perfectly calibrated. −⟨ln p⟩ is taken with all classes equally frequent; "
        "lower is better, and only models with the same classes can be compared by it."
    )
    return Table("Calibration of the models", HEADINGS, rows, note)


def draw_reliability(calibration: CalibrationResult, styles: Mapping[str, PlotStyle], signal: str) -> Figure:
    """Observed against stated probability: for the score, and for each class where there are more than two."""
    figure, grid = panels(len(calibration.reliability), height=2.9, share=False)
    for axes, (name, reliability) in zip(grid, calibration.reliability.items(), strict=True):
        color = styles[name].color if name in styles else "black"
        _diagram(axes, reliability, color)
        axes.set_title(
            f"Score: {literal(signal)} or background" if name == SCORE else f"Probability of {literal(name)}"
        )
    for axes in grid:
        axes.set_xlabel("stated probability")
    for axes in grid[::3]:
        axes.set_ylabel("observed fraction")
    return figure


def _diagram(axes: Axes, reliability: Reliability, color: str) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.9, linestyle=":")
    axes.errorbar(
        reliability.stated,
        reliability.observed,
        yerr=reliability.error,
        color=color,
        marker="o",
        markersize=4,
        capsize=2,
        linestyle="none",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.2))


def _mean(replicas: Sequence[NDArray[np.float64]]) -> Measurement:
    """Mean over trainings, its statistical error and the spread over seeds."""
    if not replicas:
        return Measurement()
    values = [float(replica[0]) for replica in replicas]
    # the same test events for all trainings: replicas are averaged one by one
    statistical = float(bootstrap_std(np.mean(replicas, axis=0)))
    seeds = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Measurement(float(np.mean(values)), statistical, seeds)
