"""Local Lorentz frames: one per particle, predicted from the event, so that they transform with it.

A frame is the matrix L that transforms momenta (px, py, pz, E) into it. Predicted from the momenta alone, it follows
every Lorentz transformation Λ of the event, L(Λp) = L(p) Λ⁻¹, so that momenta in the local frame are invariant.

Source: Spinner et al., arXiv:2505.20280, sections 3.1 and 4.1; Favaro et al., arXiv:2508.14898.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from femtobarn.nn.batchnorm import BatchNorm
from femtobarn.nn.chunking import event_chunks
from femtobarn.nn.dropout import dropout
from femtobarn.nn.packing import PackedRows
from femtobarn.nn.products import Linear
from femtobarn.physics import lorentz

#: Origin of the frames: the laboratory; a random frame per event during training; predicted for each particle, among
#: all Lorentz frames, among frames at rest in the laboratory, or among rotations around the beam.
FrameType = Literal["identity", "random", "learned", "so3", "so2"]

#: Number of vectors that the network predicts for a frame.
N_FRAME_VECTORS: dict[FrameType, int] = {"identity": 0, "random": 0, "learned": 3, "so3": 2, "so2": 1}

#: GeV, near the pion mass; minimum mass of a particle in the prediction of frames. Then no pair is light-like, and the
#: rounding of the mass of a collimated pair in float32, 0.03 GeV at 100 GeV, does not change a frame.
MIN_PARTICLE_MASS = 0.1

#: Maximum Lorentz factor of a frame.
MAX_GAMMA = 1e6

#: Vectors shorter than this fraction of their time component have no direction; rounding leaves 1e-12 of a zero.
MIN_VELOCITY = 1e-6


def to_float64(momenta: Tensor) -> Tensor:
    """Convert momenta to float64, which a boost from TeV to GeV needs; unchanged on Apple GPUs, which lack it."""
    return momenta if momenta.device.type == "mps" else momenta.double()


def rest_frame(total: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 4 4"]:
    """Boost into the rest frame of an event with this total momentum.

    Massless, parallel momenta have no rest frame; they get the frame in which their mass is `MIN_PARTICLE_MASS`. Only
    here the result depends on the laboratory frame.
    """
    mass = lorentz.mass2(total).clamp_min(MIN_PARTICLE_MASS**2).sqrt()
    return lorentz.to_rest(total[..., :3] / mass[..., None])


def clamp_mass(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 4"]:
    """Momenta (in the event's frame) with masses of at least `MIN_PARTICLE_MASS`; space-like ones are corrected too."""
    space = momenta[..., :3]
    min_energy = (space.square().sum(-1, keepdim=True) + MIN_PARTICLE_MASS**2).sqrt()
    return torch.cat([space, torch.maximum(momenta[..., 3:], min_energy)], dim=-1)


def lorentz_products(
    first: Float[Tensor, "batch particles 4"], second: Float[Tensor, "batch tokens 4"]
) -> Float[Tensor, "batch particles tokens"]:
    """Lorentz products of all pairs in GeV²."""
    return first @ (second * torch.tensor(lorentz.METRIC, dtype=second.dtype, device=second.device)).transpose(1, 2)


def polar_frame(
    vectors: Float[Tensor, "*shape 3 4"], momentum: Float[Tensor, "*shape 4"]
) -> Float[Tensor, "*shape 4 4"]:
    r"""Frame from three vectors: the boost to the rest frame of the first, then the rotation given by the other two.

    .. math:: L = R(B v_1, B v_2)\, B, \quad B = B(v_0)

    Where these are parallel, as in events of three particles or fewer, the momentum of the particle replaces one. The
    remaining freedom is then a rotation that changes no momentum of the event.

    Args:
        vectors: time-like, with positive energy; the first with a Lorentz factor of at most `MAX_GAMMA`.
        momentum: momentum of the particle.
    """
    first = vectors[..., 0, :]
    mass = torch.maximum(lorentz.mass2(first), (first[..., 3] / MAX_GAMMA).square()).sqrt()
    boost = lorentz.to_rest(first[..., :3] / mass[..., None])
    others = torch.cat([vectors[..., 1:, :], momentum[..., None, :]], dim=-2) @ boost.transpose(-1, -2)
    return lorentz.rotation_as_lorentz(rotation_to_axes(*velocities(others).unbind(-2))) @ boost


def velocities(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 3"]:
    """Velocities in units of c: of length 1 for massless momenta, 0 at rest."""
    return momenta[..., :3] / momenta[..., 3:]


def rotation_to_axes(
    first: Float[Tensor, "*shape 3"], second: Float[Tensor, "*shape 3"], spare: Float[Tensor, "*shape 3"]
) -> Float[Tensor, "*shape 3 3"]:
    """Rotation of `first` to the x axis and of `second` into the x-y plane (Gram-Schmidt).

    A vector without a direction of its own is replaced by `spare`, and this by a coordinate axis.
    """
    axes = torch.eye(3, dtype=first.dtype, device=first.device)
    x = unit_vector(first, spare, axes[0].expand_as(first))
    axis = torch.where(x[..., 2:].abs() < 0.8, axes[2], axes[0])
    y = unit_vector(*(orthogonal_part(vector, x) for vector in (second, spare, axis)))
    y = unit_vector(orthogonal_part(y, x))  # a second time, because a short remainder has rounding errors
    return torch.stack([x, y, cross(x, y)], dim=-2)


def rotation_around_beam(
    first: Float[Tensor, "*shape 3"], spare: Float[Tensor, "*shape 3"]
) -> Float[Tensor, "*shape 3 3"]:
    """Rotation around the beam of `first` into the x-z plane; `spare` as in `rotation_to_axes`."""
    axes = torch.eye(3, dtype=first.dtype, device=first.device)
    transverse = axes[0] + axes[1]
    x = unit_vector(first * transverse, spare * transverse, axes[0].expand_as(first))
    beam = axes[2].expand_as(first)
    return torch.stack([x, cross(beam, x), beam], dim=-2)


def unit_vector(*vectors: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """Unit vector along the first vector longer than `MIN_VELOCITY`; the last one must be."""
    *candidates, chosen = vectors
    for vector in reversed(candidates):
        chosen = torch.where(vector.square().sum(-1, keepdim=True) > MIN_VELOCITY**2, vector, chosen)
    return chosen / chosen.square().sum(-1, keepdim=True).sqrt()


def orthogonal_part(vector: Float[Tensor, "*shape 3"], axis: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """Component of a vector orthogonal to a unit vector."""
    return vector - (vector * axis).sum(-1, keepdim=True) * axis


def cross(first: Float[Tensor, "*shape 3"], second: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """Cross product."""
    (a, b, c), (d, e, f) = first.unbind(-1), second.unbind(-1)
    return torch.stack([b * f - c * e, c * d - a * f, a * e - b * d], dim=-1)


def inverse_lorentz(frames: Float[Tensor, "*shape 4 4"]) -> Float[Tensor, "*shape 4 4"]:
    r"""Inverse of Lorentz matrices, exact: :math:`L^{-1} = g L^T g`."""
    sign = torch.tensor(lorentz.METRIC, dtype=frames.dtype, device=frames.device)
    return frames.transpose(-1, -2) * sign * sign[:, None]


class FrameNet(nn.Module):
    r"""Equivariant vectors of each particle: weighted sums of the directions of its pairs.

    .. math:: v_{ik} = \sum_{j \neq i} \mathrm{softmax}_j\, \phi_k(s_i, s_j, \ln (p_i + p_j)^2)
        \frac{p_i + p_j}{|p_i + p_j|}

    They are sums of time-like unit vectors with positive energy, with weights that sum to 1, so their length is at
    least 1. A single particle gets vectors at rest.

    Args:
        scalars: number of frame-independent features per token.
        invariants: number of invariant functions of the momentum per particle; they are normalized.
        vectors: number of vectors per particle.
        widths: widths of the hidden layers of φ.
        dropout: dropout probability after each of them.
    """

    def __init__(self, scalars: int, invariants: int, vectors: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = BatchNorm(invariants)
        self.pair_norm = BatchNorm(1)
        # names of layers are keys of saved weights: `looking` acts on particle i, `seen` on token j
        self.looking = Linear(scalars + invariants, widths[0])
        self.seen = Linear(scalars + invariants, widths[0], bias=False)
        self.pair = Linear(1, widths[0], bias=False)
        self.hidden = nn.ModuleList(Linear(before, after) for before, after in pairwise(widths))
        self.weigh = Linear(widths[-1], vectors, bias=False)  # a bias would cancel in the softmax

    def forward(
        self,
        momenta: Float[Tensor, "batch tokens 4"],
        scalars: Float[Tensor, "batch tokens scalars"],
        invariants: Float[Tensor, "batch particles invariants"],
        mask: Bool[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch particles vectors 4"]:
        """Vectors of the first tokens, the particles; the other tokens have no invariants and enter as partners."""
        n_particles, n_tokens = invariants.shape[1], mask.shape[1]
        token = torch.arange(n_tokens, device=mask.device)
        pairs = PackedRows(mask[:, :n_particles, None] & mask[:, None] & (token[:n_particles, None] != token))
        product = lorentz_products(momenta[:, :n_particles], momenta)
        mass2 = lorentz.mass2(momenta)
        mass2 = (mass2[:, :n_particles, None] + mass2[:, None] + 2 * product).clamp_min(4 * MIN_PARTICLE_MASS**2)

        dtype = self.weigh.weight.dtype
        logits = self.phi(scalars.to(dtype), invariants.to(dtype), mass2.to(dtype).log(), mask, pairs)
        # tokens last, where a softmax is fast
        logits = logits.transpose(2, 3).to(dtype, memory_format=torch.contiguous_format)
        weights = logits.masked_fill(~pairs.mask[:, :, None], torch.finfo(dtype).min).softmax(-1)
        weights = torch.where(pairs.mask, mass2.rsqrt(), 0.0)[:, :, None] * weights
        partner_sum = weights.flatten(1, 2) @ momenta
        self_sum = weights.sum(-1)[..., None] * momenta[:, :n_particles, None]
        vectors = self_sum + partner_sum.view(self_sum.shape)
        rest = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=momenta.dtype, device=momenta.device)
        return torch.where(pairs.mask.any(2)[..., None, None], vectors, rest)

    def phi(
        self,
        scalars: Float[Tensor, "batch tokens scalars"],
        invariants: Float[Tensor, "batch particles invariants"],
        mass2: Float[Tensor, "batch particles tokens"],
        mask: Bool[Tensor, "batch tokens"],
        pairs: PackedRows,
    ) -> Float[Tensor, "batch particles tokens vectors"]:
        """Function φ of every pair; its first layer is a sum of terms of particle, token and pair."""
        n_particles, n_tokens = pairs.mask.shape[1:]
        rows = PackedRows(mask[:, :n_particles])
        normalized = rows.unpack(self.norm(rows.pack(invariants)))
        tokens = torch.cat([scalars, nn.functional.pad(normalized, (0, 0, 0, n_tokens - n_particles))], dim=-1)
        particle_terms, token_terms = self.looking(tokens[:, :n_particles]), self.seen(tokens)
        log_mass2 = self.pair_norm(pairs.pack(mass2[..., None]))
        if pairs.index is None:
            sums = (particle_terms[:, :, None] + token_terms[:, None]).flatten(0, 2)
            return pairs.unpack(self.pair_layers(sums, log_mass2))
        # in chunks of events, during training too: the intermediate results of their pairs stay in the cache
        event_sizes, pair_sizes = event_chunks(pairs.mask.sum((1, 2)), particle_terms.shape[2])
        particle = pairs.index.div(n_tokens, rounding_mode="floor")
        token = particle.div(n_particles, rounding_mode="floor") * n_tokens + pairs.index % n_tokens
        outputs, n_events = [], 0
        event_parts = (torch.split(x, event_sizes) for x in (particle_terms, token_terms))
        pair_parts = (torch.split(x, pair_sizes) for x in (particle, token, log_mass2))
        for first_terms, second_terms, first, second, mass in zip(*event_parts, *pair_parts, strict=True):
            sums = first_terms.flatten(0, 1).index_select(0, first - n_events * n_particles)
            sums += second_terms.flatten(0, 1).index_select(0, second - n_events * n_tokens)
            outputs.append(self.pair_layers(sums, mass))
            n_events += len(first_terms)
        return pairs.unpack(torch.cat(outputs))

    def pair_layers(
        self, sums: Float[Tensor, "pairs width"], log_mass2: Float[Tensor, "pairs 1"]
    ) -> Float[Tensor, "pairs vectors"]:
        """Layers of φ after the sum of the first layer's terms of the two tokens."""
        hidden = torch.addmm(sums, log_mass2, self.pair.weight.t())
        for layer in self.hidden:
            hidden = layer(nn.functional.gelu(self.drop(hidden)))
        logits: Tensor = self.weigh(nn.functional.gelu(self.drop(hidden)))
        return logits

    def drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training, inplace=True)
