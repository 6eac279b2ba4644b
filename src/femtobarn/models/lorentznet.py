"""LorentzNet: messages between objects made of invariant products of their four-vectors.

Gong et al., *An Efficient Lorentz Equivariant Graph Neural Network for Jet Tagging*, arXiv:2201.08187.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import (
    BatchNorm,
    Linear,
    PackedRows,
    Reference,
    chunk_size,
    fuse_linear_bn,
    linear,
    linear_batch_norm,
    mlp_head,
    n_token_scalars,
    tokens,
)
from femtobarn.physics.lorentz import METRIC, mass2


@model(
    "lorentznet",
    small={"width": 16, "blocks": 2, "dropout": 0.0, "scale": 20.0},
    lorentz={"references": ()},
)
class LorentzNet(nn.Module):
    r"""LorentzNet: objects exchange messages in which four-vectors appear only through invariants.

    An object has features :math:`h` and a four-vector :math:`x`, which starts as its momentum. Each block computes

    .. math::
        m_{ij} &= \phi_e(h_i, h_j, \psi(|x_i - x_j|^2), \psi(\langle x_i, x_j \rangle)), \quad
        m_{ij} \leftarrow \sigma(\phi_m(m_{ij}))\, m_{ij} \\
        x_i &\leftarrow x_i + \frac{c}{n - 1} \sum_{j \neq i} \phi_x(m_{ij}) (x_i - x_j) \\
        h_i &\leftarrow h_i + \phi_h(h_i, \sum_{j \neq i} m_{ij}, s_i)

    with :math:`\psi(z) = \mathrm{sign}(z) \ln(1 + |z|)`. The scalars :math:`s` are the mass squared, as
    :math:`\psi(m^2)` (its root, which the paper takes, is mostly rounding where an object has no mass), and what no
    frame changes: types, charges, impact parameters. Pairwise features join the messages. As in the paper the two beams
    are objects like others; without them (`references: []`) no Lorentz transformation changes the answer, as long as
    the pairwise features are invariant. MET is an object in events. Objects far from each other count as much as close
    ones, so that time and memory grow with the square of the objects.

    Args:
        sizes: widths of the inputs and outputs.
        width: features of an object and of a message.
        blocks: how many times messages are exchanged.
        c: how much four-vectors change in a block.
        dropout: before the last layer.
        references: directions that the network is told, and that break the symmetry: `beam`, `time`.
        scale: unit of the momenta in GeV, as published 1, for constituents of jets. Where files hold momenta in float32
            their rounding is 0.1 GeV² of the mass squared of an object of some hundred GeV; 20 hides it.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        width: PositiveInt = 72,
        blocks: PositiveInt = 6,
        c: PositiveFloat = 5e-3,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        references: tuple[Reference, ...] = ("beam",),
        scale: PositiveFloat = 1.0,
    ) -> None:
        super().__init__()
        self.sizes, self.references, self.scale = sizes, references, scale
        scalars = 1 + n_token_scalars(sizes, references)
        self.embed = Linear(scalars, width)
        self.blocks = nn.ModuleList(
            Exchange(width, scalars, sizes.pairs, c, last=number == blocks - 1) for number in range(blocks)
        )
        self.fc = mlp_head(width, (width,), sizes.outputs, dropout)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        momenta, scalars, mask = tokens(encoded, self.sizes, self.references, self.scale)
        x = momenta.double()  # differences of large products: these need the digits
        scalars = torch.cat([psi(mass2(x))[..., None].to(scalars.dtype), scalars], dim=-1)
        rows = PackedRows(mask)
        s = rows.pack(scalars)
        h = self.embed(s)
        more = mask.shape[1] - encoded.mask.shape[1]
        graph = connect(rows, nn.functional.pad(encoded.pairs, (0, 0, 0, more, 0, more)))
        for block in self.blocks:
            h, x = block(h, x, s, rows, graph)
        logits: Tensor = self.fc(rows.mean(h))
        return logits


class Graph(NamedTuple):
    """All pairs of two different objects of the same event, in both orders (while exporting, of all slots)."""

    pairs: PackedRows  # over (batch, objects, objects)
    first: Int[Tensor, " pairs"]  # row of the object that is told
    second: Int[Tensor, " pairs"]  # row of the object that tells
    features: Float[Tensor, "pairs pair_features"]


def connect(rows: PackedRows, features: Float[Tensor, "batch objects objects pair_features"]) -> Graph:
    """The pairs of a batch of events, with their features."""
    mask = rows.mask
    batch, slots = mask.shape
    each = torch.arange(slots, device=mask.device)
    pairs = PackedRows(mask[:, :, None] & mask[:, None, :] & (each[:, None] != each))
    row = (torch.arange(mask.numel(), device=mask.device) if rows.index is None else mask.flatten().cumsum(0) - 1).view(
        batch, slots
    )
    both = torch.stack([row[:, :, None].expand(pairs.mask.shape), row[:, None, :].expand(pairs.mask.shape)], dim=-1)
    first, second = pairs.pack(both).unbind(-1)
    return Graph(pairs, first.contiguous(), second.contiguous(), pairs.pack(features))


