"""Events in Parquet: one row an event, lists for its objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.formats import arrow
from femtobarn.events.formats.arrow import ColumnReader
from femtobarn.events.formats.mapped_tables import UNIT_REMEDY, read_mapped
from femtobarn.events.formats.mapping import Mapping
from femtobarn.events.formats.parquet_layout import KEY as KEY
from femtobarn.events.formats.parquet_layout import OWN_UNIT, VERSION, Description, read_own
from femtobarn.events.formats.row_checks import RowChecks, validate, with_file
from femtobarn.events.formats.sizes import check_size
from femtobarn.events.reader_settings import Unit
from femtobarn.events.record import TRACKS, Events
from femtobarn.events.storage.atomic import atomic_write
from femtobarn.events.storage.files import checksum

#: Steps of the values in a compact file: of the mantissa of transverse momenta, per radian, and per GeV of mass.
PT_MANTISSA_STEPS = 2.0**11
ANGLE_STEPS = 2.0**11
MASS_STEPS = 2.0**6

#: Steps of the mantissa of impact parameters and their errors in a compact file.
IMPACT_MANTISSA_STEPS = 2.0**7


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
    description = {
        "version": VERSION,
        "luminosity": events.luminosity,
        "objects": list(lists),
        "context": list(scalars),
        "provenance": dict(events.provenance),
    }
    return pa.table(columns).replace_schema_metadata({KEY: json.dumps(description).encode()})


def layout(schema: pa.Schema, *, level: int = 3) -> dict[str, Any]:
    """How pyarrow is to write such a table: compressed, the bytes of floats apart, every page with a checksum."""
    floats = [field for field in schema if pa.types.is_floating(arrow.value_type(field.type))]
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
    """Origin of the events of a file that `write_parquet` wrote.

    Raises:
        EventError: it is no such file.
    """
    with _readable(path):
        schema = pq.read_schema(path)
    return Description.of(schema, path).provenance


def luminosity_of(path: str | Path) -> float:
    """Integrated luminosity of the weights of a file that `write_parquet` wrote, in 1/fb.

    Raises:
        EventError: it is no such file.
    """
    with _readable(path):
        schema = pq.read_schema(path)
    return Description.of(schema, path).luminosity


def read_parquet(
    path: str | Path,
    mapping: Mapping | None = None,
    *,
    process: str | None = None,
    unit: Unit | None = None,
    tolerant: bool = False,
) -> Events:
    """Events of a Parquet file: this package's own layout, or any flat one that `mapping` describes.

    The provenance counts the rows that were left out (`skipped`) and the padding behind lists (`padded`), see
    `femtobarn.events.formats.padding`.

    Args:
        mapping: which columns hold what, for files that `write_parquet` did not write.
        process: name for all events of a file that does not say it.
        unit: unit of the energies of a foreign file, where the mapping does not say it; GeV by default.
        tolerant: leave out bad rows and count them. Damage of the file as a whole, as by a missing column or energies
            in MeV, stays an error.

    Raises:
        EventError: no Parquet file, a missing column, NaN, negative, impossible or too large energies, an unknown
            object, an event given twice: with file, row and value.
        FileNotFoundError: no such file.
    """
    with _readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = arrow.names(file.schema_arrow)
        own = Description.of(file.schema_arrow, path) if mapping is None else None
        wanted = mapping.column_names(names) if mapping is not None else own.columns if own is not None else []
        needed = _top_level(file.schema_arrow, path, wanted)
        _check_size(file, path, needed)
        table = file.read(columns=needed)
    checks = RowChecks(path, len(table), tolerant=tolerant)
    columns = ColumnReader(table, names, checks)
    sha256 = checksum(path)
    try:
        if mapping is not None:
            raw = read_mapped(columns, mapping, sha256=sha256, process=process, unit=unit)
            events = validate(raw, checks, unit_remedy=UNIT_REMEDY)
        else:
            assert own is not None
            _refuse_unit(path, unit)
            events = validate(read_own(columns, own), checks, unit_remedy=OWN_UNIT, process=process)
    except pa.ArrowException as error:  # a type that it cannot convert
        raise _unreadable(path, error) from error
    made_of = {"made_of": events.provenance["files"]} if "files" in events.provenance else {}
    return with_file(events, checks.record(sha256, len(events)), **made_of)


def stream_parquet(path: str | Path, size: int, *, process: str | None = None) -> Iterator[Events]:
    """The events of a file that `write_parquet` wrote, `size` at a time, in memory that does not grow with the file.

    The checks are those of `read_parquet`, but an event that is given twice shows only within a piece: to find all,
    the numbers of the whole file would have to be kept. A piece has no provenance.

    Raises:
        EventError: as `read_parquet` does, when the piece with the mistake is reached.
        FileNotFoundError: no such file.
    """
    first_row = 0
    # buffered: a row group is not read as a whole
    options = {"page_checksum_verification": True, "buffer_size": 1 << 20, "pre_buffer": False}
    with _readable(path), pq.ParquetFile(path, **options) as file:
        names = arrow.names(file.schema_arrow)
        own = Description.of(file.schema_arrow, path)
        needed = _top_level(file.schema_arrow, path, own.columns)
        for rows in file.iter_batches(batch_size=size, columns=needed):
            checks = RowChecks(path, len(rows), first_row=first_row, remedy="mend or drop the row")
            raw = read_own(ColumnReader(pa.Table.from_batches([rows]), names, checks), own)
            yield replace(validate(raw, checks, unit_remedy=OWN_UNIT, process=process), provenance={})
            first_row += len(rows)


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Turn errors of pyarrow, which have many types, into errors of a bad file."""
    try:
        yield
    except (FileNotFoundError, EventError):
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> EventError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    problem = f"cannot be read as Parquet ({shorten(reason, 200)[1:-1]})"
    return EventError(path, problem, remedy="it may be cut short or of another format")


