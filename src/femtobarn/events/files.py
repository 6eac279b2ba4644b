"""Files as bytes: plain or compressed, and their checksums."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from femtobarn.events.errors import EventError


@contextmanager
def opened(path: str | Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, decompressed if it is a gzip file by its first two bytes.

    Raises:
        EventError: the file is empty, or the compressed data are cut short or damaged.
        FileNotFoundError: no such file.
    """
    with open(path, "rb") as raw:
        magic = raw.read(2)
        raw.seek(0)
        if not magic:
            raise EventError(path, "is empty", remedy="an event file has at least one event")
        if magic != b"\x1f\x8b":
            yield raw
            return
        try:
            with gzip.open(raw) as unpacked:
                yield io.BufferedReader(cast(Any, unpacked), 1 << 20)
        except EOFError as error:
            raise EventError(path, "the compressed file ends early", remedy="copy or download it again") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            what = f"the compressed data are damaged ({error})"
            raise EventError(path, what, remedy="copy or download it again") from error


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stem(path: str | Path) -> str:
    """Name of a file without folder and suffixes: `runs/ttH.lhe.gz` is `ttH`."""
    return Path(path).name.split(".")[0]
