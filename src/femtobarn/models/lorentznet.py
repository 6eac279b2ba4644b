"""LorentzNet: messages between particles made of invariant products of their four-vectors.

Gong et al., *An Efficient Lorentz Equivariant Graph Neural Network for Jet Tagging*, arXiv:2201.08187.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
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
    family="Lorentz-equivariant",
    small={"width": 16, "blocks": 2, "dropout": 0.0, "scale": 20.0},
    lorentz={"references": ()},
)
class LorentzNet(nn.Module):
    r"""LorentzNet: message passing in which four-vectors appear only through invariants.

    A particle has features :math:`h` and a four-vector :math:`x`, which starts as its momentum. Each block computes

    .. math::
        m_{ij} &= \phi_e(h_i, h_j, \psi(|x_i - x_j|^2), \psi(\langle x_i, x_j \rangle)), \quad
        m_{ij} \leftarrow \sigma(\phi_m(m_{ij}))\, m_{ij} \\
        x_i &\leftarrow x_i + \frac{c}{n - 1} \sum_{j \neq i} \phi_x(m_{ij}) (x_i - x_j) \\
        h_i &\leftarrow h_i + \phi_h(h_i, \sum_{j \neq i} m_{ij}, s_i)

    with :math:`\psi(z) = \mathrm{sign}(z) \ln(1 + |z|)`. The scalars :math:`s` are the mass squared, as
    :math:`\psi(m^2)` (its root, which the paper uses, is mostly rounding for massless particles), and the
    frame-independent features: types, charges, impact parameters. Pairwise features join the messages. As in the paper
    the two beams are tokens like the particles; without them (`references: []`) the output is invariant under every
    Lorentz transformation, if the pairwise features are invariant. MET is a token in events. All pairs exchange
    messages, so time and memory grow with the square of the number of particles.

    Args:
        sizes: widths of the inputs and outputs.
        width: features per particle and per message.
        blocks: number of message-passing blocks.
        c: scale of the change of four-vectors in a block.
        dropout: dropout probability before the last layer.
        references: reference vectors, which break the symmetry: `beam`, `time`.
        scale: GeV; unit of the momenta, 1 as published for constituents of jets. Where files hold momenta in float32
            their rounding is 0.1 GeV² of the mass squared of a particle of some hundred GeV; 20 hides it.
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
            MessagePassing(width, scalars, sizes.pairs, c, last=number == blocks - 1) for number in range(blocks)
        )
        self.fc = mlp_head(width, (width,), sizes.outputs, dropout)

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.fc(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Mean of the features of all tokens after the last block."""
        h, _, rows = self.encode(features)
        return rows.mean(h)

    def objects(self, features: Features) -> Float[Tensor, "batch particles width"]:
        """Features of each particle after the last block."""
        h, _, rows = self.encode(features)
        return rows.unpack(h)[:, : features.mask.shape[1]]

    def vectors(self, features: Features) -> Float[Tensor, "batch particles 1 4"]:
        """Four-vector of each particle after the last block that changes it, in GeV."""
        _, x, _ = self.encode(features)
        return self.scale * x[:, : features.mask.shape[1], None]

    def encode(
        self, features: Features
    ) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "batch tokens 4"], PackedRows]:
        """Features and four-vectors of all tokens after the last block, and the index of their rows."""
        momenta, scalars, mask = tokens(features, self.sizes, self.references, self.scale)
        x = momenta.double()  # differences of large products need the digits
        scalars = torch.cat([psi(mass2(x))[..., None].to(scalars.dtype), scalars], dim=-1)
        rows = PackedRows(mask)
        s = rows.pack(scalars)
        h = self.embed(s)
        n_more = mask.shape[1] - features.mask.shape[1]
        graph = build_pairs(rows, nn.functional.pad(features.pairs, (0, 0, 0, n_more, 0, n_more)))
        for block in self.blocks:
            h, x = block(h, x, s, rows, graph)
        return h, x, rows


class PairGraph(NamedTuple):
    """Ordered pairs of different tokens of the same event (of all slots while exporting)."""

    pairs: PackedRows  # over (batch, tokens, tokens)
    receiver: Int[Tensor, " pairs"]  # row of the token that receives the message
    sender: Int[Tensor, " pairs"]  # row of the token that sends it
    features: Float[Tensor, "pairs pair_features"]


def build_pairs(rows: PackedRows, features: Float[Tensor, "batch tokens tokens pair_features"]) -> PairGraph:
    """Pairs of a batch of events, with their features."""
    mask = rows.mask
    batch, slots = mask.shape
    slot = torch.arange(slots, device=mask.device)
    pairs = PackedRows(mask[:, :, None] & mask[:, None, :] & (slot[:, None] != slot))
    row = (torch.arange(mask.numel(), device=mask.device) if rows.index is None else mask.flatten().cumsum(0) - 1).view(
        batch, slots
    )
    shape = pairs.mask.shape
    ends = torch.stack([row[:, :, None].expand(shape), row[:, None, :].expand(shape)], dim=-1)
    receiver, sender = pairs.pack(ends).unbind(-1)
    return PairGraph(pairs, receiver.contiguous(), sender.contiguous(), pairs.pack(features))


class MessagePassing(nn.Module):
    """One block of messages (the paper's LGEB).

    The first layer of a message is linear in the features of both tokens, W [h_i, h_j, ...] = W1 h_i + W2 h_j + ...,
    and therefore computed once per token, not once per pair. The invariants of all pairs are one matrix product.

    Args:
        width: features per particle and per message.
        scalars: number of scalars per token.
        pairs: number of pairwise features.
        c: scale of the change of four-vectors.
        last: this is the last block, whose four-vectors are not used.
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
        x: Float[Tensor, "batch tokens 4"],
        s: Float[Tensor, "rows scalars"],
        rows: PackedRows,
        graph: PairGraph,
    ) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "batch tokens 4"]]:
        """Features and four-vectors after the messages."""
        weight, shift = self.first.weight, None
        if not self.training:
            weight, shift = fuse_linear_bn(self.first, self.first_norm)
        receiver_weight, sender_weight, pair_weight = weight.tensor_split((self.width, 2 * self.width), dim=1)
        pairs = torch.cat([graph.pairs.pack(invariants(x)).to(h.dtype), graph.features], dim=-1)
        terms = (linear(h, receiver_weight, shift), linear(h, sender_weight), pairs, pair_weight)
        size = None if self.training else chunk_size(pairs, self.width)  # training needs all pairs for the batch norm
        if size is None:
            messages, moves = self.messages(*terms, graph, slice(None))
            total = graph.pairs.sum(messages).flatten(0, 1)
            total = total if rows.index is None else total.index_select(0, rows.index)
        else:
            total, moves = self.sum_chunked(*terms, graph, size)
        if moves is not None:
            weights = graph.pairs.unpack(moves).squeeze(-1).to(x.dtype)
            x = x + self.c * mean_difference(x, weights, graph.pairs.mask)
        update = torch.relu(linear_batch_norm(self.learn, self.learn_norm, torch.cat([h, total, s], dim=-1)))
        return h + self.learned(update), x

    def messages(
        self,
        receiver_terms: Tensor,
        sender_terms: Tensor,
        pairs: Tensor,
        pair_weight: Tensor,
        graph: PairGraph,
        chunk: slice,
    ) -> tuple[Tensor, Tensor | None]:
        """Messages of a chunk of the pairs, and the factors of the differences of their four-vectors."""
        first = linear(pairs[chunk], pair_weight)
        first = first + receiver_terms.index_select(0, graph.receiver[chunk])
        first = first + sender_terms.index_select(0, graph.sender[chunk])
        if self.training:
            first = self.first_norm(first)
        message = self.second(first.relu_()).relu_()
        message = message * torch.sigmoid(self.gate(message))
        return message, None if self.move is None else self.move(message)

    def sum_chunked(
        self,
        receiver_terms: Tensor,
        sender_terms: Tensor,
        pairs: Tensor,
        pair_weight: Tensor,
        graph: PairGraph,
        size: int,
    ) -> tuple[Tensor, Tensor | None]:
        """Sum of the messages to each token in chunks of pairs, whose intermediate results stay in the cache."""
        total = torch.zeros_like(receiver_terms)
        moves = []
        for start in range(0, len(pairs), size):
            chunk = slice(start, start + size)
            message, move = self.messages(receiver_terms, sender_terms, pairs, pair_weight, graph, chunk)
            total.index_add_(0, graph.receiver[chunk], message)
            moves.append(move)
        if self.move is None:
            return total, None
        return total, torch.cat([pairs.new_zeros(0, 1), *(move for move in moves if move is not None)])


def invariants(x: Float[Tensor, "batch tokens 4"]) -> Float[Tensor, "batch tokens tokens 2"]:
    r""":math:`\psi(|x_i - x_j|^2)` and :math:`\psi(\langle x_i, x_j \rangle)` of every pair."""
    dot = x * x.new_tensor(METRIC) @ x.transpose(1, 2)
    square = mass2(x)
    return psi(torch.stack([square[:, :, None] + square[:, None, :] - 2 * dot, dot], dim=-1))


def mean_difference(
    x: Float[Tensor, "batch tokens 4"],
    weights: Float[Tensor, "batch tokens tokens"],
    mask: Bool[Tensor, "batch tokens tokens"],
) -> Float[Tensor, "batch tokens 4"]:
    """Mean over the other tokens of weights_ij (x_i - x_j); a sum of four-vectors, hence equivariant."""
    change = x * weights.sum(-1, keepdim=True) - weights @ x
    return change / mask.sum(-1, keepdim=True).clamp_min(1)


def psi(z: Tensor) -> Tensor:
    """Signed logarithm, linear for small numbers."""
    return z.sign() * z.abs().log1p()
