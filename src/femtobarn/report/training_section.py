"""Section of a page on the trainings: losses, costs, and a metric against the costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from femtobarn.evaluation.comparison import Comparison
from femtobarn.evaluation.cost_table import cost_table, mean_of
from femtobarn.evaluation.rounding import NOTHING, format_si
from femtobarn.evaluation.table import Cell, Row, Table
from femtobarn.evaluation.tables import Column, trainings
from femtobarn.report.content import Block, PageSection
from femtobarn.report.loss_curves import draw_loss_curves
from femtobarn.report.performance_vs_cost import draw_performance_vs_cost
from femtobarn.report.style import FigureEntry, PlotStyle
from femtobarn.report.text import duration, value_range


def training_section(
    comparison: Comparison[Any],
    styles: Mapping[str, PlotStyle],
    column: Column,
    item: str,
    *,
    quality: str,
    log: bool = False,
) -> PageSection:
    """Trainings and their costs.

    Args:
        comparison: the models.
        styles: by label of the model.
        column: the metric that is drawn against the costs, and the label of its axis.
        item: `event` or `jet`.
        quality: name of the metric at the start of a sentence.
        log: logarithmic axis of the metric.
    """
    blocks: list[Block] = []
    figure = draw_performance_vs_cost(comparison, styles, column, item, log=log)
    if figure is not None:
        caption = (
            f"{quality} against the floating-point operations of one of the {item}s (linear layers, convolutions and "
            f"attention, mean over test {item}s) and against the {item}s scored per second by the device of the "
            "training; models without products of matrices, as trees, are in the second panel alone. Up and to the "
            "left is better in the first, up and to the right in the second. The bar is the statistical error."
        )
        if comparison.lower_is_better & {column.metric.name, column.metric}:
            caption = caption.replace("Up and", "Down and").replace("up and", "down and")
        blocks.append(FigureEntry("performance_vs_cost", "Performance against cost", caption, figure))
    blocks.append(full_cost_table(comparison))
    blocks.append(
        FigureEntry(
            "loss_curves",
            "Training",
            "Losses during training, one pair of lines per seed. The epoch with the lowest validation loss is kept "
            "(dot). A validation loss that rises while the training loss falls is overtraining. During training, "
            "dropout makes the training loss of a network larger than its loss in evaluation.",
            draw_loss_curves(comparison.rows, styles),
        )
    )
    return PageSection("training", "Training and its cost", blocks, link="Training")


def full_cost_table(comparison: Comparison[Any]) -> Table:
    """Costs of each model: operations and time per event, epochs and time per training."""
    table = cost_table(comparison)
    rows = []
    for row, entry in zip(comparison.rows, table.rows, strict=True):
        elementwise, seconds = (mean_of(row, name) for name in ("elementwise", "seconds"))
        texts = [
            format_si(elementwise) if elementwise else NOTHING,
            value_range([len(run.history) for run in row.runs]),
            duration(seconds) if seconds is not None else NOTHING,
            ", ".join(sorted({str(run.meta.get("device", NOTHING)) for run in row.runs})),
        ]
        rows.append(Row(row.label, [*entry.cells, *map(Cell, texts)], trainings(row)))
    headings = ["element-wise operations", "epochs (iterations)", "time of a training", "device"]
    note = f"{table.note} Element-wise: one for each result of an addition, a product, an activation or a feature."
    return replace(table, headings=[*table.headings, *headings], rows=rows, note=note)
