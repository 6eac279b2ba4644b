"""Quark/gluon data of EnergyFlow: NumPy archives of jets with the momenta and PDG numbers of their particles.

Komiske, Metodiev and Thaler, *Energy Flow Networks*, arXiv:1810.05165; data: doi:10.5281/zenodo.3164691.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from femtobarn.events.errors import EventError
from femtobarn.events.jets import QUARK, jets, named
from femtobarn.events.record import Events
from femtobarn.physics.objects import ANTIMUON, CHARGED, ELECTRON, MUON, NEUTRAL, PHOTON, POSITRON

#: What is stable in a detector: mass in GeV (Particle Data Group), code and charge, by PDG number.
PARTICLES: dict[int, tuple[float, int, int]] = {
    22: (0.0, PHOTON, 0),
    11: (0.000511, ELECTRON, -1),
    -11: (0.000511, POSITRON, 1),
    13: (0.105658, MUON, -1),
    -13: (0.105658, ANTIMUON, 1),
    130: (0.497611, NEUTRAL, 0),
    310: (0.497611, NEUTRAL, 0),
    **{sign * 2112: (0.939565, NEUTRAL, 0) for sign in (1, -1)},
    **{sign * 3122: (1.115683, NEUTRAL, 0) for sign in (1, -1)},
    **{sign * 3322: (1.31486, NEUTRAL, 0) for sign in (1, -1)},
    **{sign * 211: (0.139570, CHARGED, sign) for sign in (1, -1)},
    **{sign * 321: (0.493677, CHARGED, sign) for sign in (1, -1)},
    **{sign * 2212: (0.938272, CHARGED, sign) for sign in (1, -1)},
    **{sign * 3222: (1.18937, CHARGED, sign) for sign in (1, -1)},
    **{sign * 3112: (1.197449, CHARGED, -sign) for sign in (1, -1)},
    **{sign * 3312: (1.32171, CHARGED, -sign) for sign in (1, -1)},
    **{sign * 3334: (1.67245, CHARGED, -sign) for sign in (1, -1)},
}


def read_quark_gluon(path: str | Path) -> Events:
    """Jets of the processes `quark` and `gluon`, with the types and charges of their particles.

    The archive holds `X` (jets, particles, 4) with pT in GeV, rapidity, azimuth and PDG number, zeros behind the last
    particle, and `y` (jets), 1 for quarks. Energies are those of particles with their masses.

    Raises:
        EventError: no such archive, arrays of other shapes, unknown labels or particles, with the row.
        FileNotFoundError: no such file.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            absent = [name for name in ("X", "y") if name not in archive]
            if absent:
                has = ", ".join(archive.files) or "nothing"
                raise EventError(path, f"has no array {absent[0]!r}", remedy=f"it has {has}")
            x, y = archive["X"], archive["y"]
    except FileNotFoundError:
        raise
    except EventError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EventError(
            path, f"cannot be read as a NumPy archive ({reason})", remedy="it may be cut short or of another format"
        ) from error
    if x.ndim != 3 or x.shape[2] != 4 or y.shape != x.shape[:1]:
        what = f"X has the shape {x.shape} and y {y.shape}"
        raise EventError(path, what, remedy="X is (jets, particles, 4) with pt, y, phi, pdgid, and y is (jets)")
    real = (x != 0).any(axis=2)
    row = np.repeat(np.arange(len(x)), real.sum(axis=1))
    pt, height, phi, number = x[real].astype(np.float64).T
    known, which = np.unique(number, return_inverse=True)
    strangers = [value for value in known if value not in PARTICLES]
    if strangers:
        at = int(row[np.flatnonzero(number == strangers[0])[0]]) if strangers[0] == strangers[0] else None
        told = "stable particles and photons are known by their PDG numbers"
        raise EventError(path, f"a particle of PDG number {strangers[0]:g}", row=at, remedy=told)
    mass, kind, charge = (np.array([PARTICLES[int(value)][column] for value in known]) for column in range(3))
    transverse = np.sqrt(pt**2 + mass[which] ** 2)
    momenta = {"px": pt * np.cos(phi), "py": pt * np.sin(phi)}
    momenta |= {"pz": transverse * np.sinh(height), "E": transverse * np.cosh(height)}
    return jets(
        path,
        real.sum(axis=1).astype(np.int64),
        momenta,
        kind[which].astype(np.int8),
        named(path, y, QUARK),
        tracks={"charge": charge[which].astype(np.float64)},
    )
