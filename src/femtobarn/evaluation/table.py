"""Table: labelled rows of cells, rendered for the terminal, as Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape
from rich import box
from rich.markup import escape as escape_markup
from rich.table import Table as TerminalTable
from rich.text import Text

from femtobarn.evaluation.rounding import NOTHING
from femtobarn.events.names import escape_markdown


@dataclass(frozen=True)
class Cell:
    """One entry of a table, ready to print.

    Args:
        text: a value with its errors, rounded; or any text.
        best: True for the best model of the column.
        tied: True for a model that is compatible with the best one.
    """

    text: str
    best: bool = False
    tied: bool = False

    @property
    def value(self) -> str:
        """The value without its errors."""
        return self.text.split(" ± ")[0]

    @property
    def errors(self) -> str:
        """The errors without the value."""
        return " ± ".join(("", *self.text.split(" ± ")[1:])).strip()

    @property
    def marked(self) -> str:
        """The text in Markdown, bold for the best."""
        text = markdown_escape(self.text)
        return f"**{text}**" if self.best else f"≈ {text}" if self.tied else text


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        label: what the row is about.
        cells: one per heading.
        note: small print below the label, such as the number of trainings.
    """

    label: str
    cells: Sequence[Cell]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    Args:
        title: what stands above the table.
        headings: one per column, without that of the labels.
        rows: in the order they are shown.
        note: what the columns mean, below the table.
        label: heading of the labels.

    Example:
        >>> print(Table("Quality", ["AUC"], [Row("ParT", [Cell("0.88 ± 0.01", best=True)])]).markdown())
        **Quality**
        <BLANKLINE>
        | model | AUC |
        |---|---:|
        | ParT | **0.88 ± 0.01** |
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Row]
    note: str = ""
    label: str = "model"

    @classmethod
    def of_texts(
        cls, title: str, headings: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], note: str = ""
    ) -> Table:
        """A table of plain texts, without marks."""
        return cls(title, headings, [Row(label, [Cell(text) for text in texts]) for label, texts in rows], note)

    def terminal(self) -> TerminalTable:
        """The table for a terminal; errors stand below their value."""
        table = TerminalTable(
            title=escape_markup(self.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
        )
        table.add_column(self.label, no_wrap=True)
        for heading in self.headings:
            table.add_column(escape_markup(heading.replace(", ", "\n")), justify="right", overflow="fold")
        for row in self.rows:
            label = Text.assemble(row.label, (f"\n{row.note}", "dim")) if row.note else Text(row.label)
            table.add_row(label, *map(_styled, row.cells))
        if self.note:
            table.caption, table.caption_justify = escape_markup(self.note), "left"
        return table

    def markdown(self) -> str:
        """The table in Markdown: the best of a column in bold, its equals marked with ≈."""
        rows = [[escape_markdown(row.label), *(cell.marked for cell in row.cells)] for row in self.rows]
        lines = [[self.label, *map(markdown_escape, self.headings)], *rows]
        texts = [f"| {' | '.join(line)} |" for line in lines]
        texts.insert(1, "|---|" + "---:|" * len(self.headings))
        return "\n".join([f"**{escape_markdown(self.title)}**", "", *texts, *(["", self.note] if self.note else [])])

    def csv(self) -> str:
        """The table as comma-separated values: one line per row, texts as shown."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([self.label, *self.headings])
        writer.writerows([row.label, *(cell.text for cell in row.cells)] for row in self.rows)
        return text.getvalue()

    def html(self) -> Markup:
        """The table as an HTML element; `ε_B` is shown with a subscript."""
        headings = Markup("").join(Markup("<th>{}</th>").format(subscripts(heading)) for heading in self.headings)
        rows = Markup("\n").join(map(_html_row, self.rows))
        note = Markup('<p class="note">{}</p>\n').format(subscripts(self.note)) if self.note else ""
        return Markup(
            '<div class="wide">\n<table>\n<caption>{}</caption>\n<thead><tr><th></th>{}</tr></thead>\n'
            "<tbody>\n{}\n</tbody>\n</table>\n{}</div>"
        ).format(subscripts(self.title), headings, rows, note)


def subscripts(text: str) -> Markup:
    """HTML of a text in which `ε_B` has a subscript."""
    return Markup(re.sub(r"ε_([A-Z])", r"ε<sub>\1</sub>", str(escape(text))))


def markdown_escape(text: str) -> str:
    """A text that cannot end the cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _html_row(row: Row) -> Markup:
    cells = Markup("").join(map(_html_cell, row.cells))
    return Markup('<tr><th scope="row">{}<small>{}</small></th>{}</tr>').format(row.label, row.note, cells)


def _html_cell(cell: Cell) -> Markup:
    value = Markup("<b>{}</b>").format(cell.value) if cell.best else escape(cell.value)
    errors = Markup("<small>{}</small>").format(cell.errors) if cell.errors else ""
    attribute = Markup(' class="best"') if cell.best else ""
    return Markup("<td{}>{}{}{}</td>").format(attribute, "≈ " if cell.tied else "", value, errors)


def _styled(cell: Cell) -> Text:
    text = Text("≈ " if cell.tied else "* " if cell.best else "")  # a log file loses bold type
    text.append(cell.value, style="bold green" if cell.best else "bold" if cell.tied else "")
    if cell.text != NOTHING and cell.errors:
        text.append("\n" + cell.errors.replace("± ", "±"), style="dim")
    return text
