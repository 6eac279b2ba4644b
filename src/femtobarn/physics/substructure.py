"""Substructure: the observables that tell jets apart, from their constituents.

Numpy, many jets at once. Distances are in rapidity and azimuth, the axis of a jet is that of the sum of its
constituents (E scheme), and shares are shares of the scalar sum of their pT. A jet without constituents has 0
everywhere.

Infrared and collinear safe: the masses, N-subjettiness, the energy correlators and the angularities with kappa = 1.
Not safe: multiplicity, p_T D, the entropies, charged fractions and the jet charge.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from femtobarn.physics.clustering import CHUNK_DISTANCES, cluster, distance2, rapidity
from femtobarn.physics.grooming import mass, mass_drop, soft_drop, transverse
from femtobarn.physics.objects import CHARGED, ELECTRONS, MUONS, NEUTRAL, PHOTON

Momenta = Float[np.ndarray, "batch particles 4"]
Mask = Bool[np.ndarray, "batch particles"]
Number = Float[np.ndarray, " batch"]

#: Types of constituent that count as different in the entropy of the types.
SORTS = ((CHARGED,), (NEUTRAL,), (PHOTON,), ELECTRONS, MUONS)

#: Names of what `kinematic` and `identified` give.
KINEMATIC = (
    "mass",
    "pt",
    "mass_softdrop",
    "z_g",
    "r_g",
    "mass_massdrop",
    "tau1",
    "tau2",
    "tau3",
    "tau21",
    "tau32",
    "C1_02",
    "e2",
    "e3",
    "C2",
    "D2",
    "multiplicity",
    "girth",
    "LHA",
    "thrust",
    "ptD",
    "entropy",
)
IDENTIFIED = ("charged_share", "neutral_share", "photon_share", "lepton_share", "n_charged", "type_entropy")
CHARGED_ONLY = ("charge_03", "charge_05", "charge_10")


def kinematic(
    momenta: Momenta, mask: Mask, radius: float = 0.8, *, chunk_distances: int = CHUNK_DISTANCES
) -> dict[str, NDArray[np.float64]]:
    """The observables of the momenta alone, by name: `KINEMATIC`.

    Args:
        momenta: (px, py, pz, E) in GeV; what padded slots hold changes nothing.
        mask: True where a constituent is real.
        radius: R of the jets.
        chunk_distances: number of distances in memory at once; does not change the result.
    """
    momenta = np.where(mask[..., None], momenta, 0.0)
    jet = momenta.sum(axis=1)
    tree = cluster(momenta, mask, "cambridge_aachen", chunk_distances=chunk_distances)
    groomed, dropped = soft_drop(tree, radius=radius), mass_drop(tree)
    subjets = cluster(momenta, mask, "kt", chunk_distances=chunk_distances)
    tau1, tau2, tau3 = (n_subjettiness(momenta, mask, subjets.subjets(count), radius=radius) for count in (1, 2, 3))
    e2, e3 = correlators(momenta, mask, beta=1.0, chunk_distances=chunk_distances)
    return {
        "mass": mass(jet),
        "pt": transverse(jet),
        "mass_softdrop": mass(groomed.momentum),
        "z_g": groomed.z,
        "r_g": groomed.delta_r,
        "mass_massdrop": np.where(dropped.passed, mass(dropped.momentum), 0.0),
        "tau1": tau1,
        "tau2": tau2,
        "tau3": tau3,
        "tau21": ratio(tau2, tau1),
        "tau32": ratio(tau3, tau2),
        "C1_02": correlators(momenta, mask, beta=0.2, chunk_distances=chunk_distances)[0],
        "e2": e2,
        "e3": e3,
        "C2": ratio(e3, e2**2),
        "D2": ratio(e3, e2**3),
        "multiplicity": mask.sum(axis=1).astype(np.float64),
        "girth": angularity(momenta, mask, 1, 1, radius=1.0),
        "LHA": angularity(momenta, mask, 1, 0.5, radius=radius),
        "thrust": angularity(momenta, mask, 1, 2, radius=radius),
        "ptD": np.sqrt(angularity(momenta, mask, 2, 0, radius=radius)),
        "entropy": fragmentation_entropy(momenta, mask),
    }


def identified(
    momenta: Momenta, mask: Mask, kind: Int[np.ndarray, "batch particles"]
) -> dict[str, NDArray[np.float64]]:
    """The observables of the types of the constituents: `IDENTIFIED`."""
    z = shares(momenta, mask)
    by_sort = [np.where(np.isin(kind, sort), z, 0.0).sum(axis=1) for sort in SORTS]
    charged, neutral, photon, electron, muon = by_sort
    counted = mask & np.isin(kind, (CHARGED, *ELECTRONS, *MUONS))
    return {
        "charged_share": charged + electron + muon,
        "neutral_share": neutral,
        "photon_share": photon,
        "lepton_share": electron + muon,
        "n_charged": counted.sum(axis=1).astype(np.float64),
        "type_entropy": sum((_surprise(share) for share in by_sort), np.zeros(len(mask))),
    }


def charges(
    momenta: Momenta, mask: Mask, charge: Float[np.ndarray, "batch particles"]
) -> dict[str, NDArray[np.float64]]:
    """The jet charge for three powers of the momentum: `CHARGED_ONLY`."""
    return {
        f"charge_{round(10 * kappa):02d}": jet_charge(momenta, mask, charge, kappa=kappa) for kappa in (0.3, 0.5, 1.0)
    }


def n_subjettiness(
    momenta: Momenta, mask: Mask, axes: Float[np.ndarray, "batch axes 4"], *, radius: float = 0.8
) -> Number:
    r"""How far the constituents lie from the nearest of N axes: small for a jet of N prongs.

    .. math:: \tau_N = \frac{\sum_k p_{T,k} \min_a \Delta_{k a}}{\sum_k p_{T,k} R}

    Args:
        momenta: (px, py, pz, E) in GeV.
        mask: True where a constituent is real.
        axes: exclusive kt subjets (`ClusterSequence.subjets` of a kt tree), as in the paper; an axis of zeros is none.
        radius: R of the jets.

    Source: Thaler and Van Tilburg, arXiv:1011.2268, eq. 2.1 with beta = 1.
    """
    height, azimuth = _angles(momenta)
    axis_height, axis_azimuth = _angles(axes)
    nearest = np.full(mask.shape, np.inf)
    for number in range(axes.shape[1]):
        exists = np.abs(axes[:, number]).sum(axis=1, keepdims=True) > 0
        distance = distance2(height, azimuth, axis_height[:, number, None], axis_azimuth[:, number, None])
        nearest = np.minimum(nearest, np.where(exists, distance, np.inf))
    nearest = np.where(mask & np.isfinite(nearest), nearest, 0.0)
    tau: NDArray[np.float64] = (shares(momenta, mask) * np.sqrt(nearest)).sum(axis=1) / radius
    return tau


def correlators(
    momenta: Momenta, mask: Mask, *, beta: float, chunk_distances: int = CHUNK_DISTANCES
) -> tuple[Number, Number]:
    r"""The two- and three-point energy correlators of a jet.

    .. math:: e_2 = \sum_{i<j} z_i z_j \Delta_{ij}^\beta, \quad
        e_3 = \sum_{i<j<k} z_i z_j z_k (\Delta_{ij} \Delta_{ik} \Delta_{jk})^\beta

    e_3 is a sixth of the trace of the third power of the matrix :math:`\sqrt{z_i z_j} \Delta_{ij}^\beta`.
    :math:`C_1 = e_2`, :math:`C_2 = e_3/e_2^2` (Larkoski, Salam and Thaler, arXiv:1305.0007) and
    :math:`D_2 = e_3/e_2^3` (Larkoski, Moult and Neill, arXiv:1409.6298).
    """
    e2, e3 = np.zeros(len(mask)), np.zeros(len(mask))
    counts = mask.sum(axis=1)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 1]
    while len(order):
        width = int(counts[order[-1]])
        rows = order[-max(1, chunk_distances // width**2) :]
        order = order[: -len(rows)]
        packed = np.argsort(~mask[rows], axis=1, kind="stable")[:, :width]
        inside = np.take_along_axis(mask[rows], packed, axis=1)
        chosen = np.where(inside[..., None], np.take_along_axis(momenta[rows], packed[..., None], axis=1), 0.0)
        z = shares(chosen, inside)
        height, azimuth = _angles(chosen)
        apart = distance2(height[:, :, None], azimuth[:, :, None], height[:, None, :], azimuth[:, None, :])
        root = np.sqrt(z)
        matrix = root[:, :, None] * root[:, None, :] * apart ** (beta / 2)
        matrix[:, np.arange(width), np.arange(width)] = 0.0
        e2[rows] = np.einsum("nij,ni,nj->n", matrix, root, root) / 2
        e3[rows] = ((matrix @ matrix) * matrix).sum(axis=(1, 2)) / 6
    return e2, e3


def angularity(momenta: Momenta, mask: Mask, kappa: int | float, beta: int | float, *, radius: float = 0.8) -> Number:
    r"""Generalised angularity of a jet around the axis of its summed momentum.

    .. math:: \lambda_\beta^\kappa = \sum_i z_i^\kappa \left(\frac{\Delta_i}{R}\right)^\beta

    (1, 1) is the width, girth with R = 1; (1, 1/2) the Les Houches angularity; (1, 2) thrust, about m²/(pT R)²; (2, 0)
    is (p_T D)²; (0, 0) the multiplicity. The axis recoils against soft radiation, which a winner-take-all axis would
    not.

    Source: Larkoski, Thaler and Waalewijn, arXiv:1408.3122.
    """
    z = shares(momenta, mask)
    height, azimuth = _angles(momenta)
    axis_height, axis_azimuth = _angles(np.where(mask[..., None], momenta, 0.0).sum(axis=1, keepdims=True))
    distance = np.sqrt(distance2(height, azimuth, axis_height, axis_azimuth)) / radius
    # 0 to the power 0 is 1, a constituent on the axis counts in the multiplicity
    terms = np.where(mask, np.where(mask, z, 1.0) ** kappa * np.where(mask, distance, 1.0) ** beta, 0.0)
    value: NDArray[np.float64] = terms.sum(axis=1)
    return value


def fragmentation_entropy(momenta: Momenta, mask: Mask) -> Number:
    r"""Entropy of the momentum shares, :math:`-\sum_i z_i \ln z_i`: ln n for n equal constituents.

    Source: Neill and Waalewijn, *Entropy of a jet*, arXiv:1811.01021, in its form for shares of pT.
    """
    value: NDArray[np.float64] = _surprise(shares(momenta, mask)).sum(axis=1)
    return value


def jet_charge(momenta: Momenta, mask: Mask, charge: Float[np.ndarray, "batch particles"], *, kappa: float) -> Number:
    r"""Momentum-weighted charge, :math:`\sum_i z_i^\kappa Q_i`.

    Source: Field and Feynman, Nucl. Phys. B136 (1978) 1; Krohn, Lin, Schwartz and Waalewijn, arXiv:1209.2421.
    """
    z = np.where(mask, shares(momenta, mask), 1.0) ** kappa
    value: NDArray[np.float64] = np.where(mask, z * charge, 0.0).sum(axis=1)
    return value


def shares(momenta: Momenta, mask: Mask) -> Float[np.ndarray, "batch particles"]:
    """Share of each constituent in the scalar sum of pT; 0 in padded slots."""
    pt = np.where(mask, transverse(np.where(mask[..., None], momenta, 0.0)), 0.0)
    total = pt.sum(axis=1, keepdims=True)
    z: NDArray[np.float64] = pt / np.where(total > 0, total, 1.0)
    return z


def ratio(above: Number, below: Number) -> Number:
    """A quotient, 0 where the denominator is: a jet of fewer prongs than asked for has none."""
    quotient: NDArray[np.float64] = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return quotient


def _angles(momenta: Float[np.ndarray, "*shape 4"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rapidity(momenta), np.arctan2(momenta[..., 1], momenta[..., 0])


def _surprise(share: NDArray[np.float64]) -> NDArray[np.float64]:
    value: NDArray[np.float64] = -share * np.log(np.where(share > 0, share, 1.0))
    return value
