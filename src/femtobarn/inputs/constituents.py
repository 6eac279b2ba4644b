"""Constituents: features of the particles of a jet, as published for ParT and ParticleNet.

Seven of the momenta (`kin`), with charge and type thirteen (`kinpid`), with impact parameters seventeen (`full`), in
the order and on the fixed scales of the configurations that came with the JetClass data, so that published weights and
results can be compared: Qu, Li and Qian, *Particle Transformer*, arXiv:2202.03772, table 2, and
github.com/jet-universe/particle_transformer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.events.record import TRACKS
from femtobarn.inputs.batch import Batch
from femtobarn.physics import angles, lorentz, pairwise
from femtobarn.physics.objects import CHARGED, ELECTRONS, MUONS, NEUTRAL, PHOTON

#: The features that are not of constituents: those of the objects of an event.
OBJECTS = "objects"

_LOGARITHMS = ("log pT", "log E", "log pT/jet", "log E/jet", "delta R")
_TYPES = ("charge", "charged hadron", "neutral hadron", "photon", "electron", "muon")
_TRACKS = ("tanh d0", "d0 error", "tanh dz", "dz error")
_ANGLES = ("delta eta", "delta phi")

#: Names of the features of each set, in their order.
FEATURES: dict[str, tuple[str, ...]] = {
    "kin": (*_LOGARITHMS, *_ANGLES),
    "kinpid": (*_LOGARITHMS, *_TYPES, *_ANGLES),
    "full": (*_LOGARITHMS, *_TYPES, *_TRACKS, *_ANGLES),
}

#: Where in each set the features stand that no frame changes, as types and charges.
SCALARS = (len(_LOGARITHMS), -len(_ANGLES))

#: How many of `femtobarn.events.record.TRACKS` each set needs.
NEEDS = {"kin": 0, "kinpid": 1, "full": len(TRACKS)}


class Scale(NamedTuple):
    """What is taken off a feature, what the rest is multiplied by, and between what it is cut."""

    centre: float
    factor: float
    low: float = -5.0
    high: float = 5.0


#: Features with a scale; the others are of order 1 as they are.
SCALES = {
    "log pT": Scale(1.7, 0.7),
    "log E": Scale(2.0, 0.7),
    "log pT/jet": Scale(-4.7, 0.7),
    "log E/jet": Scale(-4.7, 0.7),
    "delta R": Scale(0.2, 4.0),
    "d0 error": Scale(0.0, 1.0, 0.0, 1.0),
    "dz error": Scale(0.0, 1.0, 0.0, 1.0),
}

#: Momenta and energies below these (GeV) count as these in logarithms: far below the end of their scale.
SOFTEST = 1e-5


def features(batch: Batch, name: str) -> Float[Tensor, "batch particles features"]:
    r"""Scaled features of each constituent; padded slots hold finite numbers without meaning.

    The jet is the sum of the constituents in the batch. Its direction is the origin of :math:`\Delta\eta` and
    :math:`\Delta\phi`; jets on the other side of the detector (:math:`\eta \leq 0`) are mirrored.

    Args:
        batch: jets; padded momenta are zeros, as `femtobarn.inputs.features.clean` leaves them.
        name: `kin`, `kinpid` or `full`.
    """
    momenta = pairwise.fill_padding(batch.momenta, batch.mask)
    jet = torch.where(batch.mask[..., None], batch.momenta, 0.0).sum(1, keepdim=True)
    columns = kinematics(momenta, jet)
    columns["delta eta"] = torch.where(lorentz.eta(jet) > 0, 1.0, -1.0) * columns["delta eta"]
    scalars: list[Tensor] = []
    if NEEDS[name] > 0:
        scalars.append(batch.tracks[..., 0])
        for kinds in ((CHARGED,), (NEUTRAL,), (PHOTON,), ELECTRONS, MUONS):
            is_one = batch.kind == kinds[0]
            for other in kinds[1:]:
                is_one = is_one | (batch.kind == other)
            scalars.append(is_one.to(momenta.dtype))
    if NEEDS[name] > 1:
        _, d0, d0_error, dz, dz_error = batch.tracks.unbind(-1)
        scalars += [d0.tanh(), _scaled(d0_error, "d0 error"), dz.tanh(), _scaled(dz_error, "dz error")]
    return join_features(columns, torch.stack(scalars, dim=-1) if scalars else momenta[..., :0])


def kinematics(momenta: Float[Tensor, "batch particles 4"], jet: Float[Tensor, "batch _ 4"]) -> dict[str, Tensor]:
    """Features of momenta relative to their jet, by name; neither scaled nor mirrored."""
    pt, energy = lorentz.pt(momenta).clamp_min(SOFTEST), momenta[..., 3].clamp_min(SOFTEST)
    jet_pt, jet_energy = lorentz.pt(jet).clamp_min(SOFTEST), jet[..., 3].clamp_min(SOFTEST)
    along = lorentz.eta(momenta) - lorentz.eta(jet)
    around = angles.delta_phi(lorentz.phi(momenta), lorentz.phi(jet))
    return {
        "log pT": pt.log(),
        "log E": energy.log(),
        "log pT/jet": (pt / jet_pt).log(),
        "log E/jet": (energy / jet_energy).log(),
        "delta R": lorentz.safe_sqrt(along.square() + around.square()),
        "delta eta": along,
        "delta phi": around,
    }


def join_features(
    columns: Mapping[str, Tensor], scalars: Float[Tensor, "*shape scalars"]
) -> Float[Tensor, "*shape features"]:
    """Features of a set in their order: `kinematics` on their scales, with the scalars between them."""
    first, last = (
        torch.stack([_scaled(columns[name], name) for name in names], dim=-1) for names in (_LOGARITHMS, _ANGLES)
    )
    return torch.cat([first, scalars, last], dim=-1)


def _scaled(value: Tensor, feature: str) -> Tensor:
    scale = SCALES.get(feature)
    if scale is None:
        return value
    return ((value - scale.centre) * scale.factor).clamp(scale.low, scale.high)
