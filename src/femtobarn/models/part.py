"""Particle Transformer: attention between objects, biased by what each pair of them looks like.

Qu, Li and Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Bool, Float
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

    The pairwise features become one additive bias U per head, shared by all blocks; MET and its direction join the
    class token, which at the end reads the event.

    Args:
        sizes: widths of the inputs and outputs.
        width: features of an object inside.
        blocks: particle blocks (self-attention with U).
        class_blocks: class blocks (the class token attends to the objects).
        heads: attention heads; they divide the width.
        embedding: hidden widths of the embedding of an object.
        pair_embedding: hidden widths of the embedding of a pair.
        ratio: width of the feed-forward layer in units of `width`.
        dropout: in the particle blocks; the class blocks have none.
        self_pairs: an object and itself are a pair with a U of its own, as in the published weights.
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
        self.widest = max((*embedding, width))
        self.embed = object_layers(sizes.particles, (*embedding, width))
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, heads)) if sizes.pairs else None
        self.blocks = nn.ModuleList(ParticleBlock(width, heads, ratio, dropout) for _ in range(blocks))
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.context = Linear(sizes.context, width) if sizes.context else None
        self.class_blocks = nn.ModuleList(ClassBlock(width, heads, ratio, 0.0) for _ in range(class_blocks))
        self.norm = nn.LayerNorm(width)
        self.head = Linear(width, sizes.outputs)

    def forward(self, encoded: Encoded, transport: Transport | None = None) -> Float[Tensor, "batch outputs"]:
        """Logits of each event; with a transport where objects have frames of their own."""
        rows = PackedRows(encoded.mask)
        x = rows.pack(encoded.particles)
        # training needs all rows for the batch norm
        x = self.embed(x) if self.training else apply_chunked(self.embed, x, width=self.widest)
        x = pad_rows(x)
        bias = prepare_bias(self.bias(encoded.pairs, encoded.mask), rows)
        for block in self.blocks:
            x = block(x, rows, bias, transport)
        token = self.token.expand(encoded.mask.shape[0], -1)
        if self.context is not None:
            token = token + self.context(encoded.context)
        for block in self.class_blocks:
            token = block(token, x, rows)
        logits: Tensor = self.head(self.norm(token))
        return logits

    def bias(
        self, pairs: Float[Tensor, "batch told told pair_features"], mask: Bool[Tensor, "batch particles"]
    ) -> Float[Tensor, "heads batch _ particles"]:
        """U of every head, with padded keys closed; 0 without pairwise features."""
        return pair_bias(self.embed_pairs, pairs, mask, self.heads, self.token.dtype, self_pairs=self.self_pairs)


class Block(nn.Module):
    """What follows the attention in every block, and the norm before it."""

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
        """The factor of the head that each feature is of."""
        return self.head_scale.repeat_interleave(len(self.residual_scale) // len(self.head_scale))

    def finish(self, x: Float[Tensor, "rows width"], a: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        x = x + self.drop(self.after_attention(a))
        f = self.drop(nn.functional.gelu(self.expand(self.before_feedforward(x))))
        return torch.addcmul(self.drop(self.contract(self.hidden(f))), self.residual_scale, x)


class Attention(Block):
    """A block with queries, keys and values, and a layer that collects what the heads have found."""

    def __init__(self, width: int, heads: int, ratio: int, dropout: float) -> None:
        # these two first, so that a seed gives the initial weights it always gave
        project = Linear(width, 3 * width)  # queries, keys, values
        nn.init.xavier_uniform_(project.weight)
        nn.init.zeros_(project.bias)
        collect = Linear(width, width)
        nn.init.zeros_(collect.bias)
        super().__init__(width, heads, ratio, dropout)
        self.heads = heads
        self.project = project
        self.collect = collect

    def collected(self, mixed: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        scale = self.scale()  # of the weights: fewer than the rows
        return linear(mixed, self.collect.weight * scale[:, None], self.collect.bias * scale)

    def collect_and_finish(
        self, x: Float[Tensor, "rows width"], mixed: Float[Tensor, "rows width"]
    ) -> Float[Tensor, "rows width"]:
        return self.finish(x, self.collected(mixed))


class ParticleBlock(Attention):
    """Every object attends to every object, with the bias U."""

    def forward(
        self,
        x: Float[Tensor, "rows width"],
        rows: PackedRows,
        bias: Bias,
        transport: Transport | None = None,
    ) -> Float[Tensor, "rows width"]:
        gather = self_attention if transport is None else transport.self_attention
        chance = self.dropout if self.training else 0.0
        mixed = gather(self.project(self.before_attention(x)), rows, bias, chance)
        return apply_chunked(self.collect_and_finish, x, mixed, width=self.expand.out_features)


class ClassBlock(Attention):
    """The class token attends to itself and to every object."""

    def forward(
        self, token: Float[Tensor, "batch width"], x: Float[Tensor, "rows width"], rows: PackedRows
    ) -> Float[Tensor, "batch width"]:
        width = token.shape[-1]
        # the token asks as it is, not normalised
        query = linear(token, self.project.weight[:width], self.project.bias[:width])
        seen = torch.cat([self.before_attention(token)[:, None], rows.unpack(self.before_attention(x))], dim=1)
        real = torch.cat([torch.ones_like(rows.mask[:, :1]), rows.mask], dim=1)
        return self.collect_and_finish(token, class_attention(query, seen, real, self.heads, self.project))


def object_layers(features: int, widths: Sequence[int]) -> nn.Sequential:
    """Batch norm over the features of an object, then layers of these widths, each of layer norm, linear and GELU."""
    layers: list[nn.Module] = [BatchNorm(features)]
    for before, after in zip((features, *widths), widths, strict=False):
        layers += [nn.LayerNorm(before), Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers)
