"""Pairs: what two objects say together.

Every function takes momenta (px, py, pz, E) in GeV and the mask of real objects, and gives a symmetric matrix over
pairs, with 0 where one of the two is padding and on the diagonal: an object is no pair with itself. What stands in
padded slots changes nothing, NaN included, and gradients are finite.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from femtobarn.physics import angles, lorentz
from femtobarn.physics.constants import TINY_PT

Momenta = Float[Tensor, "batch particles 4"]
Mask = Bool[Tensor, "batch particles"]
Matrix = Float[Tensor, "batch particles particles"]


def pairs(mask: Mask) -> Bool[Tensor, "batch particles particles"]:
    """True for two different real objects."""
    slots = torch.arange(mask.shape[1], device=mask.device)
    return mask[:, :, None] & mask[:, None, :] & (slots[:, None] != slots)


def fill_padding(momenta: Momenta, mask: Mask) -> Momenta:
    """Momenta with a harmless one, massless and across the beam, in padded slots."""
    return torch.where(mask[..., None], momenta, momenta.new_tensor([1.0, 0.0, 0.0, 1.0]))


def mass2(momenta: Momenta, mask: Mask) -> Matrix:
    r"""Invariant mass squared of every pair in GeV².

    .. math:: m_{ij}^2 = (E - p_z)(E + p_z) - p_x^2 - p_y^2, \quad p = p_i + p_j

    Accurate to 3 ε (E_i + E_j)², most of which is the rounding of the momenta themselves: 0.4 GeV² at 1 TeV in float32.
    Two light collinear objects may come out below 0 by as much.
    """
    px, py, pz, energy = fill_padding(momenta, mask).unbind(-1)
    value = _sum(energy - pz) * _sum(energy + pz) - _sum(px).square() - _sum(py).square()
    return _masked(value, mask)


def dot(momenta: Momenta, mask: Mask) -> Matrix:
    r"""Minkowski product of every pair in GeV², half of the invariant mass squared of massless particles.

    .. math:: p_i \cdot p_j = E_i E_j - \vec p_i \cdot \vec p_j
    """
    # component by component: a matrix product is not symmetric to the last bit
    px, py, pz, energy = (
        column[..., :, None] * column[..., None, :] for column in fill_padding(momenta, mask).unbind(-1)
    )
    return _masked(energy - px - py - pz, mask)


def mass(momenta: Momenta, mask: Mask) -> Matrix:
    """Invariant mass of every pair in GeV, 0 where rounding makes its square negative."""
    return lorentz.safe_sqrt(mass2(momenta, mask))


def delta_r(momenta: Momenta, mask: Mask) -> Matrix:
    r"""Distance of every pair in pseudorapidity and azimuth.

    .. math:: \Delta R_{ij} = \sqrt{(\eta_i - \eta_j)^2 + (\phi_i - \phi_j)^2}
    """
    momenta = fill_padding(momenta, mask)
    return _masked(_distance(lorentz.eta(momenta), lorentz.phi(momenta)), mask)


def delta(momenta: Momenta, mask: Mask) -> Matrix:
    r"""Distance of every pair in rapidity and azimuth, the same after any boost along the beam.

    .. math:: \Delta_{ij} = \sqrt{(y_i - y_j)^2 + (\phi_i - \phi_j)^2}

    Source: Qu, Li and Qian, *Particle Transformer*, arXiv:2202.03772, eq. 3.
    """
    momenta = fill_padding(momenta, mask)
    return _masked(_distance(lorentz.rapidity(momenta), lorentz.phi(momenta)), mask)


def kt(momenta: Momenta, mask: Mask) -> Matrix:
    r"""Relative transverse momentum of every pair in GeV, as the kT algorithm measures it (with R = 1).

    .. math:: k_T = \min(p_{T,i}, p_{T,j})\,\Delta_{ij}

    Source: arXiv:2202.03772, eq. 3.
    """
    momenta = fill_padding(momenta, mask)
    transverse = lorentz.pt(momenta)
    softer = torch.minimum(transverse[:, :, None], transverse[:, None, :])
    return _masked(softer * _distance(lorentz.rapidity(momenta), lorentz.phi(momenta)), mask)


def z(momenta: Momenta, mask: Mask) -> Matrix:
    r"""Share of the softer object in the transverse momentum of every pair, from 0 to 1/2.

    .. math:: z = \min(p_{T,i}, p_{T,j}) / (p_{T,i} + p_{T,j})

    Source: arXiv:2202.03772, eq. 3.
    """
    transverse = lorentz.pt(fill_padding(momenta, mask)).clamp_min(TINY_PT)
    softer = torch.minimum(transverse[:, :, None], transverse[:, None, :])
    return _masked(softer / _sum(transverse), mask)


def _sum(value: Tensor) -> Tensor:
    return value[:, :, None] + value[:, None, :]


def _distance(height: Tensor, azimuth: Tensor) -> Tensor:
    along = (height[:, :, None] - height[:, None, :]).square()
    around = angles.abs_delta_phi(azimuth[:, :, None], azimuth[:, None, :]).square()
    return lorentz.safe_sqrt(along + around)


def _masked(value: Tensor, mask: Tensor) -> Tensor:
    return torch.where(pairs(mask), value, 0.0)
