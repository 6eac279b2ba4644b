"""Foreign tables: their columns under this package's names, as a mapping describes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.formats import arrow
from femtobarn.events.formats.arrow import ColumnReader
from femtobarn.events.formats.conversion import energy, plain
from femtobarn.events.formats.mapping import COLLECTIONS, Columns, Mapping
from femtobarn.events.formats.padding import pt_padding, real_entries
from femtobarn.events.formats.row_checks import Raw, RowChecks, row_numbers
from femtobarn.events.record import MISSING_MOMENTUM
from femtobarn.physics.objects import BJET

#: Remedy where the energies of a foreign table are too large for GeV.
UNIT_REMEDY = "if the file is in MeV, write `unit: MeV` under `data.mapping`"


class Entries(NamedTuple):
    """One quantity of all entries of a collection, event after event."""

    name: str
    values: NDArray[np.float64]
    missing: NDArray[np.bool_] | None


class Collection(NamedTuple):
    """Entries of one kind of object, padding included.

    Args:
        row: row of each entry.
        counts: entries of each row.
        entries: values by quantity.
        numbers: of the columns, where they are numbered.
    """

    row: NDArray[np.int64]
    counts: NDArray[np.int64]
    entries: dict[str, Entries]
    numbers: Sequence[str] = ()

    def label(self, quantity: str, at: int) -> str:
        """Name of the column that an entry stands in."""
        name = self.entries[quantity].name
        return name.replace("{}", self.numbers[at % len(self.numbers)]) if self.numbers else name


def read_mapped(
    columns: ColumnReader, mapping: Mapping, *, sha256: str, process: str | None = None, unit: str | None = None
) -> Raw:
    """Columns of a foreign table under this package's names, in GeV.

    Args:
        columns: of the file.
        mapping: which column holds what.
        sha256: of the file, for the numbers of events without any.
        process: name for all events, in place of the column of the mapping.
        unit: of the energies, where the mapping does not say it.

    Raises:
        EventError: a missing column, a column of another type, or a bad value, with its row.
    """
    checks = columns.checks
    n_rows = len(checks.bad)
    scale = 1000.0 if unit_of(mapping, unit, checks.path) == "MeV" else 1.0
    tables = [_objects(columns, name, described, scale) for name, described in mapping.objects.items()]
    event = np.concatenate([event for event, _ in tables])
    order = np.argsort(event, kind="stable")
    objects = {name: np.concatenate([values[name] for _, values in tables])[order] for name in tables[0][1]}
    number = columns.integers(mapping.number) if mapping.number else row_numbers(n_rows, sha256)
    if process is not None or mapping.process is None:
        names = np.full(n_rows, process or mapping.process_name or Path(checks.path).name.split(".")[0])
    else:
        names = columns.texts(mapping.process, numbers=True)
    return Raw(
        counts=np.bincount(event, minlength=n_rows).astype(np.int64),
        objects=objects,
        context={
            "MET": columns.numbers(mapping.MET) / scale,
            "phi_MET": columns.numbers(mapping.phi_MET),
            **{name: columns.context(name) for name in mapping.context if name not in MISSING_MOMENTUM},
        },
        weight=columns.numbers(mapping.weight) if mapping.weight else np.ones(n_rows),
        process=names,
        number=number,
        hard=columns.integers(mapping.hard) if mapping.hard else number,
        luminosity=100.0,
        provenance={},
    )


def unit_of(mapping: Mapping, unit: str | None, path: str | Path) -> str:
    """Unit of the energies of a file, by its mapping or the setting for all files.

    Raises:
        EventError: the two differ.
    """
    if unit is None or "unit" not in mapping.model_fields_set:
        return unit or mapping.unit
    if unit != mapping.unit:
        problem = f"its mapping says unit: {mapping.unit}, but data.unit (--unit) is {unit}"
        raise EventError(path, problem, remedy="give the unit once")
    return mapping.unit


def _objects(
    columns: ColumnReader, collection: str, described: Columns, scale: float
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Row of each object of a collection, and its kinematics in GeV."""
    checks = columns.checks
    table = (_numbered if "{}" in described.pt else _lists)(columns, collection, described)
    pt = table.entries["pt"]
    given = table.entries["E"].values if "E" in table.entries else None
    others = [table.entries[name].values for name in ("eta", "phi", "mass") if name in table.entries]
    padding = pt_padding(pt.values, others, given, pt.missing)
    real = real_entries(padding, table.counts, checks, lambda at: f"{table.label('pt', at)} is {_written(pt, at)}")
    place = np.flatnonzero(real)
    event = table.row[place]
    values = {quantity: entry.values[real] for quantity, entry in table.entries.items()}
    for quantity, entry in table.entries.items():
        if entry.missing is not None and quantity != "btag":

            def describe(at: int, quantity: str = quantity) -> str:
                return f"{table.label(quantity, int(place[at]))} of a {collection} is missing"

            checks.refuse_entries(entry.missing[real], event, describe)
    for quantity in set(values) & {"pt", "E", "mass"}:
        values[quantity] = values[quantity] / scale
    if "E" not in values:
        values["E"] = energy(values["pt"], values["eta"], values.get("mass", np.zeros(len(event))))
    negative, positive = COLLECTIONS[collection]
    kind = np.full(len(event), negative, dtype=np.int8)
    if negative != positive:
        charge = values["charge"]
        checks.refuse_entries(
            np.abs(charge) != 1,
            event,
            lambda at: f"{collection} of charge {charge[at]:g} in {table.label('charge', int(place[at]))!r}",
            "a charged lepton has charge 1 or -1",
        )
        kind[charge > 0] = positive
    if "btag" in values:
        kind[values["btag"] > described.btag_above] = BJET  # a jet without a b-tag, NaN or null, has none
    return event, {quantity: values[quantity] for quantity in ("pt", "eta", "phi", "E")} | {"kind": kind}


