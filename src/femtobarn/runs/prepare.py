"""Events of an experiment as shards on disk, to train on more events than fit into memory."""

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
from femtobarn.events.shards.index import Index
from femtobarn.events.shards.writing import write_shards
from femtobarn.events.storage.files import checksum
from femtobarn.experiments.data import DataConfig
from femtobarn.runs.split_checks import Flow, origin
from femtobarn.runs.splits import reader_settings, resolve
from femtobarn.simulate.amplitudes import draw_amplitudes

#: Bytes of the files that are read per shard that is written.
BYTES_PER_SHARD = 48_000_000

#: Events that are read at a time.
PIECE_EVENTS = 10_000


def prepare_shards(
    data: DataConfig,
    folder: str | Path,
    *,
    shards: int | None = None,
    compact: bool = False,
    progress: Callable[[int], object] = lambda events: None,
    piece_events: int = PIECE_EVENTS,
) -> Index:
    """Read the events of the data section of an experiment, piece by piece, and write them as shards.

    Selection and split are applied here. Dark Machines text and Parquet of this package are read in memory that does
    not grow with the files; of other formats the largest file has to fit.

    Args:
        data: the events; `fraction` is not used, it belongs to trainings.
        folder: output; see `femtobarn.events.shards`.
        shards: number of files; default: one per 48 MB read.
        compact: keep the resolution of a detector, as `femtobarn.events.write_parquet` does.
        progress: called with the number of events of each piece, and with 0 for each shard that is written.
        piece_events: events that are read at a time.

    Raises:
        ValueError: the folder exists, no event is left, or the data are prepared events themselves.
        FileNotFoundError: a path or glob that no file matches.
        EventError: events that cannot be right.
    """
    if data.prepared is not None:
        raise ValueError(f"{data.prepared} holds prepared events already")
    if data.noise is not None:
        raise ValueError("data.noise is added when a training reads its events; leave it out to prepare them")
    paths = [path for paths in resolve(data).values() for path in paths]
    n_bytes = sum(path.stat().st_size for path in paths) if paths else 0
    origins: list[dict[str, Any]] = []
    flow = Flow(data.selection)
    parent = Path(folder).absolute().parent
    parent.mkdir(parents=True, exist_ok=True)

    def events() -> Iterator[Events]:
        for _, piece in checked_numbers(_selected(data, origins, flow, piece_events), parent):
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
        shards=shards or -(-n_bytes // BYTES_PER_SHARD) or 1,
        compact=compact,
        selection=data.selection,
        provenance=provenance,
        progress=progress,
    )


def _selected(
    data: DataConfig, origins: list[dict[str, Any]], flow: Flow, piece_events: int
) -> Iterator[tuple[Path, Events]]:
    for path, events in _pieces(data, origins, piece_events):
        selected = events if data.selection is None else events.select(data.selection)
        flow.add(events, selected)
        yield path, selected


def _pieces(data: DataConfig, origins: list[dict[str, Any]], piece_events: int) -> Iterator[tuple[Path, Events]]:
    """All events, each piece with its file; the provenance of the files is appended to `origins`."""
    if data.sample is not None or data.amplitudes is not None:
        events = draw_amplitudes(data.amplitudes.plan()) if data.amplitudes else load_sample(str(data.sample))
        origins.append(dict(events.provenance))
        for piece in _slices(events, piece_events):
            yield Path(data.sample or "amplitudes"), piece
        return
    for process, paths in resolve(data).items():
        refuse_twice([{"path": str(path), "sha256": checksum(path)} for path in paths])
        stream = FileStream(paths, reader_settings(data, process))
        yield from stream.pieces(piece_events)
        origins.append(stream.provenance())


def _slices(events: Events, piece_events: int) -> Iterator[Events]:
    bare = replace(events, provenance={})
    for start in range(0, len(events), piece_events):
        yield bare[start : start + piece_events]
