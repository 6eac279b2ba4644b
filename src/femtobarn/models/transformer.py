"""Transformer: plain self-attention between particles, averaged at the end.

The tagging transformer of Spinner et al., *Lorentz Local Canonicalization*, arXiv:2505.20280, and Favaro et al.,
*Lorentz-Equivariance without Limitations*, arXiv:2508.14898.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
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


@model("transformer", family="attention", small={"width": 16, "blocks": 2, "heads": 2, "pair_embedding": (8,)})
class Transformer(nn.Module):
    r"""Transformer as the papers tag jets with it: pre-norm blocks, mean over the particles, one linear layer.

    .. math:: x \leftarrow x + \mathrm{Attention}(\mathrm{LN}(x)), \quad x \leftarrow x + \mathrm{FF}(\mathrm{LN}(x))

    The defaults are those for top tagging. The norms have no parameters, as published; the features are normalized over
    the particles of the training batches, where the papers scale them by hand. Pairwise features become the additive
    bias U of each head as in ParT, shared by all blocks. MET and its direction join the mean before the last layer.

    Args:
        sizes: widths of the inputs and outputs.
        width: features per particle inside the network.
        blocks: number of self-attention blocks.
        heads: number of attention heads; they divide the width.
        ratio: width of the feed-forward layer in units of `width`.
        pair_embedding: hidden widths of the embedding of a pair.
        dropout: dropout probability after each linear layer of the blocks.
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
        self.blocks = nn.ModuleList(PreNormBlock(width, ratio, dropout) for _ in range(blocks))
        self.head = Linear(width + sizes.context, sizes.outputs)

    def forward(self, features: Features, transport: Transport | None = None) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event; `transport` connects local frames, if particles have them."""
        outputs: Tensor = self.head(self.latent(features, transport))
        return outputs

    def latent(self, features: Features, transport: Transport | None = None) -> Float[Tensor, "batch width"]:
        """Mean over the particles after the last block, and the features of the event."""
        rows = PackedRows(features.mask)
        return torch.cat([rows.mean(self.encode(features, rows, transport)), features.context], dim=-1)

    def objects(self, features: Features, transport: Transport | None = None) -> Float[Tensor, "batch particles width"]:
        """Features of each particle after the last block."""
        rows = PackedRows(features.mask)
        return rows.unpack(self.encode(features, rows, transport))

    def encode(self, features: Features, rows: PackedRows, transport: Transport | None) -> Float[Tensor, "rows width"]:
        """Rows of the particles after the last block."""
        x = pad_rows(self.embed(self.norm(rows.pack(features.particles))))
        bias = prepare_bias(pair_bias(self.embed_pairs, features.pairs, features.mask, self.heads, x.dtype), rows)
        for block in self.blocks:
            x = block(x, rows, bias, transport)
        return x


class PreNormBlock(nn.Module):
    """Self-attention with the bias U, then a feed-forward layer, each with a norm before it."""

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
        attention = self_attention if transport is None else transport.self_attention
        x = x + self.drop(self.collect(attention(self.project(layer_norm(x)), rows, bias)))
        hidden = nn.functional.gelu(self.drop(self.expand(layer_norm(x))))
        return x + self.drop(self.contract(hidden))


def layer_norm(x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    """Layer norm without parameters."""
    return nn.functional.layer_norm(x, x.shape[-1:])
