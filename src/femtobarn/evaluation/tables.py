"""Tables of a comparison of models."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace

from femtobarn.evaluation.compare import TIE, Comparison, ModelResult
from femtobarn.evaluation.costs import cost_table
from femtobarn.evaluation.measurement import AUC
from femtobarn.evaluation.paired import Paired, against_baseline, best_against_others
from femtobarn.evaluation.published import published_table
from femtobarn.evaluation.rounding import NOTHING, common_decimals, fixed
from femtobarn.evaluation.sections import Column, Section, growth_columns, main_sections, sections
from femtobarn.evaluation.table import Cell, Row, Table

#: Headings of the paired tests.
PAIR_HEADINGS = ("ΔAUC", "± test", "(DeLong)", "± training", "z", "p")

#: What they mean.
PAIR_NOTE = (
    "ΔAUC: first minus second; ± test: statistical error of the difference, the events being the same for both (beside "
    "it by DeLong's formula, as a check); ± training: from the spread over seeds; z: in standard deviations of both; "
    "p: of a z as large by chance, not corrected for the number of comparisons"
)


def cells(comparison: Comparison, column: Column) -> list[Cell]:
    """One column, one cell per model, all rounded to the same digit."""
    metric = column.metric
    measurements = [row.measurements[metric] for row in comparison.rows]
    digits = common_decimals((measurement.errors for measurement in measurements), default=3)
    best, ties = (comparison.best(metric), comparison.ties(metric)) if len(comparison.rows) > 1 else (None, ())
    entries = []
    for row, measurement in zip(comparison.rows, measurements, strict=True):
        is_reference = metric.name == "gain" and row.label == comparison.baseline and measurement.value is not None
        text = "1" if is_reference else measurement.format(digits)
        entries.append(Cell(text, best=row is best, tied=row.label in ties))
    return entries


def section_table(comparison: Comparison, section: Section, note: str = "") -> Table:
    """The table of a section, one row per model."""
    columns = [cells(comparison, column) for column in section.columns]
    rows = [
        Row(row.label, [column[index] for column in columns], trainings(row))
        for index, row in enumerate(comparison.rows)
    ]
    return Table(section.title, [column.heading for column in section.columns], rows, note or section.note)


def trainings(row: ModelResult) -> str:
    """Number of trainings of a model."""
    return "one training" if len(row.runs) == 1 else f"{len(row.runs)} trainings"


def growth_tables(comparison: Comparison) -> list[Table]:
    """Metrics against the size of the training set, the best of each size marked; empty with a single size."""
    if len(comparison.sizes) == 1:
        return []
    parts = [comparison.at(size) for size in comparison.sizes]
    models = dict.fromkeys(row.model for row in comparison.rows)
    headings = [f"{100 * size:.3g} %" for size in comparison.sizes]
    tables = []
    for column in growth_columns(comparison):
        by_size = [dict(zip((row.model for row in part.rows), cells(part, column), strict=True)) for part in parts]
        rows = [Row(model, [entries.get(model, Cell(NOTHING)) for entries in by_size]) for model in models]
        title = f"{column.heading} against the part of the training events used"
        tables.append(Table(title, headings, rows))
    return tables


def pair_tables(comparison: Comparison) -> list[Table]:
    """Paired tests: every model against the baseline, and the best one against the others."""
    if len(comparison.rows) == 1:
        return []
    title = f"Every model against {comparison.baseline}"
    tables = [_pair_table(title, [(pair.first, pair) for pair in against_baseline(comparison)])]
    best = comparison.best(AUC)
    if best is not None and best.label != comparison.baseline:
        title = f"{best.label}, which has the largest AUC, against the others"
        tables.append(_pair_table(title, [(pair.second, pair) for pair in best_against_others(comparison)]))
    return tables


def _pair_table(title: str, pairs: list[tuple[str, Paired]]) -> Table:
    return Table.of_texts(title, PAIR_HEADINGS, [(label, _pair_texts(pair)) for label, pair in pairs])


def _pair_texts(pair: Paired) -> list[str]:
    errors = [pair.statistical, pair.delong, pair.training]
    digits = common_decimals([errors], default=4) + 1
    texts = [fixed(error, digits) if error is not None else NOTHING for error in errors]
    p = "< 1e-15" if pair.p < 1e-15 else f"{pair.p:.2g}"
    return [f"{pair.difference:+.{max(digits, 0)}f}", *texts, f"{pair.deviation:+.1f}", p]


def tables(comparison: Comparison, *, backgrounds: bool = False) -> list[Table]:
    """Tables for the terminal; with `backgrounds`, each background on its own and the paired tests as well."""
    largest = comparison.largest
    shown = sections(largest) if backgrounds else main_sections(largest)
    return [
        *(replace(section_table(largest, section), note="") for section in shown),
        *growth_tables(comparison),
        replace(cost_table(largest), note=""),
        *published_table(largest),
        *(pair_tables(largest) if backgrounds else ()),
    ]


def markdown(comparison: Comparison) -> str:
    """All tables in Markdown, the best of a column in bold, its equals marked with ≈."""
    largest = comparison.largest
    pairs = pair_tables(largest)
    shown = [
        *(replace(section_table(largest, section), note="") for section in sections(largest)),
        *growth_tables(comparison),
        cost_table(largest),
        *published_table(largest),
        *pairs,
    ]
    notes = [f"{PAIR_NOTE}."] if pairs else []
    return "\n\n".join([*(table.markdown() for table in shown), *notes, legend(largest, best="bold") + "."]) + "\n"


def legend(comparison: Comparison, best: str = "*") -> str:
    """Meaning of the errors and marks of the tables, in a sentence."""
    several = any(len(row.runs) > 1 for row in comparison.rows)
    errors = "value ± statistical error of the test events" + (" ± spread over seeds" if several else " (one seed)")
    sentence = f"{errors}; {best}: the best of a column; ≈: less than {TIE:g} standard deviations from it"
    if any(measurement.above is not None for row in comparison.rows for measurement in row.measurements.values()):
        sentence += "; >: no background event is left, limit at 95 % confidence"
    return sentence


def csv_table(comparison: Comparison) -> str:
    """Every measurement, unrounded: one line per model and metric, with value, statistical error, spread over seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "trainings", "quantity", "working_point", "which", "value", "statistical", "seeds"])
    for row in comparison.rows:
        writer.writerows(_csv_lines(row))
    return text.getvalue()


def _csv_lines(row: ModelResult) -> Iterator[list[str | int | float]]:
    for metric, measurement in row.measurements.items():
        numbers = ("" if number is None else number for number in (measurement.value, *measurement.errors))
        yield [row.label, len(row.runs), metric.name, metric.at or "", metric.of or "", *numbers]
