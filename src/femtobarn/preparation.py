"""Preparation: the events of an experiment as shards on disk, to train on more of them than fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import femtobarn
from femtobarn.events import EventError, Events, read, stream
from femtobarn.events.files import checksum
from femtobarn.events.parquet import provenance_of
from femtobarn.events.read import format_of
from femtobarn.events.record import merge
from femtobarn.events.shards import Index, write_shards
from femtobarn.sample import LUMINOSITY, resolve
from femtobarn.source import Data

#: Bytes of the files that are read, for each shard that is written.
SHARD = 48_000_000

#: Events that are read at a time.
PIECE = 10_000


def prepare(
    data: Data,
    folder: str | Path,
    *,
    shards: int | None = None,
    compact: bool = False,
    progress: Callable[[int], object] = lambda events: None,
) -> Index:
    """Reads the events that the data section of an experiment stands for, piece by piece, and writes them as shards.

    Selection and split are made here, once and for all. Dark Machines text and Parquet of this package are read in
    memory that does not grow with the files; of other formats the largest file has to fit.

    Args:
        data: which events; `fraction` plays no part, it is for the trainings.
        folder: to write; see `femtobarn.events.shards`.
        shards: number of files to deal the events to; by default one for 48 MB read.
        compact: keep what a detector resolves, as `femtobarn.events.write_parquet` does.
        progress: told how many more events have come, and 0 for each shard that is written.

    Raises:
        ValueError: the folder is there already, no event is left, or the data are prepared events themselves.
        FileNotFoundError: a path or glob that no file matches.
        EventError: events that can't be right.
    """
    if data.prepared is not None:
        raise ValueError(f"{data.prepared} holds prepared events already")
    told: list[dict[str, Any]] = []
    paths = [path for paths in resolve(data).values() for path in paths]
    bytes_ = sum(path.stat().st_size for path in paths) if paths else 0
    return write_shards(
        _selected(data, told),
        folder,
        data.split.model_dump(),
        shards=shards or -(-bytes_ // SHARD) or 1,
        compact=compact,
        selection=data.selection,
        provenance=lambda: merge(told),
        progress=progress,
    )


def _selected(data: Data, told: list[dict[str, Any]]) -> Iterator[Events]:
    for events in _pieces(data, told):
        yield events if data.selection is None else events.select(data.selection)


def _pieces(data: Data, told: list[dict[str, Any]]) -> Iterator[Events]:
    """All events, and on the way what is to be told of their origin."""
    if data.sample is not None:
        events = femtobarn.shipped(data.sample)
        told.append(dict(events.provenance))
        yield from _slices(events)
        return
    sums: dict[str, Path] = {}
    luminosity = data.luminosity or LUMINOSITY
    for process, paths in resolve(data).items():
        for path in paths:
            digest = checksum(path)
            if digest in sums:
                what = f"holds the same as {sums[digest]}"
                raise EventError(path, what, remedy="give every file once, or its events count twice")
            sums[digest] = path
            kind = data.format or format_of(path)
            if kind in ("darkmachines", "parquet") and data.mapping is None and not data.tolerant:
                origin = provenance_of(path) if kind == "parquet" else {}
                count = 0
                for _, events in stream(
                    path, PIECE, format=kind, process=process, luminosity=luminosity, unit=data.unit
                ):
                    yield events
                    count += len(events)
                file: dict[str, Any] = {"path": str(path), "sha256": digest, "events": count}
                if "files" in origin:
                    file["made_of"] = origin["files"]
                told.append({**origin, "files": [file]})
            else:
                events = read(
                    path,
                    format=kind,
                    mapping=data.mapping,
                    process=process,
                    luminosity=luminosity,
                    unit=data.unit,
                    tolerant=data.tolerant,
                )
                told.append(dict(events.provenance))
                yield from _slices(events)


def _slices(events: Events) -> Iterator[Events]:
    bare = replace(events, provenance={})
    for start in range(0, len(events), PIECE):
        yield bare[start : start + PIECE]
