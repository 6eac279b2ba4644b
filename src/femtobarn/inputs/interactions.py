"""Interactions: what a network may be told about every pair of objects, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.inputs.batch import Batch
from femtobarn.physics import couplings, lorentz, pairwise

#: Arguments of logarithms are at least this.
FLOOR = 1e-8

Matrix = Float[Tensor, "batch particles particles"]


def _nothing(batch: Batch) -> Float[Tensor, "batch particles"]:
    return torch.zeros_like(batch.momenta[..., 3])


def _mass2(batch: Batch) -> Float[Tensor, "batch particles"]:
    """Of twice the momentum; that of light objects is rounding, here the rounding that published weights know."""
    px, py, pz, energy = batch.momenta.unbind(-1)
    return 4 * (energy.square() - (px.square() + py.square() + pz.square()))


class Interaction(NamedTuple):
    """One number for every pair of objects: its meaning, how to compute it, and whether networks get its logarithm."""

    meaning: str
    value: Callable[[Batch], Matrix]  # 0 for padded pairs and on the diagonal
    logarithmic: bool = True
    own: Callable[[Batch], Float[Tensor, "batch particles"]] = (
        _nothing  # what the formula says of an object with itself
    )


#: The names that `interactions: [...]` in a config may hold.
INTERACTIONS: dict[str, Interaction] = {
    "mass": Interaction(
        "invariant mass of the pair in GeV",
        lambda b: pairwise.mass(b.momenta, b.mask),
        own=lambda b: lorentz.safe_sqrt(_mass2(b)),
    ),
    "mass2": Interaction(
        "invariant mass squared in GeV², as in ParT", lambda b: pairwise.mass2(b.momenta, b.mask), own=_mass2
    ),
    "delta_r": Interaction("distance in pseudorapidity and azimuth", lambda b: pairwise.delta_r(b.momenta, b.mask)),
    "delta": Interaction("distance in rapidity and azimuth, as in ParT", lambda b: pairwise.delta(b.momenta, b.mask)),
    "kt": Interaction("min(pT) x delta in GeV, as in ParT", lambda b: pairwise.kt(b.momenta, b.mask)),
    "z": Interaction(
        "share of the softer object in the pair's pT, as in ParT",
        lambda b: pairwise.z(b.momenta, b.mask),
        own=lambda b: _nothing(b) + 0.5,
    ),
    "dot": Interaction(
        "Minkowski product of the two momenta in GeV²",
        lambda b: pairwise.dot(b.momenta, b.mask),
        own=lambda b: _mass2(b) / 4,
    ),
    "sm_ids": Interaction(
        "1 where a leading-order Standard Model vertex joins the two types",
        lambda b: couplings.ids(b.kind, b.mask, b.momenta.dtype),
        logarithmic=False,
    ),
    "sm_const": Interaction(
        "Standard Model coupling of the two types at the Z mass",
        lambda b: couplings.const(b.kind, b.mask, b.momenta.dtype),
        logarithmic=False,
    ),
    "sm_running": Interaction(
        "Standard Model coupling of the two types at the pair's scale (pT_i + pT_j)/2",
        lambda b: couplings.running(b.momenta, b.kind, b.mask),
        logarithmic=False,
    ),
}


def check(names: Sequence[str]) -> tuple[str, ...]:
    """The names, known and each only once.

    Raises:
        ValueError: an unknown name (the message lists those there are) or a repeated one.
    """
    for name in names:
        if name not in INTERACTIONS:
            raise ValueError(f"no interaction is called {name!r}; there are {', '.join(INTERACTIONS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"interactions named twice: {', '.join(names)}")
    return tuple(names)


def pair_features(batch: Batch, names: Sequence[str]) -> list[Matrix]:
    """The named interactions of every pair as networks get them: kinematic ones as logarithms, couplings as they are.

    Symmetric; padded pairs and the diagonal hold finite numbers without meaning.
    """
    return [_feature(INTERACTIONS[name], INTERACTIONS[name].value(batch)) for name in names]


def own_features(batch: Batch, names: Sequence[str]) -> list[Float[Tensor, "batch particles"]]:
    """The same of every object with itself, as if it were a pair: no distance, half of the pT, twice the mass."""
    return [_feature(INTERACTIONS[name], INTERACTIONS[name].own(batch)) for name in names]


def _feature(interaction: Interaction, value: Tensor) -> Tensor:
    return value.clamp_min(FLOOR).log() if interaction.logarithmic else value
