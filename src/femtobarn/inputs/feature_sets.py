"""Sets of features of a particle, by name, and the kind of event that each is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import awkward as ak
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.events import Events
from femtobarn.events.record import TRACKS
from femtobarn.inputs import constituents, leg_features, object_features
from femtobarn.inputs.batch import Batch
from femtobarn.physics.objects import GLUON, INCOMING, JET_KINDS, KINDS, NAMES, PARTICLE, PHOTON, Z_BOSON


@dataclass(frozen=True)
class Domain:
    """A kind of event: what its particles are, and what is known of it as a whole.

    Args:
        name: of the domain.
        members: its particles, in words.
        kinds: types of particles that it has, codes of `femtobarn.physics.objects`.
        metrics: set of metrics with which classifiers of such events are evaluated by default.
        has_met: whether missing transverse momentum is measured, so that it is among the features.
    """

    name: str
    members: str
    kinds: tuple[int, ...]
    metrics: str
    has_met: bool = False


EVENTS = Domain("events", "the objects of an event", tuple(range(1, len(NAMES))), "significance", has_met=True)
JETS = Domain("jets", "the constituents of jets", tuple(range(1, len(JET_KINDS))), "tagging")
POINTS = Domain("points", "the legs of a hard process", (PHOTON, GLUON, Z_BOSON, INCOMING), "significance")


@dataclass(frozen=True)
class FeatureSet:
    """Features of each particle of an event.

    Args:
        name: value of `inputs.features` in a configuration.
        domain: kind of event that has them.
        particles: names of the features, in their order.
        scalars: first and last + 1 of the features that no frame changes: types and charges.
        compute: the features of a batch, not standardised; padded slots hold finite numbers without meaning.
        in_frames: features from momenta in the frame of each particle, the total momentum in each frame, and scalars.
        n_tracks: number of the columns `femtobarn.events.record.TRACKS` that they are made of.
        n_standardized: number of the features, the first ones, that are standardised on training events.
        is_common_scale: whether these are divided by one common scale, so that directions stay.
        has_types: whether the types of particles are among them.
    """

    name: str
    domain: Domain
    particles: tuple[str, ...]
    scalars: tuple[int, int]
    compute: Callable[[Batch], Tensor]
    in_frames: Callable[[Tensor, Tensor, Tensor], Tensor]
    n_tracks: int = 0
    n_standardized: int = 0
    is_common_scale: bool = False
    has_types: bool = True

    @property
    def context(self) -> tuple[str, ...]:
        """Names of the features of the event."""
        return object_features.CONTEXT_FEATURES if self.domain.has_met else ()


def _of_constituents(name: str) -> FeatureSet:
    names = constituents.FEATURES[name]
    start, stop = constituents.SCALARS
    return FeatureSet(
        name=name,
        domain=JETS,
        particles=names,
        scalars=(start, len(names) + stop),
        compute=lambda batch: constituents.features(batch, name),
        in_frames=lambda momenta, total, scalars: constituents.join_features(
            constituents.kinematics(momenta, total), scalars
        ),
        n_tracks=constituents.NEEDS[name],
        has_types=constituents.NEEDS[name] > 0,
    )


_OBJECTS = FeatureSet(
    name=constituents.OBJECTS,
    domain=EVENTS,
    particles=object_features.PARTICLES,
    scalars=(object_features.KINEMATIC, len(object_features.PARTICLES)),
    compute=object_features.particle_features,
    in_frames=lambda momenta, _, scalars: torch.cat([object_features.kinematics(momenta), scalars], dim=-1),
    n_standardized=object_features.KINEMATIC,
)

_LEGS = FeatureSet(
    name="momenta",
    domain=POINTS,
    particles=leg_features.FEATURES,
    scalars=(4, len(leg_features.FEATURES)),
    compute=leg_features.leg_features,
    in_frames=lambda momenta, _, scalars: torch.cat([momenta / leg_features.UNIT, scalars], dim=-1),
    n_standardized=4,
    is_common_scale=True,
)

#: Sets of features by name.
FEATURE_SETS: dict[str, FeatureSet] = {
    feature_set.name: feature_set for feature_set in (_OBJECTS, *map(_of_constituents, constituents.FEATURES), _LEGS)
}


def feature_set(name: str) -> FeatureSet:
    """A set of features by its name.

    Raises:
        ValueError: no such set; the message lists those there are.
    """
    if name not in FEATURE_SETS:
        raise ValueError(f"no features are called {name!r}; there are {', '.join(FEATURE_SETS)}")
    return FEATURE_SETS[name]


def check_feature_set(name: str, interactions: Sequence[str] = ()) -> FeatureSet:
    """A set of features that can be used with these interactions.

    Raises:
        ValueError: an unknown set, or couplings, which only the objects of an event have.
    """
    chosen = feature_set(name)
    couplings = [interaction for interaction in interactions if interaction.startswith("sm_")]
    if chosen.domain is not EVENTS and couplings:
        raise ValueError(f"{', '.join(couplings)}: couplings are of the objects of an event; features {name} are not")
    return chosen


def check_features(events: Events, name: str) -> None:
    """Check that events have the columns and particle types that a set of features needs.

    Raises:
        ValueError: a missing column, particles without types where the features need them, or a type that the features
            do not support.
    """
    check_columns(events.tracks, np.unique(ak.flatten(events.particles.kind)).tolist(), name)


def check_columns(tracks: Sequence[str], kinds: Sequence[int], name: str) -> None:
    """Check that these particle types and track columns are enough for a set of features.

    Raises:
        ValueError: as `check_features`.
    """
    chosen = feature_set(name)
    absent = [column for column in TRACKS[: chosen.n_tracks] if column not in tracks]
    if absent:
        of_jets = [other for other in FEATURE_SETS.values() if other.domain is JETS]
        available = [other.name for other in of_jets if other.n_tracks <= len(tracks)]
        raise ValueError(
            f"inputs.features: {name} needs {', '.join(absent)} of every particle, which these events do not have; "
            f"{' and '.join(available)} would do"
        )
    if chosen.n_tracks and kinds and set(kinds) == {PARTICLE}:
        raise ValueError(
            f"inputs.features: {name} needs the types of particles, which these events do not have; kin would do"
        )
    other_types = [kind for kind in kinds if kind not in chosen.domain.kinds]
    if other_types:
        suitable = [
            other.name
            for other in FEATURE_SETS.values()
            if set(kinds) <= set(other.domain.kinds) and other is not chosen
        ]
        raise ValueError(
            f"inputs.features: {name} are of {chosen.domain.members}, and these events hold "
            f"{', '.join(KINDS[kind] for kind in other_types)}; use {', '.join(suitable)}"
        )


def features_in_frames(
    momenta: Float[Tensor, "batch particles 4"],
    total: Float[Tensor, "batch particles 4"],
    scalars: Float[Tensor, "batch particles scalars"],
    name: str,
) -> Float[Tensor, "batch particles features"]:
    """Features of particles of which each is seen from a frame of its own; not standardised.

    Args:
        momenta: of each particle, in its frame.
        total: momentum of all particles together, in the frame of each.
        scalars: features that no frame changes, as they are.
        name: of the set of features.
    """
    return feature_set(name).in_frames(momenta, total, scalars)
