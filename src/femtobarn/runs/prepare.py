"""Preparation: the events of an experiment as shards on disk, to train on more of them than fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from femtobarn.events import Events
from femtobarn.events.file_stream import FileStream, checked_numbers
from femtobarn.events.generation import merge
from femtobarn.events.read import refuse_twice
from femtobarn.events.samples import load_sample
from femtobarn.events.shards.index import Index, write_shards
from femtobarn.events.storage.files import checksum
from femtobarn.experiments.data import DataConfig
from femtobarn.runs.split_checks import Flow, origin
from femtobarn.runs.splits import reader_settings, resolve

#: Bytes of the files that are read, for each shard that is written.
SHARD = 48_000_000

#: Events that are read at a time.
PIECE = 10_000


def prepare(
    data: DataConfig,
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
    paths = [path for paths in resolve(data).values() for path in paths]
    bytes_ = sum(path.stat().st_size for path in paths) if paths else 0
    origins: list[dict[str, Any]] = []
    flow = Flow(data.selection)
    parent = Path(folder).absolute().parent
    parent.mkdir(parents=True, exist_ok=True)

    def events() -> Iterator[Events]:
        for _, piece in checked_numbers(_selected(data, origins, flow), parent):
            yield piece
        if not flow.passed:
            raise ValueError(flow.nothing_left(origin(paths)))

    def provenance() -> dict[str, Any]:
        merged = merge(origins, data.combine)
        return merged if data.selection is None else merged | {"before_selection": flow.before}

    return write_shards(
        events(),
        folder,
        data.split.model_dump(),
        shards=shards or -(-bytes_ // SHARD) or 1,
        compact=compact,
        selection=data.selection,
        provenance=provenance,
        progress=progress,
    )


def _selected(data: DataConfig, origins: list[dict[str, Any]], flow: Flow) -> Iterator[tuple[Path, Events]]:
    for path, events in _pieces(data, origins):
        selected = events if data.selection is None else events.select(data.selection)
        flow.add(events, selected)
        yield path, selected


def _pieces(data: DataConfig, origins: list[dict[str, Any]]) -> Iterator[tuple[Path, Events]]:
    """All events, each piece with its file, and on the way what is known of their origin."""
    if data.sample is not None:
        events = load_sample(data.sample)
        origins.append(dict(events.provenance))
        for piece in _slices(events):
            yield Path(data.sample), piece
        return
    for process, paths in resolve(data).items():
        refuse_twice([{"path": str(path), "sha256": checksum(path)} for path in paths])
        stream = FileStream(paths, reader_settings(data, process))
        yield from stream.pieces(PIECE)
        origins.append(stream.provenance())


def _slices(events: Events) -> Iterator[Events]:
    bare = replace(events, provenance={})
    for start in range(0, len(events), PIECE):
        yield bare[start : start + PIECE]
