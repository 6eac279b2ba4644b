"""Hardness: order of particles by pT, independent of rounding."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from femtobarn.physics.lorentz import pt

#: Difference of two pT, or two energies, relative to their sum, below which they are equal: some units in the last
#: place of float32.
TIE_TOLERANCE = 1e-6


def is_harder(momenta: Float[Tensor, "batch particles 4"]) -> Bool[Tensor, "batch particles particles"]:
    """True if the second particle of a pair is the harder one: in pT, then in energy, then by its slot.

    Files hold rounded numbers, so ties occur. pT is computed from px and py, with a rounding error that differs between
    libraries and must not decide them; numbers that agree within `TIE_TOLERANCE` therefore count as equal.
    """
    result = torch.ones(momenta.shape[1], momenta.shape[1], dtype=torch.bool, device=momenta.device).tril(-1)
    for number in (momenta[..., 3], pt(momenta)):
        first, second = number[:, :, None], number[:, None, :]
        equal = (second - first).abs() <= TIE_TOLERANCE * (first + second)
        result = (~equal & (second > first)) | (equal & result)  # ONNX Runtime has no `where` of booleans
    return result
