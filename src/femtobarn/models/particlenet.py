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
from femtobarn.nn import (
    BatchNorm,
    Linear,
    PackedRows,
    Transport,
    all_neighbours,
    fuse_linear_bn,
    linear,
    linear_batch_norm,
    mlp_head,
    nearest_neighbours,
)
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
        self.fc = mlp_head(widths[-1] + sizes.context, fc, sizes.outputs, dropout)

    def forward(self, encoded: Encoded, transport: Transport | None = None) -> Float[Tensor, "batch outputs"]:
        """Logits of each event; with a transport where objects have frames of their own."""
        rows = PackedRows(encoded.mask)
        x = self.norm(rows.pack(encoded.particles))
        graph = None
        for number, block in enumerate(self.blocks):
            if graph is None or not graph.complete:
                if number:
                    distance2 = apart2(rows.unpack(x.detach()))
                else:
                    frames = None if transport is None else transport.frames
                    distance2 = separation2(encoded.momenta, encoded.mask, frames)
                graph = connect(distance2, rows, self.k, encoded.pairs)
            x = block(x, graph, transport, transport.vectors[number - 1] if transport and number else 0)
        logits: Tensor = self.fc(torch.cat([rows.mean(x), encoded.context], dim=-1))
        return logits


class Graph(NamedTuple):
    """The edges of a batch of events, real ones only (all slots while exporting)."""

    edges: PackedRows  # over (object rows, neighbours)
    centre: Int[Tensor, " edges"]  # row of the object that looks
    neighbour: Int[Tensor, " edges"]  # row of the object it looks at
    pairs: Float[Tensor, "edges pair_features"]
    complete: bool  # every object sees every other, so that the next block has the same graph


class Carried(NamedTuple):
    """The four-vectors among what objects send, on their way into the frames of those who look."""

    transport: Transport
    sent: Float[Tensor, "rows vectors 4"]
    weight: Float[Tensor, "channels components"]  # of the first layer, for what arrives

    def along(self, graph: Graph, some: slice) -> Float[Tensor, "edges channels"]:
        """What the first layer makes of them on some of the edges."""
        sent = self.sent.index_select(0, graph.neighbour[some])
        return linear(self.transport.channels_in_local_frame(sent, graph.centre[some]), self.weight)


