"""Encoded: a batch after feature extraction, what an architecture computes on."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Sizes(NamedTuple):
    """The widths that data and task fix for an architecture."""

    particles: int  # features per object
    pairs: int  # features per pair of objects; 0 without interactions
    context: int  # features per event
    outputs: int  # classes, or regressed values
    scalars: tuple[int, int] = (0, 0)  # first and last + 1 of the features of an object that no frame changes: its type
    vectors: int = 0  # four-vectors of the event as a whole
    features: str = "objects"  # the set of features of an object: `inputs.features` of the configuration


class Encoded(NamedTuple):
    """Standardised features beside the raw physics they came from; padded entries are 0."""

    particles: Float[Tensor, "batch particles features"]
    pairs: Float[Tensor, "batch particles particles pair_features"]  # symmetric; last axis may be 0
    context: Float[Tensor, "batch event_features"]
    mask: Bool[Tensor, "batch particles"]  # True where an object is real
    momenta: Float[Tensor, "batch particles 4"]  # (px, py, pz, E) in GeV
    kind: Int[Tensor, "batch particles"]  # codes of femtobarn.physics.objects; all alike where features tell no types
    #: missing transverse momentum as a massless four-vector across the beam, in GeV; jets have none
    vectors: Float[Tensor, "batch vectors 4"]
