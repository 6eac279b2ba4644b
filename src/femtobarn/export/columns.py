"""Columns: events, or jets, as an exported file takes them, plain arrays by name."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import awkward as ak
import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from femtobarn.events import Events
from femtobarn.events.record import TRACKS
from femtobarn.physics.objects import KINDS, NAMES


class Columns(NamedTuple):
    """The inputs of an exported file, in its order; objects may stand anywhere and in any number.

    Energies and momenta in GeV, angles in radians, in the precision that the file was written with. float32 moves a
    score by about 2e-6 at most, less than training in float32 does; that of a network that keeps Lorentz symmetry by
    more, where momenta are nearly parallel: float64 does not.
    """

    pt: Float[np.ndarray, "events objects"]
    eta: Float[np.ndarray, "events objects"]
    phi: Float[np.ndarray, "events objects"]
    E: Float[np.ndarray, "events objects"]
    type: Int64[np.ndarray, "events objects"]  # codes of femtobarn.physics.objects; 0 is padding
    MET: Float[np.ndarray, " events"]
    phi_MET: Float[np.ndarray, " events"]

    @classmethod
    def of(cls, events: Events, precision: str = "float32") -> Columns:
        """All objects of the events; how many of them count is for the file to say."""
        missing = (np.asarray(events.context[name]).astype(precision) for name in ("MET", "phi_MET"))
        return cls(*_objects(events, precision), *missing)

    def part(self, where: slice) -> Columns:
        """Some of the events."""
        return Columns(*(column[where] for column in self))


class Kin(NamedTuple):
    """The inputs of a jet tagger that sees momenta alone: one jet a row, its constituents along it."""

    pt: Float[np.ndarray, "jets constituents"]
    eta: Float[np.ndarray, "jets constituents"]
    phi: Float[np.ndarray, "jets constituents"]
    E: Float[np.ndarray, "jets constituents"]
    type: Int64[np.ndarray, "jets constituents"]  # any code of femtobarn.physics.objects; 0 is padding


class KinPid(NamedTuple):
    """The inputs of a jet tagger that sees momenta, types and charges."""

    pt: Float[np.ndarray, "jets constituents"]
    eta: Float[np.ndarray, "jets constituents"]
    phi: Float[np.ndarray, "jets constituents"]
    E: Float[np.ndarray, "jets constituents"]
    type: Int64[np.ndarray, "jets constituents"]
    charge: Float[np.ndarray, "jets constituents"]


class Full(NamedTuple):
    """The inputs of a jet tagger that sees impact parameters too."""

    pt: Float[np.ndarray, "jets constituents"]
    eta: Float[np.ndarray, "jets constituents"]
    phi: Float[np.ndarray, "jets constituents"]
    E: Float[np.ndarray, "jets constituents"]
    type: Int64[np.ndarray, "jets constituents"]
    charge: Float[np.ndarray, "jets constituents"]
    d0: Float[np.ndarray, "jets constituents"]
    d0_error: Float[np.ndarray, "jets constituents"]
    dz: Float[np.ndarray, "jets constituents"]
    dz_error: Float[np.ndarray, "jets constituents"]


AnyColumns: TypeAlias = Columns | Kin | KinPid | Full

#: By the features of the network (`inputs.features`).
FORMS: dict[str, type[AnyColumns]] = {"objects": Columns, "kin": Kin, "kinpid": KinPid, "full": Full}


def columns_of(events: Events, features: str, precision: str = "float32") -> AnyColumns:
    """All objects of the events as the file of a network with these features takes them.

    Args:
        events: collisions or jets.
        features: of the network.
        precision: of the numbers, `float32` or `float64`.

    Raises:
        ValueError: the events have not what these features are made of, or hold types that the network does not know.
    """
    if features == "objects":
        unknown = [kind for kind in np.unique(ak.flatten(events.particles.kind)).tolist() if kind >= len(NAMES)]
        if unknown:
            raise ValueError(
                f"the model takes objects of collisions ({', '.join(NAMES[1:])}), and these events hold "
                f"{', '.join(KINDS[kind] for kind in unknown)}: jets need a model that was trained on jets"
            )
        return Columns.of(events, precision)
    form = FORMS[features]
    needed = [name for name in form._fields if name in TRACKS]
    absent = [name for name in needed if name not in events.tracks]
    if absent:
        raise ValueError(f"the model needs {', '.join(absent)} of every particle, which these events do not have")
    tracks = events.padded_tracks()[..., : len(needed)].astype(precision)
    return form(*_objects(events, precision), *(tracks[..., index] for index in range(len(needed))))


def part(columns: AnyColumns, where: slice) -> AnyColumns:
    """Some of the events."""
    return type(columns)(*(column[where] for column in columns))


def trimmed(columns: AnyColumns, events: Int64[np.ndarray, " chosen"], places: int) -> AnyColumns:
    """The chosen events, of their objects those in the first places."""
    return type(columns)(*(column[events] if column.ndim == 1 else column[events, :places] for column in columns))


def of_objects(columns: AnyColumns) -> list[str]:
    """Names of the columns with a number for each object."""
    return [name for name in columns._fields if name not in ("MET", "phi_MET")]


def _objects(events: Events, precision: str) -> tuple[NDArray[Any], ...]:
    objects = events.padded()
    numbers = (objects.pt, objects.eta, objects.phi, objects.E)
    pt, eta, phi, energy = (column.astype(precision) for column in numbers)
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
