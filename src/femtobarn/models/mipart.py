"""More-interaction particle transformer: attention weights from pairwise features alone, then ParT.

Wu et al., *Jet Tagging with More-Interaction Particle Transformer*, arXiv:2407.08682.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models import part
from femtobarn.models.registry import model
from femtobarn.nn import (
    Linear,
    PackedRows,
    PairLayers,
    append_zero_rows,
    dropout,
    key_padding_bias,
    pad_rows,
    prepare_bias,
    report_attention,
    symmetric_bias,
    unique_pairs,
)


@model(
    "mipart",
    family="attention",
    pairs="needed",
    small={
        "width": 16,
        "interaction_blocks": 1,
        "blocks": 1,
        "class_blocks": 1,
        "heads": 2,
        "embedding": (16,),
        "pair_embedding": (8,),
        "dropout": 0.0,
    },
    published={"mipart-l": {"width": 128}},
)
class MIParT(nn.Module):
    r"""More-interaction particle transformer (MIParT), which needs pairwise features: `inputs.interactions`.

    .. math:: \mathrm{MIA}(V) = \mathrm{softmax}(U_1)\, V, \quad
              \mathrm{Attention}(Q, K, V) = \mathrm{softmax}(Q K^T / \sqrt{d} + U_2)\, V

    The embedding of pairs, 64 numbers wide before its last layer, is the attention :math:`U_1` of the first blocks,
    with as many heads and without queries and keys. Its last layer gives the bias :math:`U_2` of the ParT blocks that
    follow. MET and its direction join the class token, which attends to the particles in the last blocks. A particle
    with itself has 0 in both, as in ParT. `mipart-l` has twice the width.

    Args:
        sizes: widths of the inputs and outputs.
        width: features per particle inside the network.
        interaction_blocks: number of blocks whose attention is the embedding of the pairs.
        blocks: number of particle blocks as in ParT.
        class_blocks: number of class blocks (the class token attends to the particles).
        heads: number of attention heads of particle and class blocks; they divide the width.
        embedding: hidden widths of the embedding of a particle.
        pair_embedding: hidden widths of the embedding of a pair; the last one is the number of heads of the
            interaction blocks and divides the width.
        ratio: width of the feed-forward layer in units of `width`.
        dropout: dropout probability in all but the class blocks, which have no dropout.

    Raises:
        ValueError: no pairwise features, or heads that do not divide the width.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        width: PositiveInt = 64,
        interaction_blocks: PositiveInt = 5,
        blocks: NonNegativeInt = 5,
        class_blocks: PositiveInt = 2,
        heads: PositiveInt = 8,
        embedding: tuple[PositiveInt, ...] = (128, 512),
        pair_embedding: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 64, 64),
        ratio: PositiveInt = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        if not sizes.pairs:
            raise ValueError("it attends by pairwise features; name some in inputs.interactions: [delta, kt, z, mass2]")
        for number in (heads, pair_embedding[-1]):
            if width % number:
                raise ValueError(f"width {width} is not divisible among {number} heads")
        self.embed = part.particle_embedding(sizes.particles, (*embedding, width))
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, heads))
        self.interaction_blocks = nn.ModuleList(
            InteractionBlock(width, pair_embedding[-1], ratio, dropout) for _ in range(interaction_blocks)
        )
        self.blocks = nn.ModuleList(part.ParticleBlock(width, heads, ratio, dropout) for _ in range(blocks))
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.context = Linear(sizes.context, width) if sizes.context else None
        self.class_blocks = nn.ModuleList(part.ClassBlock(width, heads, ratio, 0.0) for _ in range(class_blocks))
        self.norm = nn.LayerNorm(width)
        self.head = Linear(width, sizes.outputs)

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.head(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Class token after the last class block and its norm."""
        rows = PackedRows(features.mask)
        x = self.encode(features, rows)
        token = self.token.expand(features.mask.shape[0], -1)
        if self.context is not None:
            token = token + self.context(features.context)
        for block in self.class_blocks:
            token = block(token, x, rows)
        normalized: Tensor = self.norm(token)
        return normalized

    def objects(self, features: Features) -> Float[Tensor, "batch particles width"]:
        """Features of each particle after the last particle block."""
        rows = PackedRows(features.mask)
        return rows.unpack(self.encode(features, rows))

    def encode(self, features: Features, rows: PackedRows) -> Float[Tensor, "rows width"]:
        """Rows of the particles after the last particle block."""
        x: Tensor = self.embed(rows.pack(features.particles))
        pairs, padding = unique_pairs(features.mask), key_padding_bias(features.mask, x.dtype)
        wide, narrow = deque(self.embed_pairs.layer_outputs(pairs.pack(features.pairs)), 2)
        weights = symmetric_bias(wide, pairs, padding).softmax(-1)
        x = pad_rows(x)
        for block in self.interaction_blocks:
            x = block(x, rows, weights)
        bias = prepare_bias(symmetric_bias(narrow, pairs, padding), rows)
        for block in self.blocks:
            x = block(x, rows, bias)
        return x


class InteractionBlock(part.FeedForwardBlock):
    """Attention between particles with given weights (MIA); the other layers are those of ParT."""

    def __init__(self, width: int, heads: int, ratio: int, dropout: float) -> None:
        super().__init__(width, heads, ratio, dropout)
        self.values = Linear(width, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "rows width"],
        rows: PackedRows,
        weights: Float[Tensor, "heads batch particles particles"],
    ) -> Float[Tensor, "rows width"]:
        report_attention("objects", weights.transpose(0, 1))
        by_head = (*rows.mask.shape, len(weights), x.shape[-1] // len(weights))
        values = rows.unpack(self.values(self.before_attention(x))).reshape(by_head)
        mixed = dropout(weights, self.dropout, self.training) @ values.permute(2, 0, 1, 3)
        attended = append_zero_rows(rows.pack(mixed.permute(1, 2, 0, 3).flatten(2)), x)
        return self.finish(x, attended * self.scale())
