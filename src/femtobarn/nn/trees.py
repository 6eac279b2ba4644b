"""Binary clustering trees of the particles of an event or a jet.

In torch, per batch and inside the network, so that an exported file contains them. The same recombinations in numpy,
for grooming and subjets, are in `femtobarn.physics.clustering`.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from femtobarn.nn.scan import Tensors, scan
from femtobarn.physics import angles, lorentz
from femtobarn.physics.constants import TINY_PT
from femtobarn.physics.hardness import is_harder

TreeAlgorithm = Literal["kt", "antikt", "cambridge_aachen", "desc-pt", "asc-pt", "random"]

#: Exponent p of the transverse momentum in the distance measure, for the algorithms that have one.
PT_EXPONENTS: dict[str, int] = {"kt": 1, "cambridge_aachen": 0, "antikt": -1}

#: Relative; closer distances are ties. Particles on the grid of a calorimeter have many distances that only rounding
#: distinguishes.
DISTANCE_TOLERANCE = 1e-5

#: Radians and units of rapidity; closer directions are the same, because float32 resolves no smaller distance.
MIN_DISTANCE = 1e-6

#: Modulus of the pseudorandom numbers, a prime.
HASH_PRIME = 2_147_483_647

#: Multiplier of the pseudorandom numbers, a primitive root modulo `HASH_PRIME`.
HASH_FACTOR = 48_271

#: GeV; events whose scalar sums of pT differ by this have different random trees. With smaller steps rounding would
#: decide, and also with a step that rounded momenta are multiples of.
SEED_PT_STEP = 0.0731

#: Distances; maximum in memory at once.
CHUNK_DISTANCES = 1 << 20

#: Slots of an event at most. A constant, because an exported graph does not know the number of slots.
MAX_SLOTS = 1 << 20

#: Fraction of the slots; empty slots are removed when fewer are occupied.
MIN_OCCUPANCY = 0.8


class ClusterTree(NamedTuple):
    """Pairwise recombinations of the particles of each event, until a single node is left.

    Nodes 0 to n - 1 are the n slots of the particles; node n + k is the result of recombination k. An event of m
    particles has the first m - 1 recombinations; the other entries are 0.
    """

    left: Int[Tensor, "batch mergings"]
    right: Int[Tensor, "batch mergings"]
    mask: Bool[Tensor, "batch mergings"]
    momenta: Float[Tensor, "batch nodes 4"]  # (px, py, pz, E) in GeV: of the particles, then of the recombinations

    def root(self, mask: Bool[Tensor, "batch particles"]) -> Int[Tensor, " batch"]:
        """Node that contains all particles; an arbitrary node of an empty event."""
        mergings = self.mask.sum(1)
        return torch.where(mergings > 0, mask.shape[1] + mergings - 1, mask.to(torch.uint8).argmax(1))


@torch.no_grad()
def cluster(
    momenta: Float[Tensor, "batch particles 4"],
    mask: Bool[Tensor, "batch particles"],
    algorithm: TreeAlgorithm,
    *,
    chunk_distances: int = CHUNK_DISTANCES,
) -> ClusterTree:
    r"""Cluster the particles of each event into a binary tree, independent of their order.

    `kt`, `cambridge_aachen` and `antikt` merge the pair with the smallest distance

    .. math:: d_{ij} = \min(p_{T,i}^{2p}, p_{T,j}^{2p})\,\Delta_{ij}^2, \quad \Delta^2 = (y_i-y_j)^2 + (\phi_i-\phi_j)^2

    with p = 1, 0 and -1, adding momenta (E scheme) and without beam distance; the left child is the harder one. The
    chains merge the softest (`desc-pt`) or hardest (`asc-pt`) two particles first and add one particle after the other
    from the left, so that the hardest or softest particle is next to the root. `random` merges random pairs of nodes
    with equal probability: the seed is the scalar sum of pT in steps of `SEED_PT_STEP`, so that the tree is
    reproducible but carries no information.

    Distances that agree within `DISTANCE_TOLERANCE` are ties. Among ties, the pair with the harder particles comes
    first, by `is_harder`; so the slot decides only between particles of the same pT and energy.

    Args:
        momenta: (px, py, pz, E) in GeV; finite in padded slots too.
        mask: True where a particle is real.
        algorithm: name of the algorithm.
        chunk_distances: number of distances in memory at once; does not change the result.

    Source: hep-ph/9305266 (kt), hep-ph/9707323 (Cambridge/Aachen), arXiv:0802.1189 (anti-kt); the others: Louppe et
    al., arXiv:1702.00748, section 5.
    """
    momenta = torch.where(mask[..., None], momenta, 0.0)
    slots = mask.shape[1]
    if slots < 2:
        left = right = torch.zeros_like(mask[:, 1:], dtype=torch.long)
        merged = momenta[:, 1:]
    elif torch.compiler.is_exporting():
        left, right, merged = _merge_by_scan(momenta, mask, algorithm)
    else:
        left, right, merged = _merge_by_group(momenta, mask, algorithm, chunk_distances)
    is_merging = torch.arange(slots, device=mask.device)[1:] < mask.sum(1, keepdim=True)
    left, right = torch.where(is_merging, left, 0), torch.where(is_merging, right, 0)
    merged = torch.where(is_merging[..., None], merged, 0.0)
    return ClusterTree(left, right, is_merging, torch.cat([momenta, merged], dim=1))


class _State(NamedTuple):
    """Remaining nodes of each event, the hardest particles first."""

    momenta: Float[Tensor, "batch particles 4"]
    coordinates: Shaped[Tensor, "batch particles coordinates"]  # arguments of the distance measure
    node: Int[Tensor, "batch particles"]
    mask: Bool[Tensor, "batch particles"]  # True where a node is left
    distance: Float[Tensor, "batch particles particles"]  # infinite to itself and to removed nodes


def _merge_by_scan(momenta: Tensor, mask: Tensor, algorithm: TreeAlgorithm) -> tuple[Tensor, Tensor, Tensor]:
    """Recombinations for the maximum multiplicity in every event; entries beyond those of an event are arbitrary."""
    slots = mask.shape[1]

    def step(state: Tensors, inputs: Tensors, _: Tensors) -> tuple[Tensors, Tensors]:
        copy = _State(*(tensor.clone() for tensor in state))
        return tuple(copy), _merge(copy, inputs[0], algorithm)

    numbers = torch.arange(slots, 2 * slots - 1, device=mask.device)
    _, (left, right, merged) = scan(step, tuple(_initial_state(momenta, mask, algorithm)), (numbers,))
    return left.t(), right.t(), merged.transpose(0, 1)


def _merge_by_group(
    momenta: Tensor, mask: Tensor, algorithm: TreeAlgorithm, chunk_distances: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Recombinations of groups of events of similar multiplicity, so that small events do not wait for large ones."""
    batch, slots = mask.shape
    left = torch.zeros(batch, slots - 1, dtype=torch.long, device=mask.device)
    right, merged = torch.zeros_like(left), momenta.new_zeros(batch, slots - 1, 4)
    multiplicity = mask.sum(1)
    order = multiplicity.argsort(descending=True, stable=True)
    counts = sorted(multiplicity.tolist(), reverse=True)
    start = 0
    while start < batch and counts[start] > 1:
        stop = min(start + max(1, chunk_distances // counts[start] ** 2), batch)
        rows, width = order[start:stop], counts[start]
        front = (~mask[rows]).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
        group_momenta = momenta[rows].gather(1, front[..., None].expand(-1, -1, 4))
        state = _initial_state(group_momenta, mask[rows].gather(1, front), algorithm)
        state.node.copy_(front.gather(1, state.node))
        for number in range(width - 1):
            n_unfinished = bisect_left(counts, -number - 1, start, stop, key=lambda count: -count) - start
            if width - number < MIN_OCCUPANCY * state.node.shape[1]:
                state = _remove_empty_slots(state, width - number)
            state = _State(*(tensor[:n_unfinished] for tensor in state))
            unfinished = rows[:n_unfinished]
            left[unfinished, number], right[unfinished, number], merged[unfinished, number] = _merge(
                state, slots + number, algorithm
            )
        start = stop
    return left, right, merged


def _initial_state(momenta: Tensor, mask: Tensor, algorithm: TreeAlgorithm) -> _State:
    batch, slots = mask.shape
    precedes = is_harder(momenta)
    if algorithm == "asc-pt":
        precedes = precedes.transpose(1, 2)
    slot = torch.arange(slots, device=mask.device).expand(batch, slots)
    rank = (precedes & mask[:, None, :]).sum(-1).masked_fill(~mask, MAX_SLOTS)
    node = (MAX_SLOTS * rank + slot).argsort(dim=1)  # `is_harder` is no order among three near ties: ranks may be equal
    momenta = momenta.gather(1, node[..., None].expand_as(momenta))
    mask = mask.gather(1, node)
    if algorithm in PT_EXPONENTS:
        coordinates = _coordinates(momenta, algorithm)
    elif algorithm == "random":
        seed = (lorentz.pt(momenta).double().sum(1, keepdim=True) / SEED_PT_STEP).floor().long() % HASH_PRIME
        coordinates = _hash(_hash(seed * HASH_FACTOR + slot))[..., None]
    else:
        coordinates = (slot + 1)[..., None]  # the last slots first
    is_pair = mask[:, :, None] & mask[:, None, :] & (slot[:, :, None] != slot[:, None, :])
    distance = _distance(coordinates[:, :, None], coordinates[:, None, :], algorithm).to(momenta.dtype)
    return _State(momenta, coordinates, node, mask, torch.where(is_pair, distance, torch.inf))


def _remove_empty_slots(state: _State, slots: int) -> _State:
    """Move the remaining nodes, in order, to fewer slots."""
    kept = (~state.mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :slots]
    momenta, coordinates = (
        x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1])) for x in (state.momenta, state.coordinates)
    )
    distance = state.distance.gather(1, kept[..., None].expand(-1, -1, state.distance.shape[-1]))
    distance = distance.gather(2, kept[:, None, :].expand(-1, slots, -1))
    return _State(momenta, coordinates, state.node.gather(1, kept), state.mask.gather(1, kept), distance)


