"""Attention bias U from pairwise features."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from femtobarn.nn.attention import key_padding_bias
from femtobarn.nn.batchnorm import BatchNorm, linear_batch_norm
from femtobarn.nn.chunking import apply_chunked
from femtobarn.nn.packing import PackedRows
from femtobarn.nn.products import Linear


class PairLayers(nn.Sequential):
    """Layers from the features of a pair to one number per head (the last width), each with batch norm and GELU.

    Source: Qu, Li and Qian, arXiv:2202.03772, section 4.
    """

    def __init__(self, features: int, widths: Sequence[int]) -> None:
        layers: list[nn.Module] = [BatchNorm(features)]
        for before, after in zip((features, *widths), widths, strict=False):
            layers += [Linear(before, after), BatchNorm(after), nn.GELU()]
        super().__init__(*layers)
        self.max_width = max((features, *widths))

    def forward(self, pairs: Float[Tensor, "rows features"]) -> Float[Tensor, "rows heads"]:
        # training needs all pairs for the batch norms
        return self.last(pairs) if self.training else apply_chunked(self.last, pairs, width=self.max_width)

    def last(self, pairs: Float[Tensor, "rows features"]) -> Float[Tensor, "rows heads"]:
        """Output of the last layer."""
        (last,) = deque(self.layer_outputs(pairs), 1)
        return last

    def layer_outputs(self, pairs: Float[Tensor, "rows features"]) -> Iterator[Float[Tensor, "rows _"]]:
        """Output of each layer, in order."""
        first, *layers = self
        rows: Tensor = first(pairs)
        for layer, norm, _ in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
            assert isinstance(layer, nn.Linear)
            assert isinstance(norm, BatchNorm)
            rows = nn.functional.gelu(linear_batch_norm(layer, norm, rows))
            yield rows


def pair_bias(
    embed: nn.Module | None,
    pairs: Float[Tensor, "batch _ _ pair_features"],
    mask: Bool[Tensor, "batch particles"],
    heads: int,
    dtype: torch.dtype,
    *,
    self_pairs: bool = False,
) -> Float[Tensor, "heads batch _ particles"]:
    """Bias U of every head for `self_attention`, with padded keys masked.

    Args:
        embed: layers from the features of a pair to one number per head; None (a model without pairs) gives 0.
        pairs: symmetric features of every pair. They may cover only the first particles; U is 0 for all other pairs.
        mask: True where a particle is real.
        heads: number of attention heads.
        dtype: precision of the attention.
        self_pairs: use the diagonal of the features too; without it, U of a particle with itself is 0.
    """
    if embed is None:
        padding = key_padding_bias(mask, dtype)
        return padding.expand(heads, *padding.shape)
    rows = unique_pairs(mask[:, : pairs.shape[1]], self_pairs)
    return symmetric_bias(embed(rows.pack(pairs)), rows, key_padding_bias(mask, dtype), self_pairs)


def unique_pairs(mask: Bool[Tensor, "batch particles"], self_pairs: bool = False) -> PackedRows:
    """Every pair of two different real particles once (features of pairs are symmetric); optionally self pairs."""
    return PackedRows((mask[:, :, None] & mask[:, None, :]).triu(0 if self_pairs else 1))


def symmetric_bias(
    values: Float[Tensor, "rows heads"],
    rows: PackedRows,
    padding: Float[Tensor, "batch 1 key"],
    self_pairs: bool = False,
) -> Float[Tensor, "heads batch key key"]:
    """Expand the values of `unique_pairs` to symmetric matrices; 0 for all other pairs, with padded keys masked.

    Args:
        values: one number per pair and head.
        rows: index of the pairs.
        padding: `key_padding_bias` of the keys; additional keys follow those of the pairs.
        self_pairs: the pairs include every particle with itself.
    """
    if rows.index is None or values.device.type != "cpu":
        upper = rows.unpack(values).permute(3, 0, 1, 2)
        lower = (upper.triu(1) if self_pairs else upper).transpose(2, 3)
        matrices, n_more = upper + lower, padding.shape[2] - rows.mask.shape[2]
        return (nn.functional.pad(matrices, (0, n_more, 0, n_more)) + padding).contiguous()
    batch, n_keys, slots = *padding.shape[::2], rows.mask.shape[2]
    first, second = rows.index.div(slots, rounding_mode="floor"), rows.index.remainder(slots)
    event, first = first.div(slots, rounding_mode="floor") * n_keys, first.remainder(slots)
    upper_cell, lower_cell = (event + first) * n_keys + second, (event + second) * n_keys + first
    # two extra rows: 0 for absent pairs, the lowest float for padded keys
    pair = torch.arange(len(values))
    source = torch.where(padding == 0, len(values), len(values) + 1).expand(-1, n_keys, -1).flatten()
    source = source.index_copy(0, upper_cell, pair).index_copy_(0, lower_cell, pair)
    bias: Tensor = _Symmetrize.apply(values, source, upper_cell, lower_cell)  # type: ignore[no-untyped-call]
    return bias.view(values.shape[1], batch, n_keys, n_keys)


class _Symmetrize(torch.autograd.Function):
    """Matrices of all heads from one value per pair; the gradient of a pair is the sum of its two cells."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, source: Tensor, upper_cell: Tensor, lower_cell: Tensor) -> Tensor:
        ctx.save_for_backward(upper_cell, lower_cell)
        constants = values.new_tensor([[0.0], [torch.finfo(values.dtype).min]]).expand(2, values.shape[1])
        return torch.cat([values, constants]).t().contiguous().index_select(1, source)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        upper_cell, lower_cell = ctx.saved_tensors
        (grad_bias,) = grad_outputs
        grad_lower = grad_bias.index_select(1, lower_cell) * (upper_cell != lower_cell)
        return grad_bias.index_select(1, upper_cell).add_(grad_lower).t().contiguous(), None, None, None
