"""Mapping: the columns of a foreign table and their meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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


class Columns(BaseModel):
    """Columns of one kind of object: lists, or numbered ones with `{}` for the number (`jet{}_pt`: jet1_pt, ...).

    Without `E` and `mass` the objects are massless. Electrons and muons need `charge`. Jets may have `btag`: those
    above `btag_above` become b-jets. Entries whose pT is missing, NaN, 0 or a fill value (-999) behind the last object
    are padding, see `femtobarn.events.formats.padding`. A field of a record is `Jet.pt`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pt: str = Field(description="Column of the transverse momentum.")
    eta: str = Field(description="Column of the pseudorapidity.")
    phi: str = Field(description="Column of the azimuthal angle, in radians.")
    E: str | None = Field(default=None, description="Column of the energy; instead of `mass`.")
    mass: str | None = Field(
        default=None, description="Column of the mass; instead of `E`. Objects with neither are massless."
    )
    charge: str | None = Field(
        default=None, description="Column of the electric charge, required for electrons and muons."
    )
    btag: str | None = Field(default=None, description="Column of the b-tagging score of jets.")
    btag_above: float = Field(default=0.5, description="Score above which a jet is a b-jet.")

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

    def numbers(self, names: Iterable[str]) -> list[str]:
        """Numbers of the columns of a file that are numbered, in their order."""
        before, after = map(re.escape, self.pt.split("{}", 1))
        matches = (re.fullmatch(rf"{before}([0-9]+){after}", name) for name in names)
        return sorted((match[1] for match in matches if match), key=int)


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
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    unit: Literal["GeV", "MeV"] = Field(default="GeV", description="Unit of energies, momenta, masses and MET.")
    objects: dict[Literal["jet", "bjet", "electron", "muon", "photon"], Columns] = Field(
        description="Columns of each type of object: `jet`, `bjet`, `electron`, `muon`, `photon`."
    )
    MET: str = Field(description="Column of the missing transverse momentum.")
    phi_MET: str = Field(description="Column of the angle of the missing transverse momentum, in radians.")
    weight: str | None = Field(default=None, description="Column of the event weights. Default: all weights are 1.")
    process: str | None = Field(default=None, description="Column of the process names or numbers.")
    process_name: str | None = Field(
        default=None, description="Process of all events, instead of a column. Default: name of the file."
    )
    number: str | None = Field(
        default=None,
        description="Column of the event numbers: integers, different within a process. Default: number of the row, "
        "combined with the checksum of the file.",
    )
    hard: str | None = Field(
        default=None,
        description="Column of the number of the hard event, the same for all copies of one collision. Default: the "
        "event number.",
    )
    context: list[str] = Field(
        default=[], description="Columns of further quantities of the event to keep, for selections; not scaled."
    )

    @model_validator(mode="after")
    def _complete(self) -> Mapping:
        if self.process is not None and self.process_name is not None:
            raise ValueError("give process (a column) or process_name, not both")
        if not self.objects:
            raise ValueError(f"objects names no columns; describe some of {', '.join(COLLECTIONS)}")
        for name, columns in self.objects.items():
            if name in ("electron", "muon") and columns.charge is None:
                raise ValueError(f"objects.{name} needs charge, the column of the electric charges")
            if name in ("electron", "muon", "photon", "bjet") and columns.btag is not None:
                raise ValueError(f"objects.{name} has no btag; only jet has")
        return self

    def column_names(self, names: Iterable[str]) -> list[str]:
        """Columns that the mapping needs of a file with these columns."""
        names = list(names)
        needed = [self.MET, self.phi_MET, *self.context]
        needed += [name for name in (self.weight, self.process, self.number, self.hard) if name is not None]
        for columns in self.objects.values():
            numbers = columns.numbers(names) if "{}" in columns.pt else [""]
            needed += [column.replace("{}", number) for number in numbers for column in columns.named().values()]
        return needed
