"""Transformer: plain self-attention between objects, averaged at the end.

The tagging transformer of Spinner et al., *Lorentz Local Canonicalization*, arXiv:2505.20280, and Favaro et al.,
*Lorentz-Equivariance without Limitations*, arXiv:2508.14898.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import (
    BatchNorm,
    Bias,
    Linear,
    PackedRows,
    PairLayers,
    Transport,
    dropout,
    pad_rows,
    pair_bias,
    prepare_bias,
    self_attention,
)


@model("transformer", small={"width": 16, "blocks": 2, "heads": 2, "pair_embedding": (8,)})
class Transformer(nn.Module):
    r"""Transformer as the papers tag jets with it: blocks with the norm before each sum, the mean, one linear layer.

    .. math:: x \leftarrow x + \mathrm{Attention}(\mathrm{LN}(x)), \quad x \leftarrow x + \mathrm{FF}(\mathrm{LN}(x))

    The defaults are those for top tagging. The norms have no parameters, as published; the features are normalised over
    the objects of the training batches, where the papers scale them by hand. Pairwise features become the additive
    bias U of each head as in ParT, shared by all blocks. MET and its direction join the mean before the last layer.

    Args:
        sizes: widths of the inputs and outputs.
        width: features of an object inside.
        blocks: self-attention blocks.
        heads: attention heads; they divide the width.
        ratio: width of the feed-forward layer in units of `width`.
        pair_embedding: hidden widths of the embedding of a pair.
        dropout: after each linear layer of the blocks.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        width: PositiveInt = 128,
        blocks: NonNegativeInt = 12,
        heads: PositiveInt = 8,
        ratio: PositiveInt = 2,
        pair_embedding: tuple[PositiveInt, ...] = (64, 64, 64),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible among {heads} heads")
        self.heads = heads
        self.norm = BatchNorm(sizes.particles)
        self.embed = Linear(sizes.particles, width)
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, heads)) if sizes.pairs else None
        self.blocks = nn.ModuleList(Block(width, ratio, dropout) for _ in range(blocks))
        self.head = Linear(width + sizes.context, sizes.outputs)

    def forward(self, encoded: Encoded, transport: Transport | None = None) -> Float[Tensor, "batch outputs"]:
        """Logits of each event; with a transport where objects have frames of their own."""
        rows = PackedRows(encoded.mask)
        x = pad_rows(self.embed(self.norm(rows.pack(encoded.particles))))
        bias = prepare_bias(pair_bias(self.embed_pairs, encoded.pairs, encoded.mask, self.heads, x.dtype), rows)
        for block in self.blocks:
            x = block(x, rows, bias, transport)
        logits: Tensor = self.head(torch.cat([rows.mean(x), encoded.context], dim=-1))
        return logits


class Block(nn.Module):
    """Every object attends to every object, with the bias U, and then thinks for itself."""

    def __init__(self, width: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.project = Linear(width, 3 * width)  # queries, keys, values
        self.collect = Linear(width, width)
        self.expand = Linear(width, ratio * width)
        self.contract = Linear(ratio * width, width)

    def drop(self, x: Float[Tensor, "rows _"]) -> Float[Tensor, "rows _"]:
        return dropout(x, self.dropout, self.training, inplace=True)

    def forward(
        self,
        x: Float[Tensor, "rows width"],
        rows: PackedRows,
        bias: Bias,
        transport: Transport | None = None,
    ) -> Float[Tensor, "rows width"]:
        gather = self_attention if transport is None else transport.self_attention
        x = x + self.drop(self.collect(gather(self.project(normed(x)), rows, bias)))
        hidden = nn.functional.gelu(self.drop(self.expand(normed(x))))
        return x + self.drop(self.contract(hidden))


def normed(x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    """Layer norm without parameters."""
    return nn.functional.layer_norm(x, x.shape[-1:])
