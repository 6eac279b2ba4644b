"""L-GATr-slim: a transformer of scalars and four-vectors.

Petitjean et al., *Economical Jet Taggers - Equivariant, Slim, and Quantized*, arXiv:2512.17011.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import (
    Bias,
    GlobalTokenTransformer,
    PackedRows,
    PairLayers,
    Reference,
    append_zero_rows,
    chunk_size,
    last_token_attention,
    linear,
    n_token_scalars,
    pack_tokens,
    pad_rows,
    pair_bias,
    prepare_bias,
    self_attention,
)
from femtobarn.physics.lorentz import METRIC

#: Added to mean squares before the square root: a light-like vector has length 0.
MEAN_SQUARE_OFFSET = 0.01


class ScalarsVectors(NamedTuple):
    """Features of every token, one row each."""

    scalars: Float[Tensor, "rows scalars"]
    vectors: Float[Tensor, "4 rows vectors"]  # (px, py, pz, E) of each channel


class SlimChannels(NamedTuple):
    """Number of scalars and four-vectors of a row."""

    scalars: int
    vectors: int

    def times(self, factor: int) -> SlimChannels:
        """Channels of several groups."""
        return SlimChannels(factor * self.scalars, factor * self.vectors)


@model(
    "lgatr-slim",
    family="Lorentz-equivariant",
    small={"vectors": 8, "scalars": 16, "blocks": 2, "heads": 2, "pair_embedding": (8,), "scale": 100.0},
    lorentz={"references": ()},
)
class LGATrSlim(GlobalTokenTransformer):
    r"""L-GATr-slim (the scalar-vector version of L-GATr).

    A token has channels of scalars and of four-vectors, of which its momentum is the first. Scalars and vectors have
    separate linear maps. They interact only in the norms, which divide both by their common size, in the attention,
    whose logits are sums of products of scalars and Lorentz products of vectors, and in the gates of vectors:

    .. math:: s \leftarrow W_1 s \cdot \mathrm{gelu}(W_2 s), \quad
              v \leftarrow V_1 v \cdot \sigma(\tfrac12 \langle V_2 v, V_3 v \rangle)

    The defaults are those for top tagging. As in `lgatr` the two beams, the time direction and MET are tokens; a global
    token, which has neither momentum nor direction, attends to the event; momenta are first boosted to the rest frame
    of the event; and pairwise features become the additive bias U of each head, shared by all blocks. Without
    references (`references: []`) the output is invariant under every Lorentz transformation, if the pairwise features
    are invariant. The gains of the norms, which the next linear map can absorb, are left out, and so are the vectors of
    the last gate, which are not used.

    Args:
        sizes: widths of the inputs and outputs.
        vectors: four-vectors per token.
        scalars: scalars per token.
        blocks: number of blocks of attention and gates.
        heads: number of attention heads.
        attention_ratio: channels of all heads in units of the channels of a token.
        ratio: channels of the gates in units of the channels of a token.
        pair_embedding: hidden widths of the embedding of a pair.
        references: reference vectors, which break the symmetry: `beam`, `time`.
        scale: GeV; unit of the momenta, 20 as published for constituents of jets. In float32 squares of momenta are
            accurate to 1e-7: in events with particles of some hundred GeV use 100.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        vectors: PositiveInt = 32,
        scalars: PositiveInt = 96,
        blocks: PositiveInt = 12,
        heads: PositiveInt = 8,
        attention_ratio: PositiveInt = 1,
        ratio: PositiveInt = 4,
        pair_embedding: tuple[PositiveInt, ...] = (64, 64, 64),
        references: tuple[Reference, ...] = ("beam", "time"),
        scale: PositiveFloat = 20.0,
    ) -> None:
        super().__init__(sizes, references, scale)
        self.heads = heads
        channels = SlimChannels(scalars, vectors)
        self.embed = ScalarVectorLinear(SlimChannels(n_token_scalars(sizes, references) + 1, 1), channels)
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, heads)) if sizes.pairs else None
        self.blocks = nn.ModuleList(
            ScalarVectorBlock(channels, heads, attention_ratio, ratio, last=number == blocks - 1)
            for number in range(blocks)
        )
        self.head = nn.Linear(scalars, sizes.outputs)

    def embed_tokens(self, features: Features) -> tuple[ScalarsVectors, PackedRows, Bias]:
        """Inputs of the first block."""
        momenta, scalars, rows = pack_tokens(features, self.sizes, self.references, self.scale)
        x: ScalarsVectors = self.embed(ScalarsVectors(scalars, momenta))
        padded = pad_rows(x.scalars)
        x = ScalarsVectors(padded, append_zero_rows(x.vectors, padded))
        bias = pair_bias(self.embed_pairs, features.pairs, rows.mask, self.heads, scalars.dtype)
        return x, rows, prepare_bias(bias, rows)


