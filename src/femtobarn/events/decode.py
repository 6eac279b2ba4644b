"""Decode: row groups of shards as padded arrays, from Parquet the first time and from memory-mapped files later on.

Arrays of one event an entry stand one after another in one piece of memory, in the same way in a block that is dealt,
in memory that processes share, and in the files of the cache.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.record import MISSING_MOMENTUM

#: What is left free on a disk at least, in bytes: a cache is no reason to fill it.
FREE = 1 << 30

#: Arrays begin at multiples of this.
ALIGNED = 64


class Column(NamedTuple):
    """An array with one entry an event."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Of one event."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


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
    file: Path, number: int, rows: int, processes: Sequence[str], of: Columns, tracks: Sequence[str], cache: Path | None
) -> Arrays:
    """A row group of a shard as arrays; they are there until the next one is asked for, or longer.

    Args:
        file: the shard.
        number: of the row group.
        rows: events in it.
        processes: names, in the order of their indices.
        of: from `columns`.
        tracks: what is known of the tracks, by name.
        cache: file to take the arrays from, or to write them to; None neither reads nor writes one.

    Raises:
        EventError: the shard is damaged.
    """
    if cache is not None and cache.is_file() and cache.stat().st_size == size(of, rows):
        return views(np.memmap(cache, np.uint8, "r"), of, rows)
    found = views(bytearray(size(of, rows)), of, rows)
    _decode(file, number, processes, tracks, found)
    if cache is not None:
        _keep(found, of, cache)
    return found


def _decode(file: Path, number: int, processes: Sequence[str], tracks: Sequence[str], out: Arrays) -> None:
    try:
        with pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False) as parquet:
            energy = "E" if "E" in parquet.schema_arrow.names else "mass"
            lists = ["pt", "eta", "phi", energy, "kind", *tracks]
            flat = [*MISSING_MOMENTUM, "weight", "number", "hard", "process"]
            table = parquet.read_row_group(number, [*lists, *flat], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        what = f"row group {number} cannot be read ({str(error).splitlines()[0]})"
        raise EventError(file, what, remedy="copy the folder again, or prepare it anew") from error
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
    momenta[:, 3] = last if energy == "E" else np.sqrt((pt * np.cosh(eta)) ** 2 + last**2)
    out["momenta"].reshape(-1, 4)[there] = momenta
    out["kind"].reshape(-1)[there] = objects("kind")
    for place, name in enumerate(tracks):
        out["tracks"].reshape(rows * slots, -1)[there, place] = objects(name)
    for place, name in enumerate(MISSING_MOMENTUM):
        out["context"][:, place] = table[name].to_numpy()
    for name in ("weight", "number", "hard"):
        out[name][:] = table[name].to_numpy()
    process = table["process"].combine_chunks()
    codes = np.array([processes.index(name) for name in process.dictionary.to_pylist()], dtype=np.int16)
    out["process"][:] = codes[process.indices.to_numpy()]


def _keep(found: Arrays, of: Columns, cache: Path) -> None:
    """Writes the arrays to a file of the cache, whole or not at all; a disk that is full or read-only has none."""
    half = cache.with_name(f"{cache.name}.{os.getpid()}.tmp")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(cache.parent).free < FREE + size(of, len(found["kind"])):
            return
        with open(half, "wb") as file:
            for name in of:
                content = found[name].tobytes()
                file.write(content)
                file.write(bytes(-len(content) % ALIGNED))
            os.replace(half, cache)
    except OSError:
        pass
    finally:
        half.unlink(missing_ok=True)