class Exchange(nn.Module):
    """One exchange of messages (the paper's LGEB).

    The first layer of a message is linear in what both objects know, W [h_i, h_j, ...] = W1 h_i + W2 h_j + ..., and so
    computed once an object and not once a pair; the invariants of all pairs are one product of matrices.

    Args:
        width: features of an object and of a message.
        scalars: of an object.
        pairs: pairwise features.
        c: how much four-vectors change.
        last: no block comes after this one, so that four-vectors need not change.
    """

    def __init__(self, width: int, scalars: int, pairs: int, c: float, last: bool) -> None:
        super().__init__()
        self.width, self.c = width, c
        self.first = Linear(2 * width + 2 + pairs, width, bias=False)
        self.first_norm = BatchNorm(width)
        self.second = Linear(width, width)
        self.gate = Linear(width, 1)
        self.move = None
        if not last:
            move = Linear(width, 1, bias=False)
            nn.init.xavier_uniform_(move.weight, gain=1e-3)
            self.move = nn.Sequential(Linear(width, width), nn.ReLU(), move)
        self.learn = Linear(2 * width + scalars, width)
        self.learn_norm = BatchNorm(width)
        self.learned = Linear(width, width)

    def forward(
        self,
        h: Float[Tensor, "rows width"],
        x: Float[Tensor, "batch objects 4"],
        s: Float[Tensor, "rows scalars"],
        rows: PackedRows,
        graph: Graph,
    ) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "batch objects 4"]]:
        """Features and four-vectors after the messages."""
        weight, shift = self.first.weight, None
        if not self.training:
            weight, shift = fuse_linear_bn(self.first, self.first_norm)
        told, tells, of_pair = (
            weight[:, : self.width],
            weight[:, self.width : 2 * self.width],
            weight[:, 2 * self.width :],
        )
        known = torch.cat([graph.pairs.pack(invariants(x)).to(h.dtype), graph.features], dim=-1)
        parts = (linear(h, told, shift), linear(h, tells), known, of_pair)
        many = None if self.training else chunk_size(known, self.width)  # training needs all pairs for the batch norm
        if many is None:
            messages, moves = self.messages(*parts, graph, slice(None))
            total = graph.pairs.sum(messages).flatten(0, 1)
            total = total if rows.index is None else total.index_select(0, rows.index)
        else:
            total, moves = self.in_pieces(*parts, graph, many)
        if moves is not None:
            x = x + self.c * moved(x, graph.pairs.unpack(moves).squeeze(-1).to(x.dtype), graph.pairs.mask)
        news = torch.relu(linear_batch_norm(self.learn, self.learn_norm, torch.cat([h, total, s], dim=-1)))
        return h + self.learned(news), x

    def messages(
        self, told: Tensor, tells: Tensor, known: Tensor, of_pair: Tensor, graph: Graph, some: slice
    ) -> tuple[Tensor, Tensor | None]:
        """The messages of some of the pairs, and along how much of their difference the four-vectors move."""
        first = linear(known[some], of_pair)
        first = first + told.index_select(0, graph.first[some]) + tells.index_select(0, graph.second[some])
        if self.training:
            first = self.first_norm(first)
        message = self.second(first.relu_()).relu_()
        message = message * torch.sigmoid(self.gate(message))
        return message, None if self.move is None else self.move(message)

    def in_pieces(
        self, told: Tensor, tells: Tensor, known: Tensor, of_pair: Tensor, graph: Graph, many: int
    ) -> tuple[Tensor, Tensor | None]:
        """The sum of the messages to each object, without ever holding all of them, but so many at a time."""
        total = torch.zeros_like(told)
        moves = []
        for start in range(0, len(known), many):
            some = slice(start, start + many)
            message, move = self.messages(told, tells, known, of_pair, graph, some)
            total.index_add_(0, graph.first[some], message)
            moves.append(move)
        if self.move is None:
            return total, None
        return total, torch.cat([known.new_zeros(0, 1), *(move for move in moves if move is not None)])


def invariants(x: Float[Tensor, "batch objects 4"]) -> Float[Tensor, "batch objects objects 2"]:
    r""":math:`\psi(|x_i - x_j|^2)` and :math:`\psi(\langle x_i, x_j \rangle)` of every pair."""
    dot = x * x.new_tensor(METRIC) @ x.transpose(1, 2)
    square = mass2(x)
    return psi(torch.stack([square[:, :, None] + square[:, None, :] - 2 * dot, dot], dim=-1))


def moved(
    x: Float[Tensor, "batch objects 4"],
    along: Float[Tensor, "batch objects objects"],
    pairs: Tensor,
) -> Float[Tensor, "batch objects 4"]:
    """The mean over the others of along_ij (x_i - x_j); sums of four-vectors, so that it turns as they do."""
    change = x * along.sum(-1, keepdim=True) - along @ x
    return change / pairs.sum(-1, keepdim=True).clamp_min(1)


def psi(z: Tensor) -> Tensor:
    """Small numbers as they are, large ones by their logarithm, with their sign."""
    return z.sign() * z.abs().log1p()
