"""Features of the objects of an event: jets, leptons and photons, with the missing transverse momentum."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.inputs.batch import Batch
from femtobarn.physics import lorentz, pairwise
from femtobarn.physics.objects import NAMES

#: Features of an object: four numbers, then one flag for each type.
PARTICLES = ("log E", "log pT", "eta", "phi", *NAMES[1:])

#: Features of an event.
CONTEXT_FEATURES = ("log MET", "cos phi_MET", "sin phi_MET")

#: Number of kinematic features of an object, which stand first; flags of types follow.
KINEMATIC = 4

#: Energies below these (GeV) count as these in logarithms: softer than any object, and than the resolution of MET.
SOFTEST, SOFTEST_MET = 1e-3, 1.0


def particle_features(batch: Batch) -> Float[Tensor, "batch particles features"]:
    """`PARTICLES` of every object, not standardised; padded slots hold finite numbers without meaning."""
    momenta = pairwise.fill_padding(batch.momenta, batch.mask)
    types = torch.arange(1, len(NAMES), device=batch.kind.device)
    flags = (batch.kind[..., None] == types).to(momenta.dtype)
    return torch.cat([kinematics(momenta), flags], dim=-1)


def kinematics(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape kinematic"]:
    """The first `KINEMATIC` of `PARTICLES`, in the frame of the momenta."""
    numbers = (
        momenta[..., 3].clamp_min(SOFTEST).log(),
        lorentz.pt(momenta).clamp_min(SOFTEST).log(),
        lorentz.eta(momenta),
        lorentz.phi(momenta),
    )
    return torch.stack(numbers, dim=-1)


def context_features(batch: Batch) -> Float[Tensor, "batch event_features"]:
    """`CONTEXT_FEATURES` of every event, not standardised."""
    missing, azimuth = batch.context[:, 0], batch.context[:, 1]
    return torch.stack([missing.clamp_min(SOFTEST_MET).log(), azimuth.cos(), azimuth.sin()], dim=-1)


def missing(batch: Batch) -> Float[Tensor, "batch 1 4"]:
    """Missing transverse momentum as the four-vector (px, py, 0, MET) in GeV of one massless particle."""
    met, azimuth = batch.context[:, 0], batch.context[:, 1]
    return torch.stack([met * azimuth.cos(), met * azimuth.sin(), torch.zeros_like(met), met], dim=-1)[:, None]
