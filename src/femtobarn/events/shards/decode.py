"""Row groups of shards as padded arrays, from Parquet the first time and from memory-mapped files later.

The arrays, with one entry per event, lie one after another in one buffer: in a block of the shuffled order, in memory
that processes share, and in cache files.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.record import MISSING_MOMENTUM
from femtobarn.events.storage.atomic import atomic_write

#: Column with the energies of the objects, and the one with their masses in a compact file.
ENERGY = "E"
MASS = "mass"

#: Bytes left free on a disk at least: a cache is no reason to fill it.
MIN_FREE_BYTES = 1 << 30

#: Arrays begin at multiples of this, which is also the length of the end of a cache file: a checksum and zeros.
ALIGNMENT = 64

#: Version of the arrays in cache files.
VERSION = 3

#: Remedy for a damaged shard.
REMEDY = "copy the folder again, or prepare the events again (femtobarn prepare)"


class ArrayType(NamedTuple):
    """Type of an array with one entry per event."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes per event."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


class CacheFile(NamedTuple):
    """File with the arrays of a row group, with a checksum of them and of their origin.

    Args:
        path: the file.
        origin: identity of the row group, from the checksum of its shard; a file of another origin is overwritten.
        verified: size and modification time of every file that was compared with its checksum, by its path.
    """

    path: Path
    origin: str
    verified: dict[Path, tuple[int, int]]


Layout = dict[str, ArrayType]
Arrays = dict[str, NDArray[Any]]


def array_layout(slots: int, tracks: int, double: bool = False, n_columns: int = 0) -> Layout:
    """Arrays of decoded events.

    These are (px, py, pz, E) in GeV, kinds (0 where no object is), MET and phi_MET, tracks, further columns, weight,
    index of the process, number of the event and of its hard event.

    Args:
        slots: objects per event.
        tracks: columns of tracks.
        double: inputs of a network are float64, not float32.
        n_columns: further numeric columns, as float64.
    """
    inputs = "f8" if double else "f4"
    return {
        "momenta": ArrayType(inputs, (slots, 4)),
        "tracks": ArrayType(inputs, (slots, tracks)),
        "context": ArrayType(inputs, (2,)),
        "columns": ArrayType("f8", (n_columns,)),
        "weight": ArrayType("f8", ()),
        "number": ArrayType("i8", ()),
        "hard": ArrayType("i8", ()),
        "process": ArrayType("i2", ()),
        "kind": ArrayType("i1", (slots,)),
    }


