"""MLP: a fully connected network on the momenta of all particles of an event.

Baseline of amplitude regression: Spinner et al., arXiv:2405.14806; Favaro et al., arXiv:2508.14898.
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
from femtobarn.nn.slots import kinematic, n_kinematic, order_by_type, particles_in_slots


@model("mlp", family="fully connected", pairs=False, ordered=True, small={"widths": (16, 16)})
class MLP(nn.Module):
    """Multilayer perceptron (MLP) on the kinematic features of the particles in fixed slots.

    Particles are ordered by type, particles of one type as they come (by falling pT), so that each leg of a process has
    its own inputs; there are `inputs.slots` slots. The network knows neither the exchange symmetry of equal particles
    nor Lorentz symmetry.

    Args:
        sizes: widths of the inputs and outputs.
        widths: widths of the hidden layers.
        types: also use the types and charges of the particles, for events whose contents vary.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128,) * 5,
        types: bool = False,
    ) -> None:
        super().__init__()
        self.slots, self.scalars, self.types = sizes.slots, sizes.scalars, types
        n_features = sizes.particles if types else n_kinematic(sizes)
        self.layers = mlp(n_features * sizes.slots + sizes.context, widths, nn.GELU)
        self.head = Linear(widths[-1], sizes.outputs)

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Last hidden layer."""
        particles = features.particles if self.types else kinematic(features, self.scalars)
        columns = particles_in_slots(particles, order_by_type(features, self.slots)).flatten(1)
        latent: Tensor = self.layers(torch.cat([columns, features.context], dim=-1))
        return latent

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.head(self.latent(features))
        return outputs
