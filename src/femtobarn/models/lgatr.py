"""L-GATr: a transformer whose numbers are multivectors of spacetime.

Spinner et al., *Lorentz-Equivariant Geometric Algebra Transformers for High-Energy Physics*, arXiv:2405.14806; Brehmer
et al., *A Lorentz-Equivariant Transformer for All of the LHC*, arXiv:2411.00446.
"""

from __future__ import annotations

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
    last_token_attention,
    n_token_scalars,
    pair_bias,
    prepare_bias,
    self_attention,
    tokens,
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
    small={"multivectors": 4, "scalars": 8, "blocks": 2, "heads": 2, "pair_embedding": (8,), "scale": 100.0},
    lorentz={"references": ()},
)
class LGATr(nn.Module):
    r"""L-GATr (Lorentz-equivariant geometric algebra transformer).

    An object has channels of multivectors, of which its momentum is the first vector, and scalars. Linear maps,
    attention by invariant products, geometric products, gates and norms all commute with Lorentz transformations. A
    global token, which has neither momentum nor direction, gathers the event; its scalars give the outputs:

    .. math:: x \leftarrow x + \mathrm{Attention}(\mathrm{N}(x)), \quad
              x \leftarrow x + W\,\mathrm{gate}(\mathrm{N}(V (L\mathrm{N}(x) \cdot R\mathrm{N}(x))))

    The defaults are those for top tagging. As published the two beams and the time direction are tokens like the
    objects; without them (`references: []`) no Lorentz transformation changes the answer, as long as the pairwise
    features are invariant. MET is a token in events. Pairwise features become the additive bias U of each head as in
    ParT, shared by all blocks. Momenta are brought to the rest frame of the event first, where rounding is least; an
    equivariant network does not notice. Factors that the linear map behind them can learn (those of norms and heads)
    are left out, and so are maps of what is 0 before the first product, or seen by nobody after the last.

    Args:
        sizes: widths of the inputs and outputs.
        multivectors: channels of an object, 16 components each.
        scalars: of an object, beside these.
        blocks: of attention and geometric product.
        heads: of the attention.
        attention_ratio: channels of all heads in units of those of an object.
        ratio: channels of the products in units of those of an object.
        pair_embedding: hidden widths of the embedding of a pair.
        references: directions that the network is told, and that break the symmetry: `beam`, `time`.
        scale: unit of the momenta in GeV, as published 20, for constituents of jets. Squares of momenta lose in float32
            what is 1e-7 of them: in events with objects of some hundred GeV take 100.
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
        super().__init__()
        self.sizes, self.references, self.scale, self.heads = sizes, references, scale, heads
        channels = MultivectorChannels(multivectors, scalars)
        self.embed = nn.Linear(n_token_scalars(sizes, references) + 1, channels.invariant)
        self.embed_momenta = nn.Linear(1, channels.pairs, bias=False)
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, heads)) if sizes.pairs else None
        self.blocks = nn.ModuleList(
            Block(channels, heads, attention_ratio, ratio, first=number == 0, last=number == blocks - 1)
            for number in range(blocks)
        )
        self.head = nn.Linear(channels.invariant, sizes.outputs)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        momenta, scalars, mask = append_global_token(tokens(encoded, self.sizes, self.references, self.scale), encoded)
        rows = PackedRows(mask)
        vectors = self.embed_momenta(rows.pack(momenta.to(scalars.dtype)).T[..., None])
        x = Multivectors(self.embed(rows.pack(scalars)), vectors, vectors[:3, :, :0])
        bias = prepare_bias(pair_bias(self.embed_pairs, encoded.pairs, mask, self.heads, scalars.dtype), rows)
        for block in self.blocks:
            x = block(x, rows, bias, encoded.mask.shape[1])
        logits: Tensor = self.head(x.scalars)
        return logits


class Block(nn.Module):
    """Objects gather from each other what they attend to, then each multiplies its multivectors.

    Args:
        channels: of an object.
        heads: of the attention.
        attention_ratio: channels of all heads in units of those of an object.
        ratio: channels of the products in units of those of an object.
        first: no bivectors come in.
        last: only the scalars of the last token of each event go out.
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
        self.asked, self.gathered = head._replace(groups=3 * heads), head._replace(groups=heads)
        self.project = EquivariantLinear(channels, self.asked, bias=False, bivectors=not first)  # queries, keys, values
        self.collect = EquivariantLinear(self.gathered, channels, scale=0.1, bivectors=not first)
        self.wide = MultivectorChannels(ratio * multivectors, ratio * scalars)
        self.factors = EquivariantLinear(
            channels, MultivectorChannels(ratio * multivectors, 0, groups=2), bivectors=not first
        )
        self.factors.init_second_group_near_one()
        self.combine = EquivariantLinear(self.wide._replace(scalars=scalars), self.wide)
        self.contract = EquivariantLinear(self.wide, channels, only_scalars=last)
        signs = component_signs(head, bivectors=not first)
        # of queries alone; the products keep the scale of all components where there are no bivectors yet
        signs = torch.stack([signs * (len(signs) / len(component_signs(head))) ** 0.5, *torch.ones(2, len(signs))])
        self.register_buffer("signs", signs.repeat_interleave(heads, 0), persistent=False)

    def forward(self, x: Multivectors, rows: PackedRows, bias: Bias, objects: int) -> Multivectors:
        """Every row, or that of the last token of each event, of whose tokens the first are objects."""
        asked = self.sides(self.project(multivector_norm(x, self.channels)))
        if self.last:
            last, gathered = last_token_attention(asked.flatten(1), rows, self.heads, objects)
            x = Multivectors(x.scalars[last], x.vectors[:, last], x.bivectors[:, last])
        else:
            gathered = self_attention(asked.flatten(1), rows, bias)
        x = plus(x, self.collect(split_components(torch.unflatten(gathered, -1, (self.heads, -1)), self.gathered)))
        y = multivector_norm(x, self.channels)
        factors = self.factors(y)
        if self.first:
            factors = factors._replace(bivectors=torch.zeros_like(factors.vectors[:3]))
        products = group_product(factors)
        own = y.scalars[:, : self.channels.scalars]
        combined = self.combine(products._replace(scalars=torch.cat([own, products.scalars], dim=-1)))
        return plus(x, self.contract(norm_and_gate(combined, self.wide)))

    def sides(self, x: Multivectors) -> Float[Tensor, "rows parts numbers"]:
        """Queries, keys and values of each head, each with its norm, queries with the signs of the metric."""
        s = self.asked.scalars
        numbers = concat_components(x, self.asked)
        own = nn.functional.layer_norm(numbers[..., :s], (s,))
        others = numbers[..., s:] * inverse_rms(x, self.asked)[..., None]
        return torch.cat([own, others], dim=-1).mul_(self.signs)


def plus(x: Multivectors, y: Multivectors) -> Multivectors:
    """The sum; of what one of them does not have, the other."""
    return Multivectors(*(a + b if a.shape == b.shape else a if a.shape[-1] else b for a, b in zip(x, y, strict=True)))
