"""Grooming: jets without their soft, wide-angle radiation.

Both procedures walk a Cambridge/Aachen tree from the whole jet towards the branch they follow, until a splitting
passes. A jet without such a splitting ends as its last single constituent, or fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from femtobarn.physics.clustering import ClusterSequence, distance2, rapidity

Momentum = Float[np.ndarray, "batch 4"]
Number = Float[np.ndarray, " batch"]


class Groomed(NamedTuple):
    """Jets after grooming; z and delta_r are 0 where no splitting passed."""

    momentum: Momentum  # (px, py, pz, E) in GeV
    passed: Bool[np.ndarray, " batch"]  # True if a splitting passed
    z: Number  # fraction of the softer branch in the sum of the two branches' pT
    delta_r: Number  # distance of the two branches in rapidity and azimuth


def soft_drop(tree: ClusterSequence, *, z_cut: float = 0.1, beta: float = 0.0, radius: float = 0.8) -> Groomed:
    r"""Jets after soft drop: the softer branch is dropped until it carries enough of the momentum.

    .. math:: \frac{\min(p_{T,1}, p_{T,2})}{p_{T,1} + p_{T,2}} > z_\mathrm{cut} \left(\frac{\Delta_{12}}{R}\right)^\beta

    The branch of more pT is followed. beta = 0 is the modified mass-drop tagger of arXiv:1307.0007.

    Args:
        tree: Cambridge/Aachen, from `femtobarn.physics.clustering.cluster`.
        radius: R of the jets.

    Source: Larkoski, Marzani, Soyez and Thaler, *Soft drop*, arXiv:1402.2657.
    """

    def passes(first: Momentum, second: Momentum) -> NDArray[np.bool_]:
        z, delta_r = split_fraction(first, second)
        return np.asarray(z > z_cut * (delta_r / radius) ** beta)

    return _walk(tree, passes, transverse)


def mass_drop(tree: ClusterSequence, *, mu: float = 0.67, y_cut: float = 0.09) -> Groomed:
    r"""Jets after the mass-drop filter's first step: undo the clustering until a heavy jet falls into two light halves.

    .. math:: m_1 < \mu m, \quad \frac{\min(p_{T,1}^2, p_{T,2}^2)}{m^2}\,\Delta_{12}^2 > y_\mathrm{cut}

    with :math:`m_1` the mass of the heavier branch, which is followed. `passed` is the tag.

    Args:
        tree: Cambridge/Aachen, from `femtobarn.physics.clustering.cluster`.

    Source: Butterworth, Davison, Rubin and Salam, arXiv:0802.2470.
    """

    def passes(first: Momentum, second: Momentum) -> NDArray[np.bool_]:
        total = mass(first + second)
        softer = np.minimum(transverse(first), transverse(second))
        y = np.divide(softer * delta_r(first, second), total, out=np.zeros_like(total), where=total > 0) ** 2
        return np.asarray((np.maximum(mass(first), mass(second)) < mu * total) & (y > y_cut))

    return _walk(tree, passes, mass)


def filtered(jets: Float[np.ndarray, "batch subjets 4"], count: int = 3) -> Momentum:
    """The second step of arXiv:0802.2470: the sum of the hardest of a jet's subjets, found with a smaller radius."""
    order = np.argsort(-transverse(jets), axis=1, kind="stable")[:, :count]
    return np.asarray(np.take_along_axis(jets, order[..., None], axis=1).sum(axis=1))


def split_fraction(
    first: Float[np.ndarray, "*shape 4"], second: Float[np.ndarray, "*shape 4"]
) -> tuple[Number, Number]:
    """Fraction of the softer of two momenta in the sum of their pT, and their distance in rapidity and azimuth."""
    first_pt, second_pt = transverse(first), transverse(second)
    total = first_pt + second_pt
    z = np.divide(np.minimum(first_pt, second_pt), total, out=np.zeros_like(total), where=total > 0)
    return z, delta_r(first, second)


def transverse(momenta: Float[np.ndarray, "*shape 4"]) -> NDArray[np.float64]:
    """Transverse momentum in GeV."""
    pt: NDArray[np.float64] = np.hypot(momenta[..., 0], momenta[..., 1])
    return pt


def mass(momenta: Float[np.ndarray, "*shape 4"]) -> NDArray[np.float64]:
    """Invariant mass in GeV, 0 where rounding makes its square negative."""
    px, py, pz, energy = np.moveaxis(momenta, -1, 0)
    squared = (energy - pz) * (energy + pz) - px**2 - py**2
    value: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0))
    return value


def delta_r(first: Float[np.ndarray, "*shape 4"], second: Float[np.ndarray, "*shape 4"]) -> NDArray[np.float64]:
    """Distance in rapidity and azimuth."""
    first_phi, second_phi = (np.arctan2(momenta[..., 1], momenta[..., 0]) for momenta in (first, second))
    distance: NDArray[np.float64] = np.sqrt(distance2(rapidity(first), first_phi, rapidity(second), second_phi))
    return distance


def _walk(
    tree: ClusterSequence,
    passes: Callable[[Momentum, Momentum], NDArray[np.bool_]],
    followed: Callable[[Momentum], NDArray[np.float64]],
) -> Groomed:
    """Follow the branch with the larger `followed` until a splitting passes."""
    node = tree.root.copy()
    passed = np.zeros(len(node), dtype=np.bool_)
    z, delta_r = np.zeros(len(node)), np.zeros(len(node))
    for _ in range(int(tree.mergings.max(initial=0))):
        left, right = tree.parents(node)
        open_ = (left >= 0) & ~passed
        if not open_.any():
            break
        first, second = tree.at(left), tree.at(right)
        good = open_ & passes(first, second)
        split_z, split_delta_r = split_fraction(first, second)
        z, delta_r = np.where(good, split_z, z), np.where(good, split_delta_r, delta_r)
        passed |= good
        node = np.where(open_ & ~good, np.where(followed(first) >= followed(second), left, right), node)
    return Groomed(tree.at(node), passed, z, delta_r)
