"""The package's own layout of Parquet: its description in the metadata of a file, and its columns as events."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.formats import arrow
from femtobarn.events.formats.arrow import ColumnReader
from femtobarn.events.formats.conversion import energy, plain
from femtobarn.events.formats.padding import pt_padding, real_entries
from femtobarn.events.formats.row_checks import Raw
from femtobarn.events.record import MISSING_MOMENTUM, TRACKS

#: Key of the file's metadata with the description of the rows.
KEY = b"femtobarn"

#: Version of the layout.
VERSION = 1

#: Columns with a value per event that are no context.
EVENT_COLUMNS = ("weight", "process", "number", "hard")

#: Object columns that are numbers of a network; further ones are truth, of any type.
NUMBERS = ("pt", "eta", "phi", "E", "mass", *TRACKS)

#: Remedy where the energies are too large for GeV.
OWN_UNIT = "the layout is in GeV: divide pt, E (or mass) and MET by 1000 and write the file again"

#: Remedy for a description that cannot be used.
REWRITE = "write the file again with femtobarn.events.write_parquet"


@dataclass(frozen=True)
class Description:
    """The metadata of a file in this layout: names of its columns, luminosity in 1/fb, origin of the events."""

    luminosity: float
    objects: list[str]
    context: list[str]
    provenance: dict[str, Any]

    @property
    def columns(self) -> list[str]:
        """All columns of the layout."""
        return [*self.objects, *self.context, *EVENT_COLUMNS]

    @classmethod
    def of(cls, schema: pa.Schema, path: str | Path) -> Description:
        """The description in a file.

        Raises:
            EventError: there is none, it is damaged, or of a later version.
        """
        text = (schema.metadata or {}).get(KEY)
        if text is None:
            remedy = (
                f"describe its columns with `data.mapping` in a YAML file; it has {arrow.listed(arrow.names(schema))}"
            )
            raise EventError(path, "is no event file of this package", remedy=remedy)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            problem = f"its metadata {KEY.decode()!r} is no JSON object: {shorten(text.decode('utf-8', 'replace'))}"
            raise EventError(path, problem, remedy=REWRITE)
        entries = _Entries(path, content)
        version = entries.whole("version")
        if version > VERSION:
            problem = f"was written by a later version of this package (layout {version})"
            raise EventError(path, problem, remedy=f"update it; this one reads up to layout {VERSION}")
        if version < 1:
            raise entries.error("version", f"a whole number from 1 to {VERSION}")
        return cls(entries.luminosity(), entries.objects(), entries.context(), entries.mapping("provenance"))


@dataclass(frozen=True)
class _Entries:
    """Entries of the description, by name and type."""

    path: str | Path
    content: dict[str, Any]

    def error(self, name: str, allowed: str) -> EventError:
        if name not in self.content:
            return EventError(self.path, f"its metadata have no {name!r}", remedy=f"it is {allowed}; {REWRITE}")
        value = shorten(json.dumps(self.content[name])).strip("'")
        return EventError(self.path, f"its metadata have the {name} {value}", remedy=f"it must be {allowed}; {REWRITE}")

    def whole(self, name: str) -> int:
        value = self.content.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(name, "a whole number")
        return value

    def luminosity(self) -> float:
        value = self.content.get("luminosity")
        # beyond these, yields at another luminosity overflow
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 1e-30 < value < 1e30
        if not fits or not math.isfinite(float(value)):  # type: ignore[arg-type]
            raise self.error("luminosity", "a finite number above 0, in 1/fb")
        return float(value)  # type: ignore[arg-type]

    def names(self, name: str) -> list[str]:
        value = self.content.get(name)
        texts = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        if not texts or len(set(value)) != len(value):  # type: ignore[arg-type]
            raise self.error(name, "a list of different names of columns")
        return list(value)  # type: ignore[arg-type]

    def objects(self) -> list[str]:
        names = self.names("objects")
        if not {"pt", "eta", "phi", "kind"} <= set(names) or len({"E", "mass"} & set(names)) != 1:
            raise self.error("objects", "a list of names with pt, eta, phi, kind and E (or mass)")
        return names

    def context(self) -> list[str]:
        names = self.names("context")
        if not set(MISSING_MOMENTUM) <= set(names) or set(names) & {*EVENT_COLUMNS, *self.objects()}:
            raise self.error("context", "a list of names with MET and phi_MET, and none of another column")
        return names

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.content.get(name)
        files = value.get("files", []) if isinstance(value, dict) else None
        if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
            raise self.error(name, "an object with the origin of the events")
        return dict(self.content[name])


def read_own(columns: ColumnReader, own: Description) -> Raw:
    """Columns of a file in this layout, without padding behind the objects.

    Raises:
        EventError: a missing column, a column of another type, or a bad value, with its row.
    """
    counts, objects = _objects(columns, own.objects)
    context = {
        name: columns.numbers(name) if name in MISSING_MOMENTUM else columns.context(name) for name in own.context
    }
    return Raw(
        counts=counts,
        objects=objects,
        context=context,
        weight=columns.numbers("weight"),
        process=columns.texts("process", numbers=False),
        number=columns.integers("number"),
        hard=columns.integers("hard"),
        luminosity=own.luminosity,
        provenance=own.provenance,
    )


def _objects(columns: ColumnReader, names: list[str]) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Number of objects of each event, and their columns one after another."""
    checks = columns.checks
    arrays = {name: columns.array(name) for name in names}
    for name, array in arrays.items():
        if not arrow.is_list(array.type):
            raise arrow.wrong_type(array, name, checks, None, "no lists with a value per object")
    lengths = {name: arrow.list_lengths(array, name, checks) for name, array in arrays.items()}
    counts = lengths["pt"]
    for name, other in lengths.items():

        def describe(row: int, name: str = name, other: NDArray[np.int64] = other) -> str:
            return f"{other[row]} values of {name} for {counts[row]} objects"

        checks.refuse(other != counts, describe, "the lists of an event must be of one length")
    bad = checks.bad.copy()
    counts = np.where(bad, 0, counts)
    row = np.repeat(np.arange(len(counts)), counts)
    objects = {name: _values(arrow.flattened(array, bad), name, row, columns) for name, array in arrays.items()}
    last = objects["E" if "E" in objects else "mass"]
    padding = pt_padding(objects["pt"], (objects["eta"], objects["phi"]), last)
    real = real_entries(padding, counts, checks, lambda at: f"pt is {plain(objects['pt'][at])}")
    if not real.all():
        counts = np.bincount(row[real], minlength=len(counts)).astype(np.int64)
        objects = {name: values[real] for name, values in objects.items()}
    if "E" not in objects:
        objects["E"] = energy(objects["pt"], objects["eta"], objects.pop("mass"))
    return counts, objects


def _values(array: pa.Array, name: str, row: NDArray[np.int64], columns: ColumnReader) -> NDArray[Any]:
    """Values of one column of all objects."""
    checks = columns.checks
    if array.null_count:
        gap = array.is_null().to_numpy(zero_copy_only=False)
        checks.refuse_entries(gap, row, lambda at: f"{name} of an object is missing", "every object needs a value")
    if name == "kind":
        return arrow.integers(array, name, checks, row)
    if name in NUMBERS:
        return arrow.numbers(array, name, checks, row)
    if pa.types.is_boolean(array.type):
        truth: NDArray[Any] = array.fill_null(False).to_numpy(zero_copy_only=False)
        return truth
    if pa.types.is_integer(array.type):
        number: NDArray[Any] = array.fill_null(0).to_numpy(zero_copy_only=False)
        return number
    return arrow.numbers(array, name, checks, row)
