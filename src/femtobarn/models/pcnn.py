"""P-CNN: a residual 1D convolutional network over the list of particles, hardest first.

Qu and Gouskos, *ParticleNet: Jet Tagging via Particle Clouds*, arXiv:1902.08570, after DeepAK8 of CMS,
arXiv:2004.08262.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, Linear, PackedRows, mlp_head

#: Particles that a filter spans.
KERNEL = 3

Units = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@model(
    "pcnn",
    ordered=True,
    pairs=False,
    small={"first": 8, "stages": ((8,), (12,)), "fc": (16,), "dropout": 0.0},
)
class PCNN(nn.Module):
    """Particle-level convolutional network (P-CNN): residual units over the list by falling pT, then their mean.

    Every stage but the first halves the list, so that filters see ever more of it. Padding is blanked after each layer,
    counts in no norm and not in the mean, so that it cannot be told from the end of the list. MET and its direction
    join before the last layers. It takes no pairwise features.

    Args:
        sizes: widths of the inputs and outputs.
        first: filters of the convolution before the units.
        stages: filters of the residual units of each stage.
        fc: widths of the fully connected layers before the last.
        dropout: after each of those.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        first: PositiveInt = 32,
        stages: Annotated[tuple[Units, ...], Field(min_length=1)] = ((64, 64), (64, 64), (128, 128)),
        fc: tuple[PositiveInt, ...] = (512,),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    ) -> None:
        super().__init__()
        self.norm = BatchNorm(sizes.particles)
        self.first = Convolution(sizes.particles, first)
        self.strides = [
            1 + (stage > 0 and unit == 0) for stage, units in enumerate(stages) for unit in range(len(units))
        ]
        widths = [first, *(width for units in stages for width in units)]
        self.units = nn.ModuleList(
            Unit(before, after, stride) for (before, after), stride in zip(pairwise(widths), self.strides, strict=True)
        )
        self.fc = mlp_head(widths[-1] + sizes.context, fc, sizes.outputs, dropout)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        rows = PackedRows(encoded.mask)
        x = self.first(rows.unpack(self.norm(rows.pack(encoded.particles))), rows)
        for unit, stride in zip(self.units, self.strides, strict=True):
            rows = rows if stride == 1 else PackedRows(rows.mask[:, ::stride])
            x = unit(x, rows)
        logits: Tensor = self.fc(torch.cat([rows.mean(rows.pack(x)), encoded.context], dim=-1))
        return logits


class Unit(nn.Module):
    """Two convolutions beside a shortcut around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.one = Convolution(before, after, stride)
        self.two = Convolution(after, after)
        same = before == after and stride == 1
        self.shortcut = None if same else Linear(before, after, bias=False)

    def forward(
        self, x: Float[Tensor, "batch longer before"], rows: PackedRows
    ) -> Float[Tensor, "batch particles channels"]:
        """`rows` are those of the result, which has every `stride`-th place of the list."""
        around = x[:, :: self.stride]
        if self.shortcut is not None:
            around = rows.unpack(self.shortcut(rows.pack(around)))
        learned: Tensor = self.two(self.one(x, rows), rows)
        return around + learned


class Convolution(nn.Module):
    """Filters over the list, batch norm, ReLU; padding is 0 before and after."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.filters = nn.Conv1d(before, after, KERNEL, stride, padding=KERNEL // 2)
        self.norm = BatchNorm(after)

    def forward(
        self, x: Float[Tensor, "batch longer before"], rows: PackedRows
    ) -> Float[Tensor, "batch particles channels"]:
        seen = rows.pack(self.filters(x.transpose(1, 2)).transpose(1, 2))
        return rows.unpack(torch.relu(self.norm(seen)))
