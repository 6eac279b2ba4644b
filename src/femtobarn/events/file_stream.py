"""Many files as one sample, piece by piece: a first pass over what they state, then their events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from femtobarn.events.combine import NOTHING, Contribution, Tally, Treatment, refuse_mixture, tally, treat, treatments
from femtobarn.events.file_reader import FileReader
from femtobarn.events.formats.parquet import luminosity_of
from femtobarn.events.generation import is_stated, merge
from femtobarn.events.numbers import NumberLog, refuse
from femtobarn.events.reader_settings import ReaderSettings
from femtobarn.events.record import Events

#: Rows of a table that are counted at a time.
ROWS_PER_BATCH = 1 << 17


class FileStream:
    """The events of many files in pieces, with the weights and numbers that `femtobarn.events.read` gives them.

    Memory does not grow with the files: what they state of their normalisation, and the sums that combine them, are
    read in a first pass, which is left out where no process is in several of them.

    Args:
        paths: the files.
        settings: how they are read and combined.
    """

    def __init__(self, paths: Sequence[Path], settings: ReaderSettings) -> None:
        self.paths, self.settings, self.reader = list(paths), settings, FileReader(settings)
        self.origins: list[dict[str, Any]] = []
        self._stated: dict[str, str] = {}  # process -> a file that states its normalisation
        self._treatments = self._settle()

    def provenance(self) -> dict[str, Any]:
        """The provenance of all, once all events have come."""
        return merge(self.origins, self.settings.combine)

    def pieces(self, size: int) -> Iterator[tuple[Path, Events]]:
        """The events, up to `size` at a time, each piece with its file.

        Raises:
            EventError: bad input; or a file does not state its normalisation while others of its process do.
        """
        self.origins.clear()
        for path, treatment, stated in zip(self.paths, self._treatments, self._own, strict=True):
            for events in self.reader.pieces(path, size, self.origins):
                if self.settings.combine == "average":
                    for name in events.processes:
                        if name in self._stated and name not in stated:
                            refuse_mixture(name, self._stated[name], str(path))
                yield path, treat(events, treatment)

    def _settle(self) -> list[dict[str, Treatment]]:
        self._own: list[set[str]] = [set() for _ in self.paths]
        if len(self.paths) < 2:
            return [{} for _ in self.paths]
        by_file = [self._contributions(path) for path in self.paths]
        for own, contributions in zip(self._own, by_file, strict=True):
            for name, contribution in contributions.items():
                if is_stated(contribution.record):
                    own.add(name)
                    self._stated.setdefault(name, contribution.label)
        names = [name for contributions in by_file for name in contributions]
        several = {name for name in names if names.count(name) > 1}
        for at, (path, contributions) in enumerate(zip(self.paths, by_file, strict=True)):
            shared = {name: part for name, part in contributions.items() if name in several}
            if shared and self.settings.format_of(path) == "parquet":
                tallies = self._tallies(path)
                shared = {name: part._replace(tally=tallies.get(name, NOTHING)) for name, part in shared.items()}
            by_file[at] = shared
        return treatments(by_file, self.settings.combine, self.settings.luminosity)

    def _contributions(self, path: Path) -> dict[str, Contribution]:
        """What a file states of its processes; tables are not summed yet."""
        if not self.settings.may_state_normalisation(path):
            return {}
        if self.settings.format_of(path) == "parquet":
            records = self.reader.provenance(path).get("processes", {})
            return {name: Contribution(str(path), record, NOTHING) for name, record in records.items()}
        events = self.reader.events(path)
        sums = tally(events.weight, events.number, events.hard)
        return {name: Contribution(str(path), record, sums) for name, record in events.provenance["processes"].items()}

    def _tallies(self, path: Path) -> dict[str, Tally]:
        """Sums over the events of each process of a file of this package."""
        sums: dict[str, Tally] = {}
        try:
            with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
                scale = self.settings.luminosity / luminosity_of(path)
                for rows in file.iter_batches(
                    batch_size=ROWS_PER_BATCH, columns=["process", "weight", "number", "hard"]
                ):
                    columns = [rows.column(name).to_numpy(zero_copy_only=False) for name in ("number", "hard")]
                    number, hard = (np.asarray(column, dtype=np.int64) for column in columns)
                    weight = np.asarray(rows.column("weight").to_numpy(zero_copy_only=False), np.float64) * scale
                    names = np.asarray(rows.column("process").cast(pa.string()).to_numpy(zero_copy_only=False), np.str_)
                    if self.settings.process is not None:
                        names = np.full(len(names), self.settings.process)
                    number, hard = self.reader.numbered(path, number), self.reader.numbered(path, hard)
                    for name in np.unique(names).tolist():
                        where = names == name
                        more = tally(weight[where], number[where], hard[where])
                        sums[name] = sums[name] + more if name in sums else more
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError):
            for _ in self.reader.pieces(path, ROWS_PER_BATCH):  # raises the error with its place
                pass
            raise
        return sums


def checked_numbers(pieces: Iterator[tuple[Path, Events]], folder: Path) -> Iterator[tuple[Path, Events]]:
    """The pieces, and an error behind the last one if event numbers repeat within a process.

    Args:
        pieces: events with their file.
        folder: where the numbers are kept meanwhile.

    Raises:
        EventError: numbers that repeat, with their count and the files.
    """
    with NumberLog(folder) as log:
        for path, events in pieces:
            log.add(str(path), events)
            yield path, events
        for process, repeats in sorted(log.repeated().items()):
            raise refuse(process, repeats)
