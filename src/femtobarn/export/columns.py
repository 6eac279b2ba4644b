"""Columns: events, or jets, as an exported file takes them, plain arrays by name."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from femtobarn.events import Events
from femtobarn.events.record import TRACKS


class Columns(NamedTuple):
    """The inputs of an exported file, in its order; objects may stand anywhere and in any number.

    Energies and momenta in GeV, angles in radians. float32 moves a score by about 2e-6 at most, less than training in
    float32 does; that of a network with local frames by more, where their directions are nearly parallel.
    """

    pt: Float32[np.ndarray, "events objects"]
    eta: Float32[np.ndarray, "events objects"]
    phi: Float32[np.ndarray, "events objects"]
    E: Float32[np.ndarray, "events objects"]
    type: Int64[np.ndarray, "events objects"]  # codes of femtobarn.physics.objects; 0 is padding
    MET: Float32[np.ndarray, " events"]
    phi_MET: Float32[np.ndarray, " events"]

    @classmethod
    def of(cls, events: Events) -> Columns:
        """All objects of the events; how many of them count is for the file to say."""
        missing = (np.asarray(events.context[name]).astype(np.float32) for name in ("MET", "phi_MET"))
        return cls(*_objects(events), *missing)

    def part(self, where: slice) -> Columns:
        """Some of the events."""
        return Columns(*(column[where] for column in self))


class Kin(NamedTuple):
    """The inputs of a jet tagger that sees momenta alone: one jet a row, its constituents along it."""

    pt: Float32[np.ndarray, "jets constituents"]
    eta: Float32[np.ndarray, "jets constituents"]
    phi: Float32[np.ndarray, "jets constituents"]
    E: Float32[np.ndarray, "jets constituents"]
    type: Int64[np.ndarray, "jets constituents"]  # any code of femtobarn.physics.objects; 0 is padding


class KinPid(NamedTuple):
    """The inputs of a jet tagger that sees momenta, types and charges."""

    pt: Float32[np.ndarray, "jets constituents"]
    eta: Float32[np.ndarray, "jets constituents"]
    phi: Float32[np.ndarray, "jets constituents"]
    E: Float32[np.ndarray, "jets constituents"]
    type: Int64[np.ndarray, "jets constituents"]
    charge: Float32[np.ndarray, "jets constituents"]


class Full(NamedTuple):
    """The inputs of a jet tagger that sees impact parameters too."""

    pt: Float32[np.ndarray, "jets constituents"]
    eta: Float32[np.ndarray, "jets constituents"]
    phi: Float32[np.ndarray, "jets constituents"]
    E: Float32[np.ndarray, "jets constituents"]
    type: Int64[np.ndarray, "jets constituents"]
    charge: Float32[np.ndarray, "jets constituents"]
    d0: Float32[np.ndarray, "jets constituents"]
    d0_error: Float32[np.ndarray, "jets constituents"]
    dz: Float32[np.ndarray, "jets constituents"]
    dz_error: Float32[np.ndarray, "jets constituents"]


AnyColumns: TypeAlias = Columns | Kin | KinPid | Full

#: By the features of the network (`inputs.features`).
FORMS: dict[str, type[AnyColumns]] = {"objects": Columns, "kin": Kin, "kinpid": KinPid, "full": Full}


def columns_of(events: Events, features: str) -> AnyColumns:
    """All objects of the events as the file of a network with these features takes them.

    Raises:
        ValueError: the events have not what these features are made of.
    """
    if features == "objects":
        return Columns.of(events)
    form = FORMS[features]
    needed = [name for name in form._fields if name in TRACKS]
    absent = [name for name in needed if name not in events.tracks]
    if absent:
        raise ValueError(f"the model needs {', '.join(absent)} of every particle, which these events do not have")
    tracks = events.padded_tracks()[..., : len(needed)].astype(np.float32)
    return form(*_objects(events), *(tracks[..., index] for index in range(len(needed))))


def part(columns: AnyColumns, where: slice) -> AnyColumns:
    """Some of the events."""
    return type(columns)(*(column[where] for column in columns))


def of_objects(columns: AnyColumns) -> list[str]:
    """Names of the columns with a number for each object."""
    return [name for name in columns._fields if name not in ("MET", "phi_MET")]


def _objects(events: Events) -> tuple[NDArray[Any], ...]:
    objects = events.padded()
    numbers = (objects.pt, objects.eta, objects.phi, objects.E)
    pt, eta, phi, energy = (column.astype(np.float32) for column in numbers)
    return pt, eta, phi, energy, np.where(objects.mask, objects.kind, 0).astype(np.int64)


#: What each input is, for whoever feeds the file.
MEANING = {
    "pt": "transverse momentum of each object in GeV",
    "eta": "pseudorapidity of each object",
    "phi": "azimuth of each object in radians",
    "E": "energy of each object in GeV",
    "type": "what each object is, as a code; 0 where there is none",
    "MET": "missing transverse momentum of the event in GeV",
    "phi_MET": "its azimuth in radians",
    "charge": "electric charge of each constituent",
    "d0": "transverse impact parameter of its track in mm; 0 without a track, as all below",
    "d0_error": "error of d0 in mm",
    "dz": "longitudinal impact parameter in mm",
    "dz_error": "error of dz in mm",
}

UNITS = {"pt": "GeV", "eta": "1", "phi": "rad", "E": "GeV", "type": "code", "MET": "GeV", "phi_MET": "rad"}
UNITS |= {"charge": "e", "d0": "mm", "d0_error": "mm", "dz": "mm", "dz_error": "mm"}
