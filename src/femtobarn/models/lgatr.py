"""L-GATr: a transformer whose features are multivectors of spacetime.

Spinner et al., *Lorentz-Equivariant Geometric Algebra Transformers for High-Energy Physics*, arXiv:2405.14806; Brehmer
et al., *A Lorentz-Equivariant Transformer for All of the LHC*, arXiv:2411.00446.
"""

from __future__ import annotations

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
    last_token_attention,
    n_token_scalars,
    pack_tokens,
    pair_bias,
    prepare_bias,
    self_attention,
)
from femtobarn.nn.multivectors import (
    EquivariantLinear,
    MultivectorChannels,
    component_signs,
    concat_components,
    group_product,
    inverse_rms,
    multivector_norm,
    norm_and_gate,
    split_components,
)
from femtobarn.physics.geometric_algebra import Multivectors


@model(
    "lgatr",
    family="Lorentz-equivariant",
    small={"multivectors": 4, "scalars": 8, "blocks": 2, "heads": 2, "pair_embedding": (8,), "scale": 100.0},
    lorentz={"references": ()},
)
class LGATr(GlobalTokenTransformer):
    r"""L-GATr (Lorentz-equivariant geometric algebra transformer).

    A token has channels of multivectors, of which its momentum is the first vector, and scalars. Linear maps, attention
    by invariant products, geometric products, gates and norms all commute with Lorentz transformations. A global token,
    which has neither momentum nor direction, attends to the event; its scalars give the outputs:

    .. math:: x \leftarrow x + \mathrm{Attention}(\mathrm{N}(x)), \quad
              x \leftarrow x + W\,\mathrm{gate}(\mathrm{N}(V (L\mathrm{N}(x) \cdot R\mathrm{N}(x))))

    The defaults are those for top tagging. As published the two beams and the time direction are tokens like the
    particles; without them (`references: []`) the output is invariant under every Lorentz transformation, if the
    pairwise features are invariant. MET is a token in events. Pairwise features become the additive bias U of each head
    as in ParT, shared by all blocks. Momenta are first boosted to the rest frame of the event, where rounding errors
    are smallest; an equivariant network is not affected. Factors that the next linear map can absorb (of norms and
    heads) are left out, and so are maps whose input is 0 before the first product or whose output is not used.

    Args:
        sizes: widths of the inputs and outputs.
        multivectors: multivector channels per token, 16 components each.
        scalars: additional scalars per token.
        blocks: number of blocks of attention and geometric product.
        heads: number of attention heads.
        attention_ratio: channels of all heads in units of the channels of a token.
        ratio: channels of the products in units of the channels of a token.
        pair_embedding: hidden widths of the embedding of a pair.
        references: reference vectors, which break the symmetry: `beam`, `time`.
        scale: GeV; unit of the momenta, 20 as published for constituents of jets. In float32 squares of momenta are
            accurate to 1e-7: in events with particles of some hundred GeV use 100.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        multivectors: PositiveInt = 16,
        scalars: PositiveInt = 32,
        blocks: PositiveInt = 12,
        heads: PositiveInt = 8,
        attention_ratio: PositiveInt = 2,
        ratio: PositiveInt = 2,
        pair_embedding: tuple[PositiveInt, ...] = (64, 64, 64),
        references: tuple[Reference, ...] = ("beam", "time"),
        scale: PositiveFloat = 20.0,
    ) -> None:
        super().__init__(sizes, references, scale)
        self.heads = heads
        channels = MultivectorChannels(multivectors, scalars)
        self.embed = nn.Linear(n_token_scalars(sizes, references) + 1, channels.invariant)
        self.embed_momenta = nn.Linear(1, channels.pairs, bias=False)
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, heads)) if sizes.pairs else None
        self.blocks = nn.ModuleList(
            MultivectorBlock(channels, heads, attention_ratio, ratio, first=number == 0, last=number == blocks - 1)
            for number in range(blocks)
        )
        self.head = nn.Linear(channels.invariant, sizes.outputs)

    def embed_tokens(self, features: Features) -> tuple[Multivectors, PackedRows, Bias]:
        """Inputs of the first block."""
        momenta, scalars, rows = pack_tokens(features, self.sizes, self.references, self.scale)
        vectors = self.embed_momenta(momenta)
        x = Multivectors(self.embed(scalars), vectors, vectors[:3, :, :0])
        bias = pair_bias(self.embed_pairs, features.pairs, rows.mask, self.heads, scalars.dtype)
        return x, rows, prepare_bias(bias, rows)


class MultivectorBlock(nn.Module):
    """Attention between tokens, then a geometric product of the multivectors of each token.

    Args:
        channels: channels of a token.
        heads: number of attention heads.
        attention_ratio: channels of all heads in units of the channels of a token.
        ratio: channels of the products in units of the channels of a token.
        first: the input has no bivectors.
        last: only the scalars of the last token of each event are computed.
    """

    signs: Tensor

    def __init__(
        self, channels: MultivectorChannels, heads: int, attention_ratio: int, ratio: int, *, first: bool, last: bool
    ) -> None:
        super().__init__()
        self.channels, self.heads, self.first, self.last = channels, heads, first, last
        multivectors, scalars = channels.multivectors, channels.scalars
        head = MultivectorChannels(
            max(attention_ratio * multivectors // heads, 1), max(attention_ratio * scalars // heads, 4)
        )
        self.qkv_channels, self.head_channels = head._replace(groups=3 * heads), head._replace(groups=heads)
        self.project = EquivariantLinear(channels, self.qkv_channels, bias=False, bivectors=not first)
        self.collect = EquivariantLinear(self.head_channels, channels, scale=0.1, bivectors=not first)
        self.wide = MultivectorChannels(ratio * multivectors, ratio * scalars)
        factors = MultivectorChannels(ratio * multivectors, 0, groups=2)
        self.factors = EquivariantLinear(channels, factors, bivectors=not first)
        self.factors.init_second_group_near_one()
        self.combine = EquivariantLinear(self.wide._replace(scalars=scalars), self.wide)
        self.contract = EquivariantLinear(self.wide, channels, only_scalars=last)
        signs = component_signs(head, bivectors=not first)
        # of queries only; the logits keep the scale of all components where there are no bivectors yet
        signs = torch.stack([signs * (len(signs) / len(component_signs(head))) ** 0.5, *torch.ones(2, len(signs))])
        self.register_buffer("signs", signs.repeat_interleave(heads, 0), persistent=False)

    def forward(self, x: Multivectors, rows: PackedRows, bias: Bias, n_particles: int | torch.SymInt) -> Multivectors:
        """All tokens, or the last token of each event, after the block; the first tokens are particles."""
        qkv = self.to_heads(self.project(multivector_norm(x, self.channels))).flatten(1)
        if self.last:
            last, attended = last_token_attention(qkv, rows, self.heads, n_particles)
            x = Multivectors(x.scalars[last], x.vectors[:, last], x.bivectors[:, last])
        else:
            attended = self_attention(qkv, rows, bias)
        by_head = torch.unflatten(attended, -1, (self.heads, -1))
        x = add_grades(x, self.collect(split_components(by_head, self.head_channels)))
        y = multivector_norm(x, self.channels)
        factors = self.factors(y)
        if self.first:
            factors = factors._replace(bivectors=torch.zeros_like(factors.vectors[:3]))
        products = group_product(factors)
        scalars = y.scalars[:, : self.channels.scalars]
        combined = self.combine(products._replace(scalars=torch.cat([scalars, products.scalars], dim=-1)))
        return add_grades(x, self.contract(norm_and_gate(combined, self.wide)))

    def to_heads(self, x: Multivectors) -> Float[Tensor, "rows parts components"]:
        """Queries, keys and values of each head, each normalized; queries with the signs of the metric."""
        s = self.qkv_channels.scalars
        components = concat_components(x, self.qkv_channels)
        scalars = nn.functional.layer_norm(components[..., :s], (s,))
        others = components[..., s:] * inverse_rms(x, self.qkv_channels)[..., None]
        return torch.cat([scalars, others], dim=-1).mul_(self.signs)


def add_grades(x: Multivectors, y: Multivectors) -> Multivectors:
    """Sum; a grade that only one summand has is taken from it."""
    return Multivectors(*(a + b if a.shape == b.shape else a if a.shape[-1] else b for a, b in zip(x, y, strict=True)))
