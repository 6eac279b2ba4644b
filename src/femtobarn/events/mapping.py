"""Foreign tables: which column holds what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from femtobarn.events.errors import EventError
from femtobarn.physics import objects as codes

#: Objects a mapping can name, with the code for no or negative charge and that for positive charge.
COLLECTIONS = {
    "jet": (codes.JET, codes.JET),
    "bjet": (codes.BJET, codes.BJET),
    "electron": (codes.ELECTRON, codes.POSITRON),
    "muon": (codes.MUON, codes.ANTIMUON),
    "photon": (codes.PHOTON, codes.PHOTON),
}

KINEMATIC = ("pt", "eta", "phi", "E", "mass")


class Raw(NamedTuple):
    """Columns of events before they are checked; objects of all events one after another."""

    counts: NDArray[np.int64]
    objects: dict[str, NDArray[Any]]
    context: dict[str, NDArray[np.float64]]
    weight: NDArray[np.float64]
    process: NDArray[np.str_]
    number: NDArray[np.int64]
    hard: NDArray[np.int64]
    luminosity: float
    provenance: dict[str, Any]


class Columns(BaseModel):
    """Columns of one kind of object: lists, or numbered ones with `{}` for the number (`jet{}_pt`: jet1_pt, ...).

    Without `E` and `mass` the objects are massless. Electrons and muons need `charge`. Jets may have `btag`: those
    above `btag_above` become b-jets. In numbered columns a missing value, NaN or a pT of 0 says: no object.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pt: str
    eta: str
    phi: str
    E: str | None = None
    mass: str | None = None
    charge: str | None = None
    btag: str | None = None
    btag_above: float = 0.5

    @model_validator(mode="after")
    def _one_way(self) -> Columns:
        if self.E is not None and self.mass is not None:
            raise ValueError("give E or mass, not both")
        numbered = {"{}" in name for name in self.named().values()}
        if len(numbered) > 1:
            raise ValueError("number all columns of an object with {} or none")
        return self

    def named(self) -> dict[str, str]:
        """Name of the column of each quantity that has one."""
        quantities = {name: getattr(self, name) for name in (*KINEMATIC, "charge", "btag")}
        return {name: column for name, column in quantities.items() if column is not None}

    def sets(self, table: pa.Table) -> Iterator[dict[str, str]]:
        """The columns by quantity: once for lists, once a number for numbered columns."""
        if "{}" not in self.pt:
            yield self.named()
            return
        before, after = map(re.escape, self.pt.split("{}", 1))
        numbers = [found[1] for name in table.column_names if (found := re.fullmatch(rf"{before}(\d+){after}", name))]
        for number in sorted(numbers, key=int):
            yield {name: column.replace("{}", number) for name, column in self.named().items()}


class Mapping(BaseModel):
    """What the columns of a flat table mean, so that any table can be read.

    A file with one list of jets an event and up to two numbered leptons, in MeV:

    .. code-block:: yaml

        mapping:
          unit: MeV
          objects:
            jet: {pt: jet_pt, eta: jet_eta, phi: jet_phi, mass: jet_m, btag: jet_score, btag_above: 0.8}
            electron: {pt: "el{}_pt", eta: "el{}_eta", phi: "el{}_phi", charge: "el{}_q"}
          MET: met
          phi_MET: met_phi
          weight: w
          process_name: ttH

    Args:
        unit: of energies, momenta, masses and MET in the file.
        objects: the columns of each kind of object.
        MET: column of the missing transverse momentum.
        phi_MET: column of its angle in radians.
        weight: column of the event weights; without one every event counts 1.
        process: column of the process names (or numbers).
        process_name: the process of all events, where there is no column.
        number: column of the event numbers; without one the rows are counted.
        hard: column of the number of the hard event; without one it is the event number.
        context: further numbers of the event to keep, unscaled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    unit: Literal["GeV", "MeV"] = "GeV"
    objects: dict[Literal["jet", "bjet", "electron", "muon", "photon"], Columns]
    MET: str
    phi_MET: str
    weight: str | None = None
    process: str | None = None
    process_name: str | None = None
    number: str | None = None
    hard: str | None = None
    context: list[str] = []

    @model_validator(mode="after")
    def _complete(self) -> Mapping:
        if self.process is not None and self.process_name is not None:
            raise ValueError("give process (a column) or process_name, not both")
        for name, columns in self.objects.items():
            if name in ("electron", "muon") and columns.charge is None:
                raise ValueError(f"objects.{name} needs charge, the column of the electric charges")
            if name in ("electron", "muon", "photon", "bjet") and columns.btag is not None:
                raise ValueError(f"objects.{name} has no btag; only jet has")
        return self


def read_mapped(table: pa.Table, path: str | Path, mapping: Mapping, process: str | None = None) -> Raw:
    """Columns of a foreign table under this package's names, in GeV, as `mapping` says."""
    rows = len(table)
    scale = 1000.0 if mapping.unit == "MeV" else 1.0
    found: list[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]] = []
    for name, columns in mapping.objects.items():
        sets = list(columns.sets(table))
        if not sets:
            what = f"has no columns like {columns.pt.replace('{}', '1')!r} for objects.{name}"
            raise EventError(path, what, remedy=f"it has {', '.join(table.column_names)}")
        for one in sets:
            found.append(_objects(table, path, name, columns, one, scale))
    event = np.concatenate([event for event, _ in found])
    order = np.argsort(event, kind="stable")
    objects = {name: np.concatenate([values[name] for _, values in found])[order] for name in found[0][1]}
    number = _scalar(table, path, mapping.number).astype(np.int64) if mapping.number else np.arange(rows)
    if process is not None or mapping.process is None:
        named = np.full(rows, process or mapping.process_name or Path(path).name.split(".")[0])
    else:
        named = np.array([str(name) for name in filled(table, path, mapping.process).to_pylist()], dtype=np.str_)
    return Raw(
        counts=np.bincount(event, minlength=rows).astype(np.int64),
        objects=objects,
        context={
            "MET": _scalar(table, path, mapping.MET) / scale,
            "phi_MET": _scalar(table, path, mapping.phi_MET),
            **{name: _scalar(table, path, name) for name in mapping.context},
        },
        weight=_scalar(table, path, mapping.weight) if mapping.weight else np.ones(rows),
        process=named,
        number=number,
        hard=_scalar(table, path, mapping.hard).astype(np.int64) if mapping.hard else number,
        luminosity=100.0,
        provenance={},
    )


