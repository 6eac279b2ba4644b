"""Sizes that files promise: compared with what the files hold before any memory is asked for."""

from __future__ import annotations

from pathlib import Path

from femtobarn.events.errors import EventError

#: Bytes that need no check: what any machine has.
UNCHECKED_BYTES = 1 << 28

#: No file of events is compressed by more: padded jets take a tenth, text a fifth.
MAX_COMPRESSION_RATIO = 200


def check_size(path: str | Path, name: str, promised: int, stored: int) -> None:
    """Refuse an array that cannot be in the file, or that only blows it up.

    Args:
        path: the file.
        name: of the array, for the message.
        promised: bytes of the array by its header.
        stored: bytes that the file has for it.

    Raises:
        EventError: more bytes than any compression of events saves.
    """
    if promised > UNCHECKED_BYTES and promised > MAX_COMPRESSION_RATIO * stored:
        problem = f"{name} would take {readable(promised)}, and the file holds {readable(stored)} for that"
        raise EventError(
            path, problem, remedy="its header is damaged, or the file is hostile: make or download it again"
        )


def readable(size: int) -> str:
    """A number of bytes with its unit."""
    value, unit = float(size), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB", "EB"):
        if value < 1000 or unit == "EB":
            break
        value /= 1000
    return f"{value:.3g} {unit}"
