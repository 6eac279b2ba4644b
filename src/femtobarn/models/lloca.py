"""Local canonicalisation: a network that looks at each object from a frame of its own is the same in every frame.

Spinner et al., *Lorentz Local Canonicalization: How to Make Any Network Lorentz-Equivariant*, arXiv:2505.20280;
Favaro et al., *Lorentz-Equivariance without Limitations*, arXiv:2508.14898.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.inputs.features import as_seen
from femtobarn.models.part import ParT
from femtobarn.models.particlenet import Channels, ParticleNet
from femtobarn.models.registry import model
from femtobarn.models.transformer import Transformer
from femtobarn.nn import PackedRows, tokens
from femtobarn.nn.frames import (
    MIN_PARTICLE_MASS,
    N_FRAME_VECTORS,
    FrameNet,
    FrameType,
    clamp_mass,
    lorentz_products,
    polar_frame,
    random_frames,
    rest_frame,
    rotation_around_beam,
    rotation_as_lorentz,
    rotation_to_axes,
    to_float64,
    velocities,
)
from femtobarn.nn.tokens import REFERENCES, Reference, n_token_scalars
from femtobarn.nn.transport import Transport

#: Components this small against the energy are rounding, and nothing is as good as 0: angles are made of them.
ROUNDING = 1e-8

#: The least of a momentum times a reference (GeV), before its logarithm.
FLOOR = 1e-8

Chance = Annotated[float, Field(ge=0, lt=1)]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class Local(nn.Module):
    """Objects and missing momentum as each is seen from its frame, and the transport between these frames.

    The features of an object are those that the plain network gets, made of its momentum in its own frame (and of that
    of the whole event, likewise). Missing momentum becomes one more object. Frame-dependent features of the event are
    left out. Interactions are passed on: whether they keep the symmetry is for who chose them.

    Frames are found in the rest frame of the event, in float64, where energies are as small as they can be. The
    network that finds them sees all objects, missing momentum and the reference vectors: their scalars, the energy of
    each in the rest frame of the event, its product with each reference, and the mass of each pair.

    Args:
        sizes: of the batches.
        frames: where the frames come from.
        references: directions that the frames may follow instead of the event.
        vectors: four-vectors among the channels of the messages, in each layer of messages.
        widths: hidden layers of the network that finds the frames.
        chance: dropout in it.
    """

    def __init__(
        self,
        sizes: Sizes,
        frames: FrameType,
        references: Sequence[Reference],
        vectors: Sequence[int],
        widths: Sequence[int],
        chance: float,
    ) -> None:
        super().__init__()
        self.given, self.kind, self.references, self.vectors = sizes, frames, tuple(references), tuple(vectors)
        first, last = sizes.scalars
        self.scalars = last - first + bool(sizes.vectors)
        #: of what the backbone gets
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
            self.find = FrameNet(
                n_token_scalars(sizes, references), 1 + len(references), N_FRAME_VECTORS[frames], widths, chance
            )

    def forward(self, encoded: Encoded) -> tuple[Encoded, Transport | None]:
        """What the backbone gets; no transport where all objects of an event have one frame."""
        if self.kind == "identity":
            return encoded, None
        found = tokens(encoded, self.given, self.references)
        objects = encoded.mask.shape[1] + self.given.vectors
        mask, scalars = found.mask[:, :objects], found.scalars
        momenta = torch.where(found.mask[..., None], to_float64(found.momenta), 0.0)
        if self.kind == "learned":
            momenta = at_rest(momenta, objects)
        frames = self.frames(momenta, scalars, found.mask, objects)
        momenta = momenta[:, :objects]
        own = tidy(torch.where(mask[..., None], seen_from(frames, momenta), across_the_beam(momenta)))
        whole = tidy(seen_from(frames, momenta.sum(1, keepdim=True).expand_as(momenta)))
        dtype = scalars.dtype
        features = as_seen(own.to(dtype), whole.to(dtype), scalars[:, :objects, : self.scalars], self.given.features)
        local = Encoded(
            particles=torch.where(mask[..., None], features, 0.0),
            pairs=encoded.pairs,
            context=encoded.context[:, :0],
            mask=mask,
            momenta=own if self.find is None else momenta,
            kind=nn.functional.pad(encoded.kind, (0, self.given.vectors)),
            vectors=encoded.vectors[:, :0],
        )
        if self.find is None:
            return local, None
        return local, Transport(frames, PackedRows(mask), self.vectors, dtype)

    def frames(
        self,
        momenta: Float[Tensor, "batch tokens 4"],
        scalars: Float[Tensor, "batch tokens scalars"],
        mask: Bool[Tensor, "batch tokens"],
        objects: int,
    ) -> Float[Tensor, "batch objects 4 4"]:
        """The frame of each object, counted from that of the momenta."""
        if self.find is None:
            events = momenta.shape[0]
            one = torch.eye(4, dtype=momenta.dtype, device=momenta.device).expand(events, 4, 4)
            one = random_frames(events, momenta) if self.training else one
            return one[:, None].expand(-1, objects, -1, -1)
        heavy = clamp_mass(momenta)
        own = heavy[:, :objects]
        invariants = [own[..., 3].log()]
        start = objects
        for name in self.references:
            stop = start + len(REFERENCES[name])
            invariants.append(lorentz_products(own, momenta[:, start:stop]).clamp_min(FLOOR).log().mean(-1))
            start = stop
        vectors = self.find(heavy, scalars, torch.stack(invariants, -1), mask)
        if self.kind == "learned":
            return polar_frame(vectors, own)
        if self.kind == "so3":
            first, second = velocities(vectors).unbind(-2)
            return rotation_as_lorentz(rotation_to_axes(first, second, velocities(own)))
        return rotation_as_lorentz(rotation_around_beam(velocities(vectors[..., 0, :]), velocities(own)))


def at_rest(momenta: Float[Tensor, "batch tokens 4"], objects: int) -> Float[Tensor, "batch tokens 4"]:
    """Momenta in the rest frame of the event, of its objects together.

    A single object, which says nothing but its mass, and of that the less the faster it is, counts as one at rest with
    mass `LIGHTEST`; where there are references, in the rest frame that it has with them.
    """
    there = momenta[:, :objects, 3] > 0
    alone = (there.sum(1) <= 1)[:, None]
    total = momenta[:, :objects].sum(1)
    if objects == momenta.shape[1]:
        seen = momenta @ rest_frame(total).transpose(-1, -2)
        resting = torch.where(there, MIN_PARTICLE_MASS, 0.0)[..., None] * momenta.new_tensor([0.0, 0.0, 0.0, 1.0])
        return torch.where(alone[..., None], resting, seen)
    total = torch.where(alone, momenta.sum(1), total)
    return momenta @ rest_frame(total).transpose(-1, -2)


def seen_from(
    frames: Float[Tensor, "batch objects 4 4"], momenta: Float[Tensor, "batch objects 4"]
) -> Float[Tensor, "batch objects 4"]:
    """Each momentum in the frame of its place."""
    return (frames @ momenta[..., None]).squeeze(-1)


def across_the_beam(momenta: Float[Tensor, "batch objects 4"]) -> Float[Tensor, "batch objects 4"]:
    """A harmless momentum for empty slots."""
    return momenta.new_tensor([1.0, 0.0, 0.0, 1.0]).expand_as(momenta)


def tidy(momenta: Float[Tensor, "batch objects 4"]) -> Float[Tensor, "batch objects 4"]:
    """Momenta without the dust of rounding, which would point anywhere where a direction is 0 by symmetry."""
    dust = momenta.abs() < ROUNDING * momenta[..., 3:].abs()
    return torch.where(dust, 0.0, momenta)


@model(
    "lloca-transformer",
    small={
        "width": 16,
        "blocks": 2,
        "heads": 2,
        "pair_embedding": (8,),
        "frames_net": (8, 8),
        "frames_dropout": 0.0,
    },
    lorentz={"references": ()},
)
class LLoCaTransformer(nn.Module):
    """The transformer on objects in frames of their own, with messages transported between them (LLoCa-Transformer).

    Without references its answer is exactly the same in every Lorentz frame. The defaults are those for top tagging.

    Args:
        sizes: widths of the inputs and outputs.
        width: features of an object inside.
        blocks: self-attention blocks.
        heads: attention heads; they divide the width.
        ratio: width of the feed-forward layer in units of `width`.
        pair_embedding: hidden widths of the embedding of a pair.
        dropout: after each linear layer of the blocks.
        frames: `learned` finds a frame for each object, `so3` one that rests in the lab, `so2` one that is only turned
            around the beam; `random` trains in one frame at random for each event; `identity` is the plain network.
        vectors: four-vectors among the channels of each head.
        references: directions that the frames may follow, which breaks the symmetry to what leaves them as they are.
        frames_net: widths of the network that finds the frames.
        frames_dropout: after each of those.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        width: PositiveInt = 128,
        blocks: NonNegativeInt = 12,
        heads: PositiveInt = 8,
        ratio: PositiveInt = 2,
        pair_embedding: tuple[PositiveInt, ...] = (64, 64, 64),
        dropout: Chance = 0.0,
        frames: FrameType = "learned",
        vectors: NonNegativeInt = 1,
        references: tuple[Reference, ...] = ("beam", "time"),
        frames_net: Widths = (128, 128),
        frames_dropout: Chance = 0.1,
    ) -> None:
        super().__init__()
        enough(vectors, width // heads, "head")
        self.local = Local(sizes, frames, references, (vectors,), frames_net, frames_dropout)
        self.backbone = Transformer(
            self.local.sizes,
            width=width,
            blocks=blocks,
            heads=heads,
            ratio=ratio,
            pair_embedding=pair_embedding,
            dropout=dropout,
        )

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        logits: Tensor = self.backbone(*self.local(encoded))
        return logits


@model(
    "lloca-part",
    small={
        "width": 16,
        "blocks": 2,
        "class_blocks": 1,
        "heads": 2,
        "embedding": (16,),
        "pair_embedding": (8,),
        "dropout": 0.0,
        "frames_net": (8, 8),
        "frames_dropout": 0.0,
    },
    lorentz={"references": ()},
)
class LLoCaParT(nn.Module):
    """ParT on objects in frames of their own, with messages transported between them (LLoCa-ParT).

    The particle blocks transport their messages. The class token, which has no frame, reads what the objects know as
    each sees it. Without references and with invariant pairwise features, such as `mass`, the answer is exactly the
    same in every Lorentz frame.

    Args:
        sizes: widths of the inputs and outputs.
        width: features of an object inside.
        blocks: particle blocks (self-attention with U).
        class_blocks: class blocks (the class token attends to the objects).
        heads: attention heads; they divide the width.
        embedding: hidden widths of the embedding of an object.
        pair_embedding: hidden widths of the embedding of a pair.
        ratio: width of the feed-forward layer in units of `width`.
        dropout: in the particle blocks; the class blocks have none.
        frames: `learned` finds a frame for each object, `so3` one that rests in the lab, `so2` one that is only turned
            around the beam; `random` trains in one frame at random for each event; `identity` is the plain network.
        vectors: four-vectors among the channels of each head.
        references: directions that the frames may follow, which breaks the symmetry to what leaves them as they are.
        frames_net: widths of the network that finds the frames.
        frames_dropout: after each of those.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        width: PositiveInt = 128,
        blocks: NonNegativeInt = 8,
        class_blocks: PositiveInt = 2,
        heads: PositiveInt = 8,
        embedding: tuple[PositiveInt, ...] = (128, 512),
        pair_embedding: tuple[PositiveInt, ...] = (64, 64, 64),
        ratio: PositiveInt = 4,
        dropout: Chance = 0.1,
        frames: FrameType = "learned",
        vectors: NonNegativeInt = 2,
        references: tuple[Reference, ...] = ("beam", "time"),
        frames_net: Widths = (128, 128),
        frames_dropout: Chance = 0.0,
    ) -> None:
        super().__init__()
        enough(vectors, width // heads, "head")
        self.local = Local(sizes, frames, references, (vectors,), frames_net, frames_dropout)
        self.backbone = ParT(
            self.local.sizes,
            width=width,
            blocks=blocks,
            class_blocks=class_blocks,
            heads=heads,
            embedding=embedding,
            pair_embedding=pair_embedding,
            ratio=ratio,
            dropout=dropout,
        )

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        logits: Tensor = self.backbone(*self.local(encoded))
        return logits


@model(
    "lloca-particlenet",
    small={
        "k": 3,
        "blocks": ((8, 8), (8, 8)),
        "fc": (8,),
        "dropout": 0.0,
        "vectors": (1,),
        "frames_net": (8, 8),
        "frames_dropout": 0.0,
    },
    lorentz={"references": ()},
)
class LLoCaParticleNet(nn.Module):
    """ParticleNet on objects in frames of their own, with messages transported between them (LLoCa-ParticleNet).

    The first block, whose messages are the features of the objects, has its neighbours in eta and phi as each object
    sees them from its frame. Of what the later blocks send some channels are four-vectors; their neighbours are the
    nearest in the features, each as its owner sees them. Without references and with invariant pairwise features, such
    as `mass`, the answer is exactly the same in every Lorentz frame.

    Args:
        sizes: widths of the inputs and outputs.
        k: neighbours of an object; with at most k others in an event, all of them.
        blocks: channels of the layers of each edge convolution.
        fc: widths of the fully connected layers before the last.
        dropout: after each of those.
        frames: `learned` finds a frame for each object, `so3` one that rests in the lab, `so2` one that is only turned
            around the beam; `random` trains in one frame at random for each event; `identity` is the plain network.
        vectors: four-vectors among the channels that go into each block but the first.
        references: directions that the frames may follow, which breaks the symmetry to what leaves them as they are.
        frames_net: widths of the network that finds the frames.
        frames_dropout: after each of those.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        k: PositiveInt = 16,
        blocks: Annotated[tuple[Channels, ...], Field(min_length=1)] = ((64,) * 3, (128,) * 3, (256,) * 3),
        fc: tuple[PositiveInt, ...] = (256,),
        dropout: Chance = 0.1,
        frames: FrameType = "learned",
        vectors: tuple[NonNegativeInt, ...] = (8, 16),
        references: tuple[Reference, ...] = ("beam", "time"),
        frames_net: Widths = (128, 128),
        frames_dropout: Chance = 0.0,
    ) -> None:
        super().__init__()
        if len(vectors) != len(blocks) - 1:
            raise ValueError(f"{len(vectors)} numbers of four-vectors for the {len(blocks) - 1} blocks after the first")
        for count, channels in zip(vectors, blocks, strict=False):
            enough(count, channels[-1], "object")
        self.local = Local(sizes, frames, references, vectors, frames_net, frames_dropout)
        self.backbone = ParticleNet(self.local.sizes, k=k, blocks=blocks, fc=fc, dropout=dropout)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        logits: Tensor = self.backbone(*self.local(encoded))
        return logits


def enough(vectors: int, channels: int, of: str) -> None:
    """Checks that four-vectors have room.

    Raises:
        ValueError: they need more channels than there are.
    """
    if 4 * vectors > channels:
        raise ValueError(f"{vectors} four-vectors need {4 * vectors} channels, and each {of} has {channels}")
