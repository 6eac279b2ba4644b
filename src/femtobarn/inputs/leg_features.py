"""Features of the legs of a hard process: components of the momenta, and the type of the leg.

Types are those of the published amplitude networks: incoming parton, colourless boson, outgoing gluon (Spinner et al.,
arXiv:2405.14806, section 4.1). Networks that treat equal types alike keep the exchange symmetry of the gluons.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.inputs.batch import Batch
from femtobarn.physics.objects import GLUON, INCOMING, PHOTON, Z_BOSON

#: Types of legs by the name of their flag.
LEG_TYPES = {"incoming": (INCOMING,), "boson": (Z_BOSON, PHOTON), "gluon": (GLUON,)}

#: Features of a leg: its momentum, then one flag for each type.
FEATURES = ("px", "py", "pz", "E", *LEG_TYPES)

#: Unit of momenta in local frames, in GeV: of the order of the momenta of a collision at 1 TeV.
UNIT = 100.0


def leg_features(batch: Batch) -> Float[Tensor, "batch particles features"]:
    """Components (px, py, pz, E) in GeV, and flags of the types."""
    return torch.cat([batch.momenta, leg_types(batch.kind).to(batch.momenta.dtype)], dim=-1)


def leg_types(kind: Tensor) -> Tensor:
    """Flags of `LEG_TYPES`, True for the type of each leg; shape (..., types)."""
    flags = []
    for kinds in LEG_TYPES.values():
        flag = kind == kinds[0]
        for other in kinds[1:]:
            flag = flag | (kind == other)
        flags.append(flag)
    return torch.stack(flags, dim=-1)
