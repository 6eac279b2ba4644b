"""Source: one side of a folder of shards, row group by row group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.events import decode
from femtobarn.events.decode import Arrays, Columns
from femtobarn.events.shards import Index
from femtobarn.events.split import lots


@dataclass(frozen=True, eq=False)
class Source:
    """Events of one side, or a fraction of them.

    Args:
        folder: of the shards.
        index: what is in it.
        side: train, validation or test.
        slots: objects of an event; softer ones are left out.
        double: what a network sees is float64, not float32.
        fraction: share of the events, the same ones as `femtobarn.events.subset` keeps.
        cache: folder for decoded row groups; None keeps none.
        groups: shard and number of each row group that the fraction reaches into.
        counts: events by row group and process.
        magnitude: sum of the absolute weights of each process.
    """

    folder: Path
    index: Index
    side: str
    slots: int
    double: bool
    fraction: float
    cache: Path | None
    groups: list[tuple[int, int]]
    counts: NDArray[np.int64]
    magnitude: NDArray[np.float64]

    @classmethod
    def open(
        cls,
        folder: str | Path,
        side: str,
        slots: int,
        *,
        index: Index | None = None,
        double: bool = False,
        fraction: float = 1.0,
        cache: Path | None = None,
    ) -> Source:
        """One side of a folder of shards.

        Raises:
            FileNotFoundError: no such folder, or it was not completed.
            EventError: the folder is damaged.
            ValueError: the fraction is not in (0, 1].
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"a fraction of the events is above 0 and at most 1; got {fraction:g}")
        folder = Path(folder)
        index = index or Index.read(folder)
        shards = index.sides[side]
        whole = int(fraction * len(shards))  # shards
        groups = [(n, at) for n, shard in enumerate(shards[:whole]) for at in range(len(shard.groups))]
        counts = [shards[n].groups[at] for n, at in groups]
        magnitude = np.zeros(len(index.processes))
        for shard in shards[:whole]:
            magnitude += shard.magnitude
        if whole < len(shards) and whole < fraction * len(shards):
            for at in range(len(shards[whole].groups)):
                process, weight, kept = _cut(folder / shards[whole].file, at, index.processes, fraction)
                groups.append((whole, at))
                counts.append(np.bincount(process[kept], minlength=len(index.processes)).tolist())
                magnitude += np.bincount(process[kept], np.abs(weight[kept]), len(index.processes))
        table = np.array(counts, dtype=np.int64).reshape(-1, len(index.processes))
        return cls(folder, index, side, slots, double, fraction, cache, groups, table, magnitude)

    @property
    def columns(self) -> Columns:
        """What there is of an event."""
        return decode.columns(self.slots, len(self.index.tracks), self.double)

    def group(self, number: int) -> tuple[Arrays, NDArray[np.int64]]:
        """A row group, and its rows that belong to the fraction, process by process."""
        n, at = self.groups[number]
        shard = self.index.sides[self.side][n]
        cache = None if self.cache is None else self.cache / f"{self.side}-{n:04d}-{at:04d}.bin"
        found = decode.group(
            self.folder / shard.file,
            at,
            sum(shard.groups[at]),
            self.index.processes,
            self.columns,
            self.index.tracks,
            cache,
        )
        process = found["process"]
        if sum(self.counts[number]) == len(process):
            return found, np.argsort(process, kind="stable")
        kept = np.flatnonzero(lots(self.index.processes, process, found["hard"], "subset") < self.fraction)
        return found, kept[np.argsort(process[kept], kind="stable")]


def _cut(
    file: Path, group: int, processes: list[str], fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Process and weight of the events of a row group, and which of them belong to a fraction."""
    with pq.ParquetFile(file) as parquet:
        table = parquet.read_row_group(group, ["process", "weight", "hard"])
    names = table["process"].to_pylist()
    process = np.array([processes.index(name) for name in names], dtype=np.int64)
    kept = lots(processes, process, table["hard"].to_numpy(), "subset") < fraction
    return process, table["weight"].to_numpy(), kept