class ScalarVectorBlock(nn.Module):
    """Attention between tokens, then gates within each token.

    Args:
        channels: channels of a token.
        heads: number of attention heads.
        attention_ratio: channels of all heads in units of the channels of a token.
        ratio: channels of the gates in units of the channels of a token.
        last: only the scalars of the last token of each event are computed.
    """

    signs: Tensor

    def __init__(self, channels: SlimChannels, heads: int, attention_ratio: int, ratio: int, *, last: bool) -> None:
        super().__init__()
        self.heads, self.last = heads, last
        self.head = SlimChannels(
            max(attention_ratio * channels.scalars // heads, 4), max(attention_ratio * channels.vectors // heads, 1)
        )
        qkv = self.head.times(3 * heads)  # queries, keys, values
        self.project = ScalarVectorLinear(channels, qkv, bias=False, scale=0.1)
        self.collect = ScalarVectorLinear(self.head.times(heads), channels, scale=0.1)
        wide = channels.times(ratio)
        self.max_width = max(2 * wide.scalars, 3 * wide.vectors)
        gates = SlimChannels(2 * wide.scalars, 3 * wide.vectors)
        self.gates = ScalarVectorLinear(channels, gates, only_scalars=last)
        self.contract = ScalarVectorLinear(wide, channels, only_scalars=last)
        signs = torch.tensor([1.0] * self.head.scalars + [sign for sign in METRIC for _ in range(self.head.vectors)])
        # of queries only
        signs = torch.cat([signs.repeat(heads), torch.ones(2 * heads * len(signs))])
        self.register_buffer("signs", signs, persistent=False)

    def forward(
        self, x: ScalarsVectors, rows: PackedRows, bias: Bias, n_particles: int | torch.SymInt
    ) -> ScalarsVectors:
        """All tokens, or the last token of each event, after the block; the first tokens are particles."""
        qkv = self.to_heads(rms_norm(self.project(rms_norm(x)), 3 * self.heads))
        if self.last:
            last, attended = last_token_attention(qkv, rows, self.heads, n_particles)
            x = ScalarsVectors(x.scalars[last], x.vectors[:, last])
        else:
            attended = self_attention(qkv, rows, bias)
        x = add(x, self.collect(self.from_heads(attended)))
        size = chunk_size(x.scalars, self.max_width)
        if size is None:
            return self.feedforward(x)
        chunks = zip(torch.split(x.scalars, size), torch.split(x.vectors, size, dim=1), strict=True)
        scalars, vectors = zip(*(self.feedforward(ScalarsVectors(*chunk)) for chunk in chunks), strict=True)
        return ScalarsVectors(torch.cat(scalars), torch.cat(vectors, dim=1))

    def feedforward(self, x: ScalarsVectors) -> ScalarsVectors:
        """Add the gated layers to each row."""
        return add(x, self.contract(gate(self.gates(rms_norm(x)))))

    def to_heads(self, x: ScalarsVectors) -> Float[Tensor, "rows components"]:
        """Queries, keys and values of each head, scalars before vectors; queries with the signs of the metric."""
        scalars, vectors = (torch.unflatten(part, -1, (3 * self.heads, -1)) for part in x)
        return torch.cat([scalars, vectors.movedim(0, 2).flatten(2)], dim=-1).flatten(1).mul_(self.signs)

    def from_heads(self, attended: Float[Tensor, "rows width"]) -> ScalarsVectors:
        """Scalars and vectors of all heads."""
        scalars, vectors = torch.unflatten(attended, -1, (self.heads, -1)).tensor_split((self.head.scalars,), dim=-1)
        vectors = torch.unflatten(vectors, -1, (4, self.head.vectors)).movedim(2, 0).flatten(2)
        return ScalarsVectors(scalars.flatten(1), vectors)


class ScalarVectorLinear(nn.Module):
    """Linear map of scalars, and one of four-vectors, the same for each of their components.

    Args:
        before: input channels.
        after: output channels.
        bias: add a bias to the scalars.
        scale: factor of the initial weights; 1 preserves the variance.
        only_scalars: compute the scalars only.
    """

    def __init__(
        self,
        before: SlimChannels,
        after: SlimChannels,
        *,
        bias: bool = True,
        scale: float = 1.0,
        only_scalars: bool = False,
    ) -> None:
        super().__init__()
        self.scalars = nn.Linear(before.scalars, after.scalars, bias=bias)
        bound = scale * before.scalars**-0.5
        nn.init.uniform_(self.scalars.weight, -bound, bound)
        if bias:
            nn.init.zeros_(self.scalars.bias)
        self.vectors: nn.Parameter | None = None
        if not only_scalars:
            bound = scale * before.vectors**-0.5
            self.vectors = nn.Parameter(torch.empty(after.vectors, before.vectors).uniform_(-bound, bound))

    def forward(self, x: ScalarsVectors) -> ScalarsVectors:
        """Map every row."""
        vectors = x.vectors[..., :0] if self.vectors is None else linear(x.vectors, self.vectors)
        return ScalarsVectors(linear(x.scalars, self.scalars.weight, self.scalars.bias), vectors)


def rms_norm(x: ScalarsVectors, groups: int = 1) -> ScalarsVectors:
    r"""Divide the scalars and vectors of each group by their common root-mean-square size.

    .. math:: \Big(\frac1n \big(\sum_k s_k^2 + \sum_c |\langle v_c, v_c \rangle|\big) + 0.01\Big)^{-1/2}

    Args:
        x: features of each row.
        groups: number of groups, one after the other in both types, n channels each.
    """
    scalars, vectors = _RMSNorm.apply(x.scalars, x.vectors, groups)  # type: ignore[no-untyped-call]
    return ScalarsVectors(scalars, vectors)


def gate(x: ScalarsVectors) -> ScalarsVectors:
    """Gated linear units: scalars times the GELU of others, vectors times the sigmoid of half a product of others."""
    scalars, gates = x.scalars.chunk(2, dim=-1)
    gated = scalars * nn.functional.gelu(gates, approximate="tanh")
    if not x.vectors.shape[-1]:
        return ScalarsVectors(gated, x.vectors)
    vectors: Tensor = _VectorGate.apply(x.vectors)  # type: ignore[no-untyped-call]
    return ScalarsVectors(gated, vectors)


def add(x: ScalarsVectors, y: ScalarsVectors) -> ScalarsVectors:
    """Sum; without vectors if the second summand has none."""
    return ScalarsVectors(x.scalars + y.scalars, x.vectors + y.vectors if y.vectors.shape[-1] else y.vectors)


def dot(x: Float[Tensor, "4 rows vectors"], y: Float[Tensor, "4 rows vectors"]) -> Float[Tensor, "rows vectors"]:
    """Lorentz products, summed without memory for their terms."""
    product = x[3] * y[3]
    for a, b in zip(x[:3], y[:3], strict=True):
        product.addcmul_(a, b, value=-1)
    return product


class _RMSNorm(torch.autograd.Function):
    r"""With f the factor, n the channels of a group and k the product of its gradients g with its components: gradients

    .. math:: f g_k - f^3 k s_k / n, \quad f g_c^\mu - f^3 k\, \mathrm{sign}\langle v_c, v_c \rangle v_{c\mu} / n

    which take a third of the memory and time of autograd.
    """

    @staticmethod
    def forward(ctx: Any, scalars: Tensor, vectors: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        lengths = dot(vectors, vectors)
        squares = _group_sums(scalars.square(), groups) + _group_sums(lengths.abs(), groups)
        factor = (squares * (groups / (scalars.shape[-1] + vectors.shape[-1])) + MEAN_SQUARE_OFFSET).rsqrt()
        ctx.save_for_backward(scalars, vectors, lengths, factor)
        return scalars * _per_channel(factor, scalars), vectors * _per_channel(factor, lengths)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        scalars, vectors, lengths, factor = ctx.saved_tensors
        # gradients of heads are not contiguous
        out_scalars, out_vectors = (grad.contiguous() for grad in grad_outputs)
        groups = factor.shape[-1]
        products = out_vectors[0] * vectors[0]
        for grad, component in zip(out_vectors[1:], vectors[1:], strict=True):
            products.addcmul_(grad, component)
        total = _group_sums(out_scalars * scalars, groups) + _group_sums(products, groups)
        norm_term = total * factor.pow(3) * (groups / (scalars.shape[-1] + vectors.shape[-1]))
        grad_scalars = out_scalars * _per_channel(factor, scalars)
        grad_scalars.addcmul_(scalars, _per_channel(norm_term, scalars), value=-1)
        signed = lengths.sign() * _per_channel(norm_term, lengths)
        grad_vectors = out_vectors * _per_channel(factor, lengths)
        for component, sign in enumerate(METRIC):
            grad_vectors[component].addcmul_(vectors[component], signed, value=-sign)
        return grad_scalars, grad_vectors, None


class _VectorGate(torch.autograd.Function):
    """First of the three parts of the channels, times the sigmoid of half the product of the other two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        vectors, first, second = x.chunk(3, dim=-1)
        opening = dot(first, second).div_(2).sigmoid_()
        ctx.save_for_backward(x, opening)
        return vectors * opening

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        x, opening = ctx.saved_tensors
        (grad_out,) = grad_outputs
        grad_x = torch.empty_like(x)
        (vectors, first, second), parts = x.chunk(3, dim=-1), grad_x.chunk(3, dim=-1)
        torch.mul(grad_out, opening, out=parts[0])
        grad_opening = grad_out[0] * vectors[0]
        for grad, component in zip(grad_out[1:], vectors[1:], strict=True):
            grad_opening.addcmul_(grad, component)
        grad_opening.mul_(opening).mul_(1 - opening).div_(2)
        for component, sign in enumerate(METRIC):
            signed = grad_opening if sign > 0 else -grad_opening
            torch.mul(second[component], signed, out=parts[1][component])
            torch.mul(first[component], signed, out=parts[2][component])
        return grad_x


def _group_sums(values: Float[Tensor, "rows channels"], groups: int) -> Float[Tensor, "rows groups"]:
    """Sums over the channels of each group."""
    return torch.unflatten(values, -1, (groups, -1)).sum(-1)


def _per_channel(per_group: Float[Tensor, "rows groups"], like: Tensor) -> Float[Tensor, "rows _"]:
    """Repeat the value of each group for its channels."""
    rows, groups = per_group.shape
    return per_group[..., None].expand(rows, groups, like.shape[-1] // groups).flatten(1)
