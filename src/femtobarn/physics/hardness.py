"""Hardness: which of two objects is the harder one, whatever rounding says."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from femtobarn.physics.lorentz import pt

#: Difference of two pT, or two energies, relative to their sum, below which neither is the larger: some units of
#: float32's last place.
TIE = 1e-6


def harder(momenta: Float[Tensor, "batch particles 4"]) -> Bool[Tensor, "batch particles particles"]:
    """Whether the second object of a pair is the harder one: in pT, then in energy, then by its position.

    Files hold rounded numbers, so that ties do happen; pT is made of px and py again, with an error that each library
    has of its own, and must not decide them. Numbers as close as `TIE` therefore count as equal.
    """
    found = torch.ones(momenta.shape[1], momenta.shape[1], dtype=torch.bool, device=momenta.device).tril(-1)
    for number in (momenta[..., 3], pt(momenta)):
        first, second = number[:, :, None], number[:, None, :]
        equal = (second - first).abs() <= TIE * (first + second)
        found = (~equal & (second > first)) | (equal & found)  # ONNX Runtime has no choice between truth values
    return found
