"""Decode: row groups of shards as padded arrays, from Parquet the first time and from memory-mapped files later on.

Arrays of one event an entry stand one after another in one piece of memory, in the same way in a block that is dealt,
in memory that processes share, and in the files of the cache.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.record import MISSING_MOMENTUM
from femtobarn.events.storage.atomic import atomic_write

#: Column with the energies of the objects, or that of a compact file.
ENERGY, MASS = "E", "mass"

#: What is left free on a disk at least, in bytes: a cache is no reason to fill it.
FREE = 1 << 30

#: Arrays begin at multiples of this, which is also the length of the end of a cache file: a checksum and zeros.
ALIGNED = 64

#: Version of the arrays in cache files.
VERSION = 2

#: What helps if a shard is damaged.
REMEDY = "copy the folder again, or prepare the events again (femtobarn prepare)"


class Column(NamedTuple):
    """An array with one entry an event."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Of one event."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


class Cache(NamedTuple):
    """A file that keeps the arrays of a row group, with a checksum of them and of where they come from.

    Args:
        path: the file.
        origin: names the row group by the checksum of its shard; a file of another origin is made again.
        verified: size and time of change of every file that was compared with its checksum, by its path.
    """

    path: Path
    origin: str
    verified: dict[Path, tuple[int, int]]


Columns = dict[str, Column]
Arrays = dict[str, NDArray[Any]]


def columns(slots: int, tracks: int, double: bool = False) -> Columns:
    """What there is of an event: (px, py, pz, E) in GeV, kinds (0 where no object is), MET and phi_MET, tracks, weight,
    index of its process, its number and that of its hard event.

    What a network sees is float32, or float64 if `double`.
    """
    seen = "f8" if double else "f4"
    return {
        "momenta": Column(seen, (slots, 4)),
        "tracks": Column(seen, (slots, tracks)),
        "context": Column(seen, (2,)),
        "weight": Column("f8", ()),
        "number": Column("i8", ()),
        "hard": Column("i8", ()),
        "process": Column("i2", ()),
        "kind": Column("i1", (slots,)),
    }


