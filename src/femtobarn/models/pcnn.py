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

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, Linear, PackedRows, mlp_head

#: Particles per filter.
KERNEL_SIZE = 3

Units = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@model(
    "pcnn",
    family="sequences and images",
    ordered=True,
    pairs=False,
    small={"first": 8, "stages": ((8,), (12,)), "fc": (16,), "dropout": 0.0},
)
class PCNN(nn.Module):
    """Particle-level convolutional network (P-CNN): residual units over the list by falling pT, then their mean.

    Every stage but the first halves the list, so that filters of later stages cover more particles. Padding is set to 0
    after each layer and excluded from norms and mean, so that it is equivalent to the end of the list. MET and its
    direction join before the last layers. The network takes no pairwise features.

    Args:
        sizes: widths of the inputs and outputs.
        first: filters of the convolution before the units.
        stages: filters of the residual units of each stage.
        fc: widths of the fully connected layers before the last.
        dropout: dropout probability after each layer of `fc`.
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
            ResidualUnit(before, after, stride)
            for (before, after), stride in zip(pairwise(widths), self.strides, strict=True)
        )
        self.fc = mlp_head(widths[-1] + sizes.context, fc, sizes.outputs, dropout)

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.fc(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Mean of the last residual unit over the list, and the features of the event."""
        rows = PackedRows(features.mask)
        x = self.first(rows.unpack(self.norm(rows.pack(features.particles))), rows)
        for unit, stride in zip(self.units, self.strides, strict=True):
            rows = rows if stride == 1 else PackedRows(rows.mask[:, ::stride])
            x = unit(x, rows)
        return torch.cat([rows.mean(rows.pack(x)), features.context], dim=-1)


class ResidualUnit(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.one = Convolution(before, after, stride)
        self.two = Convolution(after, after)
        is_identity = before == after and stride == 1
        self.shortcut = None if is_identity else Linear(before, after, bias=False)

    def forward(
        self, x: Float[Tensor, "batch _ before"], rows: PackedRows
    ) -> Float[Tensor, "batch particles channels"]:
        """Apply the unit.

        Args:
            x: channels of the list before the unit.
            rows: index of the result, which has every `stride`-th entry of the list.
        """
        shortcut = x[:, :: self.stride]
        if self.shortcut is not None:
            shortcut = rows.unpack(self.shortcut(rows.pack(shortcut)))
        residual: Tensor = self.two(self.one(x, rows), rows)
        return shortcut + residual


class Convolution(nn.Module):
    """Filters over the list, batch norm, ReLU; padding is 0 before and after."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.filters = nn.Conv1d(before, after, KERNEL_SIZE, stride, padding=KERNEL_SIZE // 2)
        self.norm = BatchNorm(after)

    def forward(
        self, x: Float[Tensor, "batch _ before"], rows: PackedRows
    ) -> Float[Tensor, "batch particles channels"]:
        filtered = rows.pack(self.filters(x.transpose(1, 2)).transpose(1, 2))
        return rows.unpack(torch.relu(self.norm(filtered)))
