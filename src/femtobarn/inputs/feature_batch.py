"""Batch after feature extraction, the input of an architecture."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Sizes(NamedTuple):
    """Widths that data and task define for an architecture."""

    particles: int  # features per particle
    pairs: int  # features per pair of particles; 0 without interactions
    context: int  # features per event
    outputs: int  # number of classes, or of regressed values
    scalars: tuple[int, int] = (0, 0)  # first and last + 1 of the frame-independent features of a particle: its type
    vectors: int = 0  # number of four-vectors of the event
    features: str = "objects"  # set of features of a particle: `inputs.features` of the configuration
    slots: int = 18  # most particles of an event: `inputs.slots` of the configuration


class Features(NamedTuple):
    """Standardized features and the momenta they were made from; padded entries are 0."""

    particles: Float[Tensor, "batch particles features"]
    pairs: Float[Tensor, "batch particles particles pair_features"]  # symmetric; last axis may be 0
    context: Float[Tensor, "batch event_features"]
    mask: Bool[Tensor, "batch particles"]  # True where a particle is real
    momenta: Float[Tensor, "batch particles 4"]  # (px, py, pz, E) in GeV
    kind: Int[Tensor, "batch particles"]  # codes of femtobarn.physics.objects; all equal if features contain no types
    #: missing transverse momentum as a massless four-vector orthogonal to the beam, in GeV; jets have none
    vectors: Float[Tensor, "batch vectors 4"]
