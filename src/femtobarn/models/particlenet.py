"""ParticleNet: dynamic graph convolutions over the nearest neighbours of each object.

Qu and Gouskos, *ParticleNet: Jet Tagging via Particle Clouds*, arXiv:1902.08570; the edge convolution is that of
Wang et al., *Dynamic Graph CNN for Learning on Point Clouds*, arXiv:1801.07829.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, Rows, all_pairs, folded, nearest, normed, readout
from femtobarn.physics.angles import wrap
from femtobarn.physics.lorentz import eta, phi

#: Edges at a time while scoring: with 256 channels of each 2 MB, what a core has to itself on current processors.
PIECE = 2048

Channels = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@model(
    "particlenet",
    small={"k": 3, "blocks": ((8, 8), (8, 8)), "fc": (8,), "dropout": 0.0},
    published={"particlenet-lite": {"k": 7, "blocks": ((32,) * 3, (64,) * 3), "fc": (128,)}},
)
class ParticleNet(nn.Module):
    """ParticleNet, of its paper's size; `particlenet-lite` is the smaller one of the same paper.

    Neighbours of the first block are the nearest in eta and phi, later ones the nearest in the features learned so
    far. Pairwise features join the edge features of every block; MET and its direction join before the last layers.

    Args:
        sizes: widths of the inputs and outputs.
        k: neighbours of an object; with at most k others in an event, all of them.
        blocks: channels of the layers of each edge convolution.
        fc: widths of the fully connected layers before the last.
        dropout: after each of those.
        fill: an object with fewer than k others gets neighbours without features for those that are missing: in
            weaver-core padding is a neighbour there, and weights trained with it know no other.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        k: PositiveInt = 16,
        blocks: Annotated[tuple[Channels, ...], Field(min_length=1)] = ((64,) * 3, (128,) * 3, (256,) * 3),
        fc: tuple[PositiveInt, ...] = (256,),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        fill: bool = False,
    ) -> None:
        super().__init__()
        self.k = k
        self.norm = BatchNorm(sizes.particles)
        widths = (sizes.particles, *(channels[-1] for channels in blocks))
        self.blocks = nn.ModuleList(
            EdgeConv(before, sizes.pairs, channels, k if fill else 0)
            for before, channels in zip(widths, blocks, strict=False)
        )
        self.fc = readout(widths[-1] + sizes.context, fc, sizes.outputs, dropout)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        rows = Rows(encoded.mask)
        x = self.norm(rows.pack(encoded.particles))
        graph = None
        for number, block in enumerate(self.blocks):
            if graph is None or not graph.complete:
                distance2 = (
                    separation2(encoded.momenta, encoded.mask) if number == 0 else apart2(rows.unpack(x.detach()))
                )
                graph = connect(distance2, rows, self.k, encoded.pairs)
            x = block(x, graph)
        logits: Tensor = self.fc(torch.cat([rows.mean(x), encoded.context], dim=-1))
        return logits


class Graph(NamedTuple):
    """The edges of a batch of events, real ones only (all slots while exporting)."""

    edges: Rows  # over (object rows, neighbours)
    centre: Int[Tensor, " edges"]  # row of the object that looks
    neighbour: Int[Tensor, " edges"]  # row of the object it looks at
    pairs: Float[Tensor, "edges pair_features"]
    complete: bool  # every object sees every other, so that the next block has the same graph


def connect(
    distance2: Float[Tensor, "batch particles particles"],
    rows: Rows,
    k: int,
    pairs: Float[Tensor, "batch particles particles pair_features"],
) -> Graph:
    """Edges from each object to its k nearest others, with the features of those pairs."""
    mask = rows.mask
    batch, slots = mask.shape
    # a data-dependent shortcut cannot be exported; there the number of slots decides
    most = slots if rows.index is None else int(mask.sum(1).max()) if batch else 0
    complete = most <= k + 1
    chosen = all_pairs(mask) if complete else nearest(distance2, mask, k)
    event = torch.arange(batch, device=mask.device)[:, None, None] * slots
    looking = (event + torch.arange(slots, device=mask.device)[:, None]).expand_as(chosen.slot)
    real = chosen.real.flatten(0, 1)
    if rows.index is None:
        edges, place = Rows(real), torch.arange(mask.numel(), device=mask.device)
    else:
        # a slot's number counts padding, a row's number does not
        edges, place = Rows(real.index_select(0, rows.index)), mask.flatten().cumsum(0) - 1
    every = Rows(chosen.real)
    looking, seen = every.pack(torch.stack([looking, event + chosen.slot], dim=-1)).unbind(-1)
    return Graph(
        edges=edges,
        centre=place[looking],
        neighbour=place[seen],
        pairs=pairs.flatten(0, 2).index_select(0, looking * slots + seen % slots),
        complete=complete,
    )


