"""Events in Parquet: one row an event, lists for its objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.events.atomic import atomic_write
from femtobarn.events.errors import EventError
from femtobarn.events.faults import event_faults, object_faults, track_faults, wrapped
from femtobarn.events.files import checksum
from femtobarn.events.mapping import Mapping, Raw, filled, read_mapped
from femtobarn.events.record import TRACKS, Events

#: Key of the file's metadata that says how the rows are to be read.
KEY = b"femtobarn"

#: Version of the layout.
VERSION = 1

#: Steps of the values in a compact file: relative for transverse momenta, absolute for the rest.
MANTISSA, ANGLE, MASS = 2.0**11, 2.0**11, 2.0**6

#: Steps of the mantissa of impact parameters and their errors in a compact file.
IMPACT = 2.0**7


def write_parquet(events: Events, path: str | Path, *, compact: bool = False) -> None:
    """Write events so that `read_parquet` gives them back to the last bit, or in a tenth of the space.

    Columns: a list of each object column (`pt, eta, phi, E, kind`, truth), each context column, `weight`, `process`,
    `number`, `hard`; luminosity and provenance travel in the metadata. The file appears complete or not at all.

    Args:
        compact: keep what a detector resolves: pT and MET to 1/4096, angles to 1/2048, masses (stored in place of E)
            to 1/64 GeV, impact parameters to 1/128, charges to whole numbers.

    Raises:
        ValueError: a context column has the name of another column.
    """
    table = as_table(events, compact=compact)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as file:
        pq.write_table(table, file, **layout(table.schema, level=19 if compact else 3))


def as_table(events: Events, *, compact: bool = False) -> pa.Table:
    """Events as the table that `write_parquet` writes.

    Raises:
        ValueError: a context column has the name of another column.
    """
    lists = {name: ak.to_numpy(ak.flatten(events.particles[name])) for name in events.particles.fields}
    scalars = {name: ak.to_numpy(events.context[name]) for name in events.context.fields}
    own = {"weight", "process", "number", "hard", "mass", *lists}
    if own & set(scalars):
        raise ValueError(f"context columns need other names than {', '.join(sorted(own & set(scalars)))}")
    if compact:
        lists, scalars = _compact(lists), _rounded(scalars)
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(events.particles.pt)))]).astype(np.int32)
    columns: dict[str, pa.Array] = {
        "number": pa.array(events.number),
        "hard": pa.array(events.hard),
        "process": pa.array(events.process.astype(object), pa.string()).dictionary_encode(),
        "weight": pa.array(events.weight),
        **{name: pa.array(values) for name, values in scalars.items()},
        **{name: pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)) for name, values in lists.items()},
    }
    told = {
        "version": VERSION,
        "luminosity": events.luminosity,
        "objects": list(lists),
        "context": list(scalars),
        "provenance": dict(events.provenance),
    }
    return pa.table(columns).replace_schema_metadata({KEY: json.dumps(told).encode()})


def layout(schema: pa.Schema, *, level: int = 3) -> dict[str, Any]:
    """How pyarrow is to write such a table: compressed, the bytes of floats apart, every page with a checksum."""
    floats = [field for field in schema if pa.types.is_floating(_values(field.type))]
    return {
        "compression": "zstd",
        "compression_level": level,
        "use_dictionary": ["process"],
        "use_byte_stream_split": [
            f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in floats
        ],
        "write_page_checksum": True,
    }


def provenance_of(path: str | Path) -> dict[str, Any]:
    """What a file that `write_parquet` wrote says about the origin of its events.

    Raises:
        EventError: it is no such file.
    """
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    told: dict[str, Any] = _description(schema, path)["provenance"]
    return told


def read_parquet(path: str | Path, mapping: Mapping | None = None, *, process: str | None = None) -> Events:
    """Events of a Parquet file: this package's own layout, or any flat one that `mapping` describes.

    Args:
        mapping: which columns hold what, for files that `write_parquet` did not write.
        process: name for all events of a file that does not say it.

    Raises:
        EventError: no Parquet file, a missing column, NaN, negative or impossible energies, an unknown object: with
            file and row.
        FileNotFoundError: no such file.
    """
    try:
        table = pq.read_table(Path(path), page_checksum_verification=True)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    raw = (
        read_mapped(table, path, mapping, process)
        if mapping is not None
        else _read_own(table, path, _description(table.schema, path), process)
    )
    events = checked(raw, path)
    record = {"path": str(path), "sha256": checksum(path), "events": len(events)}
    if "files" in raw.provenance:
        record["made_of"] = raw.provenance["files"]
    return replace(events, provenance={**raw.provenance, "files": [record]})


def stream_parquet(path: str | Path, size: int, *, process: str | None = None) -> Iterator[Events]:
    """The events of a file that `write_parquet` wrote, `size` at a time, in memory that does not grow with the file.

    Provenance stays behind: a piece has none.

    Raises:
        EventError: as `read_parquet` does, when the piece with the mistake is reached.
        FileNotFoundError: no such file.
    """
    before = 0
    try:
        # buffered: a row group is not read as a whole
        with pq.ParquetFile(path, page_checksum_verification=True, buffer_size=1 << 20, pre_buffer=False) as file:
            description = _description(file.schema_arrow, path)
            for rows in file.iter_batches(batch_size=size):
                raw = _read_own(pa.Table.from_batches([rows]), path, description, process)
                yield replace(checked(raw, path), provenance={})
                before += len(rows)
    except (FileNotFoundError, GeneratorExit):
        raise
    except EventError as error:
        raise error.below(before) from None
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> EventError:
    what = f"cannot be read as Parquet ({str(error).splitlines()[0]})"
    return EventError(path, what, remedy="it may be cut short or of another format")


def _description(schema: pa.Schema, path: str | Path) -> dict[str, Any]:
    """What a file of this package says about its columns."""
    told = (schema.metadata or {}).get(KEY)
    if told is None:
        has = ", ".join(schema.names[:20])
        raise EventError(
            path, "is no event file of this package", remedy=f"describe its columns with `data.mapping`; it has {has}"
        )
    description: dict[str, Any] = json.loads(told)
    if description["version"] > VERSION:
        what = f"was written by a later version of this package (layout {description['version']})"
        raise EventError(path, what, remedy=f"update it; this one reads up to layout {VERSION}")
    return description


def _values(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_list(kind) else kind


def _grid(values: NDArray[Any], steps: float) -> NDArray[np.float32]:
    return (np.rint(values * steps) / steps).astype(np.float32)


def _mantissa(values: NDArray[Any], steps: float = 2 * MANTISSA) -> NDArray[np.float32]:
    """Values with their mantissa rounded, to 12 bits."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(_grid(mantissa, steps), exponent).astype(np.float32)


