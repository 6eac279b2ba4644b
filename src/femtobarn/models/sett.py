"""Set Transformer: self-attention between particles, pooled to the event by one learned query.

Lee et al., *Set Transformer: A Framework for Attention-based Permutation-Invariant Neural Networks*, arXiv:1810.00825.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import (
    BatchNorm,
    Bias,
    Linear,
    PackedRows,
    PairLayers,
    mlp_head,
    pad_rows,
    pair_bias,
    prepare_bias,
    query_attention,
    self_attention,
)


@model(
    "sett",
    family="attention",
    small={"width": 16, "blocks": 2, "heads": 2, "ratio": 2, "pair_embedding": (8,), "fc": (16,), "dropout": 0.0},
)
class SetT(nn.Module):
    """Set Transformer (SetT) with pairwise features in its attention.

    The blocks are the paper's full self-attention (SAB), not its induced one (ISAB): inducing points save time for
    hundreds of particles, not for eighteen, and they do not allow pairwise features. These become the additive bias U
    of each head as in ParT, shared by all blocks, as in arXiv:2211.05143. One learned query attends to the particles
    (the paper's PMA with one seed); MET and its direction join its result before the last layers.

    Args:
        sizes: widths of the inputs and outputs.
        width: features per particle inside the network.
        blocks: number of self-attention blocks.
        heads: number of attention heads; they divide the width.
        ratio: width of the feed-forward layer in units of `width`.
        pair_embedding: hidden widths of the embedding of a pair.
        fc: widths of the fully connected layers before the last.
        dropout: dropout probability of attention weights, and after each fully connected layer.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        width: PositiveInt = 128,
        blocks: PositiveInt = 4,
        heads: PositiveInt = 8,
        ratio: PositiveInt = 4,
        pair_embedding: tuple[PositiveInt, ...] = (64, 64, 64),
        fc: tuple[PositiveInt, ...] = (128,),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible among {heads} heads")
        self.heads = heads
        self.embed = nn.Sequential(BatchNorm(sizes.particles), Linear(sizes.particles, width))
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, heads)) if sizes.pairs else None
        self.blocks = nn.ModuleList(SelfAttentionBlock(width, ratio, dropout) for _ in range(blocks))
        self.pool = AttentionPooling(width, heads, ratio)
        self.fc = mlp_head(width + sizes.context, fc, sizes.outputs, dropout)

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.fc(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Result of the learned query, and the features of the event."""
        rows = PackedRows(features.mask)
        return torch.cat([self.pool(self.encode(features, rows), rows), features.context], dim=-1)

    def objects(self, features: Features) -> Float[Tensor, "batch particles width"]:
        """Features of each particle after the last self-attention block."""
        rows = PackedRows(features.mask)
        return rows.unpack(self.encode(features, rows))

    def encode(self, features: Features, rows: PackedRows) -> Float[Tensor, "rows width"]:
        """Rows of the particles after the last self-attention block."""
        x = pad_rows(self.embed(rows.pack(features.particles)))
        bias = prepare_bias(pair_bias(self.embed_pairs, features.pairs, features.mask, self.heads, x.dtype), rows)
        for block in self.blocks:
            x = block(x, rows, bias)
        return x


class MultiheadBlock(nn.Module):
    r"""Layers after the attention in every block (the paper's MAB): two sums, each followed by a norm.

    .. math:: H = \mathrm{LN}(X + \mathrm{Multihead}), \quad \mathrm{LN}(H + \mathrm{rFF}(H))
    """

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.collect = Linear(width, width)
        self.after_attention = nn.LayerNorm(width)
        self.feedforward = feedforward(width, ratio)
        self.after_feedforward = nn.LayerNorm(width)

    def finish(
        self, x: Float[Tensor, "rows width"], attended: Float[Tensor, "rows width"]
    ) -> Float[Tensor, "rows width"]:
        h = self.after_attention(x + self.collect(attended))
        out: Tensor = self.after_feedforward(h + self.feedforward(h))
        return out


class SelfAttentionBlock(MultiheadBlock):
    """Self-attention between particles with the bias U (SAB)."""

    def __init__(self, width: int, ratio: int, dropout: float) -> None:
        super().__init__(width, ratio)
        self.dropout = dropout
        self.project = Linear(width, 3 * width)  # queries, keys, values

    def forward(self, x: Float[Tensor, "rows width"], rows: PackedRows, bias: Bias) -> Float[Tensor, "rows width"]:
        dropout_p = self.dropout if self.training else 0.0
        return self.finish(x, self_attention(self.project(x), rows, bias, dropout_p))


class AttentionPooling(MultiheadBlock):
    """Attention of one learned seed to the particles (PMA); for an empty event, the seed alone."""

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__(width, ratio)
        self.heads = heads
        self.seed = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, width))[0])
        self.before = feedforward(width, ratio)
        self.query = Linear(width, width)
        self.project = Linear(width, 2 * width)  # keys, values

    def forward(self, x: Float[Tensor, "rows width"], rows: PackedRows) -> Float[Tensor, "batch width"]:
        seed = self.seed.expand(rows.mask.shape[0], -1)
        projected = rows.unpack(self.project(self.before(x)))
        return self.finish(seed, query_attention(self.query(seed), projected, rows.mask, self.heads))


def feedforward(width: int, ratio: int) -> nn.Sequential:
    """The paper's rFF: the same two layers for each row."""
    return nn.Sequential(Linear(width, ratio * width), nn.ReLU(), Linear(ratio * width, width))
