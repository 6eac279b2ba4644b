"""Writing of a folder of shards: events are assigned to splits and shards by hash, and shuffled within each shard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.formats.parquet import KEY, as_table, layout
from femtobarn.events.record import TRACKS, Events
from femtobarn.events.shards.index import INDEX, Index, Shard, fingerprint_of
from femtobarn.events.split import SPLITS, assign_split, event_hash
from femtobarn.events.storage.atomic import partial_path, remove_leftovers
from femtobarn.events.storage.files import checksum

#: Bytes of a row group before compression.
GROUP_BYTES = 4 << 20

#: Largest number of events in a row group, which is decoded at once.
MAX_GROUP_EVENTS = 8192

#: Bytes in memory before they are appended to the shards.
MAX_BUFFER_BYTES = 64 << 20

#: Columns of an event that do not belong to its context.
EVENT_COLUMNS = ("number", "hard", "process", "weight")


def write_shards(
    pieces: Iterable[Events],
    folder: str | Path,
    fractions: Mapping[str, float],
    *,
    shards: int = 1,
    compact: bool = False,
    selection: str | None = None,
    provenance: Callable[[], Mapping[str, Any]] = dict,
    progress: Callable[[int], object] = lambda events: None,
    max_group_events: int = MAX_GROUP_EVENTS,
    max_buffer_bytes: int = MAX_BUFFER_BYTES,
) -> Index:
    """Write pieces of events to the splits and shards of a folder, with a memory independent of their number.

    Events with weight 0 are dropped from training and validation, where they have no effect. Columns that only some
    pieces have are dropped, and the provenance names them.

    Args:
        pieces: events with weights for one luminosity.
        folder: folder to write, which appears complete or not at all. Twice its size is needed while it is written.
        fractions: fractions of `train`, `validation` and `test`.
        shards: number of files; one file is in memory at a time.
        compact: as in `write_parquet`.
        selection: selection that the events passed, written to the index.
        provenance: called after the last piece.
        progress: called with the number of events of each piece, and with 0 for each shard that is written.
        max_group_events: largest number of events in a row group, the unit of reading.
        max_buffer_bytes: bytes in memory before they are appended to the shards.

    Raises:
        ValueError: the folder exists, there are no events, or luminosities differ.
        EventError: an event number occurs twice in a process.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} is there already; delete it or choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    part = partial_path(folder)
    part.mkdir()  # which follows no link that somebody left at this name
    try:
        spool = _Spool(part / "spool", fractions, shards, compact, max_buffer_bytes)
        with spool:
            for events in pieces:
                spool.add(events)
                progress(len(events))
        if not spool.processes:
            raise ValueError("no events to prepare" + (f" that pass {selection}" if selection else ""))
        names = sorted(spool.processes)
        sides = {name: _write_split(spool, part, name, names, max_group_events, progress) for name in SPLITS}
        shutil.rmtree(part / "spool")
        index = _index(spool, sides, selection, provenance())
        (part / INDEX).write_text(json.dumps(asdict(index)), encoding="utf-8")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return index


def _index(spool: _Spool, sides: dict[str, list[Shard]], selection: str | None, provenance: Mapping[str, Any]) -> Index:
    origin = dict(provenance)
    if spool.left_out:
        origin["left_out"] = sorted({*origin.get("left_out", []), *spool.left_out})
    index = Index(
        processes=sorted(spool.processes),
        luminosity=spool.luminosity,
        sides=sides,
        kinds=sorted(spool.kinds),
        tracks=[name for name in TRACKS if name in spool.objects],
        objects=spool.objects,
        split=dict(spool.fractions),
        selection=selection,
        provenance=json.loads(json.dumps(origin)),
    )
    return replace(index, fingerprint=fingerprint_of(asdict(index)))


def _write_split(
    spool: _Spool,
    folder: Path,
    split: str,
    processes: list[str],
    max_group_events: int,
    progress: Callable[[int], object],
) -> list[Shard]:
    shards = []
    for number in range(spool.shards[split]):
        table, seed = spool.table(split, number), (SPLITS.index(split), number)
        shards.append(_write(table, folder, f"{split}/{number:04d}.parquet", processes, seed, max_group_events))
        progress(0)
    return shards


