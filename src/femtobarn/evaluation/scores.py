"""Scores: what a trained model says about the held-out events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.events.storage.atomic import atomic_write, unchecked

PREFIX = "probability_"
COLUMNS = ("process", "number", "hard", "weight", "score")
METADATA = b"femtobarn"


@dataclass(frozen=True, eq=False)
class Scores:
    """The score of each held-out event, beside what is needed to judge it.

    Args:
        process: name of the process of each event.
        number: event number, unique within its process.
        hard: number of the hard-scattering event; copies that were decayed or showered again share it.
        weight: expected events that each stands for; each process sums to its full yield at `luminosity`.
        score: the higher, the more like signal.
        signal: the processes that count as signal; all others are background.
        probabilities: what the model says for each of its classes, by class.
        luminosity: integrated luminosity of the weights in 1/fb.

    Raises:
        ValueError: columns of different lengths, a number that is not finite, an event twice, a process without
            weight, no signal or no background.
    """

    process: NDArray[Any]  # of str; beartype would take NDArray[np.str_] for empty strings alone
    number: NDArray[np.int64]
    hard: NDArray[np.int64]
    weight: NDArray[np.float64]
    score: NDArray[np.float32]
    signal: tuple[str, ...]
    probabilities: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    luminosity: float = 100.0

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        lengths |= {PREFIX + name: len(column) for name, column in self.probabilities.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        for name in ("weight", "score"):
            wrong = np.flatnonzero(~np.isfinite(getattr(self, name)))
            if wrong.size:
                raise ValueError(
                    f"{name} is {getattr(self, name)[wrong[0]]} for event {self.number[wrong[0]]} of "
                    f"{self.process[wrong[0]]} ({wrong.size} such of {len(self)}); it must be finite"
                )
        names = [str(name) for name in np.unique(self.process)]
        absent = [name for name in self.signal if name not in names]
        if not self.signal or absent:
            raise ValueError(
                f"no events of the signal {', '.join(absent) or '(none named)'}; there are {', '.join(names)}"
            )
        if len(names) == len(set(self.signal)):
            raise ValueError(f"all events are signal ({', '.join(names)}); a judgement needs a background too")
        if "total" in names:
            raise ValueError("a process is called 'total', which is what the sum of all backgrounds is called")
        for name in names:
            mine = self.process == name
            if (yielded := self.weight[mine].sum()) <= 0:
                raise ValueError(f"weights of {name} sum to {yielded:g}; an expected yield is positive")
            if np.unique(self.number[mine]).size < mine.sum():
                raise ValueError(f"an event of {name} has more than one score; event numbers are unique in a process")

    def __len__(self) -> int:
        return len(self.score)

    @property
    def processes(self) -> tuple[str, ...]:
        """Names of the processes: the signal first, then the backgrounds in alphabetical order."""
        return (*self.signal, *self.backgrounds)

    @property
    def backgrounds(self) -> tuple[str, ...]:
        """Names of the background processes, sorted."""
        return tuple(str(name) for name in np.unique(self.process) if name not in self.signal)

    @property
    def is_signal(self) -> NDArray[np.bool_]:
        """True for events of a signal process."""
        return np.isin(self.process, self.signal)

    def checksum(self) -> str:
        """SHA-256 of all columns, the signal and the luminosity, whatever the layout of a file."""
        about = [list(self.signal), float(self.luminosity), list(self.probabilities), self.process.tolist()]
        digest = hashlib.sha256(json.dumps(about).encode())
        for name, dtype in (("number", "<i8"), ("hard", "<i8"), ("weight", "<f8"), ("score", "<f4")):
            digest.update(getattr(self, name).astype(dtype).tobytes())
        for column in self.probabilities.values():
            digest.update(column.astype("<f4").tobytes())
        return digest.hexdigest()

    def write(self, path: Path, *, check: Callable[[], object] = unchecked) -> None:
        """Writes `scores.parquet`; the file is either complete or not there.

        Args:
            path: the file.
            check: see `femtobarn.events.storage.atomic.atomic_write`.
        """
        columns: dict[str, Any] = {name: getattr(self, name) for name in COLUMNS}
        columns["process"] = pa.array(self.process.tolist()).dictionary_encode()
        columns |= {PREFIX + name: column for name, column in self.probabilities.items()}
        about = {"signal": list(self.signal), "luminosity": self.luminosity, "checksum": self.checksum()}
        table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(about).encode()})
        with atomic_write(path, check=check) as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Reads what `write` wrote.

        Raises:
            ValueError: not a Parquet file with these columns, without the names of the signal processes, or changed or
                damaged after it was written.
        """
        table = _table(path)
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)}; it has {', '.join(table.column_names)}")
        metadata = table.schema.metadata or {}
        if METADATA not in metadata:
            raise ValueError(f"{path} does not say which processes are signal: not written by femtobarn")
        try:
            about = json.loads(metadata[METADATA])
            scores = cls(
                process=np.array(table["process"].to_pylist(), dtype=np.str_),
                number=_column(table, "number", np.int64),
                hard=_column(table, "hard", np.int64),
                weight=_column(table, "weight", np.float64),
                score=_column(table, "score", np.float32),
                signal=tuple(about["signal"]),
                probabilities={
                    name.removeprefix(PREFIX): _column(table, name, np.float32)
                    for name in table.column_names
                    if name.startswith(PREFIX)
                },
                luminosity=float(about["luminosity"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError, pa.ArrowException) as error:
            raise ValueError(f"{path}: {error}") from None
        if about.get("checksum", scores.checksum()) != scores.checksum():
            raise ValueError(f"{path} was changed or damaged after it was written (its SHA-256 differs)")
        return scores


def _table(path: Path) -> pa.Table:
    """A Parquet file whose pages are compared with their checksums."""
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; it holds the scores of a run")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read()
    except (pa.ArrowException, OSError, MemoryError, OverflowError, ValueError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no readable Parquet file ({text})") from None


def _column(table: pa.Table, name: str, dtype: type[np.generic]) -> NDArray[Any]:
    """A column of numbers of this kind, without gaps."""
    column = table[name]
    kind = column.type
    right = pa.types.is_integer(kind) or (pa.types.is_floating(kind) and issubclass(dtype, np.floating))
    if not right or column.null_count:
        raise ValueError(f"{name} holds {kind}{' with gaps' if column.null_count else ''}, not plain numbers")
    return np.asarray(column.to_numpy()).astype(dtype)