def filled(table: pa.Table, path: str | Path, name: str) -> pa.Array:
    """A column in one piece, without gaps."""
    if name not in table.column_names:
        raise EventError(path, f"has no column {name!r}", remedy=f"it has {', '.join(table.column_names)}")
    column = table[name].combine_chunks()
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise EventError(path, f"{name} is missing", row=row, remedy="fill or drop the row")
    return column


def _numbers(column: pa.Array, path: str | Path, name: str) -> NDArray[np.float64]:
    """A column of numbers (or truths) as float64, missing values as NaN."""
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        raise EventError(path, f"column {name!r} holds {column.type}, no numbers")
    values: NDArray[Any] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values.astype(np.float64)


def _scalar(table: pa.Table, path: str | Path, name: str) -> NDArray[np.float64]:
    return _numbers(filled(table, path, name), path, name)


def _objects(
    table: pa.Table, path: str | Path, collection: str, columns: Columns, named: dict[str, str], scale: float
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Row of each object of one set of columns, and its kinematics in GeV."""
    values: dict[str, NDArray[np.float64]] = {}
    rows = np.arange(len(table))
    if "{}" in columns.pt:
        for quantity, name in named.items():
            if name not in table.column_names:
                raise EventError(path, f"has no column {name!r}", remedy=f"it has {', '.join(table.column_names)}")
            values[quantity] = _numbers(table[name].combine_chunks(), path, name)
        real = np.nan_to_num(values["pt"]) != 0
        event = rows[real]
        values = {quantity: column[real] for quantity, column in values.items()}
    else:
        counts = None
        for quantity, name in named.items():
            column = filled(table, path, name)
            if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
                what = f"column {name!r} of objects.{collection} holds {column.type}, no lists"
                raise EventError(path, what, remedy="name numbered columns with {} in place of the number")
            lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
            if counts is not None and not np.array_equal(lengths, counts):
                row = int(np.flatnonzero(lengths != counts)[0])
                what = f"{lengths[row]} values of {name} where {named['pt']} has {counts[row]}"
                raise EventError(path, what, row=row, remedy="the lists of one object must be of one length")
            counts = lengths
            values[quantity] = _numbers(column.flatten(), path, name)
        event = np.repeat(rows, counts if counts is not None else 0)
    for quantity in set(values) & {"pt", "E", "mass"}:
        values[quantity] = values[quantity] / scale
    if "E" not in values:
        mass = values.get("mass", np.zeros(len(event)))
        values["E"] = np.sqrt((values["pt"] * np.cosh(values["eta"])) ** 2 + mass**2)
    negative, positive = COLLECTIONS[collection]
    kind = np.full(len(event), negative, dtype=np.int8)
    if "charge" in values and negative != positive:
        odd = np.abs(values["charge"]) != 1
        if odd.any():
            at = int(np.flatnonzero(odd)[0])
            what = f"{collection} of charge {values['charge'][at]:g} in {named['charge']!r}"
            raise EventError(path, what, row=int(event[at]), remedy="a charged lepton has charge 1 or -1")
        kind[values["charge"] > 0] = positive
    if "btag" in values:
        kind[values["btag"] > columns.btag_above] = codes.BJET
    return event, {quantity: values[quantity] for quantity in ("pt", "eta", "phi", "E")} | {"kind": kind}
