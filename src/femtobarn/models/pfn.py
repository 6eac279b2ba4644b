"""Particle flow network: a network per particle, summed, and a network of the sum.

Komiske, Metodiev and Thaler, *Energy Flow Networks: Deep Sets for Particle Jets*, arXiv:1810.05165.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import PackedRows, mlp, mlp_head


@model(
    "pfn",
    family="sets",
    pairs=False,
    small={"phi": (16, 16), "fc": (16,), "dropout": 0.0},
    published={"pfn-energyflow": {"phi": (100, 100, 256), "fc": (100, 100, 100)}},
)
class PFN(nn.Module):
    r"""Particle flow network (PFN), which can represent any function of a set of particles, given enough width.

    .. math:: F\Big(\sum_i \Phi(p_i)\Big)

    It uses all features of the particles, types included. MET and its direction join the sum. The defaults are the
    widths of arXiv:2202.03772; `pfn-energyflow` has the widths of the paper's own package.

    Args:
        sizes: widths of the inputs and outputs.
        phi: widths of the layers of each particle; the last one is the width of the sum.
        fc: widths of the fully connected layers before the last.
        dropout: dropout probability after each layer of `fc`.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        phi: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128, 128, 128),
        fc: tuple[PositiveInt, ...] = (128, 128, 128),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.phi = mlp(sizes.particles, phi)
        self.fc = mlp_head(phi[-1] + sizes.context, fc, sizes.outputs, dropout)

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.fc(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Sum of Φ over the particles, and the features of the event."""
        rows = PackedRows(features.mask)
        total = rows.sum(self.phi(rows.pack(features.particles)))
        return torch.cat([total, features.context], dim=-1)

    def objects(self, features: Features) -> Float[Tensor, "batch particles width"]:
        """Φ of each particle."""
        rows = PackedRows(features.mask)
        return rows.unpack(self.phi(rows.pack(features.particles)))
