"""Tables of a comparison of models, for any task."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from femtobarn.evaluation.comparison import TIE, Comparison, ModelResult
from femtobarn.evaluation.measurement import Measurement, Metric
from femtobarn.evaluation.rounding import NOTHING, common_decimals
from femtobarn.evaluation.table import Cell, Row, Table

AnyComparison = Comparison[Any]


@dataclass(frozen=True)
class Column:
    """A column of a table: a metric and its heading."""

    metric: Metric
    heading: str


@dataclass(frozen=True)
class Section:
    """Columns that form one table, with a note on their meaning."""

    title: str
    columns: tuple[Column, ...]
    note: str = ""


def cells(comparison: AnyComparison, column: Column) -> list[Cell]:
    """One column, one cell per model, all rounded to the same digit."""
    metric = column.metric
    measurements = [row.measurements[metric] for row in comparison.rows]
    digits = common_decimals((measurement.errors for measurement in measurements), default=3)
    best, ties = (comparison.best(metric), comparison.ties(metric)) if len(comparison.rows) > 1 else (None, ())
    entries = []
    for row, measurement in zip(comparison.rows, measurements, strict=True):
        # the ratio of the baseline to itself has no error
        text = "1" if measurement == Measurement(1.0) else measurement.format(digits)
        entries.append(Cell(text, best=row is best, tied=row.label in ties))
    return entries


def section_table(comparison: AnyComparison, section: Section, note: str = "") -> Table:
    """The table of a section, one row per model."""
    columns = [cells(comparison, column) for column in section.columns]
    rows = [
        Row(row.label, [column[index] for column in columns], trainings(row))
        for index, row in enumerate(comparison.rows)
    ]
    return Table(section.title, [column.heading for column in section.columns], rows, note or section.note)


def trainings(row: ModelResult[Any]) -> str:
    """Number of trainings of a model."""
    return "one training" if len(row.runs) == 1 else f"{len(row.runs)} trainings"


def growth_tables(comparison: AnyComparison, columns: Sequence[Column]) -> list[Table]:
    """Metrics against the size of the training set, the best of each size marked; empty with a single size."""
    if len(comparison.sizes) == 1:
        return []
    parts = [comparison.at(size) for size in comparison.sizes]
    models = dict.fromkeys(row.model for row in comparison.rows)
    headings = [f"{100 * size:.3g} %" for size in comparison.sizes]
    tables = []
    for column in columns:
        by_size = [dict(zip((row.model for row in part.rows), cells(part, column), strict=True)) for part in parts]
        rows = [Row(model, [entries.get(model, Cell(NOTHING)) for entries in by_size]) for model in models]
        title = f"{column.heading} against the part of the training events used"
        tables.append(Table(title, headings, rows))
    return tables


def legend(comparison: AnyComparison, best: str = "*") -> str:
    """Meaning of the errors and marks of the tables, in a sentence."""
    several = any(len(row.runs) > 1 for row in comparison.rows)
    errors = "value ± statistical error of the test events" + (" ± spread over seeds" if several else " (one seed)")
    sentence = f"{errors}; {best}: the best of a column; ≈: less than {TIE:g} standard deviations from it"
    if any(measurement.above is not None for row in comparison.rows for measurement in row.measurements.values()):
        sentence += "; >: no background event is left, limit at 95 % confidence"
    return sentence


def csv_table(comparison: AnyComparison) -> str:
    """Every measurement, unrounded: one line per model and metric, with value, statistical error, spread over seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "trainings", "quantity", "working_point", "which", "value", "statistical", "seeds"])
    for row in comparison.rows:
        writer.writerows(_csv_lines(row))
    return text.getvalue()


def _csv_lines(row: ModelResult[Any]) -> Iterator[list[str | int | float]]:
    for metric, measurement in row.measurements.items():
        numbers = ("" if number is None else number for number in (measurement.value, *measurement.errors))
        yield [row.label, len(row.runs), metric.name, metric.at or "", metric.of or "", *numbers]
