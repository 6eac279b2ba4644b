"""Local canonicalization: the particles of an event, each in its own Lorentz frame.

Source: Spinner et al., arXiv:2505.20280; Favaro et al., arXiv:2508.14898.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.inputs.feature_sets import features_in_frames
from femtobarn.nn.frames import (
    MIN_PARTICLE_MASS,
    N_FRAME_VECTORS,
    FrameNet,
    FrameType,
    clamp_mass,
    inverse_lorentz,
    lorentz_products,
    polar_frame,
    rest_frame,
    rotation_around_beam,
    rotation_to_axes,
    to_float64,
    velocities,
)
from femtobarn.nn.packing import PackedRows
from femtobarn.nn.tokens import REFERENCES, Reference, n_token_scalars, tokens
from femtobarn.nn.transport import Transport
from femtobarn.physics import lorentz

#: Relative to the energy; smaller components are rounding errors and set to 0, because angles are computed from them.
ROUNDING_TOLERANCE = 1e-8

#: GeV; minimum product of a momentum and a reference, before its logarithm.
MIN_REFERENCE_PRODUCT = 1e-8


class LocalFrames(nn.Module):
    """Particles and missing momentum in local frames, and the transport between these frames.

    The features of a particle are those of the plain network, computed from its momentum in its own frame (and from the
    momentum of the event in this frame). Missing momentum becomes an additional particle. Frame-dependent features of
    the event are removed. Interactions are passed through: the user chooses whether they preserve the symmetry.

    Frames are predicted in the rest frame of the event, in float64, where energies are smallest. The network that
    predicts them gets particles, missing momentum and reference vectors: their scalars, the energy of each in the rest
    frame of the event, its product with each reference, and the mass of each pair.

    Args:
        sizes: widths of the batches.
        frames: origin of the frames.
        references: directions that the frames may depend on, in addition to the event.
        vectors: number of four-vectors among the channels of the messages, one entry per layer with messages.
        widths: hidden layers of the network that predicts the frames.
        dropout: dropout probability in this network.
    """

    def __init__(
        self,
        sizes: Sizes,
        frames: FrameType,
        references: Sequence[Reference],
        vectors: Sequence[int],
        *,
        widths: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.input_sizes, self.frame_type = sizes, frames
        self.references, self.vectors = tuple(references), tuple(vectors)
        first, last = sizes.scalars
        self.n_scalars = last - first + bool(sizes.vectors)
        #: widths of the inputs of the backbone
        self.sizes = sizes
        if frames != "identity":
            self.sizes = sizes._replace(
                particles=sizes.particles + bool(sizes.vectors),
                context=0,
                scalars=(first, last + bool(sizes.vectors)),
                vectors=0,
            )
        self.find: FrameNet | None = None
        if N_FRAME_VECTORS[frames]:
            n_scalars, n_vectors = n_token_scalars(sizes, references), N_FRAME_VECTORS[frames]
            self.find = FrameNet(n_scalars, 1 + len(references), n_vectors, widths, dropout)

    def forward(self, features: Features) -> tuple[Features, Transport | None]:
        """Inputs of the backbone; the transport is None if all particles of an event share a frame."""
        if self.frame_type == "identity":
            return features, None
        event = tokens(features, self.input_sizes, self.references)
        n_particles = features.mask.shape[1] + self.input_sizes.vectors
        mask, scalars = event.mask[:, :n_particles], event.scalars
        momenta = torch.where(event.mask[..., None], to_float64(event.momenta), 0.0)
        if self.frame_type == "learned":
            momenta = boost_to_rest(momenta, n_particles)
        frames = self.frames(momenta, scalars, event.mask, n_particles)
        momenta = momenta[:, :n_particles]
        local = torch.where(mask[..., None], in_local_frame(frames, momenta), transverse_unit(momenta))
        total = in_local_frame(frames, momenta.sum(1, keepdim=True).expand_as(momenta))
        local, total = zero_rounding_errors(local), zero_rounding_errors(total)
        dtype = scalars.dtype
        particles = features_in_frames(
            local.to(dtype),
            total.to(dtype),
            scalars[:, :n_particles, : self.n_scalars],
            self.input_sizes.features,
        )
        canonical = Features(
            particles=torch.where(mask[..., None], particles, 0.0),
            pairs=features.pairs,
            context=features.context[:, :0],
            mask=mask,
            momenta=local if self.find is None else momenta,
            kind=nn.functional.pad(features.kind, (0, self.input_sizes.vectors)),
            vectors=features.vectors[:, :0],
        )
        if self.find is None:
            return canonical, None
        return canonical, Transport(frames, PackedRows(mask), self.vectors, dtype)

    def vectors_in_lab(
        self, objects: Float[Tensor, "batch particles width"], features: Features, transport: Transport | None
    ) -> Float[Tensor, "batch particles vectors 4"]:
        """Read the channels of each particle as four-vectors in its local frame and transform them to the laboratory.

        Args:
            objects: channels of the particles, in groups of four; remaining channels are left out.
            features: the batch that was passed to `forward`.
            transport: transport that `forward` returned; None if all particles of an event share a frame.

        Raises:
            ValueError: no local frames.
        """
        if transport is None:
            raise ValueError(f"frames: {self.frame_type} has no local frames for four-vectors; use learned, so3 or so2")
        n_particles = features.mask.shape[1]
        vectors = torch.unflatten(objects[..., : objects.shape[-1] // 4 * 4], -1, (-1, 4)).to(transport.frames.dtype)
        to_common = inverse_lorentz(transport.frames[:, :n_particles])
        if self.frame_type == "learned":
            event = tokens(features, self.input_sizes, self.references)
            momenta = torch.where(event.mask[..., None], to_float64(event.momenta), 0.0)
            boost = rest_boost(momenta, n_particles + self.input_sizes.vectors)
            to_common = inverse_lorentz(boost)[:, None] @ to_common
        return vectors @ to_common.transpose(-1, -2)

    def frames(
        self,
        momenta: Float[Tensor, "batch tokens 4"],
        scalars: Float[Tensor, "batch tokens scalars"],
        mask: Bool[Tensor, "batch tokens"],
        n_particles: int | torch.SymInt,
    ) -> Float[Tensor, "batch particles 4 4"]:
        """Frame of each particle, relative to the frame of the momenta."""
        if self.find is None:
            batch = momenta.shape[0]
            common = torch.eye(4, dtype=momenta.dtype, device=momenta.device).expand(batch, 4, 4)
            common = lorentz.random_transformations(batch, momenta) if self.training else common
            return common[:, None].expand(-1, n_particles, -1, -1)
        massive = clamp_mass(momenta)
        particles = massive[:, :n_particles]
        invariants = [particles[..., 3].log()]
        start = n_particles
        for name in self.references:
            stop = start + len(REFERENCES[name])
            products = lorentz_products(particles, momenta[:, start:stop])
            invariants.append(products.clamp_min(MIN_REFERENCE_PRODUCT).log().mean(-1))
            start = stop
        vectors = self.find(massive, scalars, torch.stack(invariants, -1), mask)
        if self.frame_type == "learned":
            return polar_frame(vectors, particles)
        if self.frame_type == "so3":
            first, second = velocities(vectors).unbind(-2)
            return lorentz.rotation_as_lorentz(rotation_to_axes(first, second, velocities(particles)))
        return lorentz.rotation_as_lorentz(rotation_around_beam(velocities(vectors[..., 0, :]), velocities(particles)))


def boost_to_rest(
    momenta: Float[Tensor, "batch tokens 4"], n_particles: int | torch.SymInt
) -> Float[Tensor, "batch tokens 4"]:
    """Boost momenta to the rest frame of the particles of the event.

    A single particle, whose momentum contains no information but the mass, and little of it at high energy, counts as a
    particle at rest with mass `MIN_PARTICLE_MASS`; with references, its rest frame includes them.
    """
    boosted = momenta @ rest_boost(momenta, n_particles).transpose(-1, -2)
    if n_particles != momenta.shape[1]:
        return boosted
    is_particle = momenta[..., 3] > 0
    is_single = (is_particle.sum(1) <= 1)[:, None, None]
    at_rest = torch.where(is_particle, MIN_PARTICLE_MASS, 0.0)[..., None] * momenta.new_tensor([0.0, 0.0, 0.0, 1.0])
    return torch.where(is_single, at_rest, boosted)


def rest_boost(momenta: Float[Tensor, "batch tokens 4"], n_particles: int | torch.SymInt) -> Float[Tensor, "batch 4 4"]:
    """Boost to the rest frame of the particles of each event; for a single particle it includes the references."""
    total = momenta[:, :n_particles].sum(1)
    if n_particles != momenta.shape[1]:
        is_single = (momenta[:, :n_particles, 3] > 0).sum(1, keepdim=True) <= 1
        total = torch.where(is_single, momenta.sum(1), total)
    return rest_frame(total)


def in_local_frame(
    frames: Float[Tensor, "batch particles 4 4"], momenta: Float[Tensor, "batch particles 4"]
) -> Float[Tensor, "batch particles 4"]:
    """Momentum of each particle in its own frame."""
    return (frames @ momenta[..., None]).squeeze(-1)


def transverse_unit(momenta: Float[Tensor, "batch particles 4"]) -> Float[Tensor, "batch particles 4"]:
    """Massless momentum of 1 GeV orthogonal to the beam, a safe value for padded slots."""
    return momenta.new_tensor([1.0, 0.0, 0.0, 1.0]).expand_as(momenta)


def zero_rounding_errors(momenta: Float[Tensor, "batch particles 4"]) -> Float[Tensor, "batch particles 4"]:
    """Set rounding errors to 0, whose direction would be arbitrary where a component vanishes by symmetry."""
    is_rounding = momenta.abs() < ROUNDING_TOLERANCE * momenta[..., 3:].abs()
    return torch.where(is_rounding, 0.0, momenta)
