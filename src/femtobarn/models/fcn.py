"""Fully connected network: the hardest objects of each kind in fixed slots, and plain layers behind them.

Builtjes et al., *Attention to the strengths of physical interactions*, arXiv:2211.05143 (there: FCN).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.inputs.features import KINEMATIC
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, Linear
from femtobarn.physics.hardness import harder
from femtobarn.physics.objects import SLOTS


@model("fcn", pairs=False, by_kind=True, small={"widths": (32, 32), "dropout": 0.0})
class FCN(nn.Module):
    """Fully connected network (FCN) on 12 slots: 4 jets, 4 b-jets, one e-, e+, mu- and mu+, the hardest of each.

    It picks them itself from the objects of the batch, so their order does not matter; photons and softer objects are
    not seen. Each slot holds log E, log pT, eta and phi, and whether there is an object at all; an empty one is 0. MET
    and its direction stand beside the slots.

    Args:
        sizes: widths of the inputs and outputs; it takes no pairs.
        widths: of the hidden layers.
        norm: after each hidden layer, over the events of a batch or over the features of an event.
        dropout: after each hidden layer.
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
        slots = [(kind, place) for kind, most in SLOTS.values() for place in range(most)]
        self.register_buffer("kinds", torch.tensor([kind for kind, _ in slots]), persistent=False)
        self.register_buffer("places", torch.tensor([place for _, place in slots]), persistent=False)
        layers: list[nn.Module] = []
        before = len(slots) * (KINEMATIC + 1) + sizes.context
        for width in widths:
            layers += [Linear(before, width), *_norm(norm, width), nn.ReLU(), nn.Dropout(dropout)]
            before = width
        self.layers = nn.Sequential(*layers, Linear(before, sizes.outputs))

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        particles = encoded.particles[..., :KINEMATIC]  # the other features are the type, which the slot tells
        chosen = self.choose(encoded.momenta, encoded.kind, encoded.mask).to(particles.dtype)
        slots = torch.cat([chosen @ particles, chosen.sum(-1, keepdim=True)], dim=-1)
        logits: Tensor = self.layers(torch.cat([slots.flatten(1), encoded.context], dim=-1))
        return logits

    def choose(
        self,
        momenta: Float[Tensor, "batch particles 4"],
        kind: Int[Tensor, "batch particles"],
        mask: Bool[Tensor, "batch particles"],
    ) -> Bool[Tensor, "batch slots particles"]:
        """Which object is in which slot: at most one in each, True nowhere for an empty slot.

        By counting the harder objects of the same kind, which needs no sorting and no shape that depends on the data.
        """
        place = (harder(momenta) & (kind[:, None, :] == kind[:, :, None]) & mask[:, None, :]).sum(-1)
        right = (kind[:, None, :] == self.kinds[:, None]) & (place[:, None, :] == self.places[:, None])
        return right & mask[:, None, :]


def _norm(name: str, width: int) -> list[nn.Module]:
    if name == "none":
        return []
    return [BatchNorm(width) if name == "batch" else nn.LayerNorm(width)]
