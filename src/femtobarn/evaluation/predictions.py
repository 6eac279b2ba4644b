"""Predictions: columns that a trained model gives for the held-out events, in one Parquet file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.events.storage.atomic import atomic_write, unchecked

#: Columns of every file, beside the columns of the task.
EVENT_COLUMNS = {"process": str, "number": np.int64, "hard": np.int64, "weight": np.float64}
METADATA = b"femtobarn"

#: Metadata key of the checksum; files of earlier versions have another one under `checksum`.
CHECKSUM = "sha256"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model predicts for each held-out event, beside what its metrics need.

    Args:
        process: name of the process of each event.
        number: event number, unique within its process.
        hard: number of the hard-scattering event; copies that were decayed or showered again share it.
        weight: weight of each event in the metrics.
        columns: by name, one number per event: predictions of the task and its targets.
        metadata: facts of the task that the metrics need, such as signal processes or units; JSON types.

    Raises:
        ValueError: columns of different lengths, a value that is not finite, or an event twice.
    """

    process: NDArray[Any]  # of str; beartype would take NDArray[np.str_] for empty strings alone
    number: NDArray[np.int64]
    hard: NDArray[np.int64]
    weight: NDArray[np.float64]
    columns: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any]

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.event_columns.items()}
        lengths |= {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        for name, column in {"weight": self.weight, **self.columns}.items():
            wrong = np.flatnonzero(~np.isfinite(column))
            if wrong.size:
                raise ValueError(
                    f"{name} is {column[wrong[0]]} for event {self.number[wrong[0]]} of {self.process[wrong[0]]} "
                    f"({wrong.size} such of {len(self)}); it must be finite"
                )
        for name in np.unique(self.process):
            members = self.process == name
            if np.unique(self.number[members]).size < members.sum():
                raise ValueError(
                    f"an event of {name} has more than one prediction; event numbers are unique in a process"
                )

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def event_columns(self) -> dict[str, NDArray[Any]]:
        """The columns that every task has."""
        return {name: getattr(self, name) for name in EVENT_COLUMNS}

    def checksum(self) -> str:
        """SHA-256 of all columns and of the metadata, whatever the layout of a file."""
        header = [dict(self.metadata), list(self.columns), self.process.tolist()]
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for column in (self.number, self.hard, self.weight, *self.columns.values()):
            digest.update(np.ascontiguousarray(column.astype(column.dtype.newbyteorder("<"))).tobytes())
        return digest.hexdigest()

    def write(self, path: Path, *, check: Callable[[], object] = unchecked) -> None:
        """Write a Parquet file; it is either complete or absent.

        Args:
            path: the file.
            check: see `femtobarn.events.storage.atomic.atomic_write`.
        """
        columns: dict[str, Any] = {**self.event_columns, **self.columns}
        columns["process"] = pa.array(self.process.tolist()).dictionary_encode()
        metadata = {**self.metadata, CHECKSUM: self.checksum()}
        table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(metadata).encode()})
        with atomic_write(path, check=check) as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read a file of `write`.

        Raises:
            ValueError: not a Parquet file with these columns and metadata, or changed or damaged after it was written.
        """
        table = _read_table(path)
        missing = [name for name in EVENT_COLUMNS if name not in table.column_names]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)}; it has {', '.join(table.column_names)}")
        if METADATA not in (table.schema.metadata or {}):
            raise ValueError(f"{path} lacks the metadata of predictions: not written by femtobarn")
        try:
            metadata = json.loads(table.schema.metadata[METADATA])
            recorded = metadata.pop(CHECKSUM, None)
            predictions = cls(
                process=np.array(table["process"].to_pylist(), dtype=np.str_),
                number=_column(table, "number", np.int64),
                hard=_column(table, "hard", np.int64),
                weight=_column(table, "weight", np.float64),
                columns={
                    name: _column(table, name, np.float64 if pa.types.is_float64(table[name].type) else np.float32)
                    for name in table.column_names
                    if name not in EVENT_COLUMNS
                },
                metadata=metadata,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, pa.ArrowException) as error:
            raise ValueError(f"{path}: {error}") from None
        if recorded not in (None, predictions.checksum()):
            raise ValueError(f"{path} was changed or damaged after it was written (its SHA-256 differs)")
        return predictions


def _read_table(path: Path) -> pa.Table:
    """A Parquet file whose pages are compared with their checksums."""
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; it holds the predictions of a run")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read()
    except (pa.ArrowException, OSError, MemoryError, OverflowError, ValueError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no readable Parquet file ({text})") from None


def _column(table: pa.Table, name: str, dtype: type[np.generic]) -> NDArray[Any]:
    """A column of numbers of this type, without gaps."""
    column = table[name]
    given = column.type
    is_number = pa.types.is_integer(given) or (pa.types.is_floating(given) and issubclass(dtype, np.floating))
    if not is_number or column.null_count:
        raise ValueError(f"{name} holds {given}{' with gaps' if column.null_count else ''}, not plain numbers")
    return np.asarray(column.to_numpy()).astype(dtype)
