"""Tokens: the four-vectors of an event, and reference vectors that break its Lorentz symmetry on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.nn.frames import to_float64
from femtobarn.nn.packing import PackedRows
from femtobarn.physics import lorentz

Reference = Literal["beam", "time"]

#: Directions (px, py, pz, E) that an experiment singles out: the two beams, and the rest frame of the laboratory.
REFERENCES: dict[Reference, tuple[tuple[float, ...], ...]] = {
    "beam": ((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, -1.0, 1.0)),
    "time": ((0.0, 0.0, 0.0, 1.0),),
}

#: Maximum Lorentz factor of the boost to the rest frame of an event, without reference vectors.
MAX_GAMMA = 100.0

#: Maximum Lorentz factor of this boost with reference vectors, which it makes large.
MAX_GAMMA_WITH_REFERENCES = 3.0

#: GeV; minimum mass of an event, also of an empty one. Exported files drop constants that float32 cannot represent.
MIN_EVENT_MASS = 1e-6


class Tokens(NamedTuple):
    """Particles, missing transverse momentum and reference vectors as one list; padded entries are 0."""

    momenta: Float[Tensor, "batch tokens 4"]  # in units of the requested scale; references have no unit
    scalars: Float[Tensor, "batch tokens scalars"]  # frame-independent: the type of a particle, or of a token
    mask: Bool[Tensor, "batch tokens"]


def tokens(features: Features, sizes: Sizes, references: Sequence[Reference] = (), scale: float = 1.0) -> Tokens:
    """Particles in their slots, then missing transverse momentum (if any), then the reference vectors.

    An equivariant network with the beams as tokens keeps the symmetries of the beams: rotations around them and boosts
    along them. The time direction breaks these boosts. Both beams have the same flag, so that exchanging them is a
    symmetry too.

    Args:
        features: a batch; of the frame-dependent quantities only the four-vectors are used.
        sizes: widths of the batch.
        references: names of the reference vectors.
        scale: GeV; unit of the momenta, so that they are of order 1.

    Source: Spinner et al., arXiv:2405.14806, section 4.3 (symmetry breaking by reference vectors).
    """
    types = features.particles[..., slice(*sizes.scalars)]
    batch = types.shape[0]  # len() would fix the number of events of an exported file
    directions = [vector for name in references for vector in REFERENCES[name]]
    reference_vectors = features.momenta.new_tensor(directions).reshape(-1, 4).expand(batch, -1, -1)
    momenta = torch.cat([features.momenta / scale, features.vectors / scale, reference_vectors], dim=1)
    flags = types.new_zeros(sizes.vectors + len(directions), n_token_scalars(sizes, references) - types.shape[-1])
    flag_columns = [0] * sizes.vectors + [
        bool(sizes.vectors) + number for number, name in enumerate(references) for _ in REFERENCES[name]
    ]
    for row, column in enumerate(flag_columns):
        flags[row, column] = 1.0
    pad = torch.nn.functional.pad
    scalars = torch.cat(
        [pad(types, (0, flags.shape[1])), pad(flags, (types.shape[-1], 0)).expand(batch, -1, -1)], dim=1
    )
    mask = torch.cat([features.mask, features.mask.new_ones(batch, len(flags))], dim=1)
    return Tokens(momenta, scalars, mask)


def n_token_scalars(sizes: Sizes, references: Sequence[Reference] = ()) -> int:
    """Number of scalars of each token: the types of particles, and a flag for each further type of token."""
    return sizes.scalars[1] - sizes.scalars[0] + bool(sizes.vectors) + len(references)


def append_global_token(event: Tokens, features: Features) -> Tokens:
    """Append a token of the whole event, with its own flag and zero momentum, as the last token.

    Momenta are boosted to the rest frame of the event in float64, up to a Lorentz factor of `MAX_GAMMA`: an equivariant
    network is not affected, and rounding errors are smallest there.
    """
    n_visible = features.momenta.shape[1] + features.vectors.shape[1]
    velocity = event_velocity(features, has_references=bool(event.momenta.shape[1] != n_visible))
    momenta = to_float64(event.momenta) @ lorentz.to_rest(velocity).transpose(1, 2)
    pad = torch.nn.functional.pad
    flag = event.scalars.new_zeros(1, event.scalars.shape[2] + 1)
    flag[0, -1] = 1.0
    global_scalars = flag.expand(event.scalars.shape[0], 1, -1)
    return Tokens(
        pad(momenta, (0, 0, 0, 1)),
        torch.cat([pad(event.scalars, (0, 1)), global_scalars], dim=1),
        torch.cat([event.mask, torch.ones_like(event.mask[:, :1])], dim=1),
    )


def event_velocity(features: Features, *, has_references: bool) -> Float[Tensor, "batch 3"]:
    """Four-velocity (its three space components) of the rest frame of each event, up to a maximum Lorentz factor."""
    total = to_float64(torch.cat([features.momenta, features.vectors], dim=1)).sum(1)
    max_gamma = MAX_GAMMA_WITH_REFERENCES if has_references else MAX_GAMMA
    mass = torch.maximum(lorentz.mass(total), total[:, 3] / max_gamma).clamp_min(MIN_EVENT_MASS)
    return total[:, :3] / mass[:, None]


class PackedTokens(NamedTuple):
    """Real tokens of a batch as rows, the global token of each event last."""

    momenta: Float[Tensor, "4 rows 1"]  # (px, py, pz, E) in units of the scale, in the precision of the network
    scalars: Float[Tensor, "rows scalars"]
    rows: PackedRows


def pack_tokens(features: Features, sizes: Sizes, references: Sequence[Reference], scale: float) -> PackedTokens:
    """Tokens of an equivariant transformer, with a global token; arguments as for `tokens`."""
    momenta, scalars, mask = append_global_token(tokens(features, sizes, references, scale), features)
    rows = PackedRows(mask)
    return PackedTokens(rows.pack(momenta.to(scalars.dtype)).T[..., None], rows.pack(scalars), rows)


def particle_vectors(
    vectors: Float[Tensor, "4 rows vectors"],
    rows: PackedRows,
    features: Features,
    references: Sequence[Reference],
    scale: float,
) -> Float[Tensor, "batch particles vectors 4"]:
    """Four-vectors of the particles among the tokens, from the rest frame of the event to the laboratory, in GeV.

    Args:
        vectors: four-vectors of each token of `pack_tokens`.
        rows: index of the packed tokens.
        features: batch that the tokens were made from.
        references: names of the reference vectors among the tokens.
        scale: GeV; unit of the four-vectors.
    """
    padded = rows.unpack(vectors.permute(1, 2, 0).flatten(1))[:, : features.mask.shape[1]]
    to_lab = lorentz.to_rest(-event_velocity(features, has_references=bool(references)))[:, None]
    return scale * (to_float64(torch.unflatten(padded, -1, (-1, 4))) @ to_lab.transpose(-1, -2))
