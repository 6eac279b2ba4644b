"""The bias U of the attention: what the pairwise features say to each head."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from femtobarn.nn.attention import closed
from femtobarn.nn.batchnorm import BatchNorm, normed
from femtobarn.nn.pieces import in_pieces
from femtobarn.nn.products import Linear
from femtobarn.nn.rows import Rows


class PairLayers(nn.Sequential):
    """Layers from the features of a pair to one number a head (the last width), each with batch norm and GELU.

    Source: Qu, Li and Qian, arXiv:2202.03772, section 4.
    """

    def __init__(self, features: int, widths: Sequence[int]) -> None:
        layers: list[nn.Module] = [BatchNorm(features)]
        for before, after in zip((features, *widths), widths, strict=False):
            layers += [Linear(before, after), BatchNorm(after), nn.GELU()]
        super().__init__(*layers)
        self.widest = max((features, *widths))

    def forward(self, pairs: Float[Tensor, "rows features"]) -> Float[Tensor, "rows heads"]:
        # training needs all pairs for the batch norms
        return self.last(pairs) if self.training else in_pieces(self.last, pairs, width=self.widest)

    def last(self, pairs: Float[Tensor, "rows features"]) -> Float[Tensor, "rows heads"]:
        """What the last layer makes of the pairs."""
        (last,) = deque(self.stages(pairs), 1)
        return last

    def stages(self, pairs: Float[Tensor, "rows features"]) -> Iterator[Float[Tensor, "rows _"]]:
        """What each layer makes of the pairs, one after the other."""
        first, *layers = self
        rows: Tensor = first(pairs)
        for layer, norm, _ in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
            assert isinstance(layer, nn.Linear)
            assert isinstance(norm, BatchNorm)
            rows = nn.functional.gelu(normed(layer, norm, rows))
            yield rows


def pair_bias(
    embed: nn.Module | None,
    pairs: Float[Tensor, "batch told told pair_features"],
    mask: Bool[Tensor, "batch particles"],
    heads: int,
    dtype: torch.dtype,
    *,
    self_pairs: bool = False,
) -> Float[Tensor, "heads batch _ particles"]:
    """U of every head for `attend`, with padded keys closed.

    Args:
        embed: from the features of pairs to one number a head; None, for a model without pairs, gives 0.
        pairs: features of every pair, symmetric. Where they are of fewer objects than there are, of the first ones,
            U is 0 for the pairs of the others.
        mask: True where an object is real.
        heads: of the attention.
        dtype: of the attention.
        self_pairs: the diagonal of the features counts like a pair; without, U is 0 for an object with itself.
    """
    if embed is None:
        shut = closed(mask, dtype)
        return shut.expand(heads, *shut.shape)
    rows = once(mask[:, : pairs.shape[1]], self_pairs)
    return mirrored(embed(rows.pack(pairs)), rows, closed(mask, dtype), self_pairs)


def once(mask: Bool[Tensor, "batch particles"], self_pairs: bool = False) -> Rows:
    """Each pair of two different real objects once: features of pairs are symmetric; if asked for, each with itself."""
    return Rows((mask[:, :, None] & mask[:, None, :]).triu(0 if self_pairs else 1))


def mirrored(
    said: Float[Tensor, "rows heads"],
    rows: Rows,
    shut: Float[Tensor, "batch 1 keys"],
    self_pairs: bool = False,
) -> Float[Tensor, "heads batch keys keys"]:
    """What layers said of the pairs of `once` as a symmetric matrix, 0 for all others, with padded keys closed.

    There may be more keys than those of the pairs, after them.
    """
    if rows.index is None or said.device.type != "cpu":
        half = rows.unpack(said).permute(3, 0, 1, 2)
        other = half.triu(1) if self_pairs else half
        both, more = half + other.transpose(2, 3), shut.shape[2] - rows.mask.shape[2]
        return (nn.functional.pad(both, (0, more, 0, more)) + shut).contiguous()
    batch, keys, slots = *shut.shape[::2], rows.mask.shape[2]
    first, second = rows.index.div(slots, rounding_mode="floor"), rows.index.remainder(slots)
    event, first = first.div(slots, rounding_mode="floor") * keys, first.remainder(slots)
    one, other = (event + first) * keys + second, (event + second) * keys + first
    # behind the pairs stands what is said where there is none, and of closed keys
    number = torch.arange(len(said))
    source = torch.where(shut == 0, len(said), len(said) + 1).expand(-1, keys, -1).flatten()
    source = source.index_copy(0, one, number).index_copy_(0, other, number)
    told: Tensor = _Mirror.apply(said, source, one, other)  # type: ignore[no-untyped-call]
    return told.view(said.shape[1], batch, keys, keys)


class _Mirror(torch.autograd.Function):
    """Matrices of all heads from what is said of pairs; the slope of a pair is that of both its places."""

    @staticmethod
    def forward(ctx: Any, said: Tensor, source: Tensor, one: Tensor, other: Tensor) -> Tensor:
        ctx.save_for_backward(one, other)
        rest = said.new_tensor([[0.0], [torch.finfo(said.dtype).min]]).expand(2, said.shape[1])
        return torch.cat([said, rest]).t().contiguous().index_select(1, source)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None]:
        one, other = ctx.saved_tensors
        slope = slopes[0].index_select(1, one).add_(slopes[0].index_select(1, other) * (one != other))
        return slope.t().contiguous(), None, None, None
