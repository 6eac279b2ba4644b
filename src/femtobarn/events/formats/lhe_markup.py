"""Markup of Les Houches files, read in pieces: tags, the text between them, comments, and the line of everything.

Such files are XML in name only: headers hold run cards with bare `<`, comments hold dashes. So a tag is taken for one
where the format has tags, and an element whose content nobody reads is skipped as raw text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from femtobarn.events.errors import EventError, TruncatedError, shorten
from femtobarn.events.storage.files import UTF8_MARK, refuse_utf16

#: Longest tag, comment, skipped element or text between two tags, in bytes: run cards and tables of weights are MB.
MAX_MARKUP_BYTES = 1 << 26

DAMAGED = "the file is damaged: copy or generate it again"
CUT = "it ends early; copy or generate it again, or keep its whole events with data.tolerant: true (--tolerant)"

#: A tag; a quote that is not closed before the next `<` is none. Possessive: what does not match fails at once.
TAG = re.compile(
    rb"<(?P<close>/?)(?P<name>[A-Za-z_][\w.:-]*+)(?:\s(?:[^<>\"']++|\"[^\"<]*+\"|'[^'<]*+')*+)?+/?>", re.DOTALL
)

#: What is no space.
CONTENT = re.compile(rb"\S")

#: Tags that no skipped element contains: where they come, its end is missing.
STRUCTURE = re.compile(rb"</?(?:event|init|LesHouchesEvents)(?=[\s>/])")

Category = Literal["open", "close", "empty", "stray", "end"]


class Tag(NamedTuple):
    """A tag, what it is, and the text before it; comments in that text are spaces."""

    category: Category  # stray: a < that begins no tag; end: of the file
    name: str
    raw: bytes
    line: int
    text: bytes
    text_line: int


class Markup:
    """Position in the bytes of a Les Houches file.

    Args:
        pieces: the bytes, in any pieces.
        path: the file, for errors.
        max_bytes: longest tag, comment, skipped element or text between two tags.
    """

    def __init__(self, pieces: Iterator[bytes], path: str | Path, *, max_bytes: int = MAX_MARKUP_BYTES) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.line = 1
        self.truncation: TruncatedError | None = None  # of the compressed data
        self._pieces = pieces
        self._buffer = b""
        self._at = 0
        self._ended = False
        self._pending: Tag | None = None
        self._record: list[bytes] | None = None
        self._fill()
        refuse_utf16(path, self._buffer[:4])
        if self._buffer.startswith(UTF8_MARK):
            self._at = len(UTF8_MARK)

    @property
    def start(self) -> str:
        """The first line of the file that is not blank, as far as it was read."""
        lines = self._buffer[self._at :].lstrip().split(b"\n", 1)
        return lines[0].strip().decode("utf-8", "replace")

    def record(self) -> None:
        """Keep all that is read from here on, for `recorded`."""
        self._record = []

    def recorded(self) -> bytes:
        """Everything that was read since `record`."""
        pieces, self._record = self._record or [], None
        return b"".join(pieces)

    def push_back(self, tag: Tag) -> None:
        """Give a tag out once more, without the text before it."""
        self._pending = tag._replace(text=b"", text_line=tag.line)

    def next(self) -> Tag:
        """The next tag, and the text before it.

        Raises:
            TruncatedError: a comment, or the compressed data, have no end.
            EventError: text or a tag without an end.
        """
        if self._pending is not None:
            tag, self._pending = self._pending, None
            return tag
        self._drop_blank()
        text: list[bytes] = []
        text_line = self.line
        while True:
            at = self._find(b"<", 0)
            if at < 0:
                text.append(self._take(len(self._buffer) - self._at))
                return Tag("end", "", b"", self.line, b"".join(text), text_line)
            text.append(self._take(at))
            if end := self._hidden_end():
                hidden = self._take(end)
                text.append(b" " + b"\n" * hidden.count(b"\n"))
                continue
            line = self.line
            category, name, raw = self._tag()
            return Tag(category, name, raw, line, b"".join(text), text_line)

    def skip_element(self, tag: Tag) -> bytes:
        """The content of an element and its closing tag, raw; elements of the same name may be nested.

        Raises:
            EventError: there is no closing tag before a tag of events, or before the end of the file.
        """
        own = rb"</?" + re.escape(tag.name.encode()) + rb"(?=[\s>/])"
        boundary = re.compile(rb"<!--|<!\[CDATA\[|" + own + rb"|" + STRUCTURE.pattern)
        pieces: list[bytes] = []
        depth = 1
        while depth:
            at = self._search(boundary)
            if at < 0 or STRUCTURE.match(self._buffer, self._at + at):
                raise self._unclosed(tag, at)
            pieces.append(self._take(at))
            if end := self._hidden_end():
                pieces.append(self._take(end))
                continue
            category, name, raw = self._tag()
            pieces.append(raw)
            if name == tag.name:
                depth += {"open": 1, "close": -1}.get(category, 0)
        return b"".join(pieces)

    def _unclosed(self, tag: Tag, at: int) -> EventError:
        """The error that an element has no end, at the end of the file or before a tag of the structure."""
        problem = f"<{tag.name}> has no </{tag.name}>"
        if at < 0:
            return TruncatedError(self.path, problem, line=tag.line, remedy=CUT)
        line = self.line + self._buffer.count(b"\n", self._at, self._at + at)
        return EventError(self.path, f"{problem} before line {line}", line=tag.line, remedy=DAMAGED)

    def _drop_blank(self) -> None:
        """Pass by blank lines, however many there are."""
        while not self._ended and not CONTENT.search(self._buffer, self._at):
            self.line += self._buffer.count(b"\n", self._at)
            self._at = len(self._buffer)
            self._fill()

    def _hidden_end(self) -> int:
        """Length of the comment, CDATA section or instruction that begins here; 0 if none does."""
        self._ahead(len(b"<![CDATA["))
        for begin, end in ((b"<!--", b"-->"), (b"<![CDATA[", b"]]>"), (b"<?", b"?>"), (b"<!DOCTYPE", b">")):
            if self._buffer.startswith(begin, self._at):
                at = self._find(end, len(begin))
                if at < 0:
                    problem = f"{begin.decode()} has no {end.decode()}"
                    raise TruncatedError(self.path, problem, line=self.line, remedy=CUT)
                return at + len(end)
        return 0

    def _tag(self) -> tuple[Category, str, bytes]:
        """The tag that begins here; a lone < if it is none."""
        while True:
            match = TAG.match(self._buffer, self._at)
            if match:
                raw = self._take(match.end() - self._at)
                empty = raw.endswith(b"/>")
                return "close" if match["close"] else "empty" if empty else "open", match["name"].decode(), raw
            further = self._buffer.find(b"<", self._at + 1) >= 0
            if self._ended and not further and self._buffer.find(b">", self._at) < 0:
                raise TruncatedError(self.path, "the last tag has no >", line=self.line, remedy=CUT)
            if self._ended or further:
                self._take(1)
                return "stray", "", b"<"
            self._fill()

    def _ahead(self, count: int) -> None:
        while len(self._buffer) - self._at < count and not self._ended:
            self._fill()

    def _find(self, pattern: bytes, begin: int) -> int:
        """Distance to the next `what` at least `begin` bytes ahead; -1 if there is none to the end of the file."""
        while True:
            at = self._buffer.find(pattern, self._at + begin)
            if at >= 0:
                return at - self._at
            if self._ended:
                return -1
            begin = max(begin, len(self._buffer) - self._at - len(pattern) + 1)
            self._fill()

    def _search(self, pattern: re.Pattern[bytes]) -> int:
        """Distance to the next match; -1 if there is none to the end of the file."""
        while True:
            match = pattern.search(self._buffer, self._at)
            # what follows the name of a tag decides, so it must be there
            if match and (self._ended or match.end() < len(self._buffer)):
                return match.start() - self._at
            if self._ended:
                return -1
            self._fill()

    def _take(self, count: int) -> bytes:
        """So many bytes from here on, and the position behind them."""
        taken = self._buffer[self._at : self._at + count]
        self._at += count
        self.line += taken.count(b"\n")
        if self._record is not None:
            self._record.append(taken)
        return taken

    def _fill(self) -> None:
        """As many bytes again as wait here already, so that all of them are moved a few times at most."""
        waiting = len(self._buffer) - self._at
        if waiting > self.max_bytes:
            beginning = shorten(self._buffer[self._at : self._at + 60].decode("utf-8", "replace"))
            problem = f"there is no end within {self.max_bytes:.2g} bytes to {beginning}"
            raise EventError(self.path, problem, line=self.line, remedy="no line or tag of an event is that long")
        pieces = [self._buffer[self._at :]]
        more = 0
        while more <= waiting:
            try:
                piece = next(self._pieces, None)
            except TruncatedError as error:
                self.truncation, piece = error, None
            if piece is None:
                self._ended = True
                break
            pieces.append(piece)
            more += len(piece)
        self._buffer, self._at = b"".join(pieces), 0
