"""Tables of a comparison, for the terminal, for Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from femtobarn.evaluation.compare import TIE, Comparison, Row
from femtobarn.evaluation.costs import COST, COST_NOTE, cost_table
from femtobarn.evaluation.paired import AREA, Paired, against_baseline, best_against_others
from femtobarn.evaluation.published import TITLE as PUBLISHED
from femtobarn.evaluation.published import published_table
from femtobarn.evaluation.rounding import NOTHING, common_decimals, fixed, rounded
from femtobarn.evaluation.sections import Column, Section, growth_columns, main_sections, sections


@dataclass(frozen=True)
class Cell:
    """One number of a table, ready to print.

    Args:
        text: value with its errors, rounded.
        best: True for the best model of the column.
        tied: True for a model that can't be told from the best.
    """

    text: str
    best: bool = False
    tied: bool = False

    @property
    def value(self) -> str:
        """The number without its errors."""
        return self.text.split(" ± ")[0]

    @property
    def errors(self) -> str:
        """The errors without the number."""
        return " ± ".join(("", *self.text.split(" ± ")[1:])).strip()


def cells(comparison: Comparison, column: Column) -> list[Cell]:
    """One column, a cell a model, all rounded to the same digit."""
    key = column.key
    numbers = [row.numbers[key] for row in comparison.rows]
    digits = common_decimals((number.errors for number in numbers), default=3)
    best, ties = (comparison.best(key), comparison.ties(key)) if len(comparison.rows) > 1 else (None, ())
    made = []
    for row, number in zip(comparison.rows, numbers, strict=True):
        if key[0] == "gain" and row.label == comparison.baseline and number.value is not None:
            made.append(Cell("1", best=row is best, tied=row.label in ties))
        else:
            text = rounded(number.value, *number.errors, digits=digits)
            if number.above is not None:
                text = f"> {fixed(number.above, min(digits, 0))}"
            made.append(Cell(text, best=row is best, tied=row.label in ties))
    return made


def legend(comparison: Comparison, best: str = "*") -> str:
    """What the errors and marks of the tables mean, in a sentence."""
    several = any(len(row.runs) > 1 for row in comparison.rows)
    errors = "value ± statistical error of the test events" + (" ± spread over seeds" if several else " (one seed)")
    told = f"{errors}; {best}: the best of a column; ≈: less than {TIE:g} standard deviations from it"
    if any(number.above is not None for row in comparison.rows for number in row.numbers.values()):
        told += "; >: no background event is left, limit at 95 % confidence"
    return told


def tables(comparison: Comparison, *, backgrounds: bool = False) -> list[Table]:
    """Tables for the terminal; with `backgrounds`, each background on its own and the paired tests as well."""
    whole, comparison = comparison, comparison.largest
    shown = sections(comparison) if backgrounds else main_sections(comparison)
    made = [printed(comparison, section) for section in shown]
    for title, headings, rows in growths(whole):
        table = _empty(title)
        for heading in headings:
            table.add_column(heading, justify="right", overflow="fold")
        for label, row in rows:
            table.add_row(label, *map(_styled, row))
        made.append(table)
    headings, costs = cost_table(comparison)
    made.append(_empty(COST))
    for heading in headings:
        made[-1].add_column(heading, justify="right", overflow="fold")
    for name, texts in costs:
        made[-1].add_row(name, *texts)
    if (published := published_table(comparison)) is not None:
        headings, others, note = published
        made.append(_empty(PUBLISHED))
        made[-1].caption, made[-1].caption_justify = note, "left"
        for heading in headings:
            made[-1].add_column(heading, justify="right", overflow="fold")
        for name, texts in others:
            made[-1].add_row(name, *texts)
    for title, lines in pair_tables(comparison).items() if backgrounds else ():
        table = _empty(title)
        for heading in PAIR_HEADINGS:
            table.add_column(heading, justify="right", overflow="fold")
        for name, texts in lines:
            table.add_row(name, *texts)
        made.append(table)
    return made


def printed(comparison: Comparison, section: Section) -> Table:
    """One table for the terminal."""
    table = _empty(section.title)
    for column in section.columns:
        table.add_column(column.heading.replace(", ", "\n"), justify="right", overflow="fold")
    columns = [cells(comparison, column) for column in section.columns]
    for index, row in enumerate(comparison.rows):
        name = Text.assemble(row.label, (f"\n{trainings(row)}", "dim"))
        table.add_row(name, *(_styled(column[index]) for column in columns))
    return table


def _empty(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    return table


#: Headings of the tables of `pair_tables`.
PAIR_HEADINGS = ("ΔAUC", "± test", "(DeLong)", "± training", "z", "p")

#: What they mean.
PAIR_NOTE = (
    "ΔAUC: first minus second; ± test: statistical error of the difference, the events being the same for both (beside "
    "it by DeLong's formula, as a check); ± training: from the spread over seeds; z: in standard deviations of both; "
    "p: of a z as large by chance, not corrected for the number of comparisons"
)


def pair_tables(comparison: Comparison) -> dict[str, list[tuple[str, list[str]]]]:
    """Paired tests by title: every model against the baseline, and the best one against the others, ready to print."""
    if len(comparison.rows) == 1:
        return {}
    found = {f"Every model against {comparison.baseline}": (against_baseline(comparison), "first")}
    best = comparison.best(AREA)
    if best is not None and best.label != comparison.baseline:
        found[f"{best.label}, which has the largest AUC, against the others"] = (
            best_against_others(comparison),
            "second",
        )
    return {
        title: [(getattr(pair, named), _pair_texts(pair)) for pair in pairs] for title, (pairs, named) in found.items()
    }


def _pair_texts(pair: Paired) -> list[str]:
    errors = [pair.statistical, pair.delong, pair.training]
    digits = common_decimals([errors], default=4) + 1
    texts = [fixed(error, digits) if error is not None else NOTHING for error in errors]
    p = "< 1e-15" if pair.p < 1e-15 else f"{pair.p:.2g}"
    return [f"{pair.difference:+.{max(digits, 0)}f}", *texts, f"{pair.deviation:+.1f}", p]


def trainings(row: Row) -> str:
    """How many trainings stand behind a row."""
    return "one training" if len(row.runs) == 1 else f"{len(row.runs)} trainings"


def markdown(comparison: Comparison) -> str:
    """All tables in Markdown, best in bold, equals of the best marked with ≈."""
    whole, comparison = comparison, comparison.largest
    lines = []
    for section in sections(comparison):
        columns = [cells(comparison, column) for column in section.columns]
        rows = [(row.label, [column[index] for column in columns]) for index, row in enumerate(comparison.rows)]
        lines += _markdown(section.title, [column.heading for column in section.columns], rows)
    for title, headings, told in growths(whole):
        lines += _markdown(title, headings, told)
    headings, costs = cost_table(comparison)
    lines += [*_lines_of(COST, headings, costs), f"{COST_NOTE}.", ""]
    if (published := published_table(comparison)) is not None:
        headings, others, note = published
        lines += [*_lines_of(PUBLISHED, headings, others), note, ""]
    for title, pairs in pair_tables(comparison).items():
        lines += _lines_of(title, PAIR_HEADINGS, pairs)
    if len(comparison.rows) > 1:
        lines += [f"{PAIR_NOTE}.", ""]
    return "\n".join([*lines, legend(comparison, best="bold") + ".", ""])


def _markdown(title: str, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]]) -> list[str]:
    marked = [
        (label, [f"**{one.text}**" if one.best else f"≈ {one.text}" if one.tied else one.text for one in line])
        for label, line in rows
    ]
    return _lines_of(title, headings, marked)


def _lines_of(title: str, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    lines = [f"**{title}**", "", f"| model | {' | '.join(headings)} |", "|---|" + "---:|" * len(headings)]
    return [*lines, *(f"| {label} | {' | '.join(texts)} |" for label, texts in rows), ""]


def growths(comparison: Comparison) -> list[tuple[str, list[str], list[tuple[str, list[Cell]]]]]:
    """What grows with the training set, the best of each size marked: title, headings and lines; none of one size."""
    if len(comparison.sizes) == 1:
        return []
    parts = [comparison.at(size) for size in comparison.sizes]
    models = dict.fromkeys(row.model for row in comparison.rows)
    headings = [f"{100 * size:.3g} %" for size in comparison.sizes]
    made = []
    for column in growth_columns(comparison):
        found = [dict(zip((row.model for row in part.rows), cells(part, column), strict=True)) for part in parts]
        lines = [(name, [each.get(name, Cell(NOTHING)) for each in found]) for name in models]
        made.append((f"{column.heading} against the part of the training events used", headings, lines))
    return made


def csv_table(comparison: Comparison) -> str:
    """Every number, unrounded: one line a model and number, with value, statistical error and spread over seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "trainings", "quantity", "working_point", "which", "value", "statistical", "seeds"])
    for row in comparison.rows:
        writer.writerows(_lines(row))
    return text.getvalue()


def _lines(row: Row) -> Sequence[Sequence[str | int | float]]:
    lines = []
    for key, number in row.numbers.items():
        point = key[1] if len(key) == 3 else ""
        values = ("" if each is None else each for each in (number.value, *number.errors))
        lines.append([row.label, len(row.runs), key[0], point, key[-1], *values])
    return lines


def _styled(cell: Cell) -> Text:
    text = Text("≈ " if cell.tied else "* " if cell.best else "")  # bold is lost in a log file
    text.append(cell.value, style="bold green" if cell.best else "bold" if cell.tied else "")
    if cell.text != NOTHING and cell.errors:
        text.append("\n" + cell.errors.replace("± ", "±"), style="dim")
    return text
