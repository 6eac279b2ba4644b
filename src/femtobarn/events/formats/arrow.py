"""Columns of Parquet files as arrays of NumPy: nested fields by name, integers as integers, gaps where they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.formats import conversion
from femtobarn.events.formats.row_checks import RowChecks

#: Names of columns that a message lists.
MAX_NAMES = 40

Row = NDArray[np.integer[Any]] | None


@dataclass(frozen=True)
class ColumnReader:
    """Columns of a table by name; a field of a record is `record.field`, or `record_field` as NanoAOD names it.

    Args:
        table: columns that were read.
        names: names of all columns of the file, nested fields included.
        checks: bad rows of the table.
    """

    table: pa.Table
    names: tuple[str, ...]
    checks: RowChecks

    @property
    def path(self) -> str | Path:
        """The file, for messages."""
        return self.checks.path

    def array(self, name: str) -> pa.Array:
        """A column in one piece.

        Raises:
            EventError: the file has no such column.
        """
        place = resolve(name, self.table.schema)
        if place is None:
            raise EventError(self.path, f"has no column {name!r}", remedy=f"it has {listed(self.names)}")
        array = plain_encoding(self.table[place[0]].combine_chunks())
        for field in place[1:]:
            array = _field(array, field)
        return array

    def numbers(self, name: str, *, truth: bool = False) -> NDArray[np.float64]:
        """A column with a number per row; `truth`: True and False count as 1 and 0.

        Raises:
            EventError: no such column, a missing value, or no numbers.
        """
        return numbers(self._complete(name), name, self.checks, truth=truth)

    def integers(self, name: str) -> NDArray[np.int64]:
        """A column with an integer per row.

        Raises:
            EventError: no such column, a missing value, or one that is no integer.
        """
        return integers(self._complete(name), name, self.checks)

    def context(self, name: str) -> NDArray[Any]:
        """A column with a further number per row: integers stay integers.

        Raises:
            EventError: no such column, a missing value, or no numbers.
        """
        array = self._complete(name)
        dtype = array.type
        if pa.types.is_integer(dtype) or (pa.types.is_decimal(dtype) and dtype.scale == 0):
            return integers(array, name, self.checks)
        return numbers(array, name, self.checks, truth=True)

    def texts(self, name: str, *, numbers: bool) -> NDArray[Any]:
        """A column with a name per row: text, bytes in UTF-8 or, with `numbers`, numbers.

        Raises:
            EventError: no such column, a missing value, bytes that are no text, or another type.
        """
        return texts(self._complete(name), name, self.checks, numbers=numbers)

    def _complete(self, name: str) -> pa.Array:
        array = self.array(name)
        if array.null_count:
            missing = array.is_null().to_numpy(zero_copy_only=False)
            self.checks.refuse(missing, lambda row: f"{name} is missing", "every row needs a value")
        return array


def resolve(name: str, schema: pa.Schema) -> tuple[str, ...] | None:
    """Path of a column in nested records, or None: `Jet.pt` and `Jet_pt` are the field `pt` of `Jet`."""
    return _resolve(name, {field.name: field.type for field in schema})


def _resolve(name: str, types: dict[str, pa.DataType]) -> tuple[str, ...] | None:
    if name in types:
        return (name,)
    for separator in re.finditer(r"[._]", name):
        outer = name[: separator.start()]
        inner = None if outer not in types else _resolve(name[separator.end() :], fields(types[outer]))
        if inner is not None:
            return (outer, *inner)
    return None


def fields(dtype: pa.DataType) -> dict[str, pa.DataType]:
    """Fields of a record, or of a list of records, by name."""
    if is_list(dtype):
        dtype = dtype.value_type
    return {field.name: field.type for field in dtype} if pa.types.is_struct(dtype) else {}


def names(schema: pa.Schema) -> tuple[str, ...]:
    """Names of all columns, with the fields of records as `record.field`."""

    def walk(types: dict[str, pa.DataType], prefix: str = "") -> Iterator[str]:
        for name, dtype in types.items():
            inner = fields(dtype)
            yield from walk(inner, f"{prefix}{name}.") if inner else [prefix + name]

    return tuple(walk({field.name: field.type for field in schema}))


def listed(columns: tuple[str, ...]) -> str:
    """Names of columns for a message."""
    return ", ".join(columns[:MAX_NAMES]) + (", ..." if len(columns) > MAX_NAMES else "") or "none"


def is_list(dtype: pa.DataType) -> bool:
    """Whether a type holds lists, of any or of a fixed size."""
    return bool(pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype))


def value_type(dtype: pa.DataType) -> pa.DataType:
    """Type of the values of a column; of lists, the type of their entries."""
    return dtype.value_type if is_list(dtype) else dtype


def plain_encoding(array: pa.Array) -> pa.Array:
    """An array without a dictionary of its values."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _field(array: pa.Array, name: str) -> pa.Array:
    """A field of records, or of lists of records."""
    if not is_list(array.type):
        return plain_encoding(pc.struct_field(array, name))
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]))
    values = plain_encoding(pc.struct_field(array.flatten(), name))
    return pa.LargeListArray.from_arrays(offsets, values, mask=array.is_null() if array.null_count else None)


