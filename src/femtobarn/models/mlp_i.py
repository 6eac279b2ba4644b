"""MLP-I: a fully connected network on the Lorentz invariants of all pairs of particles.

Breso, Heinrich, Magerya and Olsson, arXiv:2412.09534 and Favaro et al., arXiv:2508.14898 (as a baseline of amplitudes).
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import Linear, mlp
from femtobarn.nn.slots import (
    kinematic,
    n_kinematic,
    n_pair_inputs,
    order_by_type,
    pairs_in_slots,
    particles_in_slots,
)


@model(
    "mlp-i",
    family="fully connected",
    pairs="needed",
    ordered=True,
    double=True,
    small={"widths": (16, 16)},
    published={"mlp-i-momenta": {"widths": (128,) * 4, "momenta": True}},
)
class MLPI(nn.Module):
    """Multilayer perceptron on the pairwise features of particles in fixed slots (MLP-I).

    With `interactions: [dot]` its inputs are the logarithms of all products p_i.p_j, so that it is exactly invariant
    under Lorentz transformations. Slots are those of `mlp`. The published size `mlp-i-momenta` has the momenta as
    inputs as well, and is not invariant.

    Args:
        sizes: widths of the inputs and outputs.
        widths: widths of the hidden layers.
        momenta: also use the kinematic features of each particle.

    Raises:
        ValueError: no pairwise features.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128,) * 5,
        momenta: bool = False,
    ) -> None:
        super().__init__()
        self.slots, self.scalars, self.momenta = sizes.slots, sizes.scalars, momenta
        n_inputs = n_pair_inputs(sizes) + (sizes.slots * n_kinematic(sizes) if momenta else 0)
        self.layers = mlp(n_inputs, widths, nn.GELU)
        self.head = Linear(widths[-1], sizes.outputs)

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Last hidden layer."""
        index = order_by_type(features, self.slots)
        columns = pairs_in_slots(features.pairs, index)
        if self.momenta:
            momenta = particles_in_slots(kinematic(features, self.scalars), index)
            columns = torch.cat([columns, momenta.flatten(1)], dim=-1)
        latent: Tensor = self.layers(columns)
        return latent

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.head(self.latent(features))
        return outputs
