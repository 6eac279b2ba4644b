"""Particle flow network: a network of each object, summed, and a network of the sum.

Komiske, Metodiev and Thaler, *Energy Flow Networks: Deep Sets for Particle Jets*, arXiv:1810.05165.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import PackedRows, mlp, mlp_head


@model(
    "pfn",
    pairs=False,
    small={"phi": (16, 16), "fc": (16,), "dropout": 0.0},
    published={"pfn-energyflow": {"phi": (100, 100, 256), "fc": (100, 100, 100)}},
)
class PFN(nn.Module):
    r"""Particle flow network (PFN), which can be any function of a set of objects, given enough width.

    .. math:: F\Big(\sum_i \Phi(p_i)\Big)

    It sees whatever features the objects have, types among them. MET and its direction join the sum. The defaults are
    the widths of arXiv:2202.03772; `pfn-energyflow` has those of the paper's own package.

    Args:
        sizes: widths of the inputs and outputs.
        phi: widths of the layers for each object; the last one is that of the sum.
        fc: widths of the fully connected layers before the last.
        dropout: after each of these.
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

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        rows = PackedRows(encoded.mask)
        total = rows.sum(self.phi(rows.pack(encoded.particles)))
        logits: Tensor = self.fc(torch.cat([total, encoded.context], dim=-1))
        return logits
