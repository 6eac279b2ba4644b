"""Faults of events: NaN, negative or too large energies, E below |p|, angles that are no radians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.physics.angles import wrap
from femtobarn.physics.objects import KINDS

#: E may lie this far below |p|, relatively: numbers of four digits pass, swapped columns and mixed units do not.
ROUNDING_TOLERANCE = 1e-3

#: Largest energy in GeV: its fourth power, which pairs of four-momenta make, still fits into float32.
MAX_ENERGY = 1e9

#: Largest |eta|: that of a particle with MAX_ENERGY and a pT of 1e-6 GeV is 35, and sinh(90) does not fit into float32.
MAX_ETA = 50.0

#: Largest impact parameter in mm and error of one.
MAX_IMPACT_PARAMETER = 1e9


def wrap_phi(phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles in [-π, π); those that are there already stay the same to the last bit."""
    outside = (phi < -np.pi) | (phi >= np.pi)
    if not outside.any():
        return phi
    return np.where(outside, wrap(phi), phi)


def object_faults(
    pt: NDArray[np.float64],
    eta: NDArray[np.float64],
    phi: NDArray[np.float64],
    energy: NDArray[np.float64],
    kind: NDArray[np.integer],
) -> dict[str, NDArray[np.bool_]]:
    """For each thing that can be wrong with an object, where it is; only what occurs is listed, worst first."""
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(pt) & np.isfinite(eta) & np.isfinite(phi) & np.isfinite(energy)
        masks = {
            "NaN or infinity": ~finite,
            "negative energy": energy < 0,
            "negative pT": pt < 0,
            f"energy above {MAX_ENERGY:g} GeV, too large for networks": finite & (np.maximum(energy, pt) > MAX_ENERGY),
            "unknown object": (kind < 1) | (kind >= len(KINDS)),
            "energy below |p| (swapped columns, mixed units?)": finite
            & (energy < pt * np.cosh(eta) * (1 - ROUNDING_TOLERANCE)),
            "phi outside ±2π (degrees?)": finite & (np.abs(phi) > 2 * np.pi + ROUNDING_TOLERANCE),
            f"|eta| above {MAX_ETA:g}": finite & (np.abs(eta) > MAX_ETA),
        }
    return {fault: mask for fault, mask in masks.items() if mask.any()}


def track_faults(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.bool_]]:
    """The same for what is known of tracks, by the names of the columns."""
    masks = {f"{name} is NaN or infinite": ~np.isfinite(column) for name, column in columns.items()}
    with np.errstate(invalid="ignore"):
        for name, column in columns.items():
            masks[f"{name} is above {MAX_IMPACT_PARAMETER:g}, too large for networks"] = (
                np.abs(column) > MAX_IMPACT_PARAMETER
            ) & np.isfinite(column)
        if "charge" in columns:
            charge = columns["charge"]
            masks["charge is no whole number"] = np.isfinite(charge) & (np.rint(charge) != charge)
    return {fault: mask for fault, mask in masks.items() if mask.any()}


def event_faults(
    weight: NDArray[np.float64], met: NDArray[np.float64], phi: NDArray[np.float64]
) -> dict[str, NDArray[np.bool_]]:
    """For each thing that can be wrong with an event as a whole, where it is; only what occurs is listed."""
    masks = {
        "weight is NaN or infinite": ~np.isfinite(weight),
        "MET or phi_MET is NaN or infinite": ~(np.isfinite(met) & np.isfinite(phi)),
        "negative MET": met < 0,
        f"MET above {MAX_ENERGY:g} GeV, too large for networks": np.isfinite(met) & (met > MAX_ENERGY),
        "phi_MET outside ±2π (degrees?)": np.isfinite(phi) & (np.abs(phi) > 2 * np.pi + ROUNDING_TOLERANCE),
    }
    return {fault: mask for fault, mask in masks.items() if mask.any()}
