"""Clustering: history of the merging of the constituents of a jet.

Numpy, many jets at once. FastJet finds jets in collisions (`femtobarn.simulate`); its array interface gives no tree of
mergings, which grooming and subjets need, so the few hundred constituents of a jet are clustered here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from femtobarn.physics.constants import TINY_PT, TWO_PI

Algorithm = Literal["kt", "cambridge_aachen", "antikt"]

#: Power of the transverse momentum in the distance of two particles.
POWERS: dict[str, int] = {"kt": 1, "cambridge_aachen": 0, "antikt": -1}

#: Number of distances in memory at once.
CHUNK_DISTANCES = 2_000_000

Momenta = Float[np.ndarray, "batch particles 4"]
Mask = Bool[np.ndarray, "batch particles"]


class ClusterSequence(NamedTuple):
    """Mergings of the constituents of each jet, two at a time.

    Nodes 0 to n - 1 are the n slots of the constituents, node n + k is the result of the k-th merging. Jets with fewer
    constituents have fewer mergings, followed by -1.
    """

    momenta: Float[np.ndarray, "batch nodes 4"]  # (px, py, pz, E) in GeV; zeros where there is no node
    first: Int[np.ndarray, "batch mergings"]  # the two nodes of each merging
    second: Int[np.ndarray, "batch mergings"]
    mergings: Int[np.ndarray, " batch"]
    root: Int[np.ndarray, " batch"]  # the whole jet; -1 where there are no constituents

    @property
    def slots(self) -> int:
        """Slots of constituents; the nodes of mergings come behind."""
        return int(self.momenta.shape[1] - self.first.shape[1])

    def parents(self, node: Int[np.ndarray, " batch"]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The two nodes that one node of each jet was made of; -1 for constituents and for no node."""
        if not self.first.shape[1]:
            return np.full_like(node, -1), np.full_like(node, -1)
        is_merging = node >= self.slots
        step = np.where(is_merging, node - self.slots, 0)
        rows = np.arange(len(node))
        return np.where(is_merging, self.first[rows, step], -1), np.where(is_merging, self.second[rows, step], -1)

    def at(self, node: Int[np.ndarray, " batch"]) -> Float[np.ndarray, "batch 4"]:
        """Momentum of one node of each jet, zeros for -1."""
        if not self.momenta.shape[1]:
            return np.zeros((len(node), 4))
        chosen = self.momenta[np.arange(len(node)), np.maximum(node, 0)]
        return np.where((node >= 0)[:, None], chosen, 0.0)

    def subjets(self, count: int) -> Float[np.ndarray, "batch subjets 4"]:
        """The `count` exclusive subjets of each jet: its last count - 1 mergings undone; zeros where it has fewer."""
        nodes = np.full((len(self.root), count), -1, dtype=np.int64)
        nodes[:, 0] = self.root
        for number in range(1, count):
            # the latest merging has the highest number
            latest = nodes[:, :number].argmax(axis=1)
            rows = np.arange(len(nodes))
            first, second = self.parents(nodes[rows, latest])
            split = first >= 0
            nodes[rows[split], latest[split]] = first[split]
            nodes[rows[split], number] = second[split]
        return np.stack([self.at(nodes[:, number]) for number in range(count)], axis=1)