class _Spool:
    """Events on their way to the shards, in files to which pieces are appended."""

    def __init__(
        self, folder: Path, fractions: Mapping[str, float], shards: int, compact: bool, max_buffer_bytes: int
    ) -> None:
        folder.mkdir(parents=True)
        self.folder, self.fractions, self.compact = folder, fractions, compact
        self.max_buffer_bytes = max_buffer_bytes
        self.shards = {name: max(1, round(shards * fractions[name])) for name in SPLITS}
        self.processes: set[str] = set()
        self.kinds: set[int] = set()
        self.luminosity = 0.0
        self.schema: pa.Schema | None = None
        self.absent: set[str] = set()  # columns of the first piece that others do not have
        self.more: set[str] = set()  # columns that the first piece does not have
        self.buffer: list[tuple[pa.Table, NDArray[np.int64]]] = []
        self.writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    @property
    def left_out(self) -> set[str]:
        return self.absent | self.more

    @property
    def objects(self) -> list[str]:
        assert self.schema is not None
        return [f.name for f in self.schema if pa.types.is_list(f.type) and f.name not in self.absent]

    def add(self, events: Events) -> None:
        if not len(events):
            return
        if self.luminosity not in (0.0, events.luminosity):
            raise ValueError(f"weights for different luminosities: {self.luminosity} and {events.luminosity} 1/fb")
        self.luminosity = events.luminosity
        self.processes.update(events.processes)
        self.kinds.update(np.unique(ak.flatten(events.particles.kind)).tolist())
        split = assign_split(events, self.fractions)
        n_shards = np.array([self.shards[name] for name in SPLITS])
        shard = (event_hash(events, "subset") * n_shards[split]).astype(np.int64)
        kept = (events.weight != 0) | (split == SPLITS.index("test"))
        ordered = events.particles[ak.argsort(events.particles.pt, ascending=False, stable=True)]
        first = np.concatenate([[0], np.cumsum(n_shards)])
        self.buffer.append(
            (
                self._uniform(as_table(_with(events, ordered), compact=self.compact)).filter(pa.array(kept)),
                (first[split] + shard)[kept],
            )
        )
        if sum(table.nbytes for table, _ in self.buffer) > self.max_buffer_bytes:
            self.flush()

    def _uniform(self, table: pa.Table) -> pa.Table:
        table = table.set_column(table.column_names.index("process"), "process", table["process"].cast(pa.string()))
        if self.schema is None:
            self.schema = table.schema
        self.more.update(set(table.column_names) - set(self.schema.names))
        columns = []
        for field in self.schema:
            if field.name in table.column_names:
                columns.append(table[field.name].cast(field.type))
            else:
                self.absent.add(field.name)
                columns.append(pa.nulls(len(table), field.type))
        return pa.Table.from_arrays(columns, schema=self.schema)

    def flush(self) -> None:
        """Append the buffer to the files of the shards."""
        if not self.buffer:
            return
        table = pa.concat_tables([table for table, _ in self.buffer]).combine_chunks()
        shard = np.concatenate([numbers for _, numbers in self.buffer])
        self.buffer = []
        order = np.argsort(shard, kind="stable")
        table, shard = table.take(pa.array(order)), shard[order]
        for number in np.unique(shard).tolist():
            begin, end = np.searchsorted(shard, [number, number + 1]).tolist()
            if number not in self.writers:
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                path = self.folder / f"{number}.arrow"
                self.writers[number] = pa.ipc.new_stream(path, self.schema, options=options)
            self.writers[number].write_table(table.slice(begin, end - begin))

    def table(self, name: str, number: int) -> pa.Table:
        """All events of a shard; their file is deleted."""
        assert self.schema is not None
        before = sum(self.shards[earlier] for earlier in SPLITS[: SPLITS.index(name)])
        path = self.folder / f"{before + number}.arrow"
        if not path.is_file():
            return self.schema.empty_table().drop_columns(sorted(self.absent))
        with pa.ipc.open_stream(path) as reader:
            table = reader.read_all().combine_chunks()
        path.unlink()
        return table.drop_columns(sorted(self.absent))

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            if failure[0] is None:
                self.flush()
        finally:
            for writer in self.writers.values():
                writer.close()


def _with(events: Events, particles: ak.Array) -> Events:
    columns = (events.context, events.weight, events.process, events.number, events.hard, events.luminosity)
    return Events(particles, *columns)


def _write(
    table: pa.Table, folder: Path, file: str, names: list[str], seed: tuple[int, int], max_group_events: int
) -> Shard:
    """Write one shard, shuffled."""
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    code = pc.index_in(table["process"].combine_chunks(), pa.array(names)).to_numpy(zero_copy_only=False)
    _check_duplicates(table, code, path)
    order = np.random.default_rng(seed).permutation(len(table))
    table, code = table.take(pa.array(order)), code[order].astype(np.int64)
    weight = table["weight"].to_numpy()
    process = pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), pa.array(names))
    table = table.set_column(table.column_names.index("process"), "process", process)
    metadata = json.loads(table.schema.metadata[KEY])
    metadata = {key: metadata[key] for key in ("version", "luminosity", "provenance")}
    metadata["objects"] = [field.name for field in table.schema if pa.types.is_list(field.type)]
    metadata["context"] = [name for name in table.column_names if name not in (*metadata["objects"], *EVENT_COLUMNS)]
    table = table.replace_schema_metadata({KEY: json.dumps(metadata).encode()})
    rows = min(max_group_events, max(1, GROUP_BYTES * len(table) // max(table.nbytes, 1)))
    pq.write_table(table, path, row_group_size=rows, **layout(table.schema))
    return Shard(
        file=file,
        bytes=path.stat().st_size,
        sha256=checksum(path),
        groups=[
            np.bincount(code[start : start + rows], minlength=len(names)).tolist()
            for start in range(0, len(code), rows)
        ],
        weight=np.bincount(code, weight, len(names)).tolist(),
        magnitude=np.bincount(code, np.abs(weight), len(names)).tolist(),
    )


def _check_duplicates(table: pa.Table, code: NDArray[Any], path: Path) -> None:
    """Raise an error for an event that was given twice: equal numbers are in one shard."""
    columns = [table[name].to_numpy() for name in ("phi_MET", "MET", "number")]
    order = np.lexsort((*columns, code))
    again = np.logical_and.reduce([np.diff(column[order]) == 0 for column in (*columns, code)])
    if again.any():
        row = int(order[1:][again][0])
        problem = f"event {columns[2][row]} of {table['process'][row]} comes twice in the files that are prepared"
        raise EventError(path, problem, remedy="give every file once, or its events count twice")
