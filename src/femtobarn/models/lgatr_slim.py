"""L-GATr-slim: a transformer of scalars and four-vectors.

Petitjean et al., *Economical Jet Taggers - Equivariant, Slim, and Quantized*, arXiv:2512.17011.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import (
    Bias,
    PackedRows,
    PairLayers,
    Reference,
    append_global_token,
    append_zero_rows,
    chunk_size,
    last_token_attention,
    linear,
    n_token_scalars,
    pad_rows,
    pair_bias,
    prepare_bias,
    self_attention,
    tokens,
)
from femtobarn.physics.lorentz import METRIC

#: Added to mean squares before their root is taken: lengths of four-vectors vanish where components do not.
SHORT = 0.01


class Fields(NamedTuple):
    """What every token holds, one row each."""

    scalars: Float[Tensor, "rows scalars"]
    vectors: Float[Tensor, "4 rows vectors"]  # (px, py, pz, E) of each channel


class Channels(NamedTuple):
    """How many scalars and four-vectors a row has."""

    scalars: int
    vectors: int

    def times(self, factor: int) -> Channels:
        """So many sets of them."""
        return Channels(factor * self.scalars, factor * self.vectors)


@model(
    "lgatr-slim",
    small={"vectors": 8, "scalars": 16, "blocks": 2, "heads": 2, "pair_embedding": (8,), "scale": 100.0},
    lorentz={"references": ()},
)
class LGATrSlim(nn.Module):
    r"""L-GATr-slim (the scalar-vector version of L-GATr).

    A token has channels of scalars and of four-vectors, of which its momentum is the first. Each kind has linear maps
    of its own. They meet in the norms, which divide both by their common size, in the attention, whose logits are sums
    of products of scalars and Lorentz products of vectors, and nowhere else; gates open vectors by products of vectors:

    .. math:: s \leftarrow W_1 s \cdot \mathrm{gelu}(W_2 s), \quad
              v \leftarrow V_1 v \cdot \sigma(\tfrac12 \langle V_2 v, V_3 v \rangle)

    The defaults are those for top tagging. As in `lgatr` the two beams, the time direction and MET are tokens, a global
    token, which has neither momentum nor direction, gathers the event, momenta are brought to the rest frame of the
    event first, and pairwise features become the additive bias U of each head, shared by all blocks. Without references
    (`references: []`) no Lorentz transformation changes the answer, as long as the pairwise features are invariant.
    The gains of the norms, which the linear map behind them can learn, are left out, and so are the vectors of the last
    gate, which nobody sees.

    Args:
        sizes: widths of the inputs and outputs.
        vectors: four-vectors of a token.
        scalars: of a token.
        blocks: of attention and gates.
        heads: of the attention.
        attention_ratio: channels of all heads in units of those of a token.
        ratio: channels of the gates in units of those of a token.
        pair_embedding: hidden widths of the embedding of a pair.
        references: directions that the network is told, and that break the symmetry: `beam`, `time`.
        scale: unit of the momenta in GeV, as published 20, for constituents of jets. Squares of momenta lose in float32
            what is 1e-7 of them: in events with objects of some hundred GeV take 100.
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
        super().__init__()
        self.sizes, self.references, self.scale, self.heads = sizes, references, scale, heads
        channels = Channels(scalars, vectors)
        self.embed = Linear(Channels(n_token_scalars(sizes, references) + 1, 1), channels)
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, heads)) if sizes.pairs else None
        self.blocks = nn.ModuleList(
            Block(channels, heads, attention_ratio, ratio, last=number == blocks - 1) for number in range(blocks)
        )
        self.head = nn.Linear(scalars, sizes.outputs)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        momenta, scalars, mask = append_global_token(tokens(encoded, self.sizes, self.references, self.scale), encoded)
        rows = PackedRows(mask)
        vectors = rows.pack(momenta.to(scalars.dtype)).T[..., None]
        x: Fields = self.embed(Fields(rows.pack(scalars), vectors))
        own = pad_rows(x.scalars)
        x = Fields(own, append_zero_rows(x.vectors, own))
        bias = prepare_bias(pair_bias(self.embed_pairs, encoded.pairs, mask, self.heads, scalars.dtype), rows)
        for block in self.blocks:
            x = block(x, rows, bias, encoded.mask.shape[1])
        logits: Tensor = self.head(x.scalars)
        return logits


