"""Message passing network: messages between particles along a learned graph.

Henrion, Brehmer, Bruna, Cho, Cranmer, Louppe and Rochette, *Neural Message Passing for Jet Physics*, Deep Learning for
Physical Sciences, a workshop of NIPS 2017; the readout of sets is that of Vinyals, Bengio and Kudlur, *Order Matters:
Sequence to Sequence for Sets*, arXiv:1511.06391.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
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

#: Steps of the LSTM of `Set2Set`.
N_READOUT_STEPS = 4

AdjacencyType = Literal["directed", "undirected", "set2set", "identity"]

#: Types with a learned graph.
LEARNED_TYPES = ("directed", "undirected")


@model("mpnn", family="graphs", small={"width": 16, "pair_embedding": (8,), "fc": (16,), "dropout": 0.0})
class MPNN(nn.Module):
    r"""Message passing neural network (MPNN) with a learned adjacency matrix.

    .. math::
        A_{ij} = \mathrm{softmax}_j(h_i^T M h_j + U_{ij}), \quad
        h_i \leftarrow \mathrm{GRU}\Big(\tanh \sum_j A_{ij} (W h_j + b),\, h_i\Big)

    The sum includes particle i itself; M, W, b and the GRU differ between iterations. U is computed from the pairwise
    features, by layers as in ParT with a single head; without pairs it is 0. At the end two layers act on each
    particle, their results are summed, and MET and its direction join before the last layers.

    Args:
        sizes: widths of the inputs and outputs.
        adjacency: `directed` is A as above, `undirected` its mean with its transpose. Two types without messages show
            the effect of messages: `identity` has the unit matrix as A, and so has `set2set`, but an LSTM with
            attention to the particles replaces the sum. Neither takes pairwise features.
        iterations: number of messages; with none the network would be `pfn`.
        width: features per particle inside the network.
        pair_embedding: hidden widths of the embedding of a pair.
        fc: widths of the fully connected layers before the last.
        dropout: dropout probability after each layer of `fc`.

    Raises:
        ValueError: pairwise features for a network without messages.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        adjacency: AdjacencyType = "directed",
        iterations: Annotated[int, Field(ge=1, le=3)] = 2,
        width: PositiveInt = 40,
        pair_embedding: tuple[PositiveInt, ...] = (64, 64, 64),
        fc: tuple[PositiveInt, ...] = (40, 40),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        is_learned = adjacency in LEARNED_TYPES
        if sizes.pairs and not is_learned:
            raise ValueError(f"adjacency {adjacency} lets no object see another and takes no inputs.interactions")
        self.embed = nn.Sequential(BatchNorm(sizes.particles), Linear(sizes.particles, width), nn.Tanh())
        self.embed_pairs = PairLayers(sizes.pairs, (*pair_embedding, 1)) if sizes.pairs else None
        graphs = (Adjacency(width, adjacency == "undirected") if is_learned else None for _ in range(iterations))
        self.passes = nn.ModuleList(MessagePass(width, graph) for graph in graphs)
        self.read = Set2Set(width) if adjacency == "set2set" else SumReadout(width)
        self.fc = mlp_head(self.read.width + sizes.context, fc, sizes.outputs, dropout)

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.fc(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Result of the readout, and the features of the event."""
        rows = PackedRows(features.mask)
        return torch.cat([self.read(self.encode(features, rows), rows), features.context], dim=-1)

    def objects(self, features: Features) -> Float[Tensor, "batch particles width"]:
        """Features of each particle after the last message."""
        rows = PackedRows(features.mask)
        return rows.unpack(self.encode(features, rows))

    def encode(self, features: Features, rows: PackedRows) -> Float[Tensor, "rows width"]:
        """Rows of the particles after the last message."""
        h: Tensor = self.embed(rows.pack(features.particles))
        (bias,) = pair_bias(self.embed_pairs, features.pairs, features.mask, 1, h.dtype)
        for message_pass in self.passes:
            h = message_pass(h, rows, bias)
        return h


class Adjacency(nn.Module):
    """Adjacency matrix: rows sum to 1, or the matrix is symmetric; 0 for padding."""

    def __init__(self, width: int, symmetric: bool) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.between = Linear(width, width, bias=False)

    def forward(
        self, h: Float[Tensor, "rows width"], rows: PackedRows, bias: Float[Tensor, "batch _ particles"]
    ) -> Float[Tensor, "batch particles particles"]:
        logits = rows.unpack(self.between(h)) @ rows.unpack(h).transpose(1, 2) + bias
        # rows of padded particles are not 0 yet, and the transpose would use them
        weights = logits.softmax(-1).masked_fill(~_pair_mask(rows.mask), 0.0)
        if self.symmetric:
            return (weights + weights.transpose(1, 2)) / 2
        report_attention("objects", weights[:, None], bias[:, None])
        return weights


class MessagePass(nn.Module):
    """One iteration of messages and updates; without a graph every particle gets its own message only."""

    def __init__(self, width: int, graph: Adjacency | None) -> None:
        super().__init__()
        self.graph = graph
        self.message = Linear(width, width)
        self.update = nn.GRUCell(width, width)

    def forward(
        self, h: Float[Tensor, "rows width"], rows: PackedRows, bias: Float[Tensor, "batch _ particles"]
    ) -> Float[Tensor, "rows width"]:
        message = self.message(h)
        if self.graph is not None:
            message = rows.pack(self.graph(h, rows, bias) @ rows.unpack(message))
        updated: Tensor = self.update(torch.tanh(message), h)
        return updated


class SumReadout(nn.Module):
    """Sum over the particles of two layers of each particle."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(Linear(width, width), nn.Tanh(), Linear(width, width))

    def forward(self, h: Float[Tensor, "rows width"], rows: PackedRows) -> Float[Tensor, "batch width"]:
        return rows.sum(self.layers(h))


class Set2Set(nn.Module):
    r"""LSTM with attention to all particles, `N_READOUT_STEPS` steps.

    .. math:: q = \mathrm{LSTM}([q', r']), \quad r = \sum_i \mathrm{softmax}_i(q \cdot h_i)\, h_i

    The result is [q, r] of the last step; primed quantities are those of the step before, at first 0.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = 2 * width
        self.lstm = nn.LSTMCell(2 * width, width)

    def forward(self, h: Float[Tensor, "rows width"], rows: PackedRows) -> Float[Tensor, "batch two_widths"]:
        particles, padding = rows.unpack(h), key_padding_bias(rows.mask, h.dtype)[:, 0]
        query = cell = read = torch.zeros_like(particles[:, 0])
        for _ in range(N_READOUT_STEPS):
            query, cell = self.lstm(torch.cat([query, read], dim=-1), (query, cell))
            weights = ((particles * query[:, None]).sum(-1) + padding).softmax(-1)
            report_attention("readout", weights[:, None, None])
            read = (particles * weights[..., None]).sum(1)
        return torch.cat([query, read], dim=-1)


def _pair_mask(mask: Bool[Tensor, "batch particles"]) -> Bool[Tensor, "batch particles particles"]:
    return mask[:, :, None] & mask[:, None, :]
