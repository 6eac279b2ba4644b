"""Source: one side of a folder of shards, row group by row group."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.shards import decode
from femtobarn.events.shards.decode import Arrays, Cache, Columns
from femtobarn.events.shards.index import Index, Shard
from femtobarn.events.split import lots
from femtobarn.events.storage.files import checksum


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
        verified: size and time of change of every shard that was compared with its checksum, by its path.
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
    verified: dict[Path, tuple[int, int]] = field(default_factory=dict)

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
        verified: dict[Path, tuple[int, int]] = {}
        for shard in shards[:whole]:
            magnitude += shard.magnitude
        if whole < len(shards) and whole < fraction * len(shards):
            file = _verify(folder / shards[whole].file, shards[whole], verified)
            for at in range(len(shards[whole].groups)):
                process, weight, kept = _cut(file, at, index.processes, fraction)
                groups.append((whole, at))
                counts.append(np.bincount(process[kept], minlength=len(index.processes)).tolist())
                magnitude += np.bincount(process[kept], np.abs(weight[kept]), len(index.processes))
        table = np.array(counts, dtype=np.int64).reshape(-1, len(index.processes))
        return cls(folder, index, side, slots, double, fraction, cache, groups, table, magnitude, verified)

    def shard(self, number: int) -> Path:
        """The file of a shard, compared with its checksum when it is asked for the first time, or has changed.

        Raises:
            EventError: the file is missing, or was changed or damaged.
        """
        shard = self.index.sides[self.side][number]
        return _verify(self.folder / shard.file, shard, self.verified)

    @property
    def columns(self) -> Columns:
        """What there is of an event."""
        return decode.columns(self.slots, len(self.index.tracks), self.double)

    def group(self, number: int) -> tuple[Arrays, NDArray[np.int64]]:
        """A row group, and its rows that belong to the fraction, process by process."""
        n, at = self.groups[number]
        shard = self.index.sides[self.side][n]
        cache = None
        if self.cache is not None:
            cache = Cache(self.cache / f"{self.side}-{n:04d}-{at:04d}.bin", f"{shard.sha256}/{at}", self.verified)
        found = decode.group(
            lambda: self.shard(n),
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


def _verify(file: Path, shard: Shard, verified: dict[Path, tuple[int, int]]) -> Path:
    """Reads a whole shard once: checksums of pages leave out what says how to read them."""
    try:
        stat = file.stat()
        state = stat.st_size, stat.st_mtime_ns
        if verified.get(file) != state and checksum(file) != shard.sha256:
            what = "cannot be read as it was written: its SHA-256 is not the one in the index"
            raise EventError(file, what, remedy=decode.REMEDY)
    except OSError as error:
        raise EventError(file, f"cannot be read ({error.strerror})", remedy=decode.REMEDY) from None
    verified[file] = state
    return file


def _cut(
    file: Path, group: int, processes: list[str], fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Process and weight of the events of a row group, and which of them belong to a fraction."""
    table = decode.read_group(file, group, ["process", "weight", "hard"])
    process = decode.process_codes(table, processes, file).astype(np.int64)
    kept = lots(processes, process, table["hard"].to_numpy(), "subset") < fraction
    return process, table["weight"].to_numpy(), kept
