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
from femtobarn.nn import Linear, gelu_mlp
from femtobarn.nn.slots import order_by_type, particles_in_slots


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
        n_scalars = sizes.scalars[1] - sizes.scalars[0]
        n_features = sizes.particles - (0 if types else n_scalars)
        self.layers = gelu_mlp(n_features * sizes.slots + sizes.context, widths)
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


def kinematic(features: Features, scalars: tuple[int, int]) -> Float[Tensor, "batch particles kinematic"]:
    """Features of the particles without their types and charges."""
    first, last = scalars
    return torch.cat([features.particles[..., :first], features.particles[..., last:]], dim=-1)