class EdgeConv(nn.Module):
    """One edge convolution: what an object learns from its neighbours, averaged, beside what it knows itself.

    Args:
        features: of an object.
        pairs: features of a pair.
        channels: of the layers.
        least: neighbours an object has at least; for those that are missing, objects without features stand in.
    """

    def __init__(self, features: int, pairs: int, channels: Sequence[int], least: int = 0) -> None:
        super().__init__()
        self.features, self.pairs, self.least = features, pairs, least
        self.first = nn.Linear(2 * features + pairs, channels[0], bias=False)
        self.first_norm = BatchNorm(channels[0])
        layers: list[nn.Module] = [nn.ReLU(inplace=True)]
        for before, after in pairwise(channels):
            layers += [nn.Linear(before, after, bias=False), BatchNorm(after), nn.ReLU(inplace=True)]
        self.rest = nn.Sequential(*layers)
        self.shortcut = nn.Linear(features, channels[-1], bias=False)
        self.shortcut_norm = BatchNorm(channels[-1])

    def forward(self, x: Float[Tensor, "rows features"], graph: Graph) -> Float[Tensor, "rows channels"]:
        linear = nn.functional.linear
        shift = None
        weight, f = self.first.weight, self.features
        if not self.training:
            weight, shift = folded(self.first, self.first_norm)
        of_self, of_difference, of_pair = weight[:, :f], weight[:, f : 2 * f], weight[:, 2 * f :]
        # W [x_i, x_j - x_i] = (W1 - W2) x_i + W2 x_j: once per object, not once per edge
        looking, seen = linear(x, of_self - of_difference, shift), linear(x, of_difference)
        there = graph.edges.mask.sum(-1, keepdim=True)
        few = self.few(graph, there)
        blank = looking.index_select(0, few)  # at x_j = 0 there is nothing else
        if self.training or torch.is_grad_enabled() or graph.edges.index is None:
            edges = self.joined(looking, seen, of_pair, graph, slice(None))
            learned = self.layers(torch.cat([edges, blank]) if self.least else edges)
            total, blank = graph.edges.sum(learned[: len(edges)]), learned[len(edges) :]
        else:
            total, blank = self.in_pieces(looking, seen, of_pair, graph), self.layers(blank)
        if self.least:
            total = total.index_add(0, few, blank * (self.least - there).clamp_min(0)[few])
        return torch.relu(normed(self.shortcut, self.shortcut_norm, x) + total / there.clamp_min(max(self.least, 1)))

    def few(self, graph: Graph, there: Int[Tensor, "rows 1"]) -> Int[Tensor, " few"]:
        """Rows of the objects that lack neighbours (of all objects while exporting)."""
        if not self.least or graph.edges.index is None:
            return torch.arange(len(there) if self.least else 0, device=there.device)
        return (there.squeeze(1) < self.least).nonzero().squeeze(1)

    def joined(self, looking: Tensor, seen: Tensor, of_pair: Tensor, graph: Graph, some: slice) -> Tensor:
        """What stands at some of the edges after the product of the first layer."""
        edge = looking.index_select(0, graph.centre[some]).add_(seen.index_select(0, graph.neighbour[some]))
        return edge + nn.functional.linear(graph.pairs[some], of_pair) if self.pairs else edge

    def layers(self, edge: Tensor) -> Tensor:
        """All that follows that product, from features at an edge to what is learned from it."""
        if self.training:
            edge = self.first_norm(edge)
        edge = edge.relu_()
        layers = list(self.rest)[1:]
        for layer, norm in zip(layers[::3], layers[1::3], strict=True):
            assert isinstance(layer, nn.Linear)
            assert isinstance(norm, BatchNorm)
            edge = normed(layer, norm, edge).relu_()
        return edge

    def in_pieces(self, looking: Tensor, seen: Tensor, of_pair: Tensor, graph: Graph) -> Tensor:
        """The sum over the neighbours, without ever holding all edges: what is computed stays in the cache."""
        total = looking.new_zeros(len(looking), self.shortcut.out_features)
        for start in range(0, len(graph.centre), PIECE):
            some = slice(start, start + PIECE)
            total.index_add_(0, graph.centre[some], self.layers(self.joined(looking, seen, of_pair, graph, some)))
        return total


@torch.no_grad()
def separation2(
    momenta: Float[Tensor, "batch particles 4"], mask: Bool[Tensor, "batch particles"]
) -> Float[Tensor, "batch particles particles"]:
    """Squared distance in (eta, phi), the angle wrapped; anything finite where there is padding."""
    blank = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=momenta.dtype, device=momenta.device)
    p = torch.where(mask[..., None], momenta, blank)  # the eta of no momentum at all is NaN
    where_eta, where_phi = eta(p), phi(p)
    d_eta = where_eta[:, :, None] - where_eta[:, None, :]
    d_phi = wrap(where_phi[:, :, None] - where_phi[:, None, :])
    return d_eta**2 + d_phi**2


@torch.no_grad()
def apart2(x: Float[Tensor, "batch particles features"]) -> Float[Tensor, "batch particles particles"]:
    """Squared Euclidean distances."""
    length2 = (x * x).sum(-1)
    return length2[:, :, None] + length2[:, None, :] - 2 * x @ x.transpose(1, 2)
