"""DeepJet: the particles of each sort as a list that a recurrent network reads, softest first.

Bols et al., *Jet Flavour Classification Using DeepJet*, arXiv:2008.10519.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, Linear, PackedRows
from femtobarn.physics.objects import BJET, CHARGED, JET, LEPTONS, NEUTRAL, PARTICLE, PHOTON

#: What stands in each of the two lists. Particles of no known type are with the charged ones.
OF_JET = ((CHARGED, *LEPTONS, PARTICLE), (NEUTRAL, PHOTON))
OF_EVENT = ((JET, BJET), (*LEPTONS, PHOTON))

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@model(
    "deepjet",
    ordered=True,
    pairs=False,
    small={"layers": ((12, 8), (8, 4)), "states": (12, 6), "fc": (16, 16), "dropout": 0.0},
)
class DeepJet(nn.Module):
    """Two lists, each through layers for its particles one by one and then through a recurrent network (LSTM).

    Of a jet they hold charged and neutral particles; of an event jets in the one, leptons and photons in the other.
    Each is read from the softest to the hardest, so that the hardest is freshest in memory. What the two have come to,
    beside MET and its direction, goes through fully connected layers. Every layer but the last one for the particles
    has batch norm and dropout behind its ReLU. The sizes are the paper's; its third list, of secondary vertices, is not
    among the features here.

    Args:
        sizes: widths of the inputs and outputs.
        layers: widths of the layers for the particles of each list (1x1 convolutions).
        states: memory of the recurrent network of each list.
        fc: widths of the fully connected layers before the last.
        dropout: behind layers and recurrent networks.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        layers: Annotated[tuple[Widths, ...], Field(min_length=2, max_length=2)] = ((64, 32, 32, 8), (32, 16, 4)),
        states: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=2)] = (150, 50),
        fc: tuple[PositiveInt, ...] = (200, *(100,) * 7),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.kinds = OF_EVENT if sizes.vectors else OF_JET  # jets have no missing momentum
        self.lists = nn.ModuleList(
            Reader(sizes.particles, widths, state, dropout) for widths, state in zip(layers, states, strict=True)
        )
        self.context = BatchNorm(sizes.context) if sizes.context else None
        widths = (sum(states) + sizes.context, *fc)
        self.fc = nn.Sequential(*stack(widths, dropout), Linear(widths[-1], sizes.outputs))

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        come_to = [
            read(encoded.particles, among(encoded, kinds)) for read, kinds in zip(self.lists, self.kinds, strict=True)
        ]
        if self.context is not None:
            come_to.append(self.context(encoded.context))
        logits: Tensor = self.fc(torch.cat(come_to, dim=-1))
        return logits


class Reader(nn.Module):
    """One list: layers for each particle, then what is in memory once the hardest has been read; 0 of an empty list."""

    def __init__(self, features: int, widths: Sequence[int], state: int, dropout: float) -> None:
        super().__init__()
        *inner, last = widths
        before = (features, *inner)[-1]
        self.layers = nn.Sequential(
            BatchNorm(features), *stack((features, *inner), dropout), Linear(before, last), nn.ReLU()
        )
        self.memory = nn.LSTM(last, state, batch_first=True)
        self.after = nn.Sequential(BatchNorm(state), nn.Dropout(dropout))

    def forward(
        self, particles: Float[Tensor, "batch particles features"], mask: Bool[Tensor, "batch particles"]
    ) -> Float[Tensor, "batch state"]:
        """What is read from the particles of the mask, which stand by falling pT."""
        rows, filled = PackedRows(mask), PackedRows(mask.any(1, keepdim=True))
        listed = softest_first(rows.unpack(self.layers(rows.pack(particles))), mask)
        if torch.compiler.is_exporting():
            # onnxruntime's LSTM brings the process down where there is no event at all
            listed = torch.cat([listed, listed.new_zeros(1, *listed.shape[1:])])
        memories = self.memory(listed)[0][: mask.shape[0]]
        last = (mask.sum(1) - 1).clamp_min(0)[:, None, None].expand(-1, -1, memories.shape[-1])
        return filled.unpack(self.after(filled.pack(memories.gather(1, last))))[:, 0]


def among(encoded: Encoded, kinds: Sequence[int]) -> Bool[Tensor, "batch particles"]:
    """Which objects are of one of these kinds."""
    return encoded.mask & torch.stack([encoded.kind == kind for kind in kinds]).any(0)


def softest_first(
    x: Float[Tensor, "batch particles features"], mask: Bool[Tensor, "batch particles"]
) -> Float[Tensor, "batch places features"]:
    """The particles of a mask from the last to the first, without gaps; zeros behind them."""
    place = mask.flip(1).cumsum(1).flip(1) - 1  # as many of the list are softer
    places = torch.arange(mask.shape[1], device=mask.device)
    here = (place[:, None, :] == places[:, None]) & mask[:, None, :]
    return here.to(x.dtype) @ x


def stack(widths: Sequence[int], dropout: float) -> list[nn.Module]:
    """Layers of these widths, the first one the input's, each with ReLU, batch norm and dropout."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [Linear(before, after), nn.ReLU(), BatchNorm(after), nn.Dropout(dropout)]
    return layers
