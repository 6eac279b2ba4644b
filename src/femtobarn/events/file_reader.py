"""One event file of any format, whole or in pieces, with names, numbers and weights after the reader settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.formats.darkmachines import read_darkmachines, stream_darkmachines
from femtobarn.events.formats.jetclass import read_jetclass
from femtobarn.events.formats.lhe import read_lhe
from femtobarn.events.formats.parquet import provenance_of, read_parquet, stream_parquet
from femtobarn.events.formats.quarkgluon import read_quark_gluon
from femtobarn.events.formats.toptagging import read_top_tagging
from femtobarn.events.generation import rename
from femtobarn.events.numbers import renumber_mask
from femtobarn.events.reader_settings import Format, ReaderSettings
from femtobarn.events.record import Events
from femtobarn.events.storage.files import checksum

#: Called with the number of further bytes that were read.
Progress = Callable[[int], object]

#: Readers of public layouts of jets.
JET_READERS: dict[Format, Callable[..., Events]] = {
    "top_tagging": read_top_tagging,
    "quark_gluon": read_quark_gluon,
    "jetclass": read_jetclass,
}


@dataclass(frozen=True)
class FileReader:
    """Reads files one by one.

    Args:
        settings: how the files are read.
        masks: bits that are flipped in the event numbers of each file, once they are computed.
    """

    settings: ReaderSettings
    masks: dict[Path, int] = field(default_factory=dict, repr=False)

    def events(self, path: Path, progress: Progress = lambda n: None) -> Events:
        """All events of a file.

        Args:
            path: the file.
            progress: called with the number of further bytes that were read.
        """
        events = self._read(path, progress)
        if self.settings.format_of(path) != "darkmachines" or path.suffix == ".gz":
            progress(path.stat().st_size)
        provenance = rename(events.provenance, self.settings.process)
        (file,) = provenance["files"]
        provenance["files"] = [file | {"processes": _counts(events)}]
        return self._renumbered(replace(events, luminosity=self.settings.luminosity, provenance=provenance), path)

    def _read(self, path: Path, progress: Progress) -> Events:
        settings = self.settings
        process, luminosity, tolerant = settings.process, settings.luminosity, settings.tolerant
        match format := settings.format_of(path):
            case "darkmachines":
                return read_darkmachines(
                    path,
                    unit=settings.unit,
                    process=process,
                    luminosity=luminosity,
                    tolerant=tolerant,
                    progress=None if path.suffix == ".gz" else progress,
                )
            case "lhe":
                return read_lhe(
                    path,
                    process=process,
                    luminosity=luminosity,
                    undecayed="skip" if tolerant else "raise",
                    tolerant=tolerant,
                )
            case "parquet":
                events = read_parquet(path, settings.mapping, process=process, unit=settings.unit, tolerant=tolerant)
                return events if settings.mapping else replace(events, weight=events.expected(luminosity))
            case _:
                return JET_READERS[format](path, process=process, unit=settings.unit, tolerant=tolerant)

    def pieces(self, path: Path, size: int, origins: list[dict[str, Any]] | None = None) -> Iterator[Events]:
        """The events of a file, up to `size` at a time and without provenance, which is appended to `origins`.

        Dark Machines text and Parquet of this package are read in memory that does not grow with the file.
        """
        settings = self.settings
        if not settings.is_streamed(path):
            events = self.events(path)
            bare = replace(events, provenance={})
            for start in range(0, len(events), size):
                yield bare[start : start + size]
            if origins is not None:
                origins.append(dict(events.provenance))
            return
        luminosity, process = settings.luminosity, settings.process
        if settings.format_of(path) == "parquet":
            provenance = self.provenance(path)
            pieces = stream_parquet(path, size, process=process)
        else:
            provenance = {}
            pieces = stream_darkmachines(path, size, unit=settings.unit, process=process, luminosity=luminosity)
        counts: dict[str, int] = {}
        for events in pieces:
            for name, count in _counts(events).items():
                counts[name] = counts.get(name, 0) + count
            weight = events.expected(luminosity)
            yield self._renumbered(replace(events, weight=weight, luminosity=luminosity), path)
        total = sum(counts.values())
        file: dict[str, Any] = {"path": str(path), "sha256": checksum(path), "events": total, "processes": counts}
        if "files" in provenance:
            file["made_of"] = provenance["files"]
        if origins is not None:
            origins.append({**provenance, "files": [file]})

    def provenance(self, path: Path) -> dict[str, Any]:
        """Origin of the events of a file of this package."""
        return rename(provenance_of(path), self.settings.process)

    def numbered(self, path: Path, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Event numbers of a file, mixed with its checksum if the settings ask for it."""
        if not self.settings.renumber:
            return numbers
        if path not in self.masks:
            self.masks[path] = renumber_mask(checksum(path))
        return numbers ^ self.masks[path]

    def _renumbered(self, events: Events, path: Path) -> Events:
        if not self.settings.renumber:
            return events
        return replace(events, number=self.numbered(path, events.number), hard=self.numbered(path, events.hard))


def _counts(events: Events) -> dict[str, int]:
    names, counts = np.unique(events.process, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
