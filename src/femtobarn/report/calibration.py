"""Calibration: whether the probabilities that the models state come true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from femtobarn.evaluation import Calibrated, Comparison, Reliability, calibrated
from femtobarn.evaluation.reliability import SCORE
from femtobarn.evaluation.replicas import spread
from femtobarn.evaluation.rounding import NOTHING, common_decimals, fixed, rounded
from femtobarn.evaluation.table import Cell, trainings
from femtobarn.report.style import Look, panels
from femtobarn.report.tables import Table

HEADINGS = ("temperature", "calibration error of the score", "if perfectly calibrated", "−⟨ln p⟩ of the true class")


def calibrations(comparison: Comparison) -> dict[str, list[Calibrated]]:
    """The calibration of each training on the test events, by model."""
    replicas, seed = comparison.settings.bootstrap, comparison.settings.seed
    return {
        row.label: [calibrated(run.scores, replicas=replicas, seed=seed) for run in row.runs] for row in comparison.rows
    }


def calibration_table(comparison: Comparison, found: Mapping[str, Sequence[Calibrated]]) -> Table:
    """Temperature, calibration error and surprise of each model."""
    gaps = {name: _number([one.reliability[SCORE].gap for one in each]) for name, each in found.items()}
    surprises = {
        name: _number([one.surprise for one in each if one.surprise is not None]) for name, each in found.items()
    }
    digits = [common_decimals((each[1:] for each in column.values()), default=3) for column in (gaps, surprises)]
    lines = []
    for row in comparison.rows:
        temperatures = [(run.meta.get("task") or {}).get("temperature") for run in row.runs]
        known = [float(value) for value in temperatures if value is not None]
        floor = float(np.mean([one.reliability[SCORE].floor for one in found[row.label]]))
        cells = [
            ", ".join(f"{value:.2f}" for value in known) if known else NOTHING,
            rounded(*gaps[row.label], digits=digits[0]),
            fixed(floor, digits[0]),
            rounded(*surprises[row.label], digits=digits[1]),
        ]
        lines.append((row.label, trainings(row), [Cell(text) for text in cells]))
    note = (
        "Temperature: what a training's log-probabilities were divided by, fitted on the validation events; above 1, "
        "the model was too sure of itself. Calibration error: mean distance between stated and observed probability, "
        "which fluctuates above 0 even if perfectly calibrated. −⟨ln p⟩ is taken with all classes equally frequent; "
        "lower is better, and only models with the same classes can be compared by it."
    )
    return Table("Calibration of the models", HEADINGS, lines, note)


def draw_reliability(found: Calibrated, looks: Mapping[str, Look], signal: str) -> Figure:
    """Observed against stated probability: for the score, and for each class where there are more than two."""
    figure, grid = panels(len(found.reliability), height=2.9, share=False)
    for axes, (name, each) in zip(grid, found.reliability.items(), strict=True):
        color = looks[name].color if name in looks else "black"
        _diagram(axes, each, color)
        axes.set_title(f"Score: {signal} or background" if name == SCORE else f"Probability of {name}")
    for axes in grid:
        axes.set_xlabel("stated probability")
    for axes in grid[::3]:
        axes.set_ylabel("observed fraction")
    return figure


def _diagram(axes: Axes, each: Reliability, color: str) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.9, linestyle=":")
    axes.errorbar(
        each.stated, each.observed, yerr=each.error, color=color, marker="o", markersize=4, capsize=2, linestyle="none"
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.2))


def _number(vectors: Sequence[NDArray[np.float64]]) -> tuple[float | None, float | None, float | None]:
    """Mean over trainings, its statistical error and the spread over seeds."""
    if not vectors:
        return None, None, None
    values = [float(vector[0]) for vector in vectors]
    # the same test events for all trainings: replicas are averaged one by one
    statistical = float(spread(np.mean(vectors, axis=0)))
    return float(np.mean(values)), statistical, float(np.std(values, ddof=1)) if len(values) > 1 else None
