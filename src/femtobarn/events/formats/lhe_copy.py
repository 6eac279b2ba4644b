"""Copies of Les Houches files for programs that read them line by line, as Pythia does."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from femtobarn.events.errors import EventError
from femtobarn.events.formats.lhe_events import COMMENT, HardEvent, HardEvents
from femtobarn.events.formats.lhe_rows import Words, number, whole

#: A particle as C reads it: six integers, seven numbers.
PARTICLE = re.compile(rb"(?:[+-]?[0-9]+ ){6}(?:[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?: |$)){7}")

#: Columns of integers, and what stands for columns that matter little where they are missing or no numbers.
PARTICLE_INTEGERS = range(6)
PARTICLE_DEFAULTS = {11: b"0.", 12: b"9."}
EVENT_INTEGERS = range(2)
EVENT_DEFAULTS = {4: b"-1.", 5: b"-1."}
BEAM_INTEGERS = (0, 1, 4, 5, 6, 7, 8, 9)
BEAM_DEFAULTS = {4: b"0", 5: b"0", 6: b"-1", 7: b"-1"}
PROCESS_INTEGERS: tuple[int, ...] = (3,)

#: Lines of a header that would be taken for the block of that name.
BLOCK_TAG = re.compile(rb"</?(?:init|event)[\s>]")


def rewrite_lhe(path: str | Path, target: str | Path) -> None:
    """Write the events of a Les Houches file to another, with a tag, an event or a particle on each line.

    Order, numbers, headers, and what else is in an event stay; comments go, and Fortran's numbers become those of C.
    So a program without an XML parser reads the same events as `read_lhe`.

    Raises:
        EventError: as `read_lhe`; or a column that a parton shower needs (mother, colour, mass, scale) is no number.
        FileNotFoundError: no such file.
    """
    events = HardEvents(path)
    head = events.head
    beams, *processes = head.rows
    header = [line for line in COMMENT.sub(b"", head.raw).splitlines() if line.strip() and not BLOCK_TAG.search(line)]
    with open(target, "wb") as file:
        lines = [_one_line(head.root), *header, b"<init>", _row(beams, BEAM_INTEGERS, BEAM_DEFAULTS, path)]
        lines += [_row(process, PROCESS_INTEGERS, {}, path) for process in processes]
        lines += [*_extras(head.extras), b"</init>"]
        file.write(b"\n".join(lines) + b"\n")
        for event in events:
            file.write(b"\n".join(_event_lines(event, path)) + b"\n")
        file.write(b"</LesHouchesEvents>\n")


def _event_lines(event: HardEvent, path: str | Path) -> list[bytes]:
    """An event as lines."""
    first, *particles = event.rows
    lines = [_one_line(event.tag.raw), _row(first, EVENT_INTEGERS, EVENT_DEFAULTS, path)]
    for row in particles:
        line = b" ".join(row.words)
        lines.append(line if PARTICLE.fullmatch(line) else _row(row, PARTICLE_INTEGERS, PARTICLE_DEFAULTS, path))
    return [*lines, *_extras(event.extras), b"</event>"]


def _extras(raw: bytes) -> list[bytes]:
    """Other elements as lines, without comments."""
    return [line.rstrip() for line in COMMENT.sub(b"", raw).splitlines() if line.strip()]


def _one_line(tag: bytes) -> bytes:
    """A tag without ends of line."""
    return re.sub(rb"\s+", b" ", tag)


def _row(row: Words, integers: Sequence[int], defaults: dict[int, bytes], path: str | Path) -> bytes:
    """A line of numbers as C reads them."""
    words = list(row.words)
    words += [defaults[column] for column in range(len(words), max(defaults, default=-1) + 1)]
    for column, word in enumerate(words):
        try:
            words[column] = _word(row, column, word, column in integers, path)
        except (EventError, ValueError):
            if column not in defaults:
                remedy = "the simulation needs all columns but lifetime, spin and couplings"
                raise row.error(f"column {column + 1} is no number", remedy, path=path) from None
            words[column] = defaults[column]
    return b" ".join(words)


def _word(row: Words, column: int, word: bytes, integer: bool, path: str | Path) -> bytes:
    """A number as C reads it; the same word where it does already."""
    if integer:
        return str(whole(row, column, path)).encode() if column < len(row.words) else word
    value = number(word)
    try:
        float(word)
    except ValueError:  # of Fortran
        return repr(value).encode()
    if not math.isfinite(value):
        raise ValueError("no number")
    return word
