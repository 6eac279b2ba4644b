"""Checksum that an exported file carries of itself, so that one flipped bit is noticed before anything is computed.

The property `sha256` of the file's metadata holds the SHA-256 of the file's bytes with 64 zeros in place of its own 64
digits. Any program can recompute it: replace the digits, hash the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from femtobarn.export.facts import KEY

#: Key of the metadata that holds the checksum.
CHECKSUM = "sha256"

#: What the digits are while the file is hashed.
BLANK = b"0" * 64

#: The property as it stands in the file: field 1, the key, then field 2, 64 characters.
PROPERTY = re.compile(rb"(\x0a\x06sha256\x12\x40)([0-9a-f]{64})")

#: Field numbers of an ONNX model.
GRAPH, METADATA = 7, 14


def digest(data: bytes) -> str:
    """SHA-256 of the bytes of a file with its own checksum blanked."""
    return hashlib.sha256(PROPERTY.sub(rb"\g<1>" + BLANK, data)).hexdigest()


def write_checksum(path: Path) -> str:
    """Write the checksum into a file whose property holds zeros, and return it.

    Raises:
        ValueError: the property is not there exactly once.
    """
    data = path.read_bytes()
    places = list(PROPERTY.finditer(data))
    if len(places) != 1 or places[0][2] != BLANK:
        raise ValueError(f"{path} has no room for a checksum")
    own = digest(data)
    path.write_bytes(data[: places[0].start(2)] + own.encode() + data[places[0].end(2) :])
    return own


def read_verified(path: str | Path) -> bytes:
    """Bytes of a file that `femtobarn export` wrote, unchanged since.

    Raises:
        FileNotFoundError: no such file.
        ValueError: changed bytes, no checksum, no file of femtobarn's, or no ONNX file at all.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no model file {path}")
    data = Path(path).read_bytes()
    places = PROPERTY.findall(data)
    if not places:
        raise ValueError(f"{path} {_reason(data)}")
    own = digest(data)
    if len(places) > 1 or places[0][1] != own.encode():
        raise ValueError(
            f"{path} is damaged or was changed: its SHA-256 is {own}, and it was written with "
            f"{places[0][1].decode()}; copy it again, or export the run again"
        )
    return data


def _reason(data: bytes) -> str:
    """Description of a file that has no checksum."""
    try:
        fields = [(number, data[start:stop]) for number, start, stop in _fields(data)]
    except ValueError:
        fields = []
    if GRAPH not in (number for number, _ in fields):
        return "is no ONNX file that can be run: it is another kind of file, cut off or damaged"
    if any(number == METADATA and KEY.encode() in content for number, content in fields):
        return (
            "has no checksum (key sha256 of its metadata): it is damaged, or an earlier femtobarn wrote it; export the "
            "run again"
        )
    return "was not written by `femtobarn export`: it does not say what it wants"


def _fields(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a protobuf message.

    Raises:
        ValueError: no such message.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            _, stop = _varint(data, at)
        elif tag & 7 == 2:
            length, at = _varint(data, at)
            stop = at + length
        else:
            raise ValueError("a field of another type than models have")
        if stop > len(data) or not tag >> 3:
            raise ValueError("a field that does not end")
        yield tag >> 3, at, stop
        at = stop


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number with seven bits per byte, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError("a number that does not end")
