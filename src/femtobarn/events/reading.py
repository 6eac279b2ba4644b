"""One file of any format as events, whole or in pieces, with names, numbers and weights as the settings ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.formats.darkmachines import read_darkmachines, stream_darkmachines
from femtobarn.events.formats.darkmachines_lines import Unit
from femtobarn.events.formats.jetclass import read_jetclass
from femtobarn.events.formats.lhe import read_lhe
from femtobarn.events.formats.mapping import Mapping
from femtobarn.events.formats.parquet import provenance_of, read_parquet, stream_parquet
from femtobarn.events.formats.quarkgluon import read_quark_gluon
from femtobarn.events.formats.toptagging import read_top_tagging
from femtobarn.events.generation import rename
from femtobarn.events.numbers import renumber_mask
from femtobarn.events.record import Events
from femtobarn.events.storage.files import checksum

Format = Literal["darkmachines", "parquet", "lhe", "top_tagging", "quark_gluon", "jetclass"]

#: Format by the end of a file's name.
SUFFIXES: dict[str, Format] = {
    ".csv": "darkmachines",
    ".csv.gz": "darkmachines",
    ".txt": "darkmachines",
    ".txt.gz": "darkmachines",
    ".parquet": "parquet",
    ".lhe": "lhe",
    ".lhe.gz": "lhe",
    ".h5": "top_tagging",
    ".hdf5": "top_tagging",
    ".npz": "quark_gluon",
    ".root": "jetclass",
}

#: Public layouts of jets.
JETS: dict[Format, Callable[..., Events]] = {
    "top_tagging": read_top_tagging,
    "quark_gluon": read_quark_gluon,
    "jetclass": read_jetclass,
}


@dataclass(frozen=True)
class Reading:
    """How files are read; see `femtobarn.events.read`."""

    format: Format | None = None
    mapping: Mapping | None = None
    process: str | None = None
    luminosity: float = 100.0
    unit: Unit | None = None
    tolerant: bool = False
    renumber: bool = False
    masks: dict[Path, int] = field(default_factory=dict, repr=False)

    def format_of(self, path: Path) -> Format:
        """The format that was asked for, or that of the suffix."""
        return self.format or format_of(path)

    def states(self, path: Path) -> bool:
        """Whether a file may state how its events are normalised."""
        kind = self.format_of(path)
        return kind == "lhe" or (kind == "parquet" and self.mapping is None)

    def is_streamed(self, path: Path) -> bool:
        """Whether a file is read in memory that does not grow with it."""
        kind = self.format_of(path)
        if self.mapping is not None or self.tolerant:
            return False
        return kind == "darkmachines" or (kind == "parquet" and self.unit is None)

    def events(self, path: Path, progress: Callable[[int], object] = lambda n: None) -> Events:
        """All events of a file.

        Args:
            path: the file.
            progress: gets the number of further bytes that were read.
        """
        kind = self.format_of(path)
        match kind:
            case "darkmachines":
                tell = None if path.suffix == ".gz" else progress
                events = read_darkmachines(
                    path,
                    unit=self.unit,
                    process=self.process,
                    luminosity=self.luminosity,
                    tolerant=self.tolerant,
                    progress=tell,
                )
            case "lhe":
                undecayed: Literal["skip", "raise"] = "skip" if self.tolerant else "raise"
                events = read_lhe(
                    path,
                    process=self.process,
                    luminosity=self.luminosity,
                    undecayed=undecayed,
                    tolerant=self.tolerant,
                )
            case "parquet":
                events = read_parquet(path, self.mapping, process=self.process, unit=self.unit, tolerant=self.tolerant)
                if self.mapping is None:
                    events = replace(events, weight=events.expected(self.luminosity))
            case "top_tagging" | "quark_gluon" | "jetclass":
                events = JETS[kind](path, process=self.process, unit=self.unit, tolerant=self.tolerant)
        if kind != "darkmachines" or path.suffix == ".gz":
            progress(path.stat().st_size)
        provenance = rename(events.provenance, self.process)
        (file,) = provenance["files"]
        provenance["files"] = [file | {"processes": _counts(events)}]
        return self._renumbered(replace(events, luminosity=self.luminosity, provenance=provenance), path)

    def pieces(self, path: Path, size: int, origin: list[dict[str, Any]] | None = None) -> Iterator[Events]:
        """The events of a file, up to `size` at a time and without provenance, which is appended to `origin`.

        Dark Machines text and Parquet of this package are read in memory that does not grow with the file.
        """
        if not self.is_streamed(path):
            events = self.events(path)
            bare = replace(events, provenance={})
            for start in range(0, len(events), size):
                yield bare[start : start + size]
            if origin is not None:
                origin.append(dict(events.provenance))
            return
        if self.format_of(path) == "parquet":
            provenance = self.provenance(path)
            pieces = stream_parquet(path, size, process=self.process)
        else:
            provenance = {}
            pieces = stream_darkmachines(path, size, unit=self.unit, process=self.process, luminosity=self.luminosity)
        counts: dict[str, int] = {}
        for events in pieces:
            for name, count in _counts(events).items():
                counts[name] = counts.get(name, 0) + count
            weight = events.expected(self.luminosity)
            yield self._renumbered(replace(events, weight=weight, luminosity=self.luminosity), path)
        total = sum(counts.values())
        file: dict[str, Any] = {"path": str(path), "sha256": checksum(path), "events": total, "processes": counts}
        if "files" in provenance:
            file["made_of"] = provenance["files"]
        if origin is not None:
            origin.append({**provenance, "files": [file]})

    def provenance(self, path: Path) -> dict[str, Any]:
        """What a file of this package says about the origin of its events."""
        return rename(provenance_of(path), self.process)

    def numbered(self, path: Path, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Event numbers of a file, mixed with its checksum if that was asked for."""
        if not self.renumber:
            return numbers
        if path not in self.masks:
            self.masks[path] = renumber_mask(checksum(path))
        return numbers ^ self.masks[path]

    def _renumbered(self, events: Events, path: Path) -> Events:
        if not self.renumber:
            return events
        return replace(events, number=self.numbered(path, events.number), hard=self.numbered(path, events.hard))


def _counts(events: Events) -> dict[str, int]:
    names, counts = np.unique(events.process, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def format_of(path: str | Path) -> Format:
    """The format of a file by its suffix.

    Raises:
        EventError: a suffix of no known format.
    """
    name = Path(path).name.lower()
    for suffix, kind in SUFFIXES.items():
        if name.endswith(suffix):
            return kind
    raise EventError(
        path,
        "has a suffix of no known format",
        remedy=f"name it by data.format (--format); known are {', '.join(SUFFIXES)}",
    )
