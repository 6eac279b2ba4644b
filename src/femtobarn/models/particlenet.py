"""ParticleNet: dynamic graph convolutions over the nearest neighbours of each particle.

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

from femtobarn.inputs.feature_batch import Features, Sizes
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

#: Edges; chunk size outside training. With 256 channels a chunk takes 2 MB, the cache of one core.
CHUNK_EDGES = 2048

EdgeWidths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@model(
    "particlenet",
    family="graphs",
    small={"k": 3, "blocks": ((8, 8), (8, 8)), "fc": (8,), "dropout": 0.0},
    published={"particlenet-lite": {"k": 7, "blocks": ((32,) * 3, (64,) * 3), "fc": (128,)}},
)
class ParticleNet(nn.Module):
    """ParticleNet, with the sizes of the paper; `particlenet-lite` is the smaller version of the same paper.

    Neighbours in the first block are the nearest in eta and phi, in later blocks the nearest in the features of the
    block before. Pairwise features join the edge features of every block; MET and its direction join before the last
    layers.

    Args:
        sizes: widths of the inputs and outputs.
        k: neighbours per particle; all others if an event has at most k others.
        blocks: channels of the layers of each edge convolution.
        fc: widths of the fully connected layers before the last.
        dropout: dropout probability after each layer of `fc`.
        fill: add neighbours with zero features to a particle with fewer than k others. In weaver-core padding is a
            neighbour there, and weights trained with it need this setting.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        k: PositiveInt = 16,
        blocks: Annotated[tuple[EdgeWidths, ...], Field(min_length=1)] = ((64,) * 3, (128,) * 3, (256,) * 3),
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

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features, transport: Transport | None = None) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event; `transport` connects local frames, if particles have them."""
        outputs: Tensor = self.fc(self.latent(features, transport))
        return outputs

    def latent(self, features: Features, transport: Transport | None = None) -> Float[Tensor, "batch width"]:
        """Mean over the particles after the last edge convolution, and the features of the event."""
        rows = PackedRows(features.mask)
        return torch.cat([rows.mean(self.encode(features, rows, transport)), features.context], dim=-1)

    def objects(self, features: Features, transport: Transport | None = None) -> Float[Tensor, "batch particles width"]:
        """Features of each particle after the last edge convolution."""
        rows = PackedRows(features.mask)
        return rows.unpack(self.encode(features, rows, transport))

    def encode(self, features: Features, rows: PackedRows, transport: Transport | None) -> Float[Tensor, "rows width"]:
        """Rows of the particles after the last edge convolution."""
        x: Tensor = self.norm(rows.pack(features.particles))
        graph = None
        for number, block in enumerate(self.blocks):
            if graph is None or not graph.complete:
                if number:
                    distance2 = feature_distance2(rows.unpack(x.detach()))
                else:
                    frames = None if transport is None else transport.frames
                    distance2 = angular_distance2(features.momenta, features.mask, frames)
                graph = build_graph(distance2, rows, self.k, features.pairs)
            x = block(x, graph, transport, transport.vectors[number - 1] if transport and number else 0)
        return x


class NeighbourGraph(NamedTuple):
    """Directed edges of a batch of events; real ones only (all slots while exporting)."""

    edges: PackedRows  # over (rows of particles, neighbours)
    centre: Int[Tensor, " edges"]  # row of the particle that receives the message
    neighbour: Int[Tensor, " edges"]  # row of the particle that sends it
    pairs: Float[Tensor, "edges pair_features"]
    complete: bool  # every particle is connected to every other, so that the next block has the same graph


class VectorMessages(NamedTuple):
    """Four-vectors among the messages, which are transported between local frames."""

    transport: Transport
    vectors: Float[Tensor, "rows vectors 4"]  # in the common frame
    weight: Float[Tensor, "channels components"]  # of the first layer, for components in the frame of the receiver

    def first_layer(self, graph: NeighbourGraph, chunk: slice) -> Float[Tensor, "edges channels"]:
        """Contribution to the first layer on a chunk of the edges."""
        vectors = self.vectors.index_select(0, graph.neighbour[chunk])
        return linear(self.transport.channels_in_local_frame(vectors, graph.centre[chunk]), self.weight)


def build_graph(
    distance2: Float[Tensor, "batch particles particles"],
    rows: PackedRows,
    k: int,
    pairs: Float[Tensor, "batch _ _ pair_features"],
) -> NeighbourGraph:
    """Edges from each particle to its k nearest others, with the features of these pairs.

    Pairwise features may cover only the first particles; they are 0 for all other pairs.
    """
    mask = rows.mask
    batch, slots = mask.shape
    if slots != pairs.shape[1]:
        n_more = slots - pairs.shape[1]
        pairs = nn.functional.pad(pairs, (0, 0, 0, n_more, 0, n_more))
    # a data-dependent shortcut cannot be exported; then the number of slots decides, if it is one number
    max_particles = slots if rows.index is None else int(mask.sum(1).max()) if batch else 0
    complete = isinstance(max_particles, int) and max_particles <= k + 1
    neighbours = all_neighbours(mask) if complete else nearest_neighbours(distance2, mask, k)
    event = torch.arange(batch, device=mask.device)[:, None, None] * slots
    centre = (event + torch.arange(slots, device=mask.device)[:, None]).expand_as(neighbours.slot)
    is_edge = neighbours.mask.flatten(0, 1)
    if rows.index is None:
        edges, row = PackedRows(is_edge), torch.arange(mask.numel(), device=mask.device)
    else:
        # slot numbers count padding, row numbers do not
        edges, row = PackedRows(is_edge.index_select(0, rows.index)), mask.flatten().cumsum(0) - 1
    all_edges = PackedRows(neighbours.mask)
    # the slot within the event as well: an exported graph cannot take a remainder by its number of slots
    columns = torch.stack([centre, event + neighbours.slot, neighbours.slot.expand_as(centre)], dim=-1)
    centre, neighbour, slot = all_edges.pack(columns).unbind(-1)
    return NeighbourGraph(
        edges=edges,
        centre=row[centre],
        neighbour=row[neighbour],
        pairs=pairs.flatten(0, 2).index_select(0, centre * slots + slot),
        complete=complete,
    )


class EdgeConv(nn.Module):
    """Edge convolution: the mean of a network of all edges of a particle, plus a linear map of the particle.

    Args:
        features: features per particle.
        pairs: features per pair.
        channels: channels of the layers.
        min_neighbours: minimum number of neighbours per particle; missing ones are replaced by zero features.
    """

    def __init__(self, features: int, pairs: int, channels: Sequence[int], min_neighbours: int = 0) -> None:
        super().__init__()
        self.features, self.pairs, self.min_neighbours = features, pairs, min_neighbours
        self.first = Linear(2 * features + pairs, channels[0], bias=False)
        self.first_norm = BatchNorm(channels[0])
        layers: list[nn.Module] = [nn.ReLU(inplace=True)]
        for before, after in pairwise(channels):
            layers += [Linear(before, after, bias=False), BatchNorm(after), nn.ReLU(inplace=True)]
        self.rest = nn.Sequential(*layers)
        self.shortcut = Linear(features, channels[-1], bias=False)
        self.shortcut_norm = BatchNorm(channels[-1])

    def forward(
        self,
        x: Float[Tensor, "rows features"],
        graph: NeighbourGraph,
        transport: Transport | None = None,
        vectors: int = 0,
    ) -> Float[Tensor, "rows channels"]:
        """Features of the particles after the edge convolution.

        Args:
            x: features of the particles.
            graph: edges between them.
            transport: transport between local frames, if particles have them.
            vectors: number of four-vectors at the end of the features that `transport` applies to.
        """
        shift = None
        weight, f = self.first.weight, self.features
        if not self.training:
            weight, shift = fuse_linear_bn(self.first, self.first_norm)
        self_weight, difference_weight, pair_weight = weight[:, :f], weight[:, f : 2 * f], weight[:, 2 * f :]
        # W [x_i, x_j - x_i] = (W1 - W2) x_i + W2 x_j: once per particle, not once per edge
        centre_terms = linear(x, self_weight - difference_weight, shift)
        messages: VectorMessages | None = None
        if transport is not None and vectors:
            # four-vectors differ between the edges to a particle
            scalars = f - 4 * vectors
            common = transport.vectors_in_common_frame(x, vectors)
            messages = VectorMessages(transport, common, difference_weight[:, scalars:])
            neighbour_terms = linear(x[:, :scalars], difference_weight[:, :scalars])
        else:
            neighbour_terms = linear(x, difference_weight)
        n_neighbours = graph.edges.mask.sum(-1, keepdim=True)
        incomplete = self.incomplete_rows(graph, n_neighbours)
        filler = centre_terms.index_select(0, incomplete)  # first layer of an edge to x_j = 0
        terms = (centre_terms, neighbour_terms, pair_weight, messages, graph)
        if self.training or torch.is_grad_enabled() or graph.edges.index is None:
            edges = self.first_layer(*terms, slice(None))
            outputs = self.layers(torch.cat([edges, filler]) if self.min_neighbours else edges)
            total, filler = graph.edges.sum(outputs[: edges.shape[0]]), outputs[edges.shape[0] :]
        else:
            total, filler = self.sum_chunked(*terms), self.layers(filler)
        if self.min_neighbours:
            n_missing = (self.min_neighbours - n_neighbours).clamp_min(0)
            total = total.index_add(0, incomplete, filler * n_missing[incomplete])
        mean = total / n_neighbours.clamp_min(max(self.min_neighbours, 1))
        return torch.relu(linear_batch_norm(self.shortcut, self.shortcut_norm, x) + mean)

    def incomplete_rows(self, graph: NeighbourGraph, n_neighbours: Int[Tensor, "rows 1"]) -> Int[Tensor, " incomplete"]:
        """Rows of the particles that lack neighbours (of all particles while exporting)."""
        if not self.min_neighbours or graph.edges.index is None:
            return torch.arange(n_neighbours.shape[0] if self.min_neighbours else 0, device=n_neighbours.device)
        return (n_neighbours.squeeze(1) < self.min_neighbours).nonzero().squeeze(1)

    def first_layer(
        self,
        centre_terms: Tensor,
        neighbour_terms: Tensor,
        pair_weight: Tensor,
        messages: VectorMessages | None,
        graph: NeighbourGraph,
        chunk: slice,
    ) -> Tensor:
        """Product of the first layer on a chunk of the edges."""
        edge = centre_terms.index_select(0, graph.centre[chunk])
        edge = edge.add_(neighbour_terms.index_select(0, graph.neighbour[chunk]))
        if messages is not None:
            edge = edge + messages.first_layer(graph, chunk)
        return edge + linear(graph.pairs[chunk], pair_weight) if self.pairs else edge

    def layers(self, edge: Tensor) -> Tensor:
        """All layers after the first product."""
        if self.training:
            edge = self.first_norm(edge)
        edge = edge.relu_()
        layers = list(self.rest)[1:]
        for layer, norm in zip(layers[::3], layers[1::3], strict=True):
            assert isinstance(layer, nn.Linear)
            assert isinstance(norm, BatchNorm)
            edge = linear_batch_norm(layer, norm, edge).relu_()
        return edge

    def sum_chunked(
        self,
        centre_terms: Tensor,
        neighbour_terms: Tensor,
        pair_weight: Tensor,
        messages: VectorMessages | None,
        graph: NeighbourGraph,
    ) -> Tensor:
        """Sum over the neighbours in chunks of edges, whose intermediate results stay in the cache."""
        total = centre_terms.new_zeros(len(centre_terms), self.shortcut.out_features)
        for start in range(0, len(graph.centre), CHUNK_EDGES):
            chunk = slice(start, start + CHUNK_EDGES)
            edge = self.first_layer(centre_terms, neighbour_terms, pair_weight, messages, graph, chunk)
            total.index_add_(0, graph.centre[chunk], self.layers(edge))
        return total


@torch.no_grad()
def angular_distance2(
    momenta: Float[Tensor, "batch particles 4"],
    mask: Bool[Tensor, "batch particles"],
    frames: Float[Tensor, "batch particles 4 4"] | None = None,
) -> Float[Tensor, "batch particles particles"]:
    """Squared distance in (eta, phi), the angle wrapped; an arbitrary finite number for padding.

    With local frames, row i holds the distances of particle i to the others in its own frame.
    """
    unit = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=momenta.dtype, device=momenta.device)
    p = torch.where(mask[..., None], momenta, unit)[:, None]  # eta of a zero momentum is NaN
    if frames is not None:
        p = p @ frames.transpose(-1, -2)
    all_eta, all_phi = eta(p), phi(p)
    delta_eta = in_own_frame(all_eta) - all_eta
    delta_phi = wrap(in_own_frame(all_phi) - all_phi)
    return delta_eta**2 + delta_phi**2


def in_own_frame(value: Float[Tensor, "batch frames particles"]) -> Float[Tensor, "batch particles 1"]:
    """Value of each particle in its own frame, or in the common frame."""
    return value.transpose(1, 2) if value.shape[1] == 1 else value.diagonal(dim1=1, dim2=2)[..., None]


@torch.no_grad()
def feature_distance2(x: Float[Tensor, "batch particles features"]) -> Float[Tensor, "batch particles particles"]:
    """Squared Euclidean distances."""
    length2 = (x * x).sum(-1)
    return length2[:, :, None] + length2[:, None, :] - 2 * x @ x.transpose(1, 2)
