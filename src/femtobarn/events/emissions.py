"""Emissions: jets with a soft particle more, or with a particle split in two along its direction.

What quantum chromodynamics can compute does not feel either in the limit; a network may.
"""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.faults import wrap_phi
from femtobarn.events.record import KINEMATICS, TRACKS, Events
from femtobarn.physics.objects import PARTICLE, PHOTON


def add_soft_particle(
    events: Events, fraction: float, generator: np.random.Generator, *, radius: float = 0.8
) -> Events:
    """The same jets with one more massless particle each, of this share of the scalar sum of pT.

    Its direction is uniform in the circle of a radius around the axis of the jet. It is a photon, or a particle of no
    known type in jets that hold only such.
    """
    axis = ak.sum(events.particles, axis=1)
    count = len(events)
    distance, turn = radius * np.sqrt(generator.random(count)), generator.uniform(-np.pi, np.pi, count)
    eta = ak.to_numpy(axis.eta) + distance * np.cos(turn)
    phi = ak.to_numpy(axis.phi) + distance * np.sin(turn)
    pt = fraction * ak.to_numpy(ak.sum(events.particles.pt, axis=1))
    has_types = ak.to_numpy(ak.any(events.particles.kind != PARTICLE, axis=1))
    new = {"pt": pt, "eta": eta, "phi": wrap_phi(phi), "E": pt * np.cosh(eta)}
    columns = {**new, "kind": np.where(has_types, PHOTON, PARTICLE).astype(np.int8)}
    return _joined(events, events.particles, columns)


def split_collinear(events: Events, angle: float, generator: np.random.Generator) -> Events:
    """The same jets with the hardest particle of each split in two, this far apart in pseudorapidity and azimuth.

    The shares are drawn between 0.1 and 0.9, and the halves recoil against each other. Both keep type and tracks.
    """
    ordered = events.particles[ak.argsort(events.particles.pt, ascending=False, stable=True)]
    hardest, rest = ordered[:, :1], ordered[:, 1:]
    flat = {name: ak.to_numpy(ak.flatten(hardest[name])) for name in hardest.fields}
    count = len(flat["pt"])
    if count < len(events):
        raise ValueError("a jet without particles cannot split")
    z, turn = generator.uniform(0.1, 0.9, count), generator.uniform(-np.pi, np.pi, count)
    mass2 = np.maximum(flat["E"] ** 2 - (flat["pt"] * np.cosh(flat["eta"])) ** 2, 0)
    divided = replace(events, particles=rest)
    for part, away in ((z, 1 - z), (1 - z, -z)):
        pt = part * flat["pt"]
        eta = flat["eta"] + away * angle * np.cos(turn)
        phi = wrap_phi(flat["phi"] + away * angle * np.sin(turn))
        energy = np.sqrt((pt * np.cosh(eta)) ** 2 + part**2 * mass2)
        columns = flat | {"pt": pt, "eta": eta, "phi": phi, "E": energy}
        divided = _joined(events, divided.particles, columns)
    return divided


def _joined(events: Events, particles: ak.Array, new: dict[str, NDArray[np.generic]]) -> Events:
    """The events with these particles and one more in each; truth columns stay behind."""
    names = [name for name in (*KINEMATICS, *TRACKS) if name in particles.fields]
    size = np.zeros(len(events))
    added = ak.zip({name: np.asarray(new.get(name, size))[:, None] for name in names})
    kept = ak.zip({name: particles[name] for name in names})
    return replace(events, particles=ak.with_name(ak.concatenate([kept, added], axis=1), "Momentum4D"))
