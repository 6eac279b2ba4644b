"""Legs of a process: momenta as the amplitudes need them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def energy_first(
    momenta: Float[Tensor, "points particles 4"], *, incoming: int = 2
) -> Float[Tensor, "particles 4 points"]:
    """Outgoing momenta with components (E, px, py, pz) first, points last; incoming momenta get the other sign.

    Args:
        momenta: (px, py, pz, E) in GeV, incoming legs first with positive energies.
        incoming: number of incoming legs whose sign is flipped.

    Raises:
        TypeError: momenta that are not float64; cancellations in amplitudes need its precision.
    """
    if momenta.dtype != torch.float64:
        raise TypeError(f"amplitudes are computed from momenta in float64, not {str(momenta.dtype).split('.')[-1]}")
    p = momenta[..., [3, 0, 1, 2]].permute(1, 2, 0).contiguous()
    p[:incoming] *= -1
    return p