def list_lengths(array: pa.Array, name: str, checks: RowChecks) -> NDArray[np.int64]:
    """Entries of every list of a column; a list that is missing is refused and has none."""
    if array.null_count:
        missing = array.is_null().to_numpy(zero_copy_only=False)
        checks.refuse(missing, lambda row: f"{name} is missing", "an event without objects has an empty list")
    lengths: NDArray[Any] = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)


def flattened(array: pa.Array, bad: NDArray[np.bool_]) -> pa.Array:
    """Entries of the lists of the good rows, one after another."""
    good = array.filter(pa.array(~bad)) if bad.any() else array
    return plain_encoding(good.flatten())


def missing(array: pa.Array) -> NDArray[np.bool_] | None:
    """Where values are null; None where none is."""
    return array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None


def numbers(
    array: pa.Array, name: str, checks: RowChecks, row: Row = None, *, truth: bool = False
) -> NDArray[np.float64]:
    """Values as float64, NaN where they are missing.

    Raises:
        EventError: a column of another type than numbers.
    """
    dtype = array.type
    if pa.types.is_null(dtype):
        return np.full(len(array), np.nan)
    if not (pa.types.is_floating(dtype) or pa.types.is_integer(dtype) or pa.types.is_decimal(dtype)) and not (
        truth and pa.types.is_boolean(dtype)
    ):
        raise wrong_type(array, name, checks, row, "no numbers")
    if pa.types.is_boolean(dtype):
        array = array.cast(pa.int8())
    elif pa.types.is_integer(dtype) and not array.null_count:
        exact: NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return exact.astype(np.float64)
    values: NDArray[Any] = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values.astype(np.float64)


def integers(array: pa.Array, name: str, checks: RowChecks, row: Row = None) -> NDArray[np.int64]:
    """Values as int64, 0 where they are missing; a value that is no integer is refused with its row.

    Raises:
        EventError: a value that is no integer, or a column of another type.
    """
    dtype = array.type
    if pa.types.is_null(dtype):
        return np.zeros(len(array), dtype=np.int64)
    if pa.types.is_decimal(dtype):
        return _whole_decimals(array, name, checks, row)
    if not (pa.types.is_floating(dtype) or pa.types.is_integer(dtype)):
        raise wrong_type(array, name, checks, row, "no integers")
    if pa.types.is_float16(dtype):
        array = array.cast(pa.float64(), safe=False)
    complete = pc.fill_null(array, pa.scalar(0, array.type)) if array.null_count else array
    return conversion.integers(complete.to_numpy(zero_copy_only=False), name, checks, row)


def _whole_decimals(array: pa.Array, name: str, checks: RowChecks, row: Row) -> NDArray[np.int64]:
    values = [0 if value is None else value for value in array.to_pylist()]
    limit = conversion.MAX_INTEGER
    wrong = np.array([value != int(value) or not -limit - 1 <= value <= limit for value in values], dtype=np.bool_)
    checks.refuse_entries(wrong, row, lambda at: f"{name} is {values[at]}", f"{conversion.WHOLE} can be read here")
    return np.array([0 if bad else int(value) for value, bad in zip(values, wrong, strict=True)], dtype=np.int64)


def texts(array: pa.Array, name: str, checks: RowChecks, *, numbers: bool) -> NDArray[Any]:
    """Values as text, empty where they are missing; bytes are decoded, integers written out.

    Raises:
        EventError: bytes that are no UTF-8, or a column of another type.
    """
    dtype = array.type
    text = pa.types.is_string(dtype) or pa.types.is_large_string(dtype)
    binary = pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype) or pa.types.is_fixed_size_binary(dtype)
    number = pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype)
    if not (text or binary or (numbers and number)):
        raise wrong_type(array, name, checks, None, "no names" if numbers else "no text")
    encoded = array.dictionary_encode()
    words = [_word(value) for value in encoded.dictionary.to_pylist()]
    undecoded = np.array([word is None for word in words] + [False], dtype=np.bool_)
    index = pc.fill_null(encoded.indices, len(words)).to_numpy(zero_copy_only=False)
    checks.refuse(undecoded[index], lambda row: f"{name} is {array[row].as_py()!r}, no name in UTF-8")
    names: NDArray[Any] = np.array([word or "" for word in words] + [""], dtype=np.str_)
    values: NDArray[Any] = names[index]
    return values


def _word(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            return value.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            return None
    return None if value != value else conversion.plain(value)


def wrong_type(array: pa.Array, name: str, checks: RowChecks, row: Row, expected: str) -> EventError:
    """The error for a column of a wrong type, with its first value."""
    problem, remedy = f"column {name!r} holds {str(array.type)[:80]}, {expected}", "write the column in another type"
    valid = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    if not len(valid):
        return EventError(checks.path, problem, remedy=remedy)
    at = int(valid[0])
    value = shorten(str(array[at].as_py()))
    return EventError(checks.path, f"{problem}: {value}", row=checks.row(at, row), remedy=remedy)
