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
    """Inputs of an exported file, in its order; particles may be in any slots and in any number.

    Energies and momenta are in GeV, angles in radians, in the precision of the file. float32 changes a score by at most
    2e-6, less than training in float32 does. Scores of Lorentz-equivariant networks change more where momenta are
    nearly parallel; use float64 for them.
    """

    pt: Float[np.ndarray, "batch particles"]
    eta: Float[np.ndarray, "batch particles"]
    phi: Float[np.ndarray, "batch particles"]
    E: Float[np.ndarray, "batch particles"]
    type: Int64[np.ndarray, "batch particles"]  # codes of femtobarn.physics.objects; 0 is padding
    MET: Float[np.ndarray, " batch"]
    phi_MET: Float[np.ndarray, " batch"]

    @classmethod
    def of(cls, events: Events, precision: str = "float32") -> Columns:
        """Columns of events, with all their particles; the file drops the softest ones."""
        met = (np.asarray(events.context[name]).astype(precision) for name in ("MET", "phi_MET"))
        return cls(*_particles(events, precision), *met)

    def select_events(self, where: slice) -> Columns:
        """Some of the events."""
        return Columns(*(column[where] for column in self))


class Kin(NamedTuple):
    """Inputs of a jet tagger on momenta: one jet per row, its constituents in the slots."""

    pt: Float[np.ndarray, "batch particles"]
    eta: Float[np.ndarray, "batch particles"]
    phi: Float[np.ndarray, "batch particles"]
    E: Float[np.ndarray, "batch particles"]
    type: Int64[np.ndarray, "batch particles"]  # any code of femtobarn.physics.objects; 0 is padding


class KinPid(NamedTuple):
    """Inputs of a jet tagger on momenta, types and charges."""

    pt: Float[np.ndarray, "batch particles"]
    eta: Float[np.ndarray, "batch particles"]
    phi: Float[np.ndarray, "batch particles"]
    E: Float[np.ndarray, "batch particles"]
    type: Int64[np.ndarray, "batch particles"]
    charge: Float[np.ndarray, "batch particles"]


class Full(NamedTuple):
    """Inputs of a jet tagger on momenta, types, charges and impact parameters."""

    pt: Float[np.ndarray, "batch particles"]
    eta: Float[np.ndarray, "batch particles"]
    phi: Float[np.ndarray, "batch particles"]
    E: Float[np.ndarray, "batch particles"]
    type: Int64[np.ndarray, "batch particles"]
    charge: Float[np.ndarray, "batch particles"]
    d0: Float[np.ndarray, "batch particles"]
    d0_error: Float[np.ndarray, "batch particles"]
    dz: Float[np.ndarray, "batch particles"]
    dz_error: Float[np.ndarray, "batch particles"]


AnyColumns: TypeAlias = Columns | Kin | KinPid | Full

#: By the features of the network (`inputs.features`).
FORMS: dict[str, type[AnyColumns]] = {"objects": Columns, "kin": Kin, "kinpid": KinPid, "full": Full}


def columns_of(events: Events, features: str, precision: str = "float32") -> AnyColumns:
    """Columns of events for the file of a network with these features, with all particles.

    Args:
        events: collisions or jets.
        features: of the network.
        precision: of the numbers, `float32` or `float64`.

    Raises:
        ValueError: the events lack columns for these features, or have types that the network does not support.
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
    return form(*_particles(events, precision), *(tracks[..., index] for index in range(len(needed))))


def select_events(columns: AnyColumns, where: slice) -> AnyColumns:
    """Rows of the columns."""
    return type(columns)(*(column[where] for column in columns))


def trim_columns(columns: AnyColumns, rows: Int64[np.ndarray, " rows"], slots: int) -> AnyColumns:
    """Some events, with their first slots only."""
    return type(columns)(*(column[rows] if column.ndim == 1 else column[rows, :slots] for column in columns))


def particle_columns(columns: AnyColumns) -> list[str]:
    """Names of the columns with one number per particle."""
    return [name for name in columns._fields if name not in ("MET", "phi_MET")]


def _particles(events: Events, precision: str) -> tuple[NDArray[Any], ...]:
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
