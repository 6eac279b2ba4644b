"""Particle Transformer: self-attention between particles, biased by pairwise features.

Qu, Li and Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Bool, Float
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
    apply_chunked,
    class_attention,
    dropout,
    linear,
    pad_rows,
    pair_bias,
    prepare_bias,
    self_attention,
)


@model(
    "part",
    family="attention",
    small={
        "width": 16,
        "blocks": 2,
        "class_blocks": 1,
        "heads": 2,
        "embedding": (16,),
        "pair_embedding": (8,),
        "dropout": 0.0,
    },
)
class ParT(nn.Module):
    """Particle Transformer (ParT).

    The pairwise features become one additive bias U per head, shared by all blocks. MET and its direction join the
    class token, which attends to the particles in the last blocks.

    Args:
        sizes: widths of the inputs and outputs.
        width: features per particle inside the network.
        blocks: number of particle blocks (self-attention with U).
        class_blocks: number of class blocks (the class token attends to the particles).
        heads: number of attention heads; they divide the width.
        embedding: hidden widths of the embedding of a particle.
        pair_embedding: hidden widths of the embedding of a pair.
        ratio: width of the feed-forward layer in units of `width`.
        dropout: dropout probability in the particle blocks; the class blocks have no dropout.
        self_pairs: give U of a particle with itself a value too, as in the published weights.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        width: PositiveInt = 128,
        blocks: NonNegativeInt = 8,
        class_blocks: PositiveInt = 2,
        heads: PositiveInt = 8,
        embedding: tuple[PositiveInt, ...] = (128, 512),
        pair_embedding: tuple[PositiveInt, ...] = (64, 64, 64),
        ratio: PositiveInt = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        self_pairs: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible among {heads} heads")
        self.heads, self.self_pairs = heads, self_pairs
        self.max_width = max((*embedding, width))
        self.embed = particle_embedding(sizes.particles, (*embedding, width))
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, heads)) if sizes.pairs else None
        self.blocks = nn.ModuleList(ParticleBlock(width, heads, ratio, dropout) for _ in range(blocks))
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.context = Linear(sizes.context, width) if sizes.context else None
        self.class_blocks = nn.ModuleList(ClassBlock(width, heads, ratio, 0.0) for _ in range(class_blocks))
        self.norm = nn.LayerNorm(width)
        self.head = Linear(width, sizes.outputs)

    def forward(self, features: Features, transport: Transport | None = None) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event; `transport` connects local frames, if particles have them."""
        outputs: Tensor = self.head(self.latent(features, transport))
        return outputs

    def latent(self, features: Features, transport: Transport | None = None) -> Float[Tensor, "batch width"]:
        """Class token after the last class block and its norm."""
        rows = PackedRows(features.mask)
        x = self.encode(features, rows, transport)
        token = self.token.expand(features.mask.shape[0], -1)
        if self.context is not None:
            token = token + self.context(features.context)
        for block in self.class_blocks:
            token = block(token, x, rows)
        normalized: Tensor = self.norm(token)
        return normalized

    def objects(self, features: Features, transport: Transport | None = None) -> Float[Tensor, "batch particles width"]:
        """Features of each particle after the last particle block."""
        rows = PackedRows(features.mask)
        return rows.unpack(self.encode(features, rows, transport))

    def encode(self, features: Features, rows: PackedRows, transport: Transport | None) -> Float[Tensor, "rows width"]:
        """Rows of the particles after the last particle block."""
        x = rows.pack(features.particles)
        # training needs all rows for the batch norm
        x = self.embed(x) if self.training else apply_chunked(self.embed, x, width=self.max_width)
        x = pad_rows(x)
        bias = prepare_bias(self.bias(features.pairs, features.mask), rows)
        for block in self.blocks:
            x = block(x, rows, bias, transport)
        return x

    def bias(
        self, pairs: Float[Tensor, "batch _ _ pair_features"], mask: Bool[Tensor, "batch particles"]
    ) -> Float[Tensor, "heads batch _ particles"]:
        """Bias U of every head, with padded keys masked; 0 without pairwise features."""
        return pair_bias(self.embed_pairs, pairs, mask, self.heads, self.token.dtype, self_pairs=self.self_pairs)


class FeedForwardBlock(nn.Module):
    """Norm before the attention, and all layers after it, of every block."""

    def __init__(self, width: int, heads: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.before_attention = nn.LayerNorm(width)
        self.head_scale = nn.Parameter(torch.ones(heads))
        self.after_attention = nn.LayerNorm(width)
        self.before_feedforward = nn.LayerNorm(width)
        self.expand = Linear(width, ratio * width)
        self.hidden = nn.LayerNorm(ratio * width)
        self.contract = Linear(ratio * width, width)
        self.residual_scale = nn.Parameter(torch.ones(width))

    def drop(self, x: Float[Tensor, "rows _"]) -> Float[Tensor, "rows _"]:
        return dropout(x, self.dropout, self.training, inplace=True)

    def scale(self) -> Float[Tensor, " width"]:
        """Scale of each feature: the scale of its head."""
        return self.head_scale.repeat_interleave(len(self.residual_scale) // len(self.head_scale))

    def finish(self, x: Float[Tensor, "rows width"], a: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        x = x + self.drop(self.after_attention(a))
        f = self.drop(nn.functional.gelu(self.expand(self.before_feedforward(x))))
        return torch.addcmul(self.drop(self.contract(self.hidden(f))), self.residual_scale, x)


class AttentionBlock(FeedForwardBlock):
    """Block with layers for queries, keys and values, and a layer that mixes the heads."""

    def __init__(self, width: int, heads: int, ratio: int, dropout: float) -> None:
        # these two first, so that a seed gives the same initial weights as in earlier versions
        project = Linear(width, 3 * width)  # queries, keys, values
        nn.init.xavier_uniform_(project.weight)
        nn.init.zeros_(project.bias)
        collect = Linear(width, width)
        nn.init.zeros_(collect.bias)
        super().__init__(width, heads, ratio, dropout)
        self.heads = heads
        self.project = project
        self.collect = collect

    def mix_heads(self, attended: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        scale = self.scale()  # applied to the weights: they have fewer rows than the input
        return linear(attended, self.collect.weight * scale[:, None], self.collect.bias * scale)

    def mix_and_finish(
        self, x: Float[Tensor, "rows width"], attended: Float[Tensor, "rows width"]
    ) -> Float[Tensor, "rows width"]:
        return self.finish(x, self.mix_heads(attended))


class ParticleBlock(AttentionBlock):
    """Self-attention between particles with the bias U."""

    def forward(
        self,
        x: Float[Tensor, "rows width"],
        rows: PackedRows,
        bias: Bias,
        transport: Transport | None = None,
    ) -> Float[Tensor, "rows width"]:
        attention = self_attention if transport is None else transport.self_attention
        dropout_p = self.dropout if self.training else 0.0
        attended = attention(self.project(self.before_attention(x)), rows, bias, dropout_p)
        return apply_chunked(self.mix_and_finish, x, attended, width=self.expand.out_features)


class ClassBlock(AttentionBlock):
    """Attention of the class token to itself and to every particle."""

    def forward(
        self, token: Float[Tensor, "batch width"], x: Float[Tensor, "rows width"], rows: PackedRows
    ) -> Float[Tensor, "batch width"]:
        width = token.shape[-1]
        # the query is made from the token before the norm
        query = linear(token, self.project.weight[:width], self.project.bias[:width])
        keys = torch.cat([self.before_attention(token)[:, None], rows.unpack(self.before_attention(x))], dim=1)
        mask = torch.cat([torch.ones_like(rows.mask[:, :1]), rows.mask], dim=1)
        return self.mix_and_finish(token, class_attention(query, keys, mask, self.heads, self.project))


def particle_embedding(features: int, widths: Sequence[int]) -> nn.Sequential:
    """Batch norm over the features of a particle, then layers of these widths: layer norm, linear and GELU each."""
    layers: list[nn.Module] = [BatchNorm(features)]
    for before, after in zip((features, *widths), widths, strict=False):
        layers += [nn.LayerNorm(before), Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers)
