"""Random jets for tests of mechanics (never for a claim about physics)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def make_jets(
    count: int = 50, most: int = 30, seed: int = 0, fewest: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Momenta (px, py, pz, E) of massless constituents around axes of any azimuth, and the mask; NaN in the padding."""
    rng = np.random.default_rng(seed)
    shape = (count, most)
    mask = np.arange(most) < rng.integers(fewest, most + 1, (count, 1))
    pt = 0.5 + rng.exponential(10, shape)
    # two clusters of directions, so that there is something to find
    prong = rng.integers(0, 2, shape) * 0.5
    eta = rng.normal(0, 1, (count, 1)) + prong + rng.normal(0, 0.12, shape)
    phi = rng.uniform(-np.pi, np.pi, (count, 1)) + rng.normal(0, 0.12, shape)
    momenta = massless(pt, eta, phi)
    momenta[~mask] = np.nan
    return momenta, mask


def massless(pt: NDArray[np.float64], eta: NDArray[np.float64], phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """(px, py, pz, E) of massless particles."""
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], axis=-1)


def prongs(*particles: tuple[float, float, float]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """One jet of massless particles (pT, rapidity, azimuth) spelled out by hand."""
    pt, eta, phi = np.array(particles, dtype=np.float64).T
    return massless(pt, eta, phi)[None], np.ones((1, len(particles)), dtype=np.bool_)