def _top_level(schema: pa.Schema, path: str | Path, names: list[str]) -> list[str]:
    """Columns of the file that hold these columns; a missing one is found when it is read."""
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise EventError(path, f"has two columns {twice[0]!r}", remedy="write every column once")
    places = (arrow.resolve(name, schema) for name in names)
    return list(dict.fromkeys(place[0] for place in places if place is not None))


def _check_size(file: pq.ParquetFile, path: str | Path, columns: list[str]) -> None:
    """Run-length encoding makes a column of any length from a few bytes."""
    metadata = file.metadata
    chunks = (
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    )
    starts = tuple(f"{name}." for name in columns)
    n_values = sum(chunk.num_values for chunk in chunks if f"{chunk.path_in_schema}.".startswith(starts))
    check_size(path, "its columns", 8 * n_values, Path(path).stat().st_size)


def _refuse_unit(path: str | Path, unit: Unit | None) -> None:
    if unit == "MeV":
        raise EventError(path, "is in GeV by its layout, and read as MeV", remedy="leave out data.unit (--unit)")


def _grid(values: NDArray[Any], steps: float) -> NDArray[np.float32]:
    return (np.rint(values * steps) / steps).astype(np.float32)


def _mantissa(values: NDArray[Any], steps: float = 2 * PT_MANTISSA_STEPS) -> NDArray[np.float32]:
    """Values with their mantissa rounded, to 12 bits."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(_grid(mantissa, steps), exponent).astype(np.float32)


def _rounded(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    out = dict(columns)
    for name, values in columns.items():
        # of a jet, whose constituents are the objects, and of the generated jet
        quantity = name.removeprefix("gen_").removeprefix("jet_")
        if quantity in ("eta", "phi", "phi_MET"):
            # the last step inside of ±π, so that rounding never leaves the range
            edge = np.floor(np.pi * ANGLE_STEPS) / ANGLE_STEPS if quantity != "eta" else np.inf
            out[name] = np.clip(_grid(values, ANGLE_STEPS), -edge, edge).astype(np.float32)
        elif quantity in ("pt", "MET", "mass", "groomed_mass"):
            out[name] = _mantissa(values)
        elif name == "charge":
            out[name] = values.astype(np.int8)
        elif name in TRACKS:
            out[name] = _mantissa(values, IMPACT_MANTISSA_STEPS)
    return out


def _compact(lists: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Object columns as float32 on the detector's grid, with the mass in place of the energy."""
    mass2 = lists["E"] ** 2 - (lists["pt"] * np.cosh(lists["eta"])) ** 2
    mass = _grid(np.sqrt(np.maximum(mass2, 0)), MASS_STEPS)
    kept = {name: values for name, values in lists.items() if name != "E"}
    return _rounded(kept) | {"mass": mass}
