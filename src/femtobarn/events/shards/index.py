"""Index of a folder of shards, and how it is written."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
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
from femtobarn.events.split import SIDES, lot, side
from femtobarn.events.storage.atomic import partial_path, remove_leftovers
from femtobarn.events.storage.files import checksum

#: What the folder is, complete.
INDEX = "index.json"

#: Version of the layout.
VERSION = 1

#: Bytes of a row group before compression, and its most events: what is decoded at once.
GROUP, MOST = 4 << 20, 8192

#: Bytes that are held before they are dealt to the shards.
HELD = 64 << 20


@dataclass(frozen=True)
class Shard:
    """One file of a side.

    Args:
        file: path below the folder.
        bytes: its size.
        sha256: its checksum.
        groups: events of each process in each row group.
        weight: sum of the weights of each process.
        magnitude: sum of their absolute values.
    """

    file: str
    bytes: int
    sha256: str
    groups: list[list[int]]
    weight: list[float]
    magnitude: list[float]


@dataclass(frozen=True)
class Index:
    """What is in a folder of shards.

    Args:
        processes: names, in the order of all counts and sums.
        luminosity: of the weights, in 1/fb.
        sides: the shards of each of `SIDES`; the n-th of N holds the events with a lot in [n/N, (n+1)/N).
        kinds: codes of the objects that occur.
        tracks: which of `femtobarn.events.record.TRACKS` the objects have.
        objects: columns of the objects.
        split: share of each side.
        selection: what the events had to pass.
        provenance: where they come from.
        fingerprint: SHA-256 over all of this and all shards.
    """

    processes: list[str]
    luminosity: float
    sides: dict[str, list[Shard]]
    kinds: list[int]
    tracks: list[str]
    objects: list[str]
    split: dict[str, float]
    selection: str | None
    provenance: dict[str, Any]
    fingerprint: str = ""
    version: int = VERSION

    @classmethod
    def read(cls, folder: str | Path) -> Index:
        """The index of a folder.

        Raises:
            FileNotFoundError: no such folder, or it was not completed.
            EventError: not an index, one of a later version or one that was changed or damaged, or a shard is missing
                or has another size.
        """
        path = Path(folder) / INDEX
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no prepared events: there is no {INDEX} in it (femtobarn prepare)")
        remedy = "copy the folder again, or prepare the events again (femtobarn prepare)"
        try:
            told = json.loads(path.read_bytes().decode())
            version = told["version"]
            if version > VERSION:
                what = f"was written by a later version of this package (layout {version})"
                raise EventError(path, what, remedy=f"update it; this one reads up to layout {VERSION}")
            if told["fingerprint"] != fingerprint_of(told):
                what = "was changed or damaged after it was written (its fingerprint is of other contents)"
                raise EventError(path, what, remedy=remedy)
            told["sides"] = {name: [Shard(**shard) for shard in told["sides"][name]] for name in SIDES}
            index = cls(**told)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, EventError):
                raise
            raise EventError(path, f"is no index of prepared events ({error})", remedy=remedy) from None
        for shard in (shard for shards in index.sides.values() for shard in shards):
            file = Path(folder) / shard.file
            size = file.stat().st_size if file.is_file() else None
            if size != shard.bytes:
                what = "is missing" if size is None else f"has {size} bytes and not {shard.bytes}, as the index says"
                raise EventError(file, what, remedy="copy the folder again, or prepare it anew")
        return index

    def counts(self, name: str) -> NDArray[np.int64]:
        """Events by row group and process of one side; row groups in the order of the shards."""
        rows = [group for shard in self.sides[name] for group in shard.groups]
        return np.array(rows, dtype=np.int64).reshape(-1, len(self.processes))

    def weights(self, name: str) -> dict[str, float]:
        """Sum of the weights of each process on one side."""
        return self._sum([shard.weight for shard in self.sides[name]])

    def magnitudes(self, name: str) -> dict[str, float]:
        """Sum of the absolute weights of each process on one side."""
        return self._sum([shard.magnitude for shard in self.sides[name]])

    def _sum(self, of_shards: list[list[float]]) -> dict[str, float]:
        totals = np.array(of_shards, dtype=np.float64).reshape(-1, len(self.processes)).sum(0)
        return dict(zip(self.processes, totals.tolist(), strict=True))


def fingerprint_of(index: Mapping[str, Any]) -> str:
    """SHA-256 over the content of an index, which names the SHA-256 of every shard."""
    text = json.dumps({**index, "fingerprint": ""}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
) -> Index:
    """Deals events that come in pieces to the sides and shards of a folder; memory does not grow with their number.

    Events without a weight are left out of training and validation: they can't teach anything. Columns that only some
    pieces have are left out, and named in the provenance.

    Args:
        pieces: events with weights for one luminosity.
        folder: it appears complete or not at all; while it is made, as much is written beside it once more.
        fractions: shares of `train`, `validation` and `test`.
        shards: in all; one of them is in memory at a time.
        compact: as in `write_parquet`.
        selection: that the events have passed, for the record.
        provenance: asked for when all pieces have come.
        progress: told how many more events have come, and 0 for each shard that is written.

    Raises:
        ValueError: the folder is there already, there are no events, or luminosities differ.
        EventError: an event number comes twice in a process.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} is there already; delete it or choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    part = partial_path(folder)
    part.mkdir()  # which follows no link that somebody left at this name
    try:
        spool = _Spool(part / "spool", fractions, shards, compact)
        with spool:
            for events in pieces:
                spool.add(events)
                progress(len(events))
        if not spool.processes:
            raise ValueError("no events to prepare" + (f" that pass {selection}" if selection else ""))
        names = sorted(spool.processes)
        sides: dict[str, list[Shard]] = {name: [] for name in SIDES}
        for name in SIDES:
            for number in range(spool.shards[name]):
                file = f"{name}/{number:04d}.parquet"
                sides[name].append(_write(spool.table(name, number), part, file, names, (SIDES.index(name), number)))
                progress(0)
        shutil.rmtree(part / "spool")
        told = dict(provenance())
        if spool.left_out:
            told["left_out"] = sorted({*told.get("left_out", []), *spool.left_out})
        index = Index(
            processes=names,
            luminosity=spool.luminosity,
            sides=sides,
            kinds=sorted(spool.kinds),
            tracks=[name for name in TRACKS if name in spool.objects],
            objects=spool.objects,
            split=dict(fractions),
            selection=selection,
            provenance=json.loads(json.dumps(told)),
        )
        index = replace(index, fingerprint=fingerprint_of(asdict(index)))
        (part / INDEX).write_text(json.dumps(asdict(index)), encoding="utf-8")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return index