def _rounded(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    out = dict(columns)
    for name, values in columns.items():
        quantity = name.removeprefix("jet_")  # of a jet, whose constituents are the objects
        if quantity in ("eta", "phi", "phi_MET"):
            # the last step inside of ±π, so that rounding never leaves the range
            edge = np.floor(np.pi * ANGLE) / ANGLE if quantity != "eta" else np.inf
            out[name] = np.clip(_grid(values, ANGLE), -edge, edge).astype(np.float32)
        elif quantity in ("pt", "MET", "mass"):
            out[name] = _mantissa(values)
        elif name == "charge":
            out[name] = values.astype(np.int8)
        elif name in TRACKS:
            out[name] = _mantissa(values, IMPACT)
    return out


def _compact(lists: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Object columns as float32 on the detector's grid, with the mass in place of the energy."""
    mass2 = lists["E"] ** 2 - (lists["pt"] * np.cosh(lists["eta"])) ** 2
    mass = _grid(np.sqrt(np.maximum(mass2, 0)), MASS)
    kept = {name: values for name, values in lists.items() if name != "E"}
    return _rounded(kept) | {"mass": mass}


def _read_own(table: pa.Table, path: str | Path, told: dict[str, Any], process: str | None) -> Raw:
    lists = {name: filled(table, path, name) for name in told["objects"]}
    counts = pc.list_value_length(lists["pt"]).to_numpy(zero_copy_only=False).astype(np.int64)
    for name, column in lists.items():
        other = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        if not np.array_equal(other, counts):
            row = int(np.flatnonzero(other != counts)[0])
            raise EventError(path, f"{other[row]} values of {name} for {counts[row]} objects", row=row)
    flat = {name: column.flatten().to_numpy(zero_copy_only=False) for name, column in lists.items()}
    for name in flat:
        if flat[name].dtype == np.float32:
            flat[name] = flat[name].astype(np.float64)
    if "E" not in flat:
        flat["E"] = np.sqrt((flat["pt"] * np.cosh(flat["eta"])) ** 2 + flat.pop("mass") ** 2)
    context = {
        name: filled(table, path, name).to_numpy(zero_copy_only=False).astype(np.float64) for name in told["context"]
    }
    name_of = filled(table, path, "process")
    named = np.array(name_of.to_pylist(), dtype=np.str_) if process is None else np.full(len(table), process)
    return Raw(
        counts=counts,
        objects=flat,
        context=context,
        weight=filled(table, path, "weight").to_numpy(zero_copy_only=False).astype(np.float64),
        process=named,
        number=filled(table, path, "number").to_numpy(zero_copy_only=False).astype(np.int64),
        hard=filled(table, path, "hard").to_numpy(zero_copy_only=False).astype(np.int64),
        luminosity=float(told["luminosity"]),
        provenance=told["provenance"],
    )


def checked(raw: Raw, path: str | Path) -> Events:
    """The events, once nothing in them is impossible."""
    objects = raw.objects
    of_event = event_faults(raw.weight, raw.context["MET"], raw.context["phi_MET"])
    for what, where in of_event.items():
        raise EventError(path, what, row=int(np.flatnonzero(where)[0]), remedy="mend or drop the row")
    of_object = object_faults(objects["pt"], objects["eta"], objects["phi"], objects["E"], objects["kind"])
    of_object |= track_faults({name: objects[name] for name in TRACKS if name in objects})
    for what, where in of_object.items():
        index = int(np.flatnonzero(where)[0])
        row = int(np.searchsorted(np.cumsum(raw.counts), index, side="right"))
        values = ", ".join(f"{name} {objects[name][index]:g}" for name in ("kind", "E", "pt", "eta", "phi"))
        raise EventError(path, f"{what}: object with {values}", row=row, remedy="mend or drop the row")
    objects = objects | {"phi": wrapped(objects["phi"])}
    context = raw.context | {"phi_MET": wrapped(raw.context["phi_MET"])}
    ordered = {name: objects[name] for name in ("pt", "eta", "phi", "E", "kind")} | objects
    return Events(
        particles=ak.unflatten(ak.zip(ordered, with_name="Momentum4D"), raw.counts),
        context=ak.zip(context),
        weight=raw.weight,
        process=raw.process,
        number=raw.number,
        hard=raw.hard,
        luminosity=raw.luminosity,
        provenance=raw.provenance,
    )
