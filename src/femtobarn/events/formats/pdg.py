"""Particles by their PDG numbers: mass, type and charge of what is stable in a detector."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.formats.row_checks import RowChecks
from femtobarn.physics.objects import ANTIMUON, CHARGED, ELECTRON, MUON, NEUTRAL, PHOTON, POSITRON


class Species(NamedTuple):
    """Mass in GeV, code of `femtobarn.physics.objects` and electric charge."""

    mass: float
    kind: int
    charge: int


def _hadrons(masses: dict[int, tuple[float, int]]) -> dict[int, Species]:
    """Hadrons and their antiparticles, from mass and charge of the particles."""
    return {
        sign * code: Species(mass, CHARGED if charge else NEUTRAL, sign * charge)
        for code, (mass, charge) in masses.items()
        for sign in (1, -1)
    }


#: What is stable in a detector, by PDG number. Source: Particle Data Group.
SPECIES: dict[int, Species] = {
    22: Species(0.0, PHOTON, 0),
    11: Species(0.000511, ELECTRON, -1),
    -11: Species(0.000511, POSITRON, 1),
    13: Species(0.105658, MUON, -1),
    -13: Species(0.105658, ANTIMUON, 1),
    130: Species(0.497611, NEUTRAL, 0),
    310: Species(0.497611, NEUTRAL, 0),
    **_hadrons(
        {
            211: (0.139570, 1),
            321: (0.493677, 1),
            311: (0.497611, 0),
            2112: (0.939565, 0),
            2212: (0.938272, 1),
            3122: (1.115683, 0),
            3222: (1.18937, 1),
            3112: (1.197449, -1),
            3322: (1.31486, 0),
            3312: (1.32171, -1),
            3334: (1.67245, -1),
            # light nuclei; source of their masses: CODATA 2018
            1000010020: (1.875613, 1),
            1000010030: (2.808921, 1),
            1000020030: (2.808392, 2),
            1000020040: (3.727379, 2),
        }
    ),
}


def particles(
    codes: NDArray[np.int64], row: NDArray[np.integer[Any]], checks: RowChecks
) -> tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.float64]]:
    """Masses (GeV), types and charges of particles by their PDG numbers.

    Other hadrons and nuclei than those of `SPECIES` are looked up in the package `particle`, if it is installed.

    Args:
        codes: PDG numbers.
        row: row of each particle.
        checks: of the table.

    Raises:
        EventError: a number that is unknown or of no particle that leaves a signal in a detector, with its row.
    """
    numbers, which = np.unique(codes, return_inverse=True)
    species = [SPECIES.get(number) or _looked_up(number) for number in numbers.tolist()]
    unknown = np.array([entry is None for entry in species], dtype=np.bool_)[which]
    checks.refuse_entries(
        unknown,
        row,
        lambda at: f"a particle of PDG number {codes[at]}",
        "known are photons, electrons, muons, stable "
        "hadrons and light nuclei, and with the package particle (pip install particle) all hadrons and nuclei",
    )
    entries = [entry or SPECIES[22] for entry in species]
    mass, kind, charge = (np.array([entry[column] for entry in entries]) for column in range(3))
    return mass[which].astype(np.float64), kind[which].astype(np.int8), charge[which].astype(np.float64)


def _looked_up(code: int) -> Species | None:
    """A hadron or nucleus by the tables of the package `particle`; None if it is not installed or has none."""
    try:
        from particle import Particle, ParticleNotFound
        from particle.pdgid import is_hadron, is_nucleus
    except ImportError:
        return None
    if not (is_hadron(code) or is_nucleus(code)):
        return None
    try:
        entry = Particle.from_pdgid(code)
    except ParticleNotFound:
        return None
    if entry.mass is None or entry.charge is None:
        return None
    charge = round(entry.charge)
    return Species(entry.mass / 1000, CHARGED if charge else NEUTRAL, charge)