def _merge(state: _State, number: Tensor | int, algorithm: TreeAlgorithm) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the nearest two nodes of each event in place; return both nodes and the momentum of their sum.

    Gathers and scatters only: as a step of an exported graph it must not use the number of events.
    """
    momenta, coordinates, node, mask, distance = state
    nearest = distance.amin(-1)
    threshold = nearest.amin(-1, keepdim=True) * (1 + DISTANCE_TOLERANCE)
    i = (nearest <= threshold).to(torch.uint8).argmax(-1, keepdim=True)  # the first slot with the smallest distance
    j = (_at_slot(distance, i) <= threshold).to(torch.uint8).argmax(-1, keepdim=True)
    p, q = _at_slot(momenta, i), _at_slot(momenta, j)
    left, right = node.gather(1, i)[:, 0], node.gather(1, j)[:, 0]
    if algorithm in PT_EXPONENTS:
        swap = lorentz.pt(q) > lorentz.pt(p) * (1 + DISTANCE_TOLERANCE)
        left, right = torch.where(swap, right, left), torch.where(swap, left, right)
    merged = _merged_coordinates(p + q, _at_slot(coordinates, i), _at_slot(coordinates, j), algorithm)
    mask.scatter_(1, j, False)
    node.scatter_(1, i, torch.zeros_like(i) + number)
    momenta.scatter_(1, _expand_slot(i, momenta), (p + q)[:, None])
    coordinates.scatter_(1, _expand_slot(i, coordinates), merged[:, None])
    new_distance = _distance(merged[:, None], coordinates, algorithm).to(distance.dtype)
    new_distance = torch.where(mask, new_distance, torch.inf).scatter(1, i, torch.inf)
    changed = _expand_slot(torch.cat([i, j], dim=1), distance)
    values = torch.stack([new_distance, torch.full_like(new_distance, torch.inf)], dim=1)
    distance.scatter_(1, changed, values).scatter_(2, changed.transpose(1, 2), values.transpose(1, 2))
    return left, right, p + q


def _at_slot(
    values: Shaped[Tensor, "batch particles width"], slot: Int[Tensor, "batch 1"]
) -> Shaped[Tensor, "batch width"]:
    """Values in one slot of each event."""
    return values.gather(1, _expand_slot(slot, values))[:, 0]


def _expand_slot(
    slot: Int[Tensor, "batch selected"], values: Shaped[Tensor, "batch particles width"]
) -> Int[Tensor, "batch selected width"]:
    return slot[..., None].expand(-1, -1, values.shape[-1])


def _coordinates(momenta: Float[Tensor, "*shape 4"], algorithm: TreeAlgorithm) -> Float[Tensor, "*shape 3"]:
    """pT to the power 2p, rapidity and azimuth."""
    transverse2 = (momenta[..., 0].square() + momenta[..., 1].square()).clamp_min(TINY_PT**2)
    pt_factor = transverse2 ** PT_EXPONENTS[algorithm]
    return torch.stack([pt_factor, lorentz.rapidity(momenta), lorentz.phi(momenta)], dim=-1)


def _merged_coordinates(momenta: Tensor, first: Tensor, second: Tensor, algorithm: TreeAlgorithm) -> Tensor:
    """Coordinates of a new node from its momentum and the coordinates of its children."""
    if algorithm in PT_EXPONENTS:
        return _coordinates(momenta, algorithm)
    if algorithm == "random":
        # all others are uniform below these two, and so must be the new one, or it would be drawn too early
        return 1 + _hash(first * second) * torch.minimum(first, second) // (HASH_PRIME + 1)
    return torch.full_like(first, HASH_PRIME)  # a chain continues with the node that it merged last


def _hash(number: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Pseudorandom number from 1 to `HASH_PRIME`, the same on every machine."""
    number = number % HASH_PRIME
    number = (number * number + 1) % HASH_PRIME
    return number * number % HASH_PRIME * HASH_FACTOR % HASH_PRIME + 1


def _distance(first: Tensor, second: Tensor, algorithm: TreeAlgorithm) -> Tensor:
    if algorithm not in PT_EXPONENTS:
        return 1 / torch.minimum(first, second)[..., 0]  # smallest for the pair with the largest numbers
    delta_y2 = (first[..., 1] - second[..., 1]).square()
    delta_phi2 = angles.abs_delta_phi(first[..., 2], second[..., 2]).square()
    return torch.minimum(first[..., 0], second[..., 0]) * (delta_y2 + delta_phi2).clamp_min(MIN_DISTANCE**2)