def connect(
    distance2: Float[Tensor, "batch particles particles"],
    rows: PackedRows,
    k: int,
    pairs: Float[Tensor, "batch told told pair_features"],
) -> Graph:
    """Edges from each object to its k nearest others, with the features of those pairs.

    Features may be of fewer objects than there are, of the first ones; for the pairs of the others they are 0.
    """
    mask = rows.mask
    batch, slots = mask.shape
    if slots != pairs.shape[1]:
        more = slots - pairs.shape[1]
        pairs = nn.functional.pad(pairs, (0, 0, 0, more, 0, more))
    # a data-dependent shortcut cannot be exported; there the number of slots decides
    most = slots if rows.index is None else int(mask.sum(1).max()) if batch else 0
    complete = most <= k + 1
    chosen = all_neighbours(mask) if complete else nearest_neighbours(distance2, mask, k)
    event = torch.arange(batch, device=mask.device)[:, None, None] * slots
    looking = (event + torch.arange(slots, device=mask.device)[:, None]).expand_as(chosen.slot)
    real = chosen.mask.flatten(0, 1)
    if rows.index is None:
        edges, place = PackedRows(real), torch.arange(mask.numel(), device=mask.device)
    else:
        # a slot's number counts padding, a row's number does not
        edges, place = PackedRows(real.index_select(0, rows.index)), mask.flatten().cumsum(0) - 1
    every = PackedRows(chosen.mask)
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
        self.first = Linear(2 * features + pairs, channels[0], bias=False)
        self.first_norm = BatchNorm(channels[0])
        layers: list[nn.Module] = [nn.ReLU(inplace=True)]
        for before, after in pairwise(channels):
            layers += [Linear(before, after, bias=False), BatchNorm(after), nn.ReLU(inplace=True)]
        self.rest = nn.Sequential(*layers)
        self.shortcut = Linear(features, channels[-1], bias=False)
        self.shortcut_norm = BatchNorm(channels[-1])

    def forward(
        self, x: Float[Tensor, "rows features"], graph: Graph, transport: Transport | None = None, vectors: int = 0
    ) -> Float[Tensor, "rows channels"]:
        """What each object is after this.

        Args:
            x: features of the objects.
            graph: who looks at whom.
            transport: from frame to frame, where objects have frames of their own.
            vectors: four-vectors, the last of the features, for it to carry.
        """
        shift = None
        weight, f = self.first.weight, self.features
        if not self.training:
            weight, shift = fuse_linear_bn(self.first, self.first_norm)
        of_self, of_difference, of_pair = weight[:, :f], weight[:, f : 2 * f], weight[:, 2 * f :]
        # W [x_i, x_j - x_i] = (W1 - W2) x_i + W2 x_j: once per object, not once per edge
        looking = linear(x, of_self - of_difference, shift)
        carried: Carried | None = None
        if transport is not None and vectors:
            # four-vectors are not the same on all edges to an object
            scalars = f - 4 * vectors
            carried = Carried(transport, transport.vectors_in_common_frame(x, vectors), of_difference[:, scalars:])
            seen = linear(x[:, :scalars], of_difference[:, :scalars])
        else:
            seen = linear(x, of_difference)
        there = graph.edges.mask.sum(-1, keepdim=True)
        few = self.few(graph, there)
        blank = looking.index_select(0, few)  # at x_j = 0 there is nothing else
        if self.training or torch.is_grad_enabled() or graph.edges.index is None:
            edges = self.joined(looking, seen, of_pair, carried, graph, slice(None))
            learned = self.layers(torch.cat([edges, blank]) if self.least else edges)
            total, blank = graph.edges.sum(learned[: edges.shape[0]]), learned[edges.shape[0] :]
        else:
            total, blank = self.in_pieces(looking, seen, of_pair, carried, graph), self.layers(blank)
        if self.least:
            total = total.index_add(0, few, blank * (self.least - there).clamp_min(0)[few])
        return torch.relu(
            linear_batch_norm(self.shortcut, self.shortcut_norm, x) + total / there.clamp_min(max(self.least, 1))
        )

    def few(self, graph: Graph, there: Int[Tensor, "rows 1"]) -> Int[Tensor, " few"]:
        """Rows of the objects that lack neighbours (of all objects while exporting)."""
        if not self.least or graph.edges.index is None:
            return torch.arange(there.shape[0] if self.least else 0, device=there.device)
        return (there.squeeze(1) < self.least).nonzero().squeeze(1)

    def joined(
        self, looking: Tensor, seen: Tensor, of_pair: Tensor, carried: Carried | None, graph: Graph, some: slice
    ) -> Tensor:
        """What stands at some of the edges after the product of the first layer."""
        edge = looking.index_select(0, graph.centre[some]).add_(seen.index_select(0, graph.neighbour[some]))
        if carried is not None:
            edge = edge + carried.along(graph, some)
        return edge + linear(graph.pairs[some], of_pair) if self.pairs else edge

    def layers(self, edge: Tensor) -> Tensor:
        """All that follows that product, from features at an edge to what is learned from it."""
        if self.training:
            edge = self.first_norm(edge)
        edge = edge.relu_()
        layers = list(self.rest)[1:]
        for layer, norm in zip(layers[::3], layers[1::3], strict=True):
            assert isinstance(layer, nn.Linear)
            assert isinstance(norm, BatchNorm)
            edge = linear_batch_norm(layer, norm, edge).relu_()
        return edge

    def in_pieces(
        self, looking: Tensor, seen: Tensor, of_pair: Tensor, carried: Carried | None, graph: Graph
    ) -> Tensor:
        """The sum over the neighbours, without ever holding all edges: what is computed stays in the cache."""
        total = looking.new_zeros(len(looking), self.shortcut.out_features)
        for start in range(0, len(graph.centre), PIECE):
            some = slice(start, start + PIECE)
            total.index_add_(
                0, graph.centre[some], self.layers(self.joined(looking, seen, of_pair, carried, graph, some))
            )
        return total


@torch.no_grad()
def separation2(
    momenta: Float[Tensor, "batch particles 4"],
    mask: Bool[Tensor, "batch particles"],
    frames: Float[Tensor, "batch particles 4 4"] | None = None,
) -> Float[Tensor, "batch particles particles"]:
    """Squared distance in (eta, phi), the angle wrapped; anything finite where there is padding.

    With frames, each object measures the distances to the others in its own.
    """
    blank = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=momenta.dtype, device=momenta.device)
    p = torch.where(mask[..., None], momenta, blank)[:, None]  # the eta of no momentum at all is NaN
    if frames is not None:
        p = p @ frames.transpose(-1, -2)
    where_eta, where_phi = eta(p), phi(p)
    d_eta = own(where_eta) - where_eta
    d_phi = wrap(own(where_phi) - where_phi)
    return d_eta**2 + d_phi**2


def own(value: Float[Tensor, "batch frames particles"]) -> Float[Tensor, "batch particles 1"]:
    """What each object has in its own frame, or in the only one."""
    return value.transpose(1, 2) if value.shape[1] == 1 else value.diagonal(dim1=1, dim2=2)[..., None]


@torch.no_grad()
def apart2(x: Float[Tensor, "batch particles features"]) -> Float[Tensor, "batch particles particles"]:
    """Squared Euclidean distances."""
    length2 = (x * x).sum(-1)
    return length2[:, :, None] + length2[:, None, :] - 2 * x @ x.transpose(1, 2)
