"""Columns: events as an exported file takes them, plain arrays by name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from femtobarn.events import Events


class Columns(NamedTuple):
    """The inputs of an exported file, in its order; objects may stand anywhere and in any number.

    Energies and momenta in GeV, angles in radians. float32 moves a score by about 2e-6 at most, less than training in
    float32 does.
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
        objects = events.padded()
        numbers = (objects.pt, objects.eta, objects.phi, objects.E)
        pt, eta, phi, energy = (column.astype(np.float32) for column in numbers)
        missing = (np.asarray(events.context[name]).astype(np.float32) for name in ("MET", "phi_MET"))
        return cls(pt, eta, phi, energy, np.where(objects.mask, objects.kind, 0).astype(np.int64), *missing)

    def part(self, where: slice) -> Columns:
        """Some of the events."""
        return Columns(*(column[where] for column in self))


#: What each input is, for whoever feeds the file.
MEANING = {
    "pt": "transverse momentum of each object in GeV",
    "eta": "pseudorapidity of each object",
    "phi": "azimuth of each object in radians",
    "E": "energy of each object in GeV",
    "type": "what each object is, as a code; 0 where there is none",
    "MET": "missing transverse momentum of the event in GeV",
    "phi_MET": "its azimuth in radians",
}

UNITS = {"pt": "GeV", "eta": "1", "phi": "rad", "E": "GeV", "type": "code", "MET": "GeV", "phi_MET": "rad"}
