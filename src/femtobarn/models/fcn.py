"""Fully connected network: the hardest particles of each type in fixed slots, followed by fully connected layers.

Builtjes et al., *Attention to the strengths of physical interactions*, arXiv:2211.05143 (there: FCN).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.inputs.object_features import KINEMATIC
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, Linear
from femtobarn.physics.hardness import is_harder
from femtobarn.physics.objects import SLOTS


@model("fcn", family="sequences and images", pairs=False, by_kind=True, small={"widths": (32, 32), "dropout": 0.0})
class FCN(nn.Module):
    """Fully connected network (FCN) on 12 slots: 4 jets, 4 b-jets, one e-, e+, mu- and mu+, the hardest of each.

    It selects them from the particles of the batch, so their order does not matter; photons and softer particles are
    ignored. Each slot holds log E, log pT, eta and phi, and a flag that is 1 if the slot is filled; an empty slot is 0.
    MET and its direction join the slots.

    Args:
        sizes: widths of the inputs and outputs; pairwise features are not used.
        widths: widths of the hidden layers.
        norm: normalization after each hidden layer, over the events of a batch or over the features of an event.
        dropout: dropout probability after each hidden layer.
    """

    kinds: Tensor
    places: Tensor

    def __init__(
        self,
        sizes: Sizes,
        *,
        widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (256, 256, 256),
        norm: Literal["batch", "layer", "none"] = "batch",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        slots = [(kind, place) for kind, count in SLOTS.values() for place in range(count)]
        self.register_buffer("kinds", torch.tensor([kind for kind, _ in slots]), persistent=False)
        self.register_buffer("places", torch.tensor([place for _, place in slots]), persistent=False)
        layers: list[nn.Module] = []
        before = len(slots) * (KINEMATIC + 1) + sizes.context
        for width in widths:
            layers += [Linear(before, width), *_norm(norm, width), nn.ReLU(), nn.Dropout(dropout)]
            before = width
        self.layers = nn.Sequential(*layers, Linear(before, sizes.outputs))

    @property
    def head(self) -> nn.Module:
        """Last layer, from the latent vector to the outputs."""
        return self.layers[-1]

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.head(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Last hidden layer."""
        x = self.fill_slots(features)
        for layer in list(self.layers)[:-1]:
            x = layer(x)
        return x

    def fill_slots(self, features: Features) -> Float[Tensor, "batch features"]:
        """Features and flags of all slots, and the features of the event."""
        particles = features.particles[..., :KINEMATIC]  # the other features are the type, which the slot implies
        in_slot = self.select(features.momenta, features.kind, features.mask).to(particles.dtype)
        slots = torch.cat([in_slot @ particles, in_slot.sum(-1, keepdim=True)], dim=-1)
        return torch.cat([slots.flatten(1), features.context], dim=-1)

    def select(
        self,
        momenta: Float[Tensor, "batch particles 4"],
        kind: Int[Tensor, "batch particles"],
        mask: Bool[Tensor, "batch particles"],
    ) -> Bool[Tensor, "batch entries particles"]:
        """True where a particle is in a slot: at most one per slot, none in an empty slot.

        The harder particles of the same type are counted, which needs no sorting and no data-dependent shape.
        """
        place = (is_harder(momenta) & (kind[:, None, :] == kind[:, :, None]) & mask[:, None, :]).sum(-1)
        matches = (kind[:, None, :] == self.kinds[:, None]) & (place[:, None, :] == self.places[:, None])
        return matches & mask[:, None, :]


def _norm(name: str, width: int) -> list[nn.Module]:
    if name == "none":
        return []
    return [BatchNorm(width) if name == "batch" else nn.LayerNorm(width)]