def cluster(
    momenta: Momenta, mask: Mask, algorithm: Algorithm, *, chunk_distances: int = CHUNK_DISTANCES
) -> ClusterSequence:
    r"""Cluster all constituents of each jet into one, adding momenta (E scheme).

    .. math:: d_{ij} = \min(p_{T,i}^{2p}, p_{T,j}^{2p})\,\Delta_{ij}^2, \quad \Delta^2 = (y_i-y_j)^2 + (\phi_i-\phi_j)^2

    with p = 1 for kt (hep-ph/9305266), 0 for Cambridge/Aachen (hep-ph/9707323) and -1 for anti-kt (arXiv:0802.1189).
    There is no beam distance: all constituents stay in the jet.

    Args:
        momenta: (px, py, pz, E) in GeV.
        mask: True where a constituent is real.
        algorithm: kt, cambridge_aachen or antikt.
        chunk_distances: number of distances in memory at once; does not change the result.
    """
    jets, slots = mask.shape
    counts = mask.sum(axis=1)
    tree = ClusterSequence(
        np.concatenate([np.where(mask[..., None], momenta, 0.0), np.zeros((jets, max(slots - 1, 0), 4))], axis=1),
        np.full((jets, max(slots - 1, 0)), -1, dtype=np.int64),
        np.full((jets, max(slots - 1, 0)), -1, dtype=np.int64),
        np.maximum(counts - 1, 0),
        np.where(counts > 1, slots + counts - 2, np.where(counts == 1, mask.argmax(axis=1) if slots else 0, -1)),
    )
    # jets of similar multiplicity together, so that none waits for a far larger one
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 1]
    while len(order):
        width = int(counts[order[-1]])
        rows = order[-max(1, chunk_distances // width**2) :]
        order = order[: -len(rows)]
        _merge(tree, rows, mask[rows], width, POWERS[algorithm])
    return tree


def rapidity(momenta: Float[np.ndarray, "*shape 4"]) -> NDArray[np.float64]:
    """Rapidity, as `femtobarn.physics.lorentz.rapidity`: a space-like momentum counts as massless."""
    px, py, pz, energy = np.moveaxis(momenta, -1, 0)
    transverse2 = px**2 + py**2
    mass2 = np.maximum((energy - pz) * (energy + pz) - transverse2, 0.0)
    height: NDArray[np.float64] = np.arcsinh(pz / np.maximum(np.sqrt(transverse2 + mass2), TINY_PT))
    return height


def distance2(
    height: NDArray[np.float64], azimuth: NDArray[np.float64], other: NDArray[np.float64], around: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared distance in rapidity and azimuth."""
    turn = np.abs(azimuth - around) % TWO_PI
    turn = np.minimum(turn, TWO_PI - turn)
    squared: NDArray[np.float64] = (height - other) ** 2 + turn**2
    return squared


class _State(NamedTuple):
    """Particles that are left, one row a jet."""

    momenta: NDArray[np.float64]
    node: NDArray[np.int64]
    hardness: NDArray[np.float64]  # pT to the power 2p; infinite where nothing is left
    height: NDArray[np.float64]
    azimuth: NDArray[np.float64]

    def distances(self, rows: NDArray[np.int64], particle: NDArray[np.int64]) -> NDArray[np.float64]:
        """Clustering distance of one particle of each row to all of its row; infinite to itself and to nothing."""
        at = (rows, particle)
        angle = distance2(self.height[rows], self.azimuth[rows], self.height[at][:, None], self.azimuth[at][:, None])
        softer = np.minimum(self.hardness[rows], self.hardness[at][:, None])
        gone = np.isinf(self.hardness[rows]) | np.isinf(self.hardness[at])[:, None]
        values = np.where(gone, np.inf, angle * np.where(gone, 0.0, softer))
        values[np.arange(len(rows)), particle] = np.inf
        return values


def _merge(tree: ClusterSequence, rows: NDArray[np.int64], mask: Mask, width: int, power: int) -> None:
    """Cluster some jets of up to `width` constituents and write their mergings into the tree."""
    slots = tree.slots
    node = np.argsort(~mask, axis=1, kind="stable")[:, :width]
    left = mask.sum(axis=1)
    momenta = np.take_along_axis(tree.momenta[rows, :slots], node[..., None], axis=1)
    state = _State(momenta, node, *(np.zeros(node.shape) for _ in range(3)))
    real = np.arange(width) < left[:, None]
    for column, values in zip(state[2:], _coordinates(momenta, power), strict=True):
        column[:] = values
    state.hardness[~real] = np.inf
    jets = np.arange(len(rows))
    nearest = np.zeros(node.shape, dtype=np.int64)
    closest = np.full(node.shape, np.inf)
    for particle in range(width):
        distances = state.distances(jets, np.full(len(rows), particle))
        nearest[:, particle] = distances.argmin(axis=1)
        closest[:, particle] = distances.min(axis=1)
    for step in range(width - 1):
        jets = np.flatnonzero(left - step > 1)
        i = closest[jets].argmin(axis=1)
        j = nearest[jets, i]
        tree.first[rows[jets], step], tree.second[rows[jets], step] = state.node[jets, i], state.node[jets, j]
        both = state.momenta[jets, i] + state.momenta[jets, j]
        tree.momenta[rows[jets], slots + step] = both
        state.momenta[jets, i], state.node[jets, i] = both, slots + step
        for column, values in zip(state[2:], _coordinates(both, power), strict=True):
            column[jets, i] = values
        state.hardness[jets, j] = np.inf
        closest[jets, j] = np.inf
        # whoever was nearest to one of the two is compared with all again, the others only with the new node
        distances = state.distances(jets, i)
        stale = (nearest[jets] == i[:, None]) | (nearest[jets] == j[:, None])
        stale[np.arange(len(jets)), i] = True
        stale &= np.isfinite(state.hardness[jets])
        closer = (distances < closest[jets]) & ~stale
        closest[jets] = np.where(closer, distances, closest[jets])
        nearest[jets] = np.where(closer, i[:, None], nearest[jets])
        of, lonely = np.nonzero(stale)
        again = state.distances(jets[of], lonely)
        nearest[jets[of], lonely], closest[jets[of], lonely] = again.argmin(axis=1), again.min(axis=1)


def _coordinates(momenta: NDArray[np.float64], power: int) -> tuple[NDArray[np.float64], ...]:
    """pT to the power 2p, rapidity and azimuth."""
    transverse2 = np.maximum(momenta[..., 0] ** 2 + momenta[..., 1] ** 2, TINY_PT**2)
    return transverse2**power, rapidity(momenta), np.arctan2(momenta[..., 1], momenta[..., 0])
