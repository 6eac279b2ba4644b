"""Constituents of jets: the visible particles themselves, or what a tracker and calorimeters make of them.

The parametrised detector finds tracks with the efficiency of `femtobarn.simulate.detector`, measures their momenta and
impact parameters, and sums all else in cells: photons and electrons without a track in those of the electromagnetic
calorimeter, hadrons in those of the hadronic one. Energy of tracked particles is taken out of the calorimeters
perfectly, electrons and muons with a track are always told from hadrons, and there is no pile-up and no magnetic field:
a particle flow better than any real one.

Sources:
    Tracker, calorimeters: ATLAS, JINST 3 (2008) S08003 (expected resolutions of track parameters, the values of the
    barrel below and of the endcap above |eta| = 1; pions in the tile and hadronic endcap calorimeters).
    Track efficiency, electromagnetic resolution: as in `femtobarn.simulate.detector`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import vector
from numpy.typing import NDArray

from femtobarn.events.record import TRACKS
from femtobarn.physics.objects import ANTIMUON, CHARGED, ELECTRON, INVISIBLE_PDG, MUON, NEUTRAL, PHOTON, POSITRON
from femtobarn.simulate.detector import (
    CURL_PT,
    charge_of,
    electromagnetic_resolution,
    smear,
    track_efficiency,
)

Array = NDArray[Any]

#: Momentum and angle columns of a constituent.
MOMENTUM = ("px", "py", "pz", "E")

#: Widths of a cell in pseudorapidity and azimuth (2π / 256 and 2π / 64), and least transverse energy in GeV.
ELECTROMAGNETIC_CELL = 2 * np.pi / 256
HADRONIC_CELL = 2 * np.pi / 64
PHOTON_ET = 0.5
HADRON_ET = 1.0

#: Masses in GeV that a track is given: electron, muon, and the pion for any hadron.
MASSES = {ELECTRON: 0.000511, POSITRON: 0.000511, MUON: 0.105658, ANTIMUON: 0.105658, CHARGED: 0.139570}


def track_momentum_resolution(pt: Array, eta: Array) -> Array:
    r"""Relative resolution of a track's transverse momentum, :math:`a\,(p_T \oplus p_0)`.

    a = 0.34/TeV and :math:`p_0` = 44 GeV in the barrel, 0.41/TeV and 80 GeV in the endcap (JINST 3 S08003).
    """
    barrel = np.abs(eta) < 1
    return np.asarray(np.where(barrel, 0.34e-3, 0.41e-3) * np.hypot(pt, np.where(barrel, 44.0, 80.0)))


def impact_resolution(pt: Array, eta: Array) -> tuple[Array, Array]:
    r"""Errors of the transverse and longitudinal impact parameters of a track in mm.

    .. math:: \sigma(d_0) = a \left(1 \oplus \frac{p_0}{p_T}\right), \quad
        \sigma(z_0) \sin\theta = b \left(1 \oplus \frac{p_1}{p_T}\right)

    with a = 10 (12) µm, :math:`p_0` = 14 (20) GeV, b = 91 (71) µm, :math:`p_1` = 2.3 (3.7) GeV in the barrel (endcap):
    JINST 3 S08003.
    """
    barrel = np.abs(eta) < 1
    transverse = np.where(barrel, 0.010, 0.012) * np.hypot(1, np.where(barrel, 14.0, 20.0) / pt)
    along = np.where(barrel, 0.091, 0.071) * np.hypot(1, np.where(barrel, 2.3, 3.7) / pt)
    return np.asarray(transverse), np.asarray(along * np.cosh(eta))


def hadronic_resolution(energy: Array, eta: Array) -> Array:
    r"""Relative energy resolution of hadrons, :math:`52\%/\sqrt{E} \oplus 3\%`, in the endcap :math:`71\% \oplus 6\%`.

    Source: JINST 3 S08003 (pions in the test beams).
    """
    barrel = np.abs(eta) < 1.7
    return np.asarray(np.hypot(np.where(barrel, 0.52, 0.71) / np.sqrt(energy), np.where(barrel, 0.03, 0.06)))


def visible(particles: ak.Array, eta: float) -> ak.Array:
    """The stable visible particles within a pseudorapidity: momenta, kind, and exact charge and impact parameters.

    Args:
        particles: id, final, px, py, pz, E (GeV) and x, y, z of their origin (mm).
        eta: largest pseudorapidity.
    """
    size = abs(particles.id)
    pt2 = particles.px**2 + particles.py**2
    inside = particles.pz**2 < np.sinh(eta) ** 2 * pt2
    for invisible in INVISIBLE_PDG:
        inside = inside & (size != invisible)
    kept = particles[particles.final & inside]
    charge = charge_of(kept.id) / 3
    pt = np.hypot(kept.px, kept.py)
    size = abs(kept.id)
    kind = ak.where(charge != 0, CHARGED, ak.where(size == 22, PHOTON, NEUTRAL))
    kind = ak.where(kept.id == 11, ELECTRON, ak.where(kept.id == -11, POSITRON, kind))
    kind = ak.where(kept.id == 13, MUON, ak.where(kept.id == -13, ANTIMUON, kind))
    # of the straight line through the origin of the particle, nearest to the beam
    tracked = ak.values_astype(charge != 0, np.float64)
    d0 = (kept.x * kept.py - kept.y * kept.px) / pt
    dz = kept.z - (kept.x * kept.px + kept.y * kept.py) / pt * kept.pz / pt
    tracks = {"charge": charge, "d0": d0 * tracked, "d0_error": 0 * d0, "dz": dz * tracked, "dz_error": 0 * d0}
    return ak.zip({**{name: kept[name] for name in MOMENTUM}, "kind": kind, **tracks})


def candidates(particles: ak.Array, generator: np.random.Generator) -> ak.Array:
    """What the detector makes of visible particles, in the same columns.

    Args:
        particles: from `visible`.
        generator: source of all randomness.
    """
    event = np.repeat(np.arange(len(particles)), ak.to_numpy(ak.num(particles.px)))
    flat = {name: ak.to_numpy(ak.flatten(particles[name])) for name in particles.fields}
    pt = np.hypot(flat["px"], flat["py"])
    eta, phi = np.arcsinh(flat["pz"] / pt), np.arctan2(flat["py"], flat["px"])
    charged = flat["charge"] != 0
    has_track = charged & (generator.random(len(pt)) < track_efficiency(pt, eta))
    electron = (flat["kind"] == ELECTRON) | (flat["kind"] == POSITRON)
    muon = (flat["kind"] == MUON) | (flat["kind"] == ANTIMUON)
    deposited = ~has_track & ~muon & ~(charged & (pt < CURL_PT))
    bright = (flat["kind"] == PHOTON) | electron
    kinematics = Kinematics(event, pt, eta, phi, flat["E"])
    parts = [
        _tracks(kinematics, flat, has_track, generator),
        _cells(kinematics, deposited & bright, PHOTON, generator),
        _cells(kinematics, deposited & ~bright, NEUTRAL, generator),
    ]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(columns["event"], kind="stable")
    counts = np.bincount(columns["event"], minlength=len(particles))
    return ak.unflatten(ak.zip({name: columns[name][order] for name in columns if name != "event"}), counts)


class Kinematics(NamedTuple):
    """Particles of all events, one after another.

    Args:
        event: index of the event of each particle.
        pt: transverse momentum in GeV.
        eta: pseudorapidity.
        phi: azimuth in radians.
        energy: in GeV.
    """

    event: Array
    pt: Array
    eta: Array
    phi: Array
    energy: Array

    def at(self, chosen: Array) -> Kinematics:
        """The particles at a mask."""
        return Kinematics(*(column[chosen] for column in self))


def _tracks(
    particles: Kinematics, flat: dict[str, Array], has_track: Array, generator: np.random.Generator
) -> dict[str, Array]:
    event, pt, eta, phi, _ = particles.at(has_track)
    kind = flat["kind"][has_track]
    errors = impact_resolution(pt, eta)
    noise = [generator.standard_normal(len(pt)) for _ in range(2)]
    measured = pt * smear(generator, track_momentum_resolution(pt, eta))
    mass = np.array([MASSES.get(code, 0.0) for code in range(CHARGED + 1)])[kind]
    return {
        "event": event,
        **_momentum(measured, eta, phi, mass),
        "kind": kind,
        "charge": flat["charge"][has_track],
        "d0": flat["d0"][has_track] + noise[0] * errors[0],
        "d0_error": errors[0],
        "dz": flat["dz"][has_track] + noise[1] * errors[1],
        "dz_error": errors[1],
    }


def _cells(particles: Kinematics, chosen: Array, kind: int, generator: np.random.Generator) -> dict[str, Array]:
    """Energies summed in cells, smeared, and kept above the noise; they are massless and at the middle of the cell."""
    event, _, eta, phi, energy = particles.at(chosen)
    photons = kind == PHOTON
    width, threshold = (ELECTROMAGNETIC_CELL, PHOTON_ET) if photons else (HADRONIC_CELL, HADRON_ET)
    rows = np.floor(eta / width).astype(np.int64)
    turns = np.floor((phi + np.pi) / width).astype(np.int64)
    place = np.stack([event, rows, turns], axis=1)
    cells, which = np.unique(place, axis=0, return_inverse=True)
    total = np.bincount(which.ravel(), energy, len(cells))
    height, azimuth = (cells[:, 1] + 0.5) * width, (cells[:, 2] + 0.5) * width - np.pi
    resolution = electromagnetic_resolution if photons else hadronic_resolution
    pt = total * smear(generator, resolution(np.maximum(total, 1e-3), height)) / np.cosh(height)
    kept = pt > threshold
    nothing = np.zeros(int(kept.sum()))
    return {
        "event": cells[kept, 0],
        **_momentum(pt[kept], height[kept], azimuth[kept], nothing),
        "kind": np.full(len(nothing), kind),
        **dict.fromkeys(TRACKS, nothing),
    }


def _momentum(pt: Array, eta: Array, phi: Array, mass: Array) -> dict[str, Array]:
    momentum = vector.array({"pt": pt, "eta": eta, "phi": phi, "mass": mass})
    return {name: np.asarray(getattr(momentum, name)) for name in MOMENTUM}
