"""Lorentz transformations for tests of invariance."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from femtobarn.physics import lorentz
from femtobarn.physics.geometric_algebra import Multivectors, product

Transformation = Callable[[Tensor], Tensor]

#: Boosts up to this one are what invariant networks are tested with.
FASTEST = 50.0


def rotation(seed: int) -> Transformation:
    """A rotation around a random axis by a random angle, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    turn = turn * torch.linalg.det(turn)  # proper

    def rotated(momenta: Tensor) -> Tensor:
        return torch.cat([momenta[..., :3] @ turn.to(momenta.dtype).T, momenta[..., 3:]], dim=-1)

    return rotated


def boost(gamma: float, seed: int = 0) -> Transformation:
    """A boost with this Lorentz factor in a random direction."""
    axis = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    beta = axis / axis.norm() * math.sqrt(1 - 1 / gamma**2)
    return lambda momenta: lorentz.boost(momenta, beta.to(momenta.dtype))


def along_beam(gamma: float) -> Transformation:
    """A boost along the beam."""
    beta = torch.tensor([0.0, 0.0, math.sqrt(1 - 1 / gamma**2)], dtype=torch.float64)
    return lambda momenta: lorentz.boost(momenta, beta.to(momenta.dtype))


def around_beam(angle: float) -> Transformation:
    """A rotation around the beam."""
    cos, sin = math.cos(angle), math.sin(angle)

    def rotated(momenta: Tensor) -> Tensor:
        px, py, pz, energy = momenta.unbind(-1)
        return torch.stack([cos * px - sin * py, sin * px + cos * py, pz, energy], dim=-1)

    return rotated


#: Every kind of proper Lorentz transformation, the fastest included.
TRANSFORMATIONS: dict[str, Transformation] = {
    "rotation": rotation(1),
    "gamma 2": boost(2.0, 2),
    "gamma 10": boost(10.0, 3),
    "gamma 50": boost(FASTEST, 4),
    "boost and rotation": lambda momenta: rotation(5)(boost(7.0, 6)(momenta)),
}


def of_multivectors(moved: Transformation) -> Callable[[Multivectors], Multivectors]:
    """What a transformation of four-vectors does to every grade: planes become those of the transformed vectors."""
    matrix = moved(torch.eye(4, dtype=torch.float64)).T
    basis = [Multivectors(*(torch.zeros(*s, 1, 2).double() for s in ((), (4,), (3,)))) for _ in range(4)]
    for vector, column in zip(basis, matrix.T, strict=True):
        vector.vectors[:, 0, 0] = column
    planes = torch.stack([product(e, basis[3]).bivectors[:, 0] for e in basis[:3]], dim=1)
    real, imaginary = planes.unbind(-1)

    def turned(x: Multivectors) -> Multivectors:
        a, b = x.bivectors.chunk(2, dim=-1)
        turn = "mn,nrc->mrc"
        parts = [
            torch.einsum(turn, first, a) + torch.einsum(turn, second, b)
            for first, second in ((real, -imaginary), (imaginary, real))
        ]
        return x._replace(vectors=torch.einsum(turn, matrix, x.vectors), bivectors=torch.cat(parts, dim=-1))

    return turned
