"""Points of phase space: RAMBO with masses and weights, and the cuts of hadron colliders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from femtobarn.physics import lorentz, pairwise

#: Steps of Newton's method for the rescaling of three-momenta; the convergence is quadratic.
NEWTON_STEPS = 8

Momenta = Float[Tensor, "points particles 4"]
Points = Float[Tensor, " points"]


def massless_volume(n_particles: int, sqrt_s: float | Points) -> float | Points:
    r"""Volume of the phase space of massless particles, in GeV^(2n-4).

    .. math:: \int \prod \frac{d^3p_i}{2E_i}\, \delta^4(P - \sum p_i)
        = \left(\frac{\pi}{2}\right)^{n-1} \frac{s^{n-2}}{(n-1)!\,(n-2)!}

    Source: Kleiss, Stirling and Ellis, Comput. Phys. Commun. 40 (1986) 359.
    """
    factor = (math.pi / 2) ** (n_particles - 1) / math.factorial(n_particles - 1) / math.factorial(n_particles - 2)
    return factor * sqrt_s ** (2 * n_particles - 4)


def rambo(
    uniform: Float[Tensor, "points particles four"], sqrt_s: Points, masses: Sequence[float]
) -> tuple[Momenta, Points]:
    """Momenta in the centre of mass, and the weight of each point relative to massless phase space.

    Massless points are flat: their weight is 1. Massive points have weights of at most 1.

    Args:
        uniform: random numbers in (0, 1), four per particle.
        sqrt_s: energy of each point in GeV.
        masses: of the particles in GeV.

    Returns:
        (px, py, pz, E) in GeV, and the weights.

    Raises:
        ValueError: the energy is below the sum of the masses.

    Source: Kleiss, Stirling and Ellis, Comput. Phys. Commun. 40 (1986) 359.
    """
    total_mass = float(sum(masses))
    if len(sqrt_s) and float(sqrt_s.min()) <= total_mass:
        raise ValueError(f"an energy of {float(sqrt_s.min()):g} GeV is not above the sum of the masses {total_mass:g}")
    momenta = _massless(uniform, sqrt_s)
    if total_mass == 0:
        return momenta, torch.ones_like(sqrt_s)
    squared = torch.tensor([mass**2 for mass in masses], dtype=momenta.dtype, device=momenta.device)
    vectors, lengths = momenta[..., :3], momenta[..., 3]
    scale = (1 - (total_mass / sqrt_s) ** 2).sqrt()
    for _ in range(NEWTON_STEPS):
        energies = (squared + (scale[:, None] * lengths) ** 2).sqrt()
        slope = (scale[:, None] * lengths**2 / energies).sum(1)
        scale = scale - (energies.sum(1) - sqrt_s) / slope
    k = scale[:, None] * lengths
    energies = (squared + k**2).sqrt()
    n_particles = len(masses)
    weight = (k.sum(1) / sqrt_s) ** (2 * n_particles - 3) * (k / energies).prod(1)
    weight = weight / ((k**2 / energies).sum(1) / sqrt_s)
    return torch.cat([scale[:, None, None] * vectors, energies[..., None]], dim=-1), weight


def _massless(uniform: Tensor, sqrt_s: Tensor) -> Tensor:
    """Flat massless momenta: isotropic vectors, boosted to their rest frame and scaled to the energy."""
    cosine, azimuth = 2 * uniform[..., 0] - 1, 2 * math.pi * uniform[..., 1]
    energy = -(uniform[..., 2] * uniform[..., 3]).log()
    sine = (1 - cosine**2).clamp_min(0).sqrt()
    q = energy[..., None] * torch.stack([sine * azimuth.cos(), sine * azimuth.sin(), cosine], dim=-1)
    total, total_energy = q.sum(1), energy.sum(1)
    mass = (total_energy**2 - total.square().sum(-1)).sqrt()
    velocity = -total / mass[:, None]
    gamma = total_energy / mass
    along = (velocity[:, None] * q).sum(-1)
    scale = (sqrt_s / mass)[:, None]
    boosted = q + velocity[:, None] * (energy + along / (1 + gamma)[:, None])[..., None]
    # massless by construction: the energy is the length of the vector, not the boosted energy
    vectors = scale[..., None] * boosted
    return torch.cat([vectors, vectors.square().sum(-1, keepdim=True).sqrt()], dim=-1)


def incoming(sqrt_s: Points) -> Float[Tensor, "points 2 4"]:
    """Momenta of two massless beam particles along +z and -z in their centre of mass, in GeV."""
    half = sqrt_s / 2
    zero = torch.zeros_like(half)
    return torch.stack(
        [torch.stack([zero, zero, half, half], dim=-1), torch.stack([zero, zero, -half, half], dim=-1)], dim=1
    )


@dataclass(frozen=True)
class Cuts:
    """Selection of final states that a detector can resolve, and where amplitudes are finite.

    Args:
        min_pt: least transverse momentum of a gluon in GeV.
        min_delta_r: least distance in pseudorapidity and azimuth of two gluons or photons.
        photon_pt: least transverse momenta of the photons in GeV, the harder first.
        max_photon_eta: largest absolute pseudorapidity of a photon.
    """

    min_pt: float = 20.0
    min_delta_r: float = 0.4
    photon_pt: tuple[float, float] = (40.0, 30.0)
    max_photon_eta: float = 2.37

    def passed(
        self, gluons: Float[Tensor, "points gluons 4"], photons: Float[Tensor, "points photons 4"]
    ) -> Bool[Tensor, " points"]:
        """Whether the final state of each point passes. A Z boson is free."""
        ok = (lorentz.pt(gluons) > self.min_pt).all(1)
        if photons.shape[1]:
            pt = lorentz.pt(photons).sort(dim=1, descending=True).values
            least = torch.tensor(self.photon_pt, dtype=pt.dtype, device=pt.device)[: pt.shape[1]]
            ok &= (pt > least).all(1) & (lorentz.eta(photons).abs() < self.max_photon_eta).all(1)
        resolved = torch.cat([gluons, photons], dim=1)
        mask = torch.ones(resolved.shape[:2], dtype=torch.bool, device=resolved.device)
        distance = pairwise.delta_r(resolved, mask) + 1e9 * torch.eye(resolved.shape[1]).to(resolved)
        return ok & (distance > self.min_delta_r).flatten(1).all(1)