class Block(nn.Module):
    """Tokens gather from each other what they attend to, then each opens and closes gates of its own.

    Args:
        channels: of a token.
        heads: of the attention.
        attention_ratio: channels of all heads in units of those of a token.
        ratio: channels of the gates in units of those of a token.
        last: only the scalars of the last token of each event go out.
    """

    signs: Tensor

    def __init__(self, channels: Channels, heads: int, attention_ratio: int, ratio: int, *, last: bool) -> None:
        super().__init__()
        self.heads, self.last = heads, last
        self.head = Channels(
            max(attention_ratio * channels.scalars // heads, 4), max(attention_ratio * channels.vectors // heads, 1)
        )
        self.project = Linear(channels, self.head.times(3 * heads), bias=False, scale=0.1)  # queries, keys, values
        self.collect = Linear(self.head.times(heads), channels, scale=0.1)
        wide = channels.times(ratio)
        self.widest = max(2 * wide.scalars, 3 * wide.vectors)
        self.gates = Linear(channels, Channels(2 * wide.scalars, 3 * wide.vectors), only_scalars=last)
        self.contract = Linear(wide, channels, only_scalars=last)
        signs = torch.tensor([1.0] * self.head.scalars + [sign for sign in METRIC for _ in range(self.head.vectors)])
        # of queries alone
        signs = torch.cat([signs.repeat(heads), torch.ones(2 * heads * len(signs))])
        self.register_buffer("signs", signs, persistent=False)

    def forward(self, x: Fields, rows: PackedRows, bias: Bias, objects: int) -> Fields:
        """Every row, or that of the last token of each event, of whose tokens the first are objects."""
        asked = self.sides(normed(self.project(normed(x)), 3 * self.heads))
        if self.last:
            last, gathered = last_token_attention(asked, rows, self.heads, objects)
            x = Fields(x.scalars[last], x.vectors[:, last])
        else:
            gathered = self_attention(asked, rows, bias)
        x = plus(x, self.collect(self.apart(gathered)))
        many = chunk_size(x.scalars, self.widest)
        if many is None:
            return self.opened(x)
        parts = zip(torch.split(x.scalars, many), torch.split(x.vectors, many, dim=1), strict=True)
        scalars, vectors = zip(*(self.opened(Fields(*part)) for part in parts), strict=True)
        return Fields(torch.cat(scalars), torch.cat(vectors, dim=1))

    def opened(self, x: Fields) -> Fields:
        """What the gates make of each row, added to it."""
        return plus(x, self.contract(gated(self.gates(normed(x)))))

    def sides(self, x: Fields) -> Float[Tensor, "rows numbers"]:
        """Queries, keys and values of each head, scalars before vectors; queries with the signs of the metric."""
        scalars, vectors = (torch.unflatten(each, -1, (3 * self.heads, -1)) for each in x)
        return torch.cat([scalars, vectors.movedim(0, 2).flatten(2)], dim=-1).flatten(1).mul_(self.signs)

    def apart(self, gathered: Float[Tensor, "rows width"]) -> Fields:
        """The scalars and vectors of all heads."""
        scalars, vectors = torch.unflatten(gathered, -1, (self.heads, -1)).tensor_split((self.head.scalars,), dim=-1)
        vectors = torch.unflatten(vectors, -1, (4, self.head.vectors)).movedim(2, 0).flatten(2)
        return Fields(scalars.flatten(1), vectors)


class Linear(nn.Module):
    """A linear map of scalars, and one of four-vectors, the same for each of their components.

    Args:
        before: what goes in.
        after: what comes out.
        bias: of the scalars.
        scale: of the first weights; 1 keeps the size of the numbers.
        only_scalars: nothing else comes out.
    """

    def __init__(
        self, before: Channels, after: Channels, *, bias: bool = True, scale: float = 1.0, only_scalars: bool = False
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

    def forward(self, x: Fields) -> Fields:
        """Every row mapped."""
        vectors = x.vectors[..., :0] if self.vectors is None else linear(x.vectors, self.vectors)
        return Fields(linear(x.scalars, self.scalars.weight, self.scalars.bias), vectors)


def normed(x: Fields, groups: int = 1) -> Fields:
    r"""Scalars and vectors over the size that those of a group have together.

    .. math:: \Big(\frac1n \big(\sum_k s_k^2 + \sum_c |\langle v_c, v_c \rangle|\big) + 0.01\Big)^{-1/2}

    Args:
        x: of each row.
        groups: one after the other in both kinds, n channels each.
    """
    scalars, vectors = _Norm.apply(x.scalars, x.vectors, groups)  # type: ignore[no-untyped-call]
    return Fields(scalars, vectors)


def gated(x: Fields) -> Fields:
    """Gated linear units: scalars times the GELU of others, vectors times the sigmoid of half a product of others."""
    scalars, gates = x.scalars.chunk(2, dim=-1)
    opened = scalars * nn.functional.gelu(gates, approximate="tanh")
    if not x.vectors.shape[-1]:
        return Fields(opened, x.vectors)
    vectors: Tensor = _Gate.apply(x.vectors)  # type: ignore[no-untyped-call]
    return Fields(opened, vectors)


def plus(x: Fields, y: Fields) -> Fields:
    """The sum; no vectors where the second has none."""
    return Fields(x.scalars + y.scalars, x.vectors + y.vectors if y.vectors.shape[-1] else y.vectors)


def dot(x: Float[Tensor, "4 rows vectors"], y: Float[Tensor, "4 rows vectors"]) -> Float[Tensor, "rows vectors"]:
    """The Lorentz products, summed up without memory for their terms."""
    found = x[3] * y[3]
    for one, other in zip(x[:3], y[:3], strict=True):
        found.addcmul_(one, other, value=-1)
    return found


class _Norm(torch.autograd.Function):
    r"""With f the factor, n the channels of a group and k the product of its slopes g with its numbers, the way back is

    .. math:: f g_k - f^3 k s_k / n, \quad f g_c^\mu - f^3 k\, \mathrm{sign}\langle v_c, v_c \rangle v_{c\mu} / n

    which is a third of the memory and of the time that autograd takes for it.
    """

    @staticmethod
    def forward(ctx: Any, scalars: Tensor, vectors: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        lengths = dot(vectors, vectors)
        squares = _sums(scalars.square(), groups) + _sums(lengths.abs(), groups)
        factor = (squares * (groups / (scalars.shape[-1] + vectors.shape[-1])) + SHORT).rsqrt()
        ctx.save_for_backward(scalars, vectors, lengths, factor)
        return scalars * _each(factor, scalars), vectors * _each(factor, lengths)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        scalars, vectors, lengths, factor = ctx.saved_tensors
        # those of heads come with strides
        of_scalars, of_vectors = (each.contiguous() for each in slopes)
        groups = factor.shape[-1]
        along = of_vectors[0] * vectors[0]
        for one, other in zip(of_vectors[1:], vectors[1:], strict=True):
            along.addcmul_(one, other)
        total = _sums(of_scalars * scalars, groups) + _sums(along, groups)
        pull = total * factor.pow(3) * (groups / (scalars.shape[-1] + vectors.shape[-1]))
        out = of_scalars * _each(factor, scalars)
        out.addcmul_(scalars, _each(pull, scalars), value=-1)
        signed = lengths.sign() * _each(pull, lengths)
        others = of_vectors * _each(factor, lengths)
        for at, sign in enumerate(METRIC):
            others[at].addcmul_(vectors[at], signed, value=-sign)
        return out, others, None


class _Gate(torch.autograd.Function):
    """Of the three parts of the channels, the first times the sigmoid of half the product of the two others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        vectors, first, second = x.chunk(3, dim=-1)
        opened = dot(first, second).div_(2).sigmoid_()
        ctx.save_for_backward(x, opened)
        return vectors * opened

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        x, opened = ctx.saved_tensors
        out = torch.empty_like(x)
        (vectors, first, second), parts = x.chunk(3, dim=-1), out.chunk(3, dim=-1)
        torch.mul(slopes[0], opened, out=parts[0])
        slope = slopes[0][0] * vectors[0]
        for one, other in zip(slopes[0][1:], vectors[1:], strict=True):
            slope.addcmul_(one, other)
        slope.mul_(opened).mul_(1 - opened).div_(2)
        for at, sign in enumerate(METRIC):
            signed = slope if sign > 0 else -slope
            torch.mul(second[at], signed, out=parts[1][at])
            torch.mul(first[at], signed, out=parts[2][at])
        return out


def _sums(numbers: Float[Tensor, "rows channels"], groups: int) -> Float[Tensor, "rows groups"]:
    """Sums over the channels of each group."""
    return torch.unflatten(numbers, -1, (groups, -1)).sum(-1)


def _each(of_groups: Float[Tensor, "rows groups"], like: Tensor) -> Float[Tensor, "rows _"]:
    """The number of its group for every channel."""
    rows, groups = of_groups.shape
    return of_groups[..., None].expand(rows, groups, like.shape[-1] // groups).flatten(1)
