"""Directions of the particles of an event relative to the axis of their summed momentum."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from femtobarn.physics import angles, lorentz, pairwise
from femtobarn.physics.constants import TINY_PT

#: GeV; unit of scalar sums of pT.
HT_UNIT = 1000.0

#: In units of `HT_UNIT`; smaller scalar sums count as this in logarithms.
MIN_HT = 1e-3


class Directions(NamedTuple):
    """Directions relative to the axis of an event or a jet, and pT fractions; padded slots are 0."""

    pt_fraction: Float[Tensor, "batch particles"]  # of the scalar sum of pT
    delta_y: Float[Tensor, "batch particles"]  # rapidity relative to the summed momentum
    delta_phi: Float[Tensor, "batch particles"]  # azimuth relative to the summed momentum, in [-π, π)
    ht: Float[Tensor, " batch"]  # scalar sum of pT in GeV
    axis_phi: Float[Tensor, " batch"]  # azimuth of the summed momentum


def directions(momenta: Float[Tensor, "batch particles 4"], mask: Bool[Tensor, "batch particles"]) -> Directions:
    r"""Relative rapidities and azimuths, and pT fractions; invariant under rotations around and boosts along the beam.

    .. math:: z_i = p_{T,i} / \sum_j p_{T,j}, \quad \Delta y_i = y_i - y_P, \quad \Delta\phi_i = \phi_i - \phi_P,
              \quad P = \sum_j p_j

    The axis is the summed momentum, which is infrared- and collinear-safe.

    Args:
        momenta: (px, py, pz, E) in GeV.
        mask: True where a particle is real; padded slots may hold any number.
    """
    total = torch.where(mask[..., None], momenta, 0.0).sum(1, keepdim=True)
    padded = pairwise.fill_padding(momenta, mask)
    pt = torch.where(mask, lorentz.pt(padded), 0.0)
    ht = pt.sum(1)
    axis_phi = lorentz.phi(total)
    return Directions(
        pt_fraction=pt / ht.clamp_min(TINY_PT)[:, None],
        delta_y=torch.where(mask, lorentz.rapidity(padded) - lorentz.rapidity(total), 0.0),
        delta_phi=torch.where(mask, angles.delta_phi(lorentz.phi(padded), axis_phi), 0.0),
        ht=ht,
        axis_phi=axis_phi[:, 0],
    )


def event_features(
    relative: Directions, vectors: Float[Tensor, "batch vectors 4"]
) -> Float[Tensor, "batch event_features"]:
    """Logarithm of the scalar sum of pT, and missing momentum along and across the axis in units of this sum.

    Like the directions they are invariant under rotations around and boosts along the beam, and infrared- and
    collinear-safe.
    """
    ht = (relative.ht / HT_UNIT).clamp_min(MIN_HT)[:, None]
    px, py = vectors[..., 0] / HT_UNIT / ht, vectors[..., 1] / HT_UNIT / ht
    c, s = relative.axis_phi.cos()[:, None], relative.axis_phi.sin()[:, None]
    return torch.cat([ht.log(), c * px + s * py, c * py - s * px], dim=-1)
