"""Events of a Les Houches file, one by one: the rules of the format, and the line of what breaks them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from femtobarn.events.errors import EventError, TruncatedError, shorten
from femtobarn.events.formats.lhe_markup import CUT, DAMAGED, Markup, Tag
from femtobarn.events.formats.lhe_rows import (
    NUMERIC,
    WHOLE_NUMBER,
    Particle,
    Words,
    event_rows,
    final_particle,
    real,
    split_lines,
    whole,
)
from femtobarn.events.storage.files import CHUNK_BYTES, chunks

#: Columns of the two sorts of lines of `<init>`.
BEAM_COLUMNS = 10
PROCESS_COLUMNS = 4

#: How MadGraph's header promises the number of events.
MADGRAPH_BLOCK = re.compile(rb"<MGGenerationInfo\s*>(.*?)</MGGenerationInfo\s*>", re.DOTALL)
MADGRAPH_COUNT = re.compile(rb"(?m)^[#\s]*Number of Events\s*:\s*([0-9]+)\s*$")

#: How version 3 of the format does, in `<init>` (arXiv:1405.1067).
XSECINFO = re.compile(rb"<xsecinfo\b[^<>]*?\bneve\s*=\s*[\"']\s*([0-9]+)\s*[\"']")

#: Tags that have their one place.
STRUCTURE_NAMES = ("event", "eventgroup", "init", "LesHouchesEvents")

COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)


class Head(NamedTuple):
    """What stands before the events.

    Args:
        root: the opening tag of the file.
        raw: everything from there to the `<init>` tag.
        rows: lines of numbers of `<init>`, that of the beams first.
        extras: what else is in `<init>`, raw.
        cross_section: sum over the subprocesses, in pb.
        error: its Monte Carlo error, in pb.
        promised: numbers of events that the file says it has, and where it says so.
    """

    root: bytes
    raw: bytes
    rows: list[Words]
    extras: bytes
    cross_section: float
    error: float
    promised: list[tuple[int, str]]


class HardEvent(NamedTuple):
    """An event, as numbers and as words.

    Args:
        tag: its opening tag.
        weight: XWGTUP.
        final: the particles of the final state.
        rows: the line of the event, then a line a particle.
        extras: what else is in the event, raw.
    """

    tag: Tag
    weight: float
    final: list[Particle]
    rows: list[Words]
    extras: bytes


class HardEvents:
    """The events of a file, in order.

    Args:
        path: the file, plain or .gz.
        tolerant: leave out damaged events, and what is missing of a file that was cut; `skipped` counts them as far as
            the file shows them, `truncated` is True for such a file.
        chunk_bytes: number of bytes that are read at once.

    Raises:
        EventError: the file is no Les Houches file, or what stands before the events is damaged.
        FileNotFoundError: no such file.
    """

    def __init__(self, path: str | Path, *, tolerant: bool = False, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.path = path
        self.tolerant = tolerant
        self.skipped = 0
        self.truncated = False
        self._within = False  # an event
        self._closed = False  # the file, by its last tag
        self._markup = Markup(chunks(path, chunk_bytes), path)
        self.head = read_head(self._markup, path)

    def __iter__(self) -> Iterator[HardEvent]:
        """Each event once.

        Raises:
            EventError: damage, unless `tolerant`; with line.
        """
        count = 0
        while True:
            try:
                event = self._next()
            except TruncatedError as error:
                if not self.tolerant:
                    raise self._markup.truncation or error from None
                self.truncated = True
                self.skipped += self._within
                break
            except EventError as error:
                # damaged compression, which has no line, spoils everything
                if not self.tolerant or self._closed or error.line is None:
                    raise
                self.skipped += 1
                if self._recover():
                    continue
                break
            if event is None:
                break
            yield event
            count += 1
        self._compare(count)

    def _compare(self, count: int) -> None:
        """See that as many events came as the file promises."""
        promised = self.head.promised
        if not promised or any(number == count for number, _ in promised):
            return
        number, where = promised[-1]
        if self.tolerant:
            self.skipped = max(self.skipped, number - count)
            return
        problem = f"has {count} events, but {where} says {number}"
        remedy = "copy or generate it again, or read the events there are with data.tolerant: true (--tolerant)"
        raise EventError(self.path, problem, remedy=remedy)

    def _next(self) -> HardEvent | None:
        """The next event; None behind the last."""
        self._within = False
        while True:
            tag = self._markup.next()
            self._refuse_numbers(tag)
            match tag.category, tag.name:
                case "open", "event":
                    return self._event(tag)
                case "open" | "close", "eventgroup":  # arXiv:1405.1067: events that belong together
                    continue
                case "close", "LesHouchesEvents":
                    self._end()
                    return None
                case "end", _:
                    raise TruncatedError(self.path, "has no </LesHouchesEvents>", line=tag.line, remedy=CUT)
                case "open" | "empty", name if name not in STRUCTURE_NAMES and not resembles(name, "event"):
                    if tag.category == "open":
                        self._markup.skip_element(tag)
                case _:
                    raise misplaced(tag, "between events", self.path)

    def _event(self, tag: Tag) -> HardEvent:
        """The event behind its opening tag."""
        self._within = True
        where = f"within the event that begins on line {tag.line}"
        text, extras, end = element_text(self._markup, tag, where)
        rows, comments = event_rows(text, tag.line + tag.raw.count(b"\n"), end.line, self.path)
        weight = real(rows[0], 2, self.path)
        final = [particle for row in rows[1:] if (particle := final_particle(row, self.path)) is not None]
        return HardEvent(tag, weight, final, rows, extras + comments)

    def _end(self) -> None:
        """See that nothing but text follows the last tag of the file."""
        self._closed = True
        while True:
            tag = self._markup.next()
            self._refuse_numbers(tag)
            if tag.category == "end":
                break
            if tag.category == "open" and tag.name == "LesHouchesEvents":
                problem = "a second <LesHouchesEvents> begins: two files were put together"
                raise EventError(self.path, problem, line=tag.line, remedy="give them as two files")
            if tag.category != "stray":
                raise misplaced(tag, "behind </LesHouchesEvents>", self.path)
        if self._markup.truncation:
            raise self._markup.truncation

    def _recover(self) -> bool:
        """Go on to the next opening tag of an event, whatever stands before it; whether there is one."""
        while True:
            try:
                tag = self._markup.next()
            except TruncatedError:
                tag = None
            if tag is None or tag.category == "end":
                self.truncated = True
                return False
            if tag.category == "open" and tag.name == "event":
                self._markup.push_back(tag)
                return True
            if tag.category == "close" and tag.name == "LesHouchesEvents":
                return False

    def _refuse_numbers(self, tag: Tag) -> None:
        """See that the text before a tag holds no lines of an event that has lost its tags."""
        for row in split_lines(tag.text, tag.text_line)[0] if tag.text.strip() else ():
            content = b" ".join(row.words)
            if NUMERIC.match(content.split()[0]) or b">" in content or b"\0" in content:
                problem = f"{row.text} stands between events: a damaged <event> or </event>?"
                raise EventError(self.path, problem, line=row.line, remedy=DAMAGED)


def read_head(markup: Markup, path: str | Path) -> Head:
    """What stands up to the end of the `init` block, where the file is left.

    Raises:
        EventError: the file is no Les Houches file, has no `init` block or one without a cross section.
    """
    start = markup.start
    tag = markup.next()
    if tag.category != "open" or tag.name != "LesHouchesEvents":
        problem = f"is no Les Houches event file: it starts with {shorten(start)}"
        raise EventError(path, problem, line=1, remedy="the first line should be <LesHouchesEvents ...>")
    root = tag.raw
    markup.record()
    tag = find_init(markup, path)
    raw = markup.recorded()[: -len(tag.raw)]
    text, extras, end = element_text(markup, tag, f"within the <init> of line {tag.line}")
    rows = init_rows(text, tag.line + tag.raw.count(b"\n"), end.line, path)
    sections = [real(row, 0, path) for row in rows[1:]]
    cross_section = sum(sections)
    if not math.isfinite(cross_section) or cross_section == 0:
        remedy = "write the cross section in pb into the first column of the last line of <init>"
        raise EventError(path, f"the cross section is {cross_section:g} pb", line=end.line, remedy=remedy)
    error = math.hypot(*(real(row, 1, path) for row in rows[1:]))
    blocks = MADGRAPH_BLOCK.findall(COMMENT.sub(b"", raw))
    counts = [int(count) for block in blocks for count in MADGRAPH_COUNT.findall(block)]
    promised = [(count, "<MGGenerationInfo> (Number of Events)") for count in counts]
    promised += [(int(count), "<xsecinfo neve=...>") for count in XSECINFO.findall(extras)]
    return Head(root, raw, rows, extras, cross_section, error, promised)


def find_init(markup: Markup, path: str | Path) -> Tag:
    """The opening tag of the `init` block, behind everything that stands before it."""
    while True:
        tag = markup.next()
        match tag.category, tag.name:
            case "open", "init":
                return tag
            case "stray", _:  # in text that no program reads
                continue
            case "open" | "empty", name if name not in STRUCTURE_NAMES and not resembles(name, "init"):
                try:
                    if tag.category == "open":
                        markup.skip_element(tag)
                except EventError as error:
                    problem = f"has no <init> block: {error.problem}"
                    raise type(error)(path, problem, line=error.line, remedy=error.remedy) from None
            case "end", _:
                raise TruncatedError(path, "has no <init> block", line=tag.line, remedy=CUT)
            case _:
                problem = f"has no <init> block before {shorten(tag.raw.decode('utf-8', 'replace'))}"
                raise EventError(path, problem, line=tag.line, remedy=DAMAGED)


def init_rows(text: bytes, first_line: int, end_line: int, path: str | Path) -> list[Words]:
    """The lines of numbers of the `init` block: the beams, then a process each.

    Raises:
        EventError: columns are missing, or there are more or fewer processes than announced.
    """
    rows = [row for row in split_lines(text, first_line)[0] if NUMERIC.match(row.words[0])]
    if not rows:
        raise EventError(path, "<init> has no numbers", line=end_line, remedy=DAMAGED)
    words = [word for row in rows for word in row.words]
    beams, line = words[:BEAM_COLUMNS], rows[0].line
    regular = len(rows[0].words) == BEAM_COLUMNS
    columns = BEAM_COLUMNS + PROCESS_COLUMNS * int(beams[9]) if WHOLE_NUMBER.fullmatch(b"".join(beams[9:])) else 0
    if not regular and len(words) == columns:  # the ends of line are elsewhere
        starts = range(BEAM_COLUMNS, columns, PROCESS_COLUMNS)
        return [Words(line, beams), *(Words(line, words[at : at + PROCESS_COLUMNS]) for at in starts)]
    if not regular:
        raise rows[0].error(f"the first line of <init> has {len(rows[0].words)} numbers, not 10", path=path)
    announced = whole(rows[0], 9, path)
    if len(rows) != 1 + announced:
        problem = f"<init> announces {announced} processes and has {len(rows) - 1}"
        raise EventError(path, problem, line=end_line, remedy=DAMAGED)
    for row in rows[1:]:
        if not 2 <= len(row.words) <= PROCESS_COLUMNS:
            raise row.error(f"no cross section in {len(row.words)} numbers", path=path)
    return rows


def element_text(markup: Markup, tag: Tag, where: str) -> tuple[bytes, bytes, Tag]:
    """The text of an element without that of elements in it, those elements raw, and its closing tag.

    Raises:
        TruncatedError: the file ends before the closing tag.
        EventError: a tag that the element cannot hold; it is the next one to be read.
    """
    text: list[bytes] = []
    extras: list[bytes] = []
    while True:
        inner = markup.next()
        text.append(inner.text)
        match inner.category, inner.name:
            case "close", tag.name:
                return b"".join(text), b"".join(extras), inner
            case "open" | "empty", name if name not in STRUCTURE_NAMES:
                content = markup.skip_element(inner) if inner.category == "open" else b""
                extras += [inner.raw, content, b"\n"]
                text.append(b" " + b"\n" * (inner.raw.count(b"\n") + content.count(b"\n")))
            case "stray", _ if b"#" in b"".join(text).rsplit(b"\n", 1)[-1]:  # in a comment
                text.append(inner.raw)
            case "end", _:
                problem = f"<{tag.name}> of line {tag.line} has no </{tag.name}>"
                raise TruncatedError(markup.path, problem, line=inner.line, remedy=CUT)
            case _:
                markup.push_back(inner)
                raise misplaced(inner, where, markup.path)


def resembles(name: str, tag: str) -> bool:
    """Whether the name of a tag may be a damaged one: a letter or two are wrong, missing or too many."""
    if name in ("eventgroup", "initrwgt") or abs(len(name) - len(tag)) > 2:
        return False
    distances = list(range(len(tag) + 1))  # Levenshtein's
    for i, letter in enumerate(name.lower(), start=1):
        diagonal, distances[0] = distances[0], i
        for j, other in enumerate(tag, start=1):
            step = min(distances[j] + 1, distances[j - 1] + 1, diagonal + (letter != other))
            diagonal, distances[j] = distances[j], step
    return distances[-1] <= (2 if len(tag) > 4 else 1)


def misplaced(tag: Tag, where: str, path: str | Path) -> EventError:
    """The error that a tag stands where it doesn't belong."""
    shown = "a lone <" if tag.category == "stray" else shorten(tag.raw.decode("utf-8", "replace"))
    return EventError(path, f"{shown} stands {where}", line=tag.line, remedy=DAMAGED)
