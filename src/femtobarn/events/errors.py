"""Errors of event files: the problem, its place, and the remedy."""

from __future__ import annotations

from pathlib import Path


class EventError(ValueError):
    """Bad input: names the file, the line or row, the offending text and the remedy.

    Args:
        path: the file.
        problem: what is wrong, with the offending value.
        line: line of a text file, from 1.
        row: row of a table, from 0.
        remedy: what to do about it.
    """

    def __init__(
        self, path: Path | str, problem: str, *, line: int | None = None, row: int | None = None, remedy: str = ""
    ) -> None:
        self.path, self.line, self.row, self.problem, self.remedy = Path(path), line, row, problem, remedy
        place = f"{path}:{line}" if line is not None else f"{path}, row {row}" if row is not None else f"{path}"
        super().__init__(f"{place}: {problem}" + (f"; {remedy}" if remedy else ""))

    def below(self, rows: int) -> EventError:
        """The same mistake in a piece of a table that has so many rows before it."""
        return (
            self if self.row is None else EventError(self.path, self.problem, row=self.row + rows, remedy=self.remedy)
        )


class TruncatedError(EventError):
    """A file that ends early: cut while it was written, copied or compressed."""


def shorten(text: str, max_length: int = 80) -> str:
    """Text quoted for a message, cut in the middle when long."""
    return repr(text if len(text) <= max_length else f"{text[: max_length // 2]} ... {text[-max_length // 2 :]}")
