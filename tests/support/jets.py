"""Random jets for tests of mechanics (never for a claim about physics)."""

from __future__ import annotations

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events import Events
from femtobarn.physics.objects import (
    ANTIMUON,
    CHARGED,
    CHARGES,
    ELECTRON,
    MUON,
    NEUTRAL,
    PHOTON,
    POSITRON,
)


def make_jets(
    count: int = 50, max_particles: int = 30, seed: int = 0, fewest: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Momenta (px, py, pz, E) of massless constituents around axes of any azimuth, and the mask; NaN in the padding."""
    rng = np.random.default_rng(seed)
    shape = (count, max_particles)
    mask = np.arange(max_particles) < rng.integers(fewest, max_particles + 1, (count, 1))
    pt = 0.5 + rng.exponential(10, shape)
    # two clusters of directions, so that there is something to find
    prong = rng.integers(0, 2, shape) * 0.5
    eta = rng.normal(0, 1, (count, 1)) + prong + rng.normal(0, 0.12, shape)
    phi = rng.uniform(-np.pi, np.pi, (count, 1)) + rng.normal(0, 0.12, shape)
    momenta = massless(pt, eta, phi)
    momenta[~mask] = np.nan
    return momenta, mask


def jet_events(
    count: int = 40, max_particles: int = 30, seed: int = 0, processes: tuple[str, ...] = ("top", "QCD")
) -> Events:
    """Jets as events: constituents of all types with tracks; those of the first process have two prongs, not one."""
    rng = np.random.default_rng(seed)
    process = np.array(processes)[np.arange(count) % len(processes)]
    counts = rng.integers(2, max_particles + 1, count)
    total = int(counts.sum())
    jet = np.repeat(np.arange(count), counts)
    pt = 0.5 + rng.exponential(10, total)
    prong = rng.integers(0, 2, total) * 0.5 * (process == processes[0])[jet]
    eta = rng.uniform(-2, 2, count)[jet] + prong + rng.normal(0, 0.1, total)
    phi = rng.uniform(-np.pi, np.pi, count)[jet] + rng.normal(0, 0.1, total)
    kind = rng.choice(
        [CHARGED, NEUTRAL, PHOTON, ELECTRON, POSITRON, MUON, ANTIMUON], total, p=[0.5, 0.2, 0.2, *[0.025] * 4]
    )
    sign = np.where(kind == CHARGED, rng.choice([-1, 1], total), np.asarray((*CHARGES, 0, 0, 0))[kind])
    tracked = sign != 0
    columns = {
        "pt": pt,
        "eta": eta,
        "phi": (phi + np.pi) % (2 * np.pi) - np.pi,
        "E": pt * np.cosh(eta),
        "kind": kind.astype(np.int8),
        "charge": sign.astype(np.float64),
        "d0": tracked * rng.normal(0, 0.5, total),
        "d0_error": tracked * rng.uniform(0.01, 1.2, total),
        "dz": tracked * rng.normal(0, 0.5, total),
        "dz_error": tracked * rng.uniform(0.01, 1.2, total),
    }
    numbers = np.arange(count, dtype=np.int64)
    return Events(
        particles=ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts),
        context=ak.zip({"MET": np.zeros(count), "phi_MET": np.zeros(count)}),
        weight=np.ones(count),
        process=process,
        number=numbers,
        hard=numbers,
    )


def massless(pt: NDArray[np.float64], eta: NDArray[np.float64], phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """(px, py, pz, E) of massless particles."""
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], axis=-1)


def prongs(*particles: tuple[float, float, float]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """One jet of massless particles (pT, rapidity, azimuth) spelled out by hand."""
    pt, eta, phi = np.array(particles, dtype=np.float64).T
    return massless(pt, eta, phi)[None], np.ones((1, len(particles)), dtype=np.bool_)
