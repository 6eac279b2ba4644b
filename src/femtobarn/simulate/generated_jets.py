"""Truth of measured jets: transverse momentum, mass and groomed mass of the generated jet that each one is made of.

A generated jet is an anti-kt jet of the stable generated particles without neutrinos, which no detector measures. These
columns are targets for regressions. No network and no boosted tree receives them.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.physics.angles import delta_phi
from femtobarn.physics.clustering import cluster
from femtobarn.physics.grooming import mass, soft_drop

#: Settings of soft drop for `gen_jet_groomed_mass`.
Z_CUT, BETA = 0.1, 0.0

#: A generated jet belongs to a measured one if their axes are closer than this share of the radius.
MATCHING_SHARE = 0.5

#: Generated jets are searched for above this share of the lowest measured pT.
MIN_PT_SHARE = 0.5

MOMENTUM = ("px", "py", "pz", "E")


def generated_jet_columns(
    generated: ak.Array, event: NDArray[np.int64], eta: NDArray[np.float64], phi: NDArray[np.float64], radius: float
) -> dict[str, NDArray[np.float64]]:
    """Transverse momentum and masses in GeV of the generated jet nearest to each measured jet.

    Args:
        generated: constituents of the generated jets of each event: (events, jets, constituents), px, py, pz, E in GeV.
        event: event of each measured jet.
        eta, phi: axis of each measured jet.
        radius: R of the jets.

    Returns:
        `gen_jet_pt`, `gen_jet_mass` and `gen_jet_groomed_mass` of each measured jet. NaN if no generated jet is within
        half a radius in pseudorapidity and azimuth.
    """
    generated = generated[list(MOMENTUM)][event]
    px, py, pz = (ak.sum(generated[name], axis=2) for name in MOMENTUM[:3])
    pt = np.hypot(px, py)
    distance = np.hypot(np.arcsinh(pz / pt) - eta, delta_phi(np.arctan2(py, px), phi))
    is_matched = ak.to_numpy(ak.min(distance, axis=1, mask_identity=False)) < MATCHING_SHARE * radius
    nearest = ak.to_numpy(ak.argmin(distance[is_matched], axis=1, mask_identity=False))
    jets = generated[is_matched][np.arange(len(nearest)), nearest]
    groomed_mass, ungroomed = groomed_and_ungroomed(jets, radius)
    columns = {
        "gen_jet_pt": np.hypot(ungroomed[:, 0], ungroomed[:, 1]),
        "gen_jet_mass": mass(ungroomed),
        "gen_jet_groomed_mass": groomed_mass,
    }
    filled = {name: np.full(len(event), np.nan) for name in columns}
    for name, values in columns.items():
        filled[name][is_matched] = values
    return filled


def groomed_and_ungroomed(jets: ak.Array, radius: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mass after soft drop with z_cut = 0.1 and beta = 0 in GeV, and the momentum (px, py, pz, E) before it.

    The constituents are clustered again with Cambridge/Aachen. A jet without a splitting that passes has the mass of
    its last single constituent.

    Args:
        jets: constituents of each jet: px, py, pz, E in GeV.
        radius: R of the jets.

    Source: Larkoski, Marzani, Soyez and Thaler, *Soft drop*, arXiv:1402.2657.
    """
    counts = ak.to_numpy(ak.num(jets.px))
    mask = np.arange(counts.max(initial=0)) < counts[:, None]
    momenta = np.zeros((*mask.shape, len(MOMENTUM)))
    for column, name in enumerate(MOMENTUM):
        momenta[mask, column] = ak.to_numpy(ak.flatten(jets[name]))
    tree = cluster(momenta, mask, "cambridge_aachen")
    groomed = soft_drop(tree, z_cut=Z_CUT, beta=BETA, radius=radius)
    return mass(groomed.momentum), momenta.sum(axis=1)
