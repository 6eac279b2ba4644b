"""Couplings: strength of the interaction of two particles in the Standard Model.

Three matrices over the object types, each a step closer to nature: which pairs meet in a leading-order vertex
(`ids`), how strong that vertex is at the Z mass (`const`), and how strong it is at the pair's scale (`running`).

Source: Moskvitina et al., arXiv:2211.05143 (SciPost Phys. 19, 028, 2025).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from femtobarn.physics import lorentz
from femtobarn.physics.constants import Z_MASS
from femtobarn.physics.objects import ANTIMUON, BJET, ELECTRON, JET, MUON, NAMES, PADDING, PHOTON, POSITRON
from femtobarn.physics.objects import LEPTONS as LEPTON_KINDS
from femtobarn.physics.pairwise import fill_padding, pairs

#: Couplings at the Z mass: the electromagnetic and the strong fine-structure constant.
ALPHA, ALPHA_S = 1 / 127.5, 0.118

#: Charged leptons in the photon's vacuum polarisation, and quark flavours in the gluon's.
LEPTONS, FLAVOURS = 3, 6

#: The constant couplings of `const`; that of the Z does not run.
G_STRONG, G_Z, G_ELECTRIC = 1.22, 0.758, 0.31

#: Scales squared outside this range (GeV²) count as its ends. Below 1 GeV perturbation theory ends: alpha_s is 0.29
#: there, and infinite at 0.045 GeV. The upper end only keeps float32 finite; alpha's pole lies at 1e88 GeV.
SCALES = (1.0, 1e18)

Vertices = dict[tuple[int, int], float]

#: Pairs that a vertex joins, with their charge in it: gluons between jets, a Z between a lepton and its antiparticle,
#: photons with whatever is charged (a jet counts as 1/2, between the quarks' 1/3 and 2/3).
STRONG: Vertices = {(JET, JET): 1.0, (JET, BJET): 1.0, (BJET, BJET): 1.0}
WEAK: Vertices = {(ELECTRON, POSITRON): 1.0, (MUON, ANTIMUON): 1.0}
ELECTRIC: Vertices = {(JET, PHOTON): 1 / 2, (BJET, PHOTON): 1 / 3} | {(lepton, PHOTON): 1.0 for lepton in LEPTON_KINDS}

Momenta = Float[Tensor, "batch particles 4"]
Kind = Int[Tensor, "batch particles"]
Mask = Bool[Tensor, "batch particles"]
Matrix = Float[Tensor, "batch particles particles"]


def alpha(q2: Tensor) -> Tensor:
    r"""The electromagnetic coupling at a scale: 1/127.5 at the Z mass, and it rises.

    .. math:: \alpha(Q^2) = \frac{\alpha(\mu_0^2)}{1 - \frac{n\,\alpha(\mu_0^2)}{3\pi} \ln (Q^2/\mu_0^2)}, \quad n = 3

    Args:
        q2: scale squared in GeV², clamped to `SCALES`.
    """
    return ALPHA / (1 - LEPTONS * ALPHA / (3 * math.pi) * _logarithm(q2))


def alpha_s(q2: Tensor) -> Tensor:
    r"""The strong coupling at a scale: 0.118 at the Z mass, and it falls (asymptotic freedom).

    .. math::
        \alpha_s(Q^2) = \frac{\alpha_s(\mu_0^2)}{1 + \alpha_s(\mu_0^2) \frac{33 - 2 n_f}{12\pi} \ln (Q^2/\mu_0^2)},
        \quad n_f = 6

    Args:
        q2: scale squared in GeV², clamped to `SCALES`.
    """
    return ALPHA_S / (1 + ALPHA_S * (33 - 2 * FLAVOURS) / (12 * math.pi) * _logarithm(q2))


def strength(fine_structure: Tensor) -> Tensor:
    r"""The coupling :math:`g = \sqrt{4 \pi \alpha}` that stands in the vertex."""
    return (4 * math.pi * fine_structure).sqrt()


def ids(kind: Kind, mask: Mask, dtype: torch.dtype = torch.float32) -> Matrix:
    """1 for pairs that meet in a leading-order Standard Model vertex, 0 for all others."""
    return _look_up(dict.fromkeys(STRONG | WEAK | ELECTRIC, 1.0), kind, mask, dtype)


def const(kind: Kind, mask: Mask, dtype: torch.dtype = torch.float32) -> Matrix:
    """The coupling of every pair at the Z mass, `G_STRONG`, `G_Z` or `G_ELECTRIC` x charge; 0 without a vertex."""
    couplings = _scaled(STRONG, G_STRONG) | _scaled(WEAK, G_Z) | _scaled(ELECTRIC, G_ELECTRIC)
    return _look_up(couplings, kind, mask, dtype)


def running(momenta: Momenta, kind: Kind, mask: Mask) -> Matrix:
    r"""The coupling of every pair at its own scale, 0 where there is no vertex; the Z's stays at `G_Z`.

    .. math:: Q = (p_{T,i} + p_{T,j}) / 2
    """
    transverse = lorentz.pt(fill_padding(momenta, mask))
    q2 = ((transverse[:, :, None] + transverse[:, None, :]) / 2).square()
    strong = _look_up(STRONG, kind, mask, momenta.dtype) * strength(alpha_s(q2))
    electric = _look_up(ELECTRIC, kind, mask, momenta.dtype) * strength(alpha(q2))
    return strong + electric + _look_up(_scaled(WEAK, G_Z), kind, mask, momenta.dtype)


def _logarithm(q2: Tensor) -> Tensor:
    return (q2.clamp(*SCALES) / Z_MASS**2).log()


def _scaled(vertices: Vertices, coupling: float) -> Vertices:
    return {pair: factor * coupling for pair, factor in vertices.items()}


def _look_up(vertices: Vertices, kind: Kind, mask: Mask, dtype: torch.dtype) -> Matrix:
    types = range(len(NAMES))
    table = [vertices.get((first, second), vertices.get((second, first), 0.0)) for first in types for second in types]
    kind = torch.where(mask, kind, PADDING).long()
    index = kind[:, :, None] * len(types) + kind[:, None, :]
    # index_select takes a quarter of the time of table[index]
    values = torch.tensor(table, dtype=dtype, device=kind.device).index_select(0, index.flatten())
    return torch.where(pairs(mask), values.reshape(index.shape), 0.0)
