"""Blocks of Dark Machines text as columns, all lines at once."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from femtobarn.events.formats.darkmachines_lines import CODES, FIELDS, VALUES, Block, decimal, faults, is_name
from femtobarn.events.reader_settings import Unit
from femtobarn.physics.objects import PADDING

#: Decimal digits that a float64 distinguishes.
MAX_DIGITS = 15

#: Arrow reads such numbers, which the format does not have.
HEXADECIMAL = re.compile(rb"0[xX]")

NAME = pa.dictionary(pa.int32(), pa.string())


class _Objects(NamedTuple):
    kind: NDArray[np.int8]
    energy: NDArray[np.float64]
    pt: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]


def fast(text: bytes, line: int, unit: Unit | None) -> Block | None:
    """All events of a block without fault, or nothing where anything is unusual.

    A line has five fields before its objects, and an object has five. So what stands before the objects, and the
    objects on lines of their own, are two tables of five columns, and a parser of tables does the work.
    """
    for untidy, tidy in ((b"\r\n", b"\n"), (b"; ", b";"), (b", ", b","), (b";\n", b"\n")):
        if untidy in text:
            text = text.replace(untidy, tidy)
    if not text.endswith(b"\n") or HEXADECIMAL.search(text):
        return None
    raw = np.frombuffer(text, dtype=np.uint8).copy()
    newline = np.flatnonzero(raw == ord("\n"))
    separator = np.flatnonzero(raw == ord(";"))
    before = np.searchsorted(separator, newline)
    fields = np.diff(before, prepend=0)
    counts = fields - (len(FIELDS) - 1)
    if counts.min() < 0:
        return None
    first = before - fields
    raw[separator] = ord("\n")
    raw[separator[first[:, None] + np.arange(len(FIELDS) - 1)]] = ord(",")
    last = separator[np.minimum(first + len(FIELDS) - 1, len(separator) - 1)]
    body = np.where(counts > 0, last, newline) + 1
    begin = np.concatenate([[0], newline[:-1] + 1])
    try:
        event = _table(_joined(raw, begin, body), (pa.int64(), NAME, pa.float64(), pa.string(), pa.float64()))
        objects = _objects(_joined(raw, body, newline + 1), unit)
        if len(event[0]) != len(newline) or len(objects.kind) != counts.sum():
            return None
        if not all(map(is_name, event[1].dictionary.to_pylist())):
            return None
        block = Block(
            line=line + np.arange(len(newline)),
            number=event[0].to_numpy(),
            process=np.array(event[1].dictionary.to_pylist(), dtype=np.str_)[event[1].indices.to_numpy()],
            weight=event[2].to_numpy(),
            met=_shifted(event[3]) if unit != "GeV" else _floats(event[3]),
            phi_met=event[4].to_numpy(),
            counts=counts,
            kind=objects.kind,
            energy=objects.energy,
            pt=objects.pt,
            eta=objects.eta,
            phi=objects.phi,
        )
    except (pa.ArrowInvalid, ValueError):
        return None
    return None if faults(block, unit) else block


def _joined(raw: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pieces of a text one after another."""
    view = raw.data
    pieces = [view[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    return np.frombuffer(b"".join(pieces), dtype=np.uint8)


def _objects(raw: NDArray[np.uint8], unit: Unit | None) -> _Objects:
    """Columns of lines that hold one object each."""
    number, text = pa.float64(), pa.string()
    if not len(raw):
        nothing = np.zeros(0)
        return _Objects(nothing.astype(np.int8), nothing, nothing, nothing, nothing)
    energy = pt = None
    if unit == "GeV" or _longest_energy(raw) <= MAX_DIGITS:
        word, *columns = _table(raw, (NAME, number, number, number, number))
        energy, pt = (column.to_numpy() for column in columns[:2])
        if unit != "GeV":
            energy, pt = _thousandth(energy), _thousandth(pt)
    if energy is None or pt is None:
        word, *columns = _table(raw, (NAME, text, text, number, number))
        energy, pt = (_shifted(column) for column in columns[:2])
    kinds = np.array([CODES.get(name, PADDING) for name in word.dictionary.to_pylist()], dtype=np.int8)
    return _Objects(kinds[word.indices.to_numpy()], energy, pt, columns[2].to_numpy(), columns[3].to_numpy())


def _longest_energy(raw: NDArray[np.uint8]) -> int:
    """Characters of the longest E or pT; more than any number has where a line has not five values."""
    commas = np.flatnonzero(raw == ord(","))
    if len(commas) % (len(VALUES) - 1):
        return len(raw)
    lengths = np.diff(commas.reshape(-1, len(VALUES) - 1), axis=1)[:, :2] - 1
    return int(lengths.max(initial=0))


def _table(raw: NDArray[np.uint8], types: tuple[pa.DataType, ...]) -> list[pa.Array]:
    names = [str(column) for column in range(len(types))]
    table = csv.read_csv(
        pa.BufferReader(pa.py_buffer(raw)),
        read_options=csv.ReadOptions(use_threads=False, block_size=len(raw) + 1, column_names=names),
        parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=dict(zip(names, types, strict=True)), null_values=[], strings_can_be_null=False
        ),
    )
    return [column.combine_chunks() for column in table.columns]


def _thousandth(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Numbers of up to 15 decimal digits divided by 1000 and correctly rounded, or nothing where they are no such.

    A whole number over a power of ten, both exact in float64, is rounded once: Clinger, *How to read floating point
    numbers accurately*, PLDI 1990.
    """
    for places in range(7):
        power = 10.0**places
        integer = np.rint(values * power)
        if not (np.abs(integer) < 10.0**MAX_DIGITS).all():
            return None
        if (integer / power == values).all():
            divided: NDArray[np.float64] = integer / (power * 1000)
            return divided
    return None


def _shifted(column: pa.Array) -> NDArray[np.float64]:
    """Texts of numbers with the decimal point three places to the left, so that not the last bit is lost."""
    try:
        return _floats(pc.binary_join_element_wise(column, "e-3", ""))
    except pa.ArrowInvalid:  # a number with an exponent of its own
        powers = pc.or_(pc.match_substring(column, "e"), pc.match_substring(column, "E"))
    places = np.flatnonzero(powers.to_numpy(zero_copy_only=False))
    shifted = [decimal(text, -3) for text in column.take(pa.array(places)).to_pylist()]
    values = _floats(pc.binary_join_element_wise(pc.if_else(powers, "0", column), "e-3", "")).copy()
    values[places] = shifted
    return values


def _floats(column: pa.Array) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return values
