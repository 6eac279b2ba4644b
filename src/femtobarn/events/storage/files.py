"""Files as bytes: plain or compressed, and their checksums."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from femtobarn.events.errors import EventError, TruncatedError

#: Bytes read at once.
CHUNK_BYTES = 1 << 20

#: Longest line of text, or element of a Les Houches file, in bytes: what has no end must not fill the memory.
MAX_LINE_BYTES = 1 << 23

#: First bytes of a gzip file (RFC 1952), and `zlib`'s number for its format.
GZIP_MAGIC = b"\x1f\x8b"
GZIP_FORMAT = 31

#: First bytes of UTF-16 text, as spreadsheets and PowerShell write it.
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

#: First bytes of UTF-8 text of some editors.
UTF8_MARK = b"\xef\xbb\xbf"


def chunks(path: str | Path, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The bytes of a file in pieces of at most `size`, decompressed if it is a gzip file by its first two bytes.

    The memory it takes does not depend on how much a compressed file grows.

    Raises:
        TruncatedError: the compressed data are cut short; everything before the cut has been given out.
        EventError: the file is empty, or the compressed data are damaged.
        FileNotFoundError: no such file.
    """
    with open(path, "rb") as file:
        magic = file.read(len(GZIP_MAGIC))
        file.seek(0)
        if not magic:
            raise EventError(path, "is empty", remedy="an event file has at least one event")
        if magic == GZIP_MAGIC:
            yield from _decompressed(file, path, size)
            return
        while chunk := file.read(size):
            yield chunk


def _decompressed(file: BinaryIO, path: str | Path, size: int) -> Iterator[bytes]:
    """The contents of a gzip file of one or many members, never more than `size` bytes at once."""
    member = zlib.decompressobj(wbits=GZIP_FORMAT)
    packed = b""
    while True:
        packed = packed or file.read(max(size // 4, 1))
        try:
            chunk = member.decompress(packed, size)
        except zlib.error as error:
            problem = f"the compressed data are damaged ({error})"
            raise EventError(path, problem, remedy="copy or download it again") from error
        if chunk:
            yield chunk
        if member.eof:
            packed = member.unused_data.lstrip(b"\0")  # members may be padded with zeros
            while not packed and (more := file.read(CHUNK_BYTES)):
                packed = more.lstrip(b"\0")
            if not packed:
                return
            member = zlib.decompressobj(wbits=GZIP_FORMAT)
        elif not packed and not chunk:
            raise TruncatedError(path, "the compressed file ends early", remedy="copy or download it again")
        else:
            packed = member.unconsumed_tail


def refuse_utf16(path: str | Path, start: bytes) -> None:
    """Refuse text of two bytes a character, which every reader of text would take for garbage.

    Raises:
        EventError: the file begins as UTF-16 text.
    """
    zeros = [place for place, byte in enumerate(start[:4]) if not byte]
    if start.startswith(UTF16_MARKS) or zeros in ([1, 3], [0, 2]):
        problem = "is UTF-16 text (two bytes a character), as spreadsheets and PowerShell write it"
        raise EventError(path, problem, line=1, remedy="save it as UTF-8: iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE")


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stem(path: str | Path) -> str:
    """Name of a file without folder and suffixes: `runs/ttH.lhe.gz` is `ttH`."""
    return Path(path).name.split(".")[0]
