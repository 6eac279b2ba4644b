"""Message passing network: objects tell each other what they are, along a graph that the network learns to draw.

Henrion, Brehmer, Bruna, Cho, Cranmer, Louppe and Rochette, *Neural Message Passing for Jet Physics*, Deep Learning for
Physical Sciences, a workshop of NIPS 2017; the reading of sets is that of Vinyals, Bengio and Kudlur, *Order Matters:
Sequence to Sequence for Sets*, arXiv:1511.06391.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import (
    BatchNorm,
    Linear,
    PackedRows,
    PairLayers,
    key_padding_bias,
    mlp_head,
    pair_bias,
    report_attention,
)

#: How often the set is read before the event is told.
READINGS = 4

Exchange = Literal["directed", "undirected", "set2set", "identity"]

#: Those that draw a graph.
LEARNED = ("directed", "undirected")


@model("mpnn", small={"width": 16, "pair_embedding": (8,), "fc": (16,), "dropout": 0.0})
class MPNN(nn.Module):
    r"""Message passing neural network (MPNN) with a learned adjacency matrix.

    .. math::
        A_{ij} = \mathrm{softmax}_j(h_i^T M h_j + U_{ij}), \quad
        h_i \leftarrow \mathrm{GRU}\Big(\tanh \sum_j A_{ij} (W h_j + b),\, h_i\Big)

    over all objects of the event, the looking one among them, with M, W, b and a GRU of each iteration's own. U is what
    the pairwise features say, by layers as those of ParT with a single head; without pairs it is 0. In the end the
    event is the sum of what two layers make of each object, and MET and its direction join before the last layers.

    Args:
        sizes: widths of the inputs and outputs.
        adjacency: `directed` is A as above, `undirected` its mean with its transpose. Two ways not to exchange anything
            show what messages are worth: with `identity` A is the unit matrix, with `set2set` as well, but the event is
            read by an LSTM that asks the objects several times. Neither has a place for pairwise features.
        iterations: of messages; none would be the sum of objects that `pfn` is.
        width: features of an object inside.
        pair_embedding: hidden widths of the embedding of a pair.
        fc: widths of the fully connected layers before the last.
        dropout: after each of these.

    Raises:
        ValueError: pairwise features for a network that does not exchange anything.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        adjacency: Exchange = "directed",
        iterations: Annotated[int, Field(ge=1, le=3)] = 2,
        width: PositiveInt = 40,
        pair_embedding: tuple[PositiveInt, ...] = (64, 64, 64),
        fc: tuple[PositiveInt, ...] = (40, 40),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        learned = adjacency in LEARNED
        if sizes.pairs and not learned:
            raise ValueError(f"adjacency {adjacency} lets no object see another and takes no inputs.interactions")
        self.embed = nn.Sequential(BatchNorm(sizes.particles), Linear(sizes.particles, width), nn.Tanh())
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, 1)) if sizes.pairs else None
        graphs = (Adjacency(width, adjacency == "undirected") if learned else None for _ in range(iterations))
        self.passes = nn.ModuleList(Pass(width, graph) for graph in graphs)
        self.read = Set2Set(width) if adjacency == "set2set" else Sum(width)
        self.fc = mlp_head(self.read.width + sizes.context, fc, sizes.outputs, dropout)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        rows = PackedRows(encoded.mask)
        h = self.embed(rows.pack(encoded.particles))
        (bias,) = pair_bias(self.embed_pairs, encoded.pairs, encoded.mask, 1, h.dtype)
        for each in self.passes:
            h = each(h, rows, bias)
        logits: Tensor = self.fc(torch.cat([self.read(h, rows), encoded.context], dim=-1))
        return logits


class Adjacency(nn.Module):
    """Who listens to whom, and how much: rows sum to 1, or the matrix is symmetric; 0 for padding."""

    def __init__(self, width: int, symmetric: bool) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.between = Linear(width, width, bias=False)

    def forward(
        self, h: Float[Tensor, "rows width"], rows: PackedRows, bias: Float[Tensor, "batch _ objects"]
    ) -> Float[Tensor, "batch objects objects"]:
        logits = rows.unpack(self.between(h)) @ rows.unpack(h).transpose(1, 2) + bias
        # a padded object listens too, which its transpose would tell
        weights = logits.softmax(-1).masked_fill(~_pairs(rows.mask), 0.0)
        if self.symmetric:
            return (weights + weights.transpose(1, 2)) / 2
        report_attention("objects", weights[:, None], bias[:, None])
        return weights


class Pass(nn.Module):
    """Messages are sent once, and every object makes of them what it will; without a graph only to itself."""

    def __init__(self, width: int, graph: Adjacency | None) -> None:
        super().__init__()
        self.graph = graph
        self.message = Linear(width, width)
        self.update = nn.GRUCell(width, width)

    def forward(
        self, h: Float[Tensor, "rows width"], rows: PackedRows, bias: Float[Tensor, "batch _ objects"]
    ) -> Float[Tensor, "rows width"]:
        message = self.message(h)
        if self.graph is not None:
            message = rows.pack(self.graph(h, rows, bias) @ rows.unpack(message))
        updated: Tensor = self.update(torch.tanh(message), h)
        return updated


class Sum(nn.Module):
    """The event as the sum of what two layers make of each object."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(Linear(width, width), nn.Tanh(), Linear(width, width))

    def forward(self, h: Float[Tensor, "rows width"], rows: PackedRows) -> Float[Tensor, "batch width"]:
        return rows.sum(self.layers(h))


class Set2Set(nn.Module):
    r"""The event as an LSTM reads it that asks all objects, `READINGS` times.

    .. math:: q = \mathrm{LSTM}([q', r']), \quad r = \sum_i \mathrm{softmax}_i(q \cdot h_i)\, h_i

    and [q, r] in the end, with those before primed, at first 0.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = 2 * width
        self.lstm = nn.LSTMCell(2 * width, width)

    def forward(self, h: Float[Tensor, "rows width"], rows: PackedRows) -> Float[Tensor, "batch two_widths"]:
        objects, shut = rows.unpack(h), key_padding_bias(rows.mask, h.dtype)[:, 0]
        query = cell = said = torch.zeros_like(objects[:, 0])
        for _ in range(READINGS):
            query, cell = self.lstm(torch.cat([query, said], dim=-1), (query, cell))
            weights = ((objects * query[:, None]).sum(-1) + shut).softmax(-1)
            report_attention("readout", weights[:, None, None])
            said = (objects * weights[..., None]).sum(1)
        return torch.cat([query, said], dim=-1)


def _pairs(mask: Bool[Tensor, "batch objects"]) -> Bool[Tensor, "batch objects objects"]:
    return mask[:, :, None] & mask[:, None, :]
