"""One split of a folder of shards, row group by row group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.shards import decode
from femtobarn.events.shards.decode import Arrays, CacheFile, Layout, RowGroup
from femtobarn.events.shards.index import Index, Shard
from femtobarn.events.split import hash_uniform
from femtobarn.events.storage.files import checksum


@dataclass(frozen=True, eq=False)
class ShardedSplit:
    """Events of one split in a folder of shards, or a fraction of them.

    Args:
        folder: the shards.
        index: content of the folder.
        name: train, validation or test.
        slots: objects per event; softer ones are dropped.
        double: inputs of a network are float64, not float32.
        fraction: fraction of the events, the same ones as `femtobarn.events.subset` keeps.
        columns: numeric columns to decode besides those that every event has.
        cache: folder for decoded row groups; None keeps none.
        groups: shard and number of each row group with events of the fraction.
        counts: events by row group and process.
        absolute_weights: sum of the absolute weights of each process.
        verified: size and modification time of every file that was compared with its checksum, by its path.
    """

    folder: Path
    index: Index
    name: str
    slots: int
    double: bool
    fraction: float
    columns: tuple[str, ...]
    cache: Path | None
    groups: list[tuple[int, int]]
    counts: NDArray[np.int64]
    absolute_weights: NDArray[np.float64]
    verified: dict[Path, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        name: str,
        slots: int,
        *,
        index: Index | None = None,
        double: bool = False,
        fraction: float = 1.0,
        columns: Sequence[str] = (),
        cache: Path | None = None,
    ) -> ShardedSplit:
        """One split of a folder of shards.

        Raises:
            FileNotFoundError: no such folder, or it was not completed.
            EventError: the folder is damaged.
            ValueError: the fraction is not in (0, 1], or the shards lack a column.
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"a fraction of the events is above 0 and at most 1; got {fraction:g}")
        folder = Path(folder)
        index = index or Index.read(folder)
        shards = index.sides[name]
        n_full = int(fraction * len(shards))  # shards of which all events belong to the fraction
        groups = [(n, at) for n, shard in enumerate(shards[:n_full]) for at in range(len(shard.groups))]
        counts = [shards[n].groups[at] for n, at in groups]
        absolute_weights = np.zeros(len(index.processes))
        verified: dict[Path, tuple[int, int]] = {}
        for shard in shards[:n_full]:
            absolute_weights += shard.magnitude
        if n_full < len(shards) and n_full < fraction * len(shards):
            file = _verify(folder / shards[n_full].file, shards[n_full], verified)
            for at in range(len(shards[n_full].groups)):
                process, weight, kept = _cut(file, at, index.processes, fraction)
                groups.append((n_full, at))
                counts.append(np.bincount(process[kept], minlength=len(index.processes)).tolist())
                absolute_weights += np.bincount(process[kept], np.abs(weight[kept]), len(index.processes))
        table = np.array(counts, dtype=np.int64).reshape(-1, len(index.processes))
        split = cls(folder, index, name, slots, double, fraction, (), cache, groups, table, absolute_weights, verified)
        return split.with_columns(columns, cache)

    def with_columns(self, columns: Sequence[str], cache: Path | None = None) -> ShardedSplit:
        """The same events, decoded with other columns and kept in another cache.

        Raises:
            ValueError: the shards lack a column; the message lists the available ones.
        """
        if columns and self.index.sides[self.name]:
            available = decode.numeric_columns(self.shard(0))
            for name in columns:
                if name not in available:
                    raise ValueError(
                        f"{self.folder} has no numeric column {name!r}; there are {', '.join(available)}; prepare the "
                        "events again from files with this column (femtobarn prepare)"
                    )
        return replace(self, columns=tuple(columns), cache=cache)

    def shard(self, number: int) -> Path:
        """File of a shard, compared with its checksum at the first use and after a change.

        Raises:
            EventError: the file is missing, or was changed or damaged.
        """
        shard = self.index.sides[self.name][number]
        return _verify(self.folder / shard.file, shard, self.verified)

    @property
    def layout(self) -> Layout:
        """Arrays of decoded events."""
        return decode.array_layout(self.slots, len(self.index.tracks), self.double, len(self.columns))

    def read_group(self, number: int) -> tuple[Arrays, NDArray[np.int64]]:
        """Arrays of a row group, and its rows that belong to the fraction, process by process."""
        n, at = self.groups[number]
        shard = self.index.sides[self.name][n]
        cache = None
        if self.cache is not None:
            path = self.cache / f"{self.name}-{n:04d}-{at:04d}.bin"
            cache = CacheFile(path, f"{shard.sha256}/{at}", self.verified)
        group = RowGroup(at, sum(shard.groups[at]), self.index.processes, self.index.tracks, self.columns)
        arrays = decode.decode_group(lambda: self.shard(n), group, self.layout, cache)
        process = arrays["process"]
        if sum(self.counts[number]) == len(process):
            return arrays, np.argsort(process, kind="stable")
        kept = hash_uniform(self.index.processes, process, arrays["hard"], "subset") < self.fraction
        rows = np.flatnonzero(kept)
        return arrays, rows[np.argsort(process[rows], kind="stable")]


def _verify(file: Path, shard: Shard, verified: dict[Path, tuple[int, int]]) -> Path:
    """Compare a shard with its checksum once: checksums of pages do not cover the metadata of the file."""
    try:
        stat = file.stat()
        state = stat.st_size, stat.st_mtime_ns
        if verified.get(file) != state and checksum(file) != shard.sha256:
            problem = "cannot be read as it was written: its SHA-256 is not the one in the index"
            raise EventError(file, problem, remedy=decode.REMEDY)
    except OSError as error:
        raise EventError(file, f"cannot be read ({error.strerror})", remedy=decode.REMEDY) from None
    verified[file] = state
    return file


def _cut(
    file: Path, group: int, processes: list[str], fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Process and weight of the events of a row group, and which of them belong to a fraction."""
    table = decode.read_row_group(file, group, ["process", "weight", "hard"])
    process = decode.process_codes(table["process"], processes, file).astype(np.int64)
    kept = hash_uniform(processes, process, table["hard"].to_numpy(), "subset") < fraction
    return process, table["weight"].to_numpy(), kept
