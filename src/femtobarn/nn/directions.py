"""Directions: where the objects of an event lie, seen from the axis of their sum."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from femtobarn.physics import angles, lorentz, pairwise
from femtobarn.physics.constants import TINY_PT

#: GeV; scalar sums of pT are told in units of this, and those below `SOFTEST` of it as that.
SCALE, SOFTEST = 1000.0, 1e-3


class Directions(NamedTuple):
    """Directions around the axis of an event, or of a jet, and what share each object has; padded slots are 0."""

    share: Float[Tensor, "batch particles"]  # of the scalar sum of pT
    along: Float[Tensor, "batch particles"]  # rapidity, from that of the sum of all momenta
    around: Float[Tensor, "batch particles"]  # azimuth, from that of the sum, in [-π, π)
    total: Float[Tensor, " batch"]  # scalar sum of pT in GeV
    azimuth: Float[Tensor, " batch"]  # of the sum of all momenta


def directions(momenta: Float[Tensor, "batch particles 4"], mask: Bool[Tensor, "batch particles"]) -> Directions:
    r"""Rapidities, azimuths and shares of pT, the same however an event is turned around the beam or boosted along it.

    .. math:: z_i = p_{T,i} / \sum_j p_{T,j}, \quad \Delta y_i = y_i - y_P, \quad \Delta\phi_i = \phi_i - \phi_P,
              \quad P = \sum_j p_j

    The axis is that of the summed momenta, which neither a soft object more nor one that splits collinearly moves.

    Args:
        momenta: (px, py, pz, E) in GeV.
        mask: True where an object is real; what stands elsewhere changes nothing.
    """
    whole = torch.where(mask[..., None], momenta, 0.0).sum(1, keepdim=True)
    filled = pairwise.filled(momenta, mask)
    pt = torch.where(mask, lorentz.pt(filled), 0.0)
    total = pt.sum(1)
    azimuth = lorentz.phi(whole)
    return Directions(
        share=pt / total.clamp_min(TINY_PT)[:, None],
        along=torch.where(mask, lorentz.rapidity(filled) - lorentz.rapidity(whole), 0.0),
        around=torch.where(mask, angles.difference(lorentz.phi(filled), azimuth), 0.0),
        total=total,
        azimuth=azimuth[:, 0],
    )


def whole_event(seen: Directions, vectors: Float[Tensor, "batch vectors 4"]) -> Float[Tensor, "batch event_features"]:
    """The logarithm of the scalar sum of pT, and missing momentum along and across the axis in units of that sum.

    Like the directions they stay as they are when the event is turned around the beam or boosted along it, and change
    by nothing with soft and collinear emissions.
    """
    total = (seen.total / SCALE).clamp_min(SOFTEST)[:, None]
    px, py = vectors[..., 0] / SCALE / total, vectors[..., 1] / SCALE / total
    c, s = seen.azimuth.cos()[:, None], seen.azimuth.sin()[:, None]
    return torch.cat([total.log(), c * px + s * py, c * py - s * px], dim=-1)