def _written(entry: Entries, at: int) -> str:
    return "null" if entry.missing is not None and entry.missing[at] else plain(entry.values[at])


def _lists(columns: ColumnReader, collection: str, described: Columns) -> Collection:
    """Entries of columns of lists, which must be of one length in each row."""
    checks = columns.checks
    counts: NDArray[np.int64] | None = None
    arrays = {}
    for quantity, name in described.named().items():
        array = columns.array(name)
        if not arrow.is_list(array.type):
            problem = f"column {name!r} of objects.{collection} holds {array.type}, no lists"
            raise EventError(checks.path, problem, remedy="name numbered columns with {} in place of the number")
        lengths = arrow.list_lengths(array, name, checks)
        if counts is None:
            counts = lengths
        _refuse_lengths(lengths, counts, (name, described.pt), checks)
        arrays[quantity] = (name, array)
    assert counts is not None
    bad = checks.bad.copy()
    counts = np.where(bad, 0, counts)
    row = np.repeat(np.arange(len(counts)), counts)
    entries = {}
    for quantity, (name, array) in arrays.items():
        values = arrow.flattened(array, bad)
        truth = quantity == "btag"
        numbers = arrow.numbers(values, name, checks, row, truth=truth)
        entries[quantity] = Entries(name, numbers, arrow.missing(values))
    return Collection(row, counts, entries)


def _refuse_lengths(
    lengths: NDArray[np.int64], counts: NDArray[np.int64], names: tuple[str, str], checks: RowChecks
) -> None:
    checks.refuse(
        lengths != counts,
        lambda row: f"{lengths[row]} values of {names[0]} where {names[1]} has {counts[row]}",
        "the lists of one object must be of one length",
    )


def _numbered(columns: ColumnReader, collection: str, described: Columns) -> Collection:
    """Entries of numbered columns, those of an event by their numbers."""
    checks = columns.checks
    numbers = described.numbers(columns.names)
    if not numbers:
        problem = f"has no columns like {described.pt.replace('{}', '1')!r} for objects.{collection}"
        raise EventError(checks.path, problem, remedy=f"it has {arrow.listed(columns.names)}")
    n_rows = len(checks.bad)
    entries = {}
    for quantity, pattern in described.named().items():
        arrays = [(name, columns.array(name)) for name in (pattern.replace("{}", number) for number in numbers)]
        values = [arrow.numbers(array, name, checks, truth=quantity == "btag") for name, array in arrays]
        gaps = [array.is_null().to_numpy(zero_copy_only=False) for _, array in arrays]
        entries[quantity] = Entries(pattern, _interleaved(values), _interleaved(gaps))
    row = np.repeat(np.arange(n_rows), len(numbers))
    return Collection(row, np.full(n_rows, len(numbers), dtype=np.int64), entries, numbers)


def _interleaved(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Numbered columns as entries, row after row."""
    return np.stack(columns, axis=1).reshape(-1)