def n_bytes(layout: Layout, count: int) -> int:
    """Bytes of the arrays of `count` events."""
    return sum(-(-count * array.bytes // ALIGNMENT) * ALIGNMENT for array in layout.values())


def array_views(buffer: Any, layout: Layout, count: int) -> Arrays:
    """Arrays of `count` events in a buffer of `n_bytes` or more."""
    arrays: Arrays = {}
    start = 0
    for name, array in layout.items():
        flat = np.frombuffer(buffer, array.dtype, count * int(np.prod(array.shape, dtype=np.int64)), start)
        arrays[name] = flat.reshape(count, *array.shape)
        start += -(-count * array.bytes // ALIGNMENT) * ALIGNMENT
    return arrays


@dataclass(frozen=True)
class RowGroup:
    """A row group of a shard, and the names of its columns.

    Args:
        number: of the row group.
        rows: its events.
        processes: names of the processes, in the order of their indices.
        tracks: columns of tracks.
        columns: further numeric columns.
    """

    number: int
    rows: int
    processes: Sequence[str]
    tracks: Sequence[str] = ()
    columns: Sequence[str] = ()


def decode_group(file: Callable[[], Path], group: RowGroup, layout: Layout, cache: CacheFile | None) -> Arrays:
    """Arrays of a row group of a shard; they are valid until the next group is decoded, or longer.

    Args:
        file: returns the shard; not called if the cache has the arrays.
        group: the row group.
        layout: from `array_layout`.
        cache: file to take the arrays from, or to write them to; None neither reads nor writes one. A file that is
            damaged, or of another row group or other columns, is overwritten.

    Raises:
        EventError: the shard is damaged.
    """
    key = f"{VERSION} {'' if cache is None else cache.origin} {group} {layout}"
    if cache is not None and (content := _read_cache(cache, key, n_bytes(layout, group.rows))) is not None:
        return array_views(content, layout, group.rows)
    memory = bytearray(n_bytes(layout, group.rows))
    arrays = array_views(memory, layout, group.rows)
    shard = file()
    try:
        _decode(shard, group, arrays)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, EventError):
            raise
        problem = f"row group {group.number} cannot be read as the index describes it ({error})"
        raise EventError(shard, problem, remedy=REMEDY) from None
    if cache is not None:
        _write_cache(memory, key, cache.path)
    return arrays


def read_row_group(file: Path, number: int, names: Sequence[str]) -> pa.Table:
    """Columns of a row group of a shard, whose pages are compared with their checksums.

    Raises:
        EventError: the shard is damaged.
    """
    try:
        with pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False) as parquet:
            available = parquet.schema_arrow.names
            columns = [name if name != ENERGY or name in available else MASS for name in names]
            return parquet.read_row_group(number, columns, use_threads=False)
    except (pa.ArrowException, OSError, IndexError) as error:
        problem = f"row group {number} cannot be read ({str(error).splitlines()[0]})"
        raise EventError(file, problem, remedy=REMEDY) from None


def numeric_columns(file: Path) -> list[str]:
    """Names of the columns of a shard with one number per event.

    Raises:
        EventError: the shard is damaged.
    """
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise EventError(file, f"cannot be read ({str(error).splitlines()[0]})", remedy=REMEDY) from None
    is_numeric = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    return [field.name for field in schema if any(test(field.type) for test in is_numeric)]


def process_codes(column: pa.ChunkedArray, processes: Sequence[str], file: Path) -> NDArray[np.int16]:
    """Index of the process of each event.

    Raises:
        EventError: a process that the index does not name.
    """
    encoded = column.combine_chunks()
    names = encoded.dictionary.to_pylist()
    unknown = [name for name in names if name not in processes]
    if unknown:
        raise EventError(file, f"holds events of {unknown[0]!r}, which the index does not name", remedy=REMEDY)
    index_of = np.array([processes.index(name) for name in names], dtype=np.int16)
    codes: NDArray[np.int16] = index_of[encoded.indices.to_numpy()]
    return codes


def _decode(file: Path, group: RowGroup, arrays: Arrays) -> None:
    lists = ["pt", "eta", "phi", ENERGY, "kind", *group.tracks]
    flat = list(dict.fromkeys([*MISSING_MOMENTUM, "weight", "number", "hard", "process", *group.columns]))
    table = read_row_group(file, group.number, [*lists, *flat])
    energy = ENERGY if ENERGY in table.column_names else MASS
    lists[3] = energy
    rows, slots = arrays["kind"].shape
    offsets = table["pt"].combine_chunks().offsets.to_numpy()
    counts = np.diff(offsets)
    filled = np.flatnonzero(np.arange(slots) < counts[:, None])  # slots with an object, row by row
    kept: Any = slice(None)
    if rows and counts.max() > slots:
        kept = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], counts) < slots  # the hardest stand first

    def objects(name: str) -> NDArray[Any]:
        values: NDArray[Any] = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)[kept]
        return values

    # in float64, as `femtobarn.inputs.make_batch` computes
    pt, eta, phi, last = (objects(name).astype(np.float64, copy=False) for name in lists[:4])
    momenta = np.empty((len(pt), 4), arrays["momenta"].dtype)
    momenta[:, 0] = pt * np.cos(phi)
    momenta[:, 1] = pt * np.sin(phi)
    momenta[:, 2] = pt * np.sinh(eta)
    momenta[:, 3] = last if energy == ENERGY else np.sqrt((pt * np.cosh(eta)) ** 2 + last**2)
    arrays["momenta"].reshape(-1, 4)[filled] = momenta
    arrays["kind"].reshape(-1)[filled] = objects("kind")
    for place, name in enumerate(group.tracks):
        arrays["tracks"].reshape(rows * slots, -1)[filled, place] = objects(name)
    for place, name in enumerate(MISSING_MOMENTUM):
        arrays["context"][:, place] = table[name].to_numpy()
    for place, name in enumerate(group.columns):
        arrays["columns"][:, place] = table[name].to_numpy()
    for name in ("weight", "number", "hard"):
        arrays[name][:] = table[name].to_numpy()
    arrays["process"][:] = process_codes(table["process"], group.processes, file)


def _read_cache(cache: CacheFile, key: str, size: int) -> NDArray[np.uint8] | None:
    """Content of a cache file; None if there is none, or it does not belong to this row group."""
    try:
        stat = cache.path.stat()
        if stat.st_size != size + ALIGNMENT:
            return None
        content = np.memmap(cache.path, np.uint8, "r")
    except (OSError, ValueError):
        return None
    state = stat.st_size, stat.st_mtime_ns
    if cache.verified.get(cache.path) != state:
        if content[size:].tobytes() != _trailer(content[:size].data, key):
            return None
        cache.verified[cache.path] = state
    return content


def _write_cache(memory: bytearray, key: str, path: Path) -> None:
    """Write the arrays to a cache file, completely or not at all; a disk that is full or read-only gets none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < MIN_FREE_BYTES + len(memory):
            return
        with atomic_write(path, durable=False) as file:
            file.write(memory)
            file.write(_trailer(memoryview(memory), key))
    except OSError:
        pass


def _trailer(content: memoryview, key: str) -> bytes:
    """End of a cache file: a checksum of the arrays and of their origin."""
    digest = hashlib.sha256(key.encode())
    digest.update(content)
    return digest.digest().ljust(ALIGNMENT, b"\0")