def size(of: Columns, count: int) -> int:
    """Bytes of so many events."""
    return sum(-(-count * column.bytes // ALIGNED) * ALIGNED for column in of.values())


def views(buffer: Any, of: Columns, count: int) -> Arrays:
    """The arrays of so many events in a piece of memory of `size` bytes or more."""
    found: Arrays = {}
    begin = 0
    for name, column in of.items():
        flat = np.frombuffer(buffer, column.dtype, count * int(np.prod(column.shape, dtype=np.int64)), begin)
        found[name] = flat.reshape(count, *column.shape)
        begin += -(-count * column.bytes // ALIGNED) * ALIGNED
    return found


def group(
    file: Callable[[], Path],
    number: int,
    rows: int,
    processes: Sequence[str],
    of: Columns,
    tracks: Sequence[str],
    cache: Cache | None,
) -> Arrays:
    """A row group of a shard as arrays; they are there until the next one is asked for, or longer.

    Args:
        file: returns the shard; not called where the cache has the arrays.
        number: of the row group.
        rows: events in it.
        processes: names, in the order of their indices.
        of: from `columns`.
        tracks: what is known of the tracks, by name.
        cache: file to take the arrays from, or to write them to; None neither reads nor writes one. A file that is
            damaged, or of another row group, is made again.

    Raises:
        EventError: the shard is damaged.
    """
    key = "" if cache is None else f"{VERSION} {cache.origin} {rows} {list(processes)} {of} {list(tracks)}"
    if cache is not None and (kept := _kept(cache, key, size(of, rows))) is not None:
        return views(kept, of, rows)
    memory = bytearray(size(of, rows))
    found = views(memory, of, rows)
    shard = file()
    try:
        _decode(shard, number, processes, tracks, found)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, EventError):
            raise
        what = f"row group {number} cannot be read as the index describes it ({error})"
        raise EventError(shard, what, remedy=REMEDY) from None
    if cache is not None:
        _keep(memory, key, cache.path)
    return found


def read_group(file: Path, number: int, names: Sequence[str]) -> pa.Table:
    """Columns of a row group of a shard, whose pages are compared with their checksums.

    Raises:
        EventError: the shard is damaged.
    """
    try:
        with pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False) as parquet:
            there = parquet.schema_arrow.names
            chosen = [name if name != ENERGY or name in there else MASS for name in names]
            return parquet.read_row_group(number, chosen, use_threads=False)
    except (pa.ArrowException, OSError, IndexError) as error:
        what = f"row group {number} cannot be read ({str(error).splitlines()[0]})"
        raise EventError(file, what, remedy=REMEDY) from None


def process_codes(table: pa.Table, processes: Sequence[str], file: Path) -> NDArray[np.int16]:
    """Index of the process of each event.

    Raises:
        EventError: a process that the index does not name.
    """
    column = table["process"].combine_chunks()
    names = column.dictionary.to_pylist()
    strange = [name for name in names if name not in processes]
    if strange:
        raise EventError(file, f"holds events of {strange[0]!r}, which the index does not name", remedy=REMEDY)
    codes = np.array([processes.index(name) for name in names], dtype=np.int16)
    found: NDArray[np.int16] = codes[column.indices.to_numpy()]
    return found


def _decode(file: Path, number: int, processes: Sequence[str], tracks: Sequence[str], out: Arrays) -> None:
    lists = ["pt", "eta", "phi", ENERGY, "kind", *tracks]
    flat = [*MISSING_MOMENTUM, "weight", "number", "hard", "process"]
    table = read_group(file, number, [*lists, *flat])
    energy = ENERGY if ENERGY in table.column_names else MASS
    lists[3] = energy
    rows, slots = out["kind"].shape
    offsets = table["pt"].combine_chunks().offsets.to_numpy()
    counts = np.diff(offsets)
    there = np.flatnonzero(np.arange(slots) < counts[:, None])  # slots that are filled, row by row
    kept: Any = slice(None)
    if rows and counts.max() > slots:
        kept = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], counts) < slots  # the hardest stand first

    def objects(name: str) -> NDArray[Any]:
        values: NDArray[Any] = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)[kept]
        return values

    # in float64, as `femtobarn.inputs.make_batch` computes
    pt, eta, phi, last = (objects(name).astype(np.float64, copy=False) for name in lists[:4])
    momenta = np.empty((len(pt), 4), out["momenta"].dtype)
    momenta[:, 0] = pt * np.cos(phi)
    momenta[:, 1] = pt * np.sin(phi)
    momenta[:, 2] = pt * np.sinh(eta)
    momenta[:, 3] = last if energy == ENERGY else np.sqrt((pt * np.cosh(eta)) ** 2 + last**2)
    out["momenta"].reshape(-1, 4)[there] = momenta
    out["kind"].reshape(-1)[there] = objects("kind")
    for place, name in enumerate(tracks):
        out["tracks"].reshape(rows * slots, -1)[there, place] = objects(name)
    for place, name in enumerate(MISSING_MOMENTUM):
        out["context"][:, place] = table[name].to_numpy()
    for name in ("weight", "number", "hard"):
        out[name][:] = table[name].to_numpy()
    out["process"][:] = process_codes(table, processes, file)


def _kept(cache: Cache, key: str, bytes_: int) -> NDArray[np.uint8] | None:
    """The arrays in a file of the cache; None if there is none, or it is not what was kept for this row group."""
    try:
        stat = cache.path.stat()
        if stat.st_size != bytes_ + ALIGNED:
            return None
        content = np.memmap(cache.path, np.uint8, "r")
    except (OSError, ValueError):
        return None
    state = stat.st_size, stat.st_mtime_ns
    if cache.verified.get(cache.path) != state:
        if content[bytes_:].tobytes() != _ending(content[:bytes_].data, key):
            return None
        cache.verified[cache.path] = state
    return content


def _keep(memory: bytearray, key: str, cache: Path) -> None:
    """Writes the arrays to a file of the cache, whole or not at all; a disk that is full or read-only has none."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(cache.parent).free < FREE + len(memory):
            return
        with atomic_write(cache, durable=False) as file:
            file.write(memory)
            file.write(_ending(memoryview(memory), key))
    except OSError:
        pass


def _ending(content: memoryview, key: str) -> bytes:
    """The end of a cache file: a checksum of the arrays and of their origin."""
    digest = hashlib.sha256(key.encode())
    digest.update(content)
    return digest.digest().ljust(ALIGNED, b"\0")
