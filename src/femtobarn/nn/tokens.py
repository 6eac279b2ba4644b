"""Tokens: the four-vectors of an event, and those that break its Lorentz symmetry on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.nn.frames import precise
from femtobarn.physics import lorentz

Reference = Literal["beam", "time"]

#: Directions (px, py, pz, E) that an experiment singles out: those of the two beams, and that of its own rest.
REFERENCES: dict[Reference, tuple[tuple[float, ...], ...]] = {
    "beam": ((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, -1.0, 1.0)),
    "time": ((0.0, 0.0, 0.0, 1.0),),
}

#: Largest Lorentz factor of the boost to an event's rest frame: alone, and with references, which it makes large.
FASTEST, WITH_REFERENCES = 100.0, 3.0

#: GeV: events weigh this at least, those without objects among them. Exported files drop constants that float32 lacks.
LEAST = 1e-6


class Tokens(NamedTuple):
    """Objects, missing transverse momentum and reference vectors as one list; padded entries are 0."""

    momenta: Float[Tensor, "batch tokens 4"]  # in units of the scale that was asked for; references are as they are
    scalars: Float[Tensor, "batch tokens scalars"]  # the same in every frame: the type of an object, or of a token
    mask: Bool[Tensor, "batch tokens"]


def tokens(encoded: Encoded, sizes: Sizes, references: Sequence[Reference] = (), scale: float = 1.0) -> Tokens:
    """Objects first, in their slots, then missing transverse momentum where there is one, then the references.

    An equivariant network that sees the beams is left with the symmetries of the beams: rotations around them and
    boosts along them, whose boosts the time direction breaks in turn. Both beams have the same flag, so that
    exchanging them is a symmetry as well.

    Args:
        encoded: a batch; nothing of it is used that depends on a frame, but for the four-vectors.
        sizes: of the batch.
        references: the directions that the network is told.
        scale: GeV in the unit of the momenta, so that they are of order 1.

    Source: Spinner et al., arXiv:2405.14806, section 4.3 (symmetry breaking by reference vectors).
    """
    own = encoded.particles[..., slice(*sizes.scalars)]
    batch = own.shape[0]  # len() would fix the number of events of an exported file
    directions = [vector for name in references for vector in REFERENCES[name]]
    added = encoded.momenta.new_tensor(directions).reshape(-1, 4).expand(batch, -1, -1)
    momenta = torch.cat([encoded.momenta / scale, encoded.vectors / scale, added], dim=1)
    flags = own.new_zeros(sizes.vectors + len(directions), scalars_of(sizes, references) - own.shape[-1])
    kinds = [0] * sizes.vectors + [
        bool(sizes.vectors) + number for number, name in enumerate(references) for _ in REFERENCES[name]
    ]
    for row, column in enumerate(kinds):
        flags[row, column] = 1.0
    pad = torch.nn.functional.pad
    scalars = torch.cat([pad(own, (0, flags.shape[1])), pad(flags, (own.shape[-1], 0)).expand(batch, -1, -1)], dim=1)
    mask = torch.cat([encoded.mask, encoded.mask.new_ones(batch, len(flags))], dim=1)
    return Tokens(momenta, scalars, mask)


def scalars_of(sizes: Sizes, references: Sequence[Reference] = ()) -> int:
    """Scalars of each token: those of the objects, and a flag for each further kind of token."""
    return sizes.scalars[1] - sizes.scalars[0] + bool(sizes.vectors) + len(references)


def followed(found: Tokens, encoded: Encoded) -> Tokens:
    """A token of the event as a whole behind the others, with a flag of its own and no momentum.

    Momenta are brought to the rest frame of the event, in float64, as far as that is not faster than `FASTEST`: what is
    equivariant does not notice, and nowhere is rounding less.
    """
    total = precise(torch.cat([encoded.momenta, encoded.vectors], dim=1)).sum(1)
    objects = encoded.momenta.shape[1] + encoded.vectors.shape[1]
    fastest = FASTEST if found.momenta.shape[1] == objects else WITH_REFERENCES
    mass = torch.maximum(lorentz.mass(total), total[:, 3] / fastest).clamp_min(LEAST)
    momenta = precise(found.momenta) @ lorentz.to_rest(total[:, :3] / mass[:, None]).transpose(1, 2)
    pad = torch.nn.functional.pad
    flag = found.scalars.new_zeros(1, found.scalars.shape[2] + 1)
    flag[0, -1] = 1.0
    own = flag.expand(found.scalars.shape[0], 1, -1)
    return Tokens(
        pad(momenta, (0, 0, 0, 1)),
        torch.cat([pad(found.scalars, (0, 1)), own], dim=1),
        torch.cat([found.mask, torch.ones_like(found.mask[:, :1])], dim=1),
    )
