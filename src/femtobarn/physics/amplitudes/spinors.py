"""Two-component spinors of massless momenta and their products."""

from __future__ import annotations

import torch
from torch import Tensor


def left_spinor(p: Tensor) -> Tensor:
    """Left-handed spinor χ of a massless momentum: (p.σbar) χ = 0 and χ χ† = p.σ = E - p.σ.

    Args:
        p: shape (4, points), components (E, px, py, pz), positive energies.

    Returns:
        complex, shape (2, points).
    """
    energy, px, py, pz = p
    off = torch.complex(px, -py)
    is_forward = pz > 0
    # the larger of E + pz and E - pz, so that nothing cancels
    root = torch.where(is_forward, energy + pz, energy - pz).sqrt()
    upper = torch.where(is_forward, -off / root, torch.complex(root, torch.zeros_like(root)))
    lower = torch.where(is_forward, torch.complex(root, torch.zeros_like(root)), -off.conj() / root)
    return torch.stack([upper, lower])


def spinor_products(p: Tensor, incoming: int = 2) -> tuple[Tensor, Tensor]:
    """Products <ij> and [ij] of massless momenta, with <ij>[ji] = s_ij = (p_i + p_j)², all legs outgoing.

    Spinors of incoming legs are multiplied by i, which flips the sign of their momenta.

    Args:
        p: shape (legs, 4, points), components (E, px, py, pz), positive energies.
        incoming: number of incoming legs; they stand first.

    Returns:
        complex, shape (legs, legs, points), antisymmetric.
    """
    spinors = torch.stack([left_spinor(leg) for leg in p])
    phases = [1j if leg < incoming else 1.0 for leg in range(len(p))]
    phase = torch.tensor(phases, dtype=spinors.dtype, device=p.device)[:, None, None]
    left, right = spinors * phase, spinors.conj() * phase
    angle = left[:, None, 0] * left[None, :, 1] - left[:, None, 1] * left[None, :, 0]
    bracket = right[:, None, 1] * right[None, :, 0] - right[:, None, 0] * right[None, :, 1]
    return angle, bracket
