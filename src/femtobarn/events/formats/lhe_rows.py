"""Lines of numbers in Les Houches files: their words, Fortran's numbers, events and particles."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.formats.lhe_markup import DAMAGED

#: Columns of the line of an event and of the line of a particle (arXiv:hep-ph/0609017); the last two of a particle,
#: lifetime and spin, may be missing.
EVENT_COLUMNS = 6
PARTICLE_COLUMNS = 13
MIN_PARTICLE_COLUMNS = 11

#: Status codes of the format: incoming, final, spacelike and timelike intermediate, documentation, beam.
STATUS_CODES = (-1, 1, -2, 2, 3, -9)

FINAL = 1

#: What the columns of a particle are called.
PARTICLE_NAMES = [
    "IDUP",
    "ISTUP",
    "MOTHUP1",
    "MOTHUP2",
    "ICOLUP1",
    "ICOLUP2",
    "PX",
    "PY",
    "PZ",
    "E",
    "M",
    "VTIMUP",
    "SPINUP",
]

#: A number with Fortran's D for E, and one with three digits of exponent, where Fortran leaves the letter out.
FORTRAN_DOUBLE = re.compile(rb"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))[dDqQ]([+-]?[0-9]+)")
FORTRAN_LARGE = re.compile(rb"([+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+))([+-][0-9]{3})")

#: First word of a line of numbers.
NUMERIC = re.compile(rb"[+-]?(?:\.?[0-9]|(?i:nan|inf|infinity)\Z)")

WHOLE_NUMBER = re.compile(rb"[+-]?[0-9]{1,18}")


class Words(NamedTuple):
    """The words of a line."""

    line: int
    words: list[bytes]

    @property
    def text(self) -> str:
        """The line as an error shows it."""
        return shorten(b" ".join(self.words).decode("utf-8", "replace"))

    def error(self, problem: str, remedy: str = DAMAGED, *, path: str | Path) -> EventError:
        """An error of this line."""
        return EventError(path, f"{problem}: {self.text}", line=self.line, remedy=remedy)


class Particle(NamedTuple):
    """A particle of the final state."""

    line: int
    pdg: int
    momentum: tuple[float, float, float, float]  # px, py, pz, E in GeV


def split_lines(text: bytes, first_line: int) -> tuple[list[Words], bytes]:
    """Lines as words without comments, blank ones left out, and the comments."""
    comments: list[bytes] = []
    lines: list[Words] = []
    for line, content in enumerate(text.split(b"\n"), start=first_line):
        if b"#" in content:
            content, _, comment = content.partition(b"#")
            comments.append(b"#" + comment.rstrip() + b"\n")
        if words := content.split():
            lines.append(Words(line, words))
    return lines, b"".join(comments)


def event_rows(text: bytes, first_line: int, end_line: int, path: str | Path) -> tuple[list[Words], bytes]:
    """The line of an event and those of its particles, and its comments.

    Raises:
        EventError: columns are missing or too many, or there are more or fewer particles than announced.
    """
    lines, comments = split_lines(text, first_line)
    if not lines:
        raise EventError(path, "the event is empty", line=end_line, remedy=DAMAGED)
    announced = whole(lines[0], 0, path)
    rows = lines[: max(announced, 0) + 1]
    least_columns, most_columns = MIN_PARTICLE_COLUMNS, PARTICLE_COLUMNS
    odd = [row for row in rows[1:] if not least_columns <= len(row.words) <= most_columns]
    if odd or len(rows) != announced + 1 or len(rows[0].words) != EVENT_COLUMNS:
        rearranged = _rearranged(lines, announced)
        if rearranged is not None:
            return rearranged, comments
    if len(rows[0].words) != EVENT_COLUMNS:
        raise rows[0].error(f"{len(rows[0].words)} numbers where {EVENT_COLUMNS} belong", path=path)
    further = [row for row in lines[len(rows) :] if _is_particle(row)]
    if len(rows) != announced + 1 or further:
        problem = f"the event has {len(rows) - 1 + len(further)} particles of {announced} announced"
        raise EventError(path, problem, line=further[0].line if further else end_line, remedy=DAMAGED)
    for row in odd:
        columns = len(row.words)
        raise row.error(
            f"{columns} numbers where {least_columns if columns < least_columns else most_columns} belong", path=path
        )
    for row in rows[1:]:
        # a word may have been lost before the momentum
        if len(row.words) < most_columns and not all(map(WHOLE_NUMBER.fullmatch, row.words[:6])):
            raise row.error(f"{len(row.words)} numbers where {most_columns} belong", path=path)
    return rows, comments


def _is_particle(row: Words) -> bool:
    """Whether a line behind the last particle is one too many: programs add comments there, and little else."""
    return bool(NUMERIC.match(row.words[0])) or len(row.words) > 9 or any(b">" in word for word in row.words)


def _rearranged(lines: list[Words], announced: int) -> list[Words] | None:
    """The lines of an event that has its ends of line elsewhere; None where its words are no event either way."""
    words = [word for row in lines for word in row.words]
    if announced < 0 or len(words) != EVENT_COLUMNS + PARTICLE_COLUMNS * announced:
        return None
    line_of = [row.line for row in lines for _ in row.words]
    starts = range(EVENT_COLUMNS, len(words), PARTICLE_COLUMNS)
    rows = [Words(line_of[start], words[start : start + PARTICLE_COLUMNS]) for start in starts]
    # where one word is missing and another came in, integers are not where they belong
    if not all(WHOLE_NUMBER.fullmatch(word) for row in rows for word in row.words[:6]):
        return None
    return [Words(line_of[0], words[:EVENT_COLUMNS]), *rows]


def final_particle(row: Words, path: str | Path) -> Particle | None:
    """The particle of a line if it is one of the final state; columns that nobody uses need not be numbers.

    Raises:
        EventError: PDG number or status are no integers of the format, or the momentum is not finite.
    """
    pdg, status = whole(row, 0, path), whole(row, 1, path)
    if status not in STATUS_CODES:
        raise row.error(f"status {status} is none of {', '.join(map(str, STATUS_CODES))}", path=path)
    if abs(pdg) >= 1 << 31:
        raise row.error(f"{pdg} is no PDG number", path=path)
    if status != FINAL:
        return None
    momentum = (real(row, 6, path), real(row, 7, path), real(row, 8, path), real(row, 9, path))
    return Particle(row.line, pdg, momentum)


def real(row: Words, column: int, path: str | Path) -> float:
    """The finite number in a column.

    Raises:
        EventError: there is another word, NaN or infinity.
    """
    try:
        value = number(row.words[column])
    except ValueError:
        raise row.error("no numbers", path=path) from None
    if not math.isfinite(value):
        raise row.error("NaN or infinity", "mend or drop the event", path=path)
    return value


def whole(row: Words, column: int, path: str | Path) -> int:
    """The integer in a column, which may be written as 5.0, but not as 5.5.

    Raises:
        EventError: there is another word, or a number that is not whole.
    """
    word = row.words[column]
    if WHOLE_NUMBER.fullmatch(word):
        return int(word)
    try:
        value = number(word)
    except ValueError:
        value = math.nan
    if not value.is_integer() or abs(value) >= 2**53:
        raise row.error(f"{shorten(word.decode('utf-8', 'replace'))} where a whole number belongs", path=path)
    return int(value)


def number(word: bytes) -> float:
    """A number as C or Fortran writes it: 1e+02, 1.0D+02, 1.2-101.

    Raises:
        ValueError: it is none.
    """
    if b"_" in word:  # Python reads 1_000
        raise ValueError("no number")
    try:
        return float(word)
    except ValueError:
        match = FORTRAN_DOUBLE.fullmatch(word) or FORTRAN_LARGE.fullmatch(word)
        if not match:
            raise
        return float(match[1] + b"e" + match[2])
