"""The bias U of the attention: what the pairwise features say to each head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from femtobarn.nn.attention import closed
from femtobarn.nn.batchnorm import BatchNorm, normed
from femtobarn.nn.rows import Rows


class PairLayers(nn.Sequential):
    """Layers from the features of a pair to one number a head (the last width), each with batch norm and GELU.

    Source: Qu, Li and Qian, arXiv:2202.03772, section 4.
    """

    def __init__(self, features: int, widths: Sequence[int]) -> None:
        layers: list[nn.Module] = [BatchNorm(features)]
        for before, after in zip((features, *widths), widths, strict=False):
            layers += [nn.Linear(before, after), BatchNorm(after), nn.GELU()]
        super().__init__(*layers)

    def forward(self, pairs: Float[Tensor, "rows features"]) -> Float[Tensor, "rows heads"]:
        first, *layers = self
        rows: Tensor = first(pairs)
        for linear, norm, _ in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
            assert isinstance(linear, nn.Linear)
            assert isinstance(norm, BatchNorm)
            rows = nn.functional.gelu(normed(linear, norm, rows))
        return rows


def pair_bias(
    embed: nn.Module | None,
    pairs: Float[Tensor, "batch particles particles pair_features"],
    mask: Bool[Tensor, "batch particles"],
    heads: int,
    dtype: torch.dtype,
) -> Float[Tensor, "heads batch _ particles"]:
    """U of every head for `attend`, with padded keys closed; 0 for an object with itself.

    Args:
        embed: from the features of pairs to one number a head; None, for a model without pairs, gives 0.
        pairs: features of every pair, symmetric.
        mask: True where an object is real.
        heads: of the attention.
        dtype: of the attention.
    """
    shut = closed(mask, dtype)
    if embed is None:
        return shut.expand(heads, *shut.shape)
    rows = Rows((mask[:, :, None] & mask[:, None, :]).triu(1))  # the features are symmetric: each pair once
    half = rows.unpack(embed(rows.pack(pairs))).permute(3, 0, 1, 2)
    return (half + half.transpose(2, 3) + shut).contiguous()
