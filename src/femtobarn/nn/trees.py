"""Trees: in which order the objects of an event, or the constituents of a jet, belong together.

Torch, a batch at a time and inside the network, so that an exported file holds it; the same mergings in numpy, for
grooming and subjets, are in `femtobarn.physics.clustering`.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from femtobarn.nn.steps import Tensors, repeat
from femtobarn.physics import angles, lorentz
from femtobarn.physics.constants import TINY_PT
from femtobarn.physics.hardness import harder

Shape = Literal["kt", "anti-kt", "ca", "desc-pt", "asc-pt", "random"]

#: Power of the transverse momentum in the distance of two objects, for the trees that have one.
POWERS: dict[str, int] = {"kt": 1, "ca": 0, "anti-kt": -1}

#: Relative difference of two distances below which neither is the shorter: objects on the grid of a calorimeter have
#: many distances that only rounding tells apart.
TIE = 1e-5

#: Directions closer than this are the same; float32 has no finer ones.
NARROWEST = 1e-6

#: A prime, and a number that has no pattern modulo it.
PRIME, FACTOR = 2_147_483_647, 48_271

#: Sums of pT (GeV) that differ by this have other random trees. Finer steps would let rounding decide, and so would a
#: number that rounded momenta are multiples of.
GRAIN = 0.0731

#: Distances in memory at once, and the share of the slots that is filled when the others are cut away.
CHUNK, LEFT = 1 << 20, 0.8


class Tree(NamedTuple):
    """How the objects of each event are merged, two at a time, until one node is left.

    Nodes 0 to n - 1 are the n slots of the objects, node n + k is what the k-th merging makes. An event of m objects
    has the first m - 1 mergings; behind them stands 0.
    """

    left: Int[Tensor, "batch mergings"]
    right: Int[Tensor, "batch mergings"]
    real: Bool[Tensor, "batch mergings"]
    momenta: Float[Tensor, "batch nodes 4"]  # (px, py, pz, E) in GeV: of the objects, then of the mergings

    def root(self, mask: Bool[Tensor, "batch objects"]) -> Int[Tensor, " batch"]:
        """The node that holds all objects; any node where there are none."""
        mergings = self.real.sum(1)
        return torch.where(mergings > 0, mask.shape[1] + mergings - 1, mask.to(torch.uint8).argmax(1))


@torch.no_grad()
def grow(momenta: Float[Tensor, "batch objects 4"], mask: Bool[Tensor, "batch objects"], shape: Shape) -> Tree:
    r"""A binary tree over the objects of each event; the order in which they stand does not matter.

    `kt`, `ca` (Cambridge/Aachen) and `anti-kt` merge the two of the least distance

    .. math:: d_{ij} = \min(p_{T,i}^{2p}, p_{T,j}^{2p})\,\Delta_{ij}^2, \quad \Delta^2 = (y_i-y_j)^2 + (\phi_i-\phi_j)^2

    with p = 1, 0 and -1, momenta added (E scheme) and no beam; left is the harder of the two. In the chains the softest
    (`desc-pt`) or hardest (`asc-pt`) two come first and one object after the other joins them from the left, so that
    next to the root stands the hardest or softest. `random` merges two of all nodes that are left with equal chances:
    the draws are made from the sum of pT in steps of `GRAIN`, so that they are the same each time and in each file, but
    do not tell anything.

    Distances that agree to `TIE` are equal. Of equal ones that of the harder objects comes first, by `harder`; so
    position decides only between objects of the same pT and energy.

    Args:
        momenta: (px, py, pz, E) in GeV, finite in padded slots too.
        mask: True where an object is real.
        shape: name of the tree.

    Source: hep-ph/9305266 (kt), hep-ph/9707323 (Cambridge/Aachen), arXiv:0802.1189 (anti-kt); the others: Louppe et
    al., arXiv:1702.00748, section 5.
    """
    momenta = torch.where(mask[..., None], momenta, 0.0)
    slots = mask.shape[1]
    if slots < 2:
        left = right = torch.zeros_like(mask[:, 1:], dtype=torch.long)
        made = momenta[:, 1:]
    elif torch.compiler.is_exporting():
        left, right, made = _at_once(momenta, mask, shape)
    else:
        left, right, made = _in_groups(momenta, mask, shape)
    real = torch.arange(slots, device=mask.device)[1:] < mask.sum(1, keepdim=True)
    left, right = torch.where(real, left, 0), torch.where(real, right, 0)
    return Tree(left, right, real, torch.cat([momenta, torch.where(real[..., None], made, 0.0)], dim=1))


class _State(NamedTuple):
    """The nodes that are left of each event, the hardest objects first."""

    momenta: Float[Tensor, "batch slots 4"]
    place: Shaped[Tensor, "batch slots coordinates"]  # what distances are made of
    node: Int[Tensor, "batch slots"]
    left: Bool[Tensor, "batch slots"]
    distance: Float[Tensor, "batch slots slots"]  # infinite to itself and to what is not left


def _at_once(momenta: Tensor, mask: Tensor, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """As many mergings as there can be in every event; behind those of an event stands anything."""
    slots = mask.shape[1]

    def step(state: Tensors, given: Tensors, _: Tensors) -> tuple[Tensors, Tensors]:
        after = _State(*(tensor.clone() for tensor in state))
        return tuple(after), _merge(after, given[0], shape)

    numbers = torch.arange(slots, 2 * slots - 1, device=mask.device)
    _, (left, right, made) = repeat(step, tuple(_start(momenta, mask, shape)), (numbers,))
    return left.t(), right.t(), made.transpose(0, 1)


def _in_groups(momenta: Tensor, mask: Tensor, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """The mergings there are, of events of similar multiplicity together, so that none waits for a far larger one."""
    batch, slots = mask.shape
    left = torch.zeros(batch, slots - 1, dtype=torch.long, device=mask.device)
    right, made = torch.zeros_like(left), momenta.new_zeros(batch, slots - 1, 4)
    seen = mask.sum(1)
    order, counts = seen.argsort(descending=True, stable=True), sorted(seen.tolist(), reverse=True)
    start = 0
    while start < batch and counts[start] > 1:
        stop = min(start + max(1, CHUNK // counts[start] ** 2), batch)
        rows, width = order[start:stop], counts[start]
        front = (~mask[rows]).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
        some = momenta[rows].gather(1, front[..., None].expand(-1, -1, 4))
        state = _start(some, mask[rows].gather(1, front), shape)
        state.node.copy_(front.gather(1, state.node))
        for number in range(width - 1):
            busy = bisect_left(counts, -number - 1, start, stop, key=lambda count: -count) - start
            if width - number < LEFT * state.node.shape[1]:
                state = _cut(state, width - number)
            state = _State(*(tensor[:busy] for tensor in state))
            at = rows[:busy]
            left[at, number], right[at, number], made[at, number] = _merge(state, slots + number, shape)
        start = stop
    return left, right, made


def _start(momenta: Tensor, mask: Tensor, shape: Shape) -> _State:
    batch, slots = mask.shape
    before = harder(momenta)
    if shape == "asc-pt":
        before = before.transpose(1, 2)
    slot = torch.arange(slots, device=mask.device).expand(batch, slots)
    rank = (before & mask[:, None, :]).sum(-1) + slots * ~mask
    node = (slots * rank + slot).argsort(dim=1)  # `harder` is no order among three near ties: ranks may be equal
    momenta = momenta.gather(1, node[..., None].expand_as(momenta))
    left = mask.gather(1, node)
    if shape in POWERS:
        place = _place(momenta, shape)
    elif shape == "random":
        seed = (lorentz.pt(momenta).double().sum(1, keepdim=True) / GRAIN).floor().long() % PRIME
        place = _drawn(_drawn(seed * FACTOR + slot))[..., None]
    else:
        place = (slot + 1)[..., None]  # the last slots first
    other = left[:, :, None] & left[:, None, :] & (slot[:, :, None] != slot[:, None, :])
    distance = _distance(place[:, :, None], place[:, None, :], shape).to(momenta.dtype)
    return _State(momenta, place, node, left, torch.where(other, distance, torch.inf))


def _cut(state: _State, most: int) -> _State:
    """The same nodes in the same order in so many slots."""
    kept = (~state.left).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    momenta, place = (x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1])) for x in (state.momenta, state.place))
    distance = state.distance.gather(1, kept[..., None].expand(-1, -1, state.distance.shape[-1]))
    distance = distance.gather(2, kept[:, None, :].expand(-1, most, -1))
    return _State(momenta, place, state.node.gather(1, kept), state.left.gather(1, kept), distance)


def _merge(state: _State, number: Tensor | int, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """Merges the nearest two nodes of each event, in place; gives back both and the momentum of what they make.

    Gathers and scatters alone: as a step of a graph it may not know how many events there are.
    """
    momenta, place, node, left, distance = state
    nearest = distance.amin(-1)
    least = nearest.amin(-1, keepdim=True) * (1 + TIE)
    one = (nearest <= least).to(torch.uint8).argmax(-1, keepdim=True)  # the first of those at the least distance
    other = (_row(distance, one) <= least).to(torch.uint8).argmax(-1, keepdim=True)
    p, q = _row(momenta, one), _row(momenta, other)
    first, second = node.gather(1, one)[:, 0], node.gather(1, other)[:, 0]
    if shape in POWERS:
        turned = lorentz.pt(q) > lorentz.pt(p) * (1 + TIE)
        first, second = torch.where(turned, second, first), torch.where(turned, first, second)
    new = _joined(p + q, _row(place, one), _row(place, other), shape)
    left.scatter_(1, other, False)
    node.scatter_(1, one, torch.zeros_like(one) + number)
    momenta.scatter_(1, _wide(one, momenta), (p + q)[:, None])
    place.scatter_(1, _wide(one, place), new[:, None])
    away = _distance(new[:, None], place, shape).to(distance.dtype)
    away = torch.where(left, away, torch.inf).scatter(1, one, torch.inf)
    both = _wide(torch.cat([one, other], dim=1), distance)
    values = torch.stack([away, torch.full_like(away, torch.inf)], dim=1)
    distance.scatter_(1, both, values).scatter_(2, both.transpose(1, 2), values.transpose(1, 2))
    return first, second, p + q


def _row(values: Shaped[Tensor, "batch slots width"], slot: Int[Tensor, "batch 1"]) -> Shaped[Tensor, "batch width"]:
    """What stands in one slot of each event."""
    return values.gather(1, _wide(slot, values))[:, 0]


def _wide(
    slot: Int[Tensor, "batch some"], values: Shaped[Tensor, "batch slots width"]
) -> Int[Tensor, "batch some width"]:
    return slot[..., None].expand(-1, -1, values.shape[-1])


def _place(momenta: Float[Tensor, "*shape 4"], shape: Shape) -> Float[Tensor, "*shape 3"]:
    """pT to the power 2p, rapidity and azimuth."""
    transverse2 = (momenta[..., 0].square() + momenta[..., 1].square()).clamp_min(TINY_PT**2)
    return torch.stack([transverse2 ** POWERS[shape], lorentz.rapidity(momenta), lorentz.phi(momenta)], dim=-1)


def _joined(momenta: Tensor, one: Tensor, other: Tensor, shape: Shape) -> Tensor:
    """Where a new node is."""
    if shape in POWERS:
        return _place(momenta, shape)
    if shape == "random":
        # all others are evenly spread below these two, and so must the new one be, or it would be drawn too soon
        return 1 + _drawn(one * other) * torch.minimum(one, other) // (PRIME + 1)
    return torch.full_like(one, PRIME)  # what a chain has merged is always next


def _drawn(number: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """A number from 1 to `PRIME` that looks random, exact on every machine."""
    number = number % PRIME
    number = (number * number + 1) % PRIME
    return number * number % PRIME * FACTOR % PRIME + 1


def _distance(one: Tensor, other: Tensor, shape: Shape) -> Tensor:
    if shape not in POWERS:
        return 1 / torch.minimum(one, other)[..., 0]  # least for the two of the largest numbers
    along = (one[..., 1] - other[..., 1]).square()
    around = angles.separation(one[..., 2], other[..., 2]).square()
    return torch.minimum(one[..., 0], other[..., 0]) * (along + around).clamp_min(NARROWEST**2)