class _Spool:
    """Events on their way: dealt to the shards as they come, in files that are appended to."""

    def __init__(self, folder: Path, fractions: Mapping[str, float], shards: int, compact: bool) -> None:
        folder.mkdir(parents=True)
        self.folder, self.fractions, self.compact = folder, fractions, compact
        self.shards = {name: max(1, round(shards * fractions[name])) for name in SIDES}
        self.processes: set[str] = set()
        self.kinds: set[int] = set()
        self.luminosity = 0.0
        self.schema: pa.Schema | None = None
        self.absent: set[str] = set()  # columns of the first piece that others do not have
        self.more: set[str] = set()  # columns that the first piece does not have
        self.held: list[tuple[pa.Table, NDArray[np.int64]]] = []
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
        where = side(events, self.fractions)
        many = np.array([self.shards[name] for name in SIDES])
        place = (lot(events, "subset") * many[where]).astype(np.int64)
        useful = (events.weight != 0) | (where == SIDES.index("test"))
        ordered = events.particles[ak.argsort(events.particles.pt, ascending=False, stable=True)]
        first = np.concatenate([[0], np.cumsum(many)])
        self.held.append(
            (
                self._uniform(as_table(_with(events, ordered), compact=self.compact)).filter(pa.array(useful)),
                (first[where] + place)[useful],
            )
        )
        if sum(table.nbytes for table, _ in self.held) > HELD:
            self.deal()

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

    def deal(self) -> None:
        """Append what is held to the files of its shards."""
        if not self.held:
            return
        table = pa.concat_tables([table for table, _ in self.held]).combine_chunks()
        shard = np.concatenate([where for _, where in self.held])
        self.held = []
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
        """All events of a shard, and no trace of them on disk."""
        assert self.schema is not None
        before = sum(self.shards[one] for one in SIDES[: SIDES.index(name)])
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
                self.deal()
        finally:
            for writer in self.writers.values():
                writer.close()


def _with(events: Events, particles: ak.Array) -> Events:
    columns = (events.context, events.weight, events.process, events.number, events.hard, events.luminosity)
    return Events(particles, *columns)


def _write(table: pa.Table, folder: Path, file: str, names: list[str], seed: tuple[int, int]) -> Shard:
    """One shard, shuffled."""
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    code = pc.index_in(table["process"].combine_chunks(), pa.array(names)).to_numpy(zero_copy_only=False)
    _check_twice(table, code, path)
    order = np.random.default_rng(seed).permutation(len(table))
    table, code = table.take(pa.array(order)), code[order].astype(np.int64)
    weight = table["weight"].to_numpy()
    process = pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), pa.array(names))
    table = table.set_column(table.column_names.index("process"), "process", process)
    told = json.loads(table.schema.metadata[KEY])
    told = {key: told[key] for key in ("version", "luminosity", "provenance")}
    told["objects"] = [field.name for field in table.schema if pa.types.is_list(field.type)]
    told["context"] = [name for name in table.column_names if name not in (*told["objects"], *OWN)]
    table = table.replace_schema_metadata({KEY: json.dumps(told).encode()})
    rows = min(MOST, max(1, GROUP * len(table) // max(table.nbytes, 1)))
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


#: Columns of an event that are no context.
OWN = ("number", "hard", "process", "weight")


def _check_twice(table: pa.Table, code: NDArray[Any], path: Path) -> None:
    """Events of one number are in one shard, so one that was given twice shows here."""
    columns = [table[name].to_numpy() for name in ("phi_MET", "MET", "number")]
    order = np.lexsort((*columns, code))
    again = np.logical_and.reduce([np.diff(column[order]) == 0 for column in (*columns, code)])
    if again.any():
        row = int(order[1:][again][0])
        what = f"event {columns[2][row]} of {table['process'][row]} comes twice in the files that are prepared"
        raise EventError(path, what, remedy="give every file once, or its events count twice")
