"""DeepJet: the particles of each type as a list for a recurrent network, softest first.

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

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, Linear, PackedRows
from femtobarn.physics.objects import BJET, CHARGED, JET, LEPTONS, NEUTRAL, PARTICLE, PHOTON

#: Types in the two lists of a jet. Particles of unknown type are with the charged ones.
JET_LISTS = ((CHARGED, *LEPTONS, PARTICLE), (NEUTRAL, PHOTON))

#: Types in the two lists of an event.
EVENT_LISTS = ((JET, BJET), (*LEPTONS, PHOTON))

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@model(
    "deepjet",
    family="sequences and images",
    ordered=True,
    pairs=False,
    small={"layers": ((12, 8), (8, 4)), "states": (12, 6), "fc": (16, 16), "dropout": 0.0},
)
class DeepJet(nn.Module):
    """Two lists, each through layers per particle and then through a recurrent network (LSTM).

    For a jet they hold charged and neutral particles; for an event jets in the first, leptons and photons in the
    second. Each list is processed from the softest to the hardest particle. The last states of both LSTMs, and MET and
    its direction, go through fully connected layers. Every layer but the last one per particle has batch norm and
    dropout after its ReLU. The sizes are those of the paper; its third list, of secondary vertices, is not available.

    Args:
        sizes: widths of the inputs and outputs.
        layers: widths of the layers per particle of each list (1x1 convolutions).
        states: size of the LSTM state of each list.
        fc: widths of the fully connected layers before the last.
        dropout: dropout probability after layers and recurrent networks.
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
        self.kinds = EVENT_LISTS if sizes.vectors else JET_LISTS  # jets have no missing momentum
        self.lists = nn.ModuleList(
            ListEncoder(sizes.particles, widths, state, dropout) for widths, state in zip(layers, states, strict=True)
        )
        self.context = BatchNorm(sizes.context) if sizes.context else None
        widths = (sum(states) + sizes.context, *fc)
        self.fc = nn.Sequential(*hidden_layers(widths, dropout), Linear(widths[-1], sizes.outputs))

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.fc(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Last state of each LSTM, and the features of the event."""
        states = [
            encode(features.particles, is_of_kind(features, kinds))
            for encode, kinds in zip(self.lists, self.kinds, strict=True)
        ]
        if self.context is not None:
            states.append(self.context(features.context))
        return torch.cat(states, dim=-1)


class ListEncoder(nn.Module):
    """Layers per particle of a list, then the LSTM state after the hardest particle; 0 for an empty list."""

    def __init__(self, features: int, widths: Sequence[int], state: int, dropout: float) -> None:
        super().__init__()
        *inner, last = widths
        before = (features, *inner)[-1]
        self.layers = nn.Sequential(
            BatchNorm(features), *hidden_layers((features, *inner), dropout), Linear(before, last), nn.ReLU()
        )
        self.memory = nn.LSTM(last, state, batch_first=True)
        self.after = nn.Sequential(BatchNorm(state), nn.Dropout(dropout))

    def forward(
        self, particles: Float[Tensor, "batch particles features"], mask: Bool[Tensor, "batch particles"]
    ) -> Float[Tensor, "batch state"]:
        """State after the particles of the mask, which are ordered by falling pT."""
        rows, nonempty = PackedRows(mask), PackedRows(mask.any(1, keepdim=True))
        sequence = softest_first(rows.unpack(self.layers(rows.pack(particles))), mask)
        if torch.compiler.is_exporting():
            # onnxruntime's LSTM crashes on a batch without events
            sequence = torch.cat([sequence, sequence.new_zeros(1, *sequence.shape[1:])])
        states = self.memory(sequence)[0][: mask.shape[0]]
        last = (mask.sum(1) - 1).clamp_min(0)[:, None, None].expand(-1, -1, states.shape[-1])
        return nonempty.unpack(self.after(nonempty.pack(states.gather(1, last))))[:, 0]


def is_of_kind(features: Features, kinds: Sequence[int]) -> Bool[Tensor, "batch particles"]:
    """True for real particles of one of these types."""
    return features.mask & torch.stack([features.kind == kind for kind in kinds]).any(0)


def softest_first(
    x: Float[Tensor, "batch particles features"], mask: Bool[Tensor, "batch particles"]
) -> Float[Tensor, "batch particles features"]:
    """Particles of a mask from the last to the first, without gaps, followed by zeros."""
    place = mask.flip(1).cumsum(1).flip(1) - 1  # number of softer particles in the list
    places = torch.arange(mask.shape[1], device=mask.device)
    permutation = (place[:, None, :] == places[:, None]) & mask[:, None, :]
    return permutation.to(x.dtype) @ x


def hidden_layers(widths: Sequence[int], dropout: float) -> list[nn.Module]:
    """Layers of these widths (the first one is the input), each with ReLU, batch norm and dropout."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [Linear(before, after), nn.ReLU(), BatchNorm(after), nn.Dropout(dropout)]
    return layers
