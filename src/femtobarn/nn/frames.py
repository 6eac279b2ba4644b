"""Frames: for each object of an event a Lorentz frame of its own, found from the event, so that it turns with it.

A frame is the matrix L that takes momenta (px, py, pz, E) into it. Found from the momenta alone, it follows every
Lorentz transformation Λ of the event, L(Λp) = L(p) Λ⁻¹, so that what is seen in it is the same in all.

Source: Spinner et al., arXiv:2505.20280, sections 3.1 and 4.1; Favaro et al., arXiv:2508.14898.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from femtobarn.nn.batchnorm import BatchNorm
from femtobarn.nn.dropout import dropout
from femtobarn.nn.pieces import portions
from femtobarn.nn.products import Linear
from femtobarn.nn.rows import Rows
from femtobarn.physics import lorentz

#: Where the frames come from: the lab's own; one at random for each event while training; learned, for each object: of
#: all Lorentz frames, of those at rest in the lab, of those turned around the beam.
Kind = Literal["identity", "random", "learned", "so3", "so2"]

#: How many vectors the network must find for a frame.
VECTORS: dict[Kind, int] = {"identity": 0, "random": 0, "learned": 3, "so3": 2, "so2": 1}

#: GeV, near the mass of a pion: lighter particles count as this heavy where the frames are found. No pair of them is
#: light-like then, and what single precision leaves of the mass of a near pair, 0.03 GeV at 100 GeV, turns no frame.
LIGHTEST = 0.1

#: Standard deviation of the rapidity of a random frame, and how many of them are the most.
SPREAD, MOST = 0.1, 3.0

#: Lorentz factor of the fastest frame.
FASTEST = 1e6

#: Vectors this short against their time component point nowhere: rounding leaves 1e-12 of what should be 0.
SHORT = 1e-6


def precise(momenta: Tensor) -> Tensor:
    """Momenta in float64, which a boost from some TeV to a few GeV needs; as they are on Apple's GPUs, without it."""
    return momenta if momenta.device.type == "mps" else momenta.double()


def rest_frame(total: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 4 4"]:
    """The boost into the rest frame of an event.

    Momenta that are all massless and parallel have no rest frame; they get the one where they weigh `LIGHTEST`. This is
    the one place where the lab enters.
    """
    mass = lorentz.mass2(total).clamp_min(LIGHTEST**2).sqrt()
    return lorentz.to_rest(total[..., :3] / mass[..., None])


def heavy_enough(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 4"]:
    """Momenta with no mass below `LIGHTEST`, space-like ones (from rounding) included; given in the event's frame."""
    space = momenta[..., :3]
    least = (space.square().sum(-1, keepdim=True) + LIGHTEST**2).sqrt()
    return torch.cat([space, torch.maximum(momenta[..., 3:], least)], dim=-1)


def products(
    first: Float[Tensor, "batch objects 4"], second: Float[Tensor, "batch tokens 4"]
) -> Float[Tensor, "batch objects tokens"]:
    """The Lorentz products of all pairs in GeV²."""
    return first @ (second * torch.tensor(lorentz.METRIC, dtype=second.dtype, device=second.device)).transpose(1, 2)


def polar(vectors: Float[Tensor, "*shape 3 4"], own: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 4 4"]:
    r"""A frame from three vectors: the boost to where the first one rests, then the turn that the two others tell.

    .. math:: L = R(B v_1, B v_2)\, B, \quad B = B(v_0)

    Where these are parallel, as they must be in events of three objects or fewer, the object's own momentum takes
    the place of one. What is still open then is a turn that changes no momentum of the event.

    Args:
        vectors: time-like, towards the future; the first no faster than `FASTEST`.
        own: momentum of the object.
    """
    first = vectors[..., 0, :]
    mass = torch.maximum(lorentz.mass2(first), (first[..., 3] / FASTEST).square()).sqrt()
    boost = lorentz.to_rest(first[..., :3] / mass[..., None])
    others = torch.cat([vectors[..., 1:, :], own[..., None, :]], dim=-2) @ boost.transpose(-1, -2)
    return in_space(turn(*directions(others).unbind(-2))) @ boost


def directions(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 3"]:
    """Velocities: 1 long for what has no mass, 0 for what rests."""
    return momenta[..., :3] / momenta[..., 3:]


def turn(
    first: Float[Tensor, "*shape 3"], second: Float[Tensor, "*shape 3"], spare: Float[Tensor, "*shape 3"]
) -> Float[Tensor, "*shape 3 3"]:
    """The rotation after which `first` lies along x and `second` in the x-y plane (Gram-Schmidt).

    For a vector that points nowhere new `spare` steps in, and for that an axis.
    """
    axes = torch.eye(3, dtype=first.dtype, device=first.device)
    x = along(first, spare, axes[0].expand_as(first))
    axis = torch.where(x[..., 2:].abs() < 0.8, axes[2], axes[0])
    y = along(*(across(vector, x) for vector in (second, spare, axis)))
    y = along(across(y, x))  # once is not enough where little is left
    return torch.stack([x, y, cross(x, y)], dim=-2)


def turn_around_beam(first: Float[Tensor, "*shape 3"], spare: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3 3"]:
    """The rotation around the beam after which `first` lies in the x-z plane, as `turn`."""
    axes = torch.eye(3, dtype=first.dtype, device=first.device)
    flat = axes[0] + axes[1]
    x = along(first * flat, spare * flat, axes[0].expand_as(first))
    beam = axes[2].expand_as(first)
    return torch.stack([x, cross(beam, x), beam], dim=-2)


def along(*vectors: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """The unit vector of the first that points anywhere; the last one must."""
    *earlier, chosen = vectors
    for vector in reversed(earlier):
        chosen = torch.where(vector.square().sum(-1, keepdim=True) > SHORT**2, vector, chosen)
    return chosen / chosen.square().sum(-1, keepdim=True).sqrt()


def across(vector: Float[Tensor, "*shape 3"], axis: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """What of a vector is orthogonal to a unit vector."""
    return vector - (vector * axis).sum(-1, keepdim=True) * axis


def cross(first: Float[Tensor, "*shape 3"], second: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """The cross product."""
    (a, b, c), (d, e, f) = first.unbind(-1), second.unbind(-1)
    return torch.stack([b * f - c * e, c * d - a * f, a * e - b * d], dim=-1)


def in_space(rotation: Float[Tensor, "*shape 3 3"]) -> Float[Tensor, "*shape 4 4"]:
    """A rotation as a Lorentz matrix."""
    time = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=rotation.dtype, device=rotation.device)
    return torch.cat([nn.functional.pad(rotation, (0, 1)), time.expand(*rotation.shape[:-2], 1, 4)], dim=-2)


def inverse(frames: Float[Tensor, "*shape 4 4"]) -> Float[Tensor, "*shape 4 4"]:
    r"""The way back, exact for Lorentz matrices: :math:`L^{-1} = g L^T g`."""
    sign = torch.tensor(lorentz.METRIC, dtype=frames.dtype, device=frames.device)
    return frames.transpose(-1, -2) * sign * sign[:, None]


def at_random(events: int, like: Tensor) -> Float[Tensor, "events 4 4"]:
    """One Lorentz transformation for each event: a rotation, all alike, after a boost with rapidities around 0.

    Source: arXiv:2508.14898, section 2 (data augmentation as random global frames).
    """
    quaternion = torch.randn(events, 4, dtype=like.dtype, device=like.device)
    a, b, c, d = (quaternion / quaternion.square().sum(-1, keepdim=True).sqrt()).unbind(-1)
    rotation = [
        torch.stack([1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)], -1),
        torch.stack([2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)], -1),
        torch.stack([2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)], -1),
    ]
    rapidity = SPREAD * torch.randn(events, 3, dtype=like.dtype, device=like.device).clamp(-MOST, MOST)
    return in_space(torch.stack(rotation, -2)) @ lorentz.to_rest(rapidity.sinh())


class FrameNet(nn.Module):
    r"""Vectors that turn with the event: for each object, weighted sums of the directions of its pairs.

    .. math:: v_{ik} = \sum_{j \neq i} \mathrm{softmax}_j\, \phi_k(s_i, s_j, \ln (p_i + p_j)^2)
        \frac{p_i + p_j}{|p_i + p_j|}

    Being sums of unit vectors towards the future with weights that sum to 1, they are at least 1 long. An object that
    is alone gets vectors at rest.

    Args:
        scalars: of each token, the same in every frame.
        invariants: of each token, functions of its momentum, likewise; they are normalised.
        vectors: for each object.
        widths: of the hidden layers of φ.
        chance: of dropout after each of these.
    """

    def __init__(self, scalars: int, invariants: int, vectors: int, widths: Sequence[int], chance: float) -> None:
        super().__init__()
        self.chance = chance
        self.norm = BatchNorm(invariants)
        self.pair_norm = BatchNorm(1)
        self.looking = Linear(scalars + invariants, widths[0])
        self.seen = Linear(scalars + invariants, widths[0], bias=False)
        self.pair = Linear(1, widths[0], bias=False)
        self.hidden = nn.ModuleList(Linear(before, after) for before, after in pairwise(widths))
        self.weigh = Linear(widths[-1], vectors, bias=False)  # a bias would go under in the softmax

    def forward(
        self,
        momenta: Float[Tensor, "batch tokens 4"],
        scalars: Float[Tensor, "batch tokens scalars"],
        invariants: Float[Tensor, "batch objects invariants"],
        mask: Bool[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch objects vectors 4"]:
        """Vectors of the first tokens, the objects; the others, which have no invariants, are only seen."""
        objects, count = invariants.shape[1], mask.shape[1]
        slots = torch.arange(count, device=mask.device)
        pairs = Rows(mask[:, :objects, None] & mask[:, None] & (slots[:objects, None] != slots))
        product = products(momenta[:, :objects], momenta)
        mass2 = lorentz.mass2(momenta)
        mass2 = (mass2[:, :objects, None] + mass2[:, None] + 2 * product).clamp_min(4 * LIGHTEST**2)

        dtype = self.weigh.weight.dtype
        said = self.phi(scalars.to(dtype), invariants.to(dtype), mass2.to(dtype).log(), mask, pairs)
        # tokens last, where a softmax is fast
        said = said.transpose(2, 3).to(dtype, memory_format=torch.contiguous_format)
        weights = said.masked_fill(~pairs.mask[:, :, None], torch.finfo(dtype).min).softmax(-1)
        weights = torch.where(pairs.mask, mass2.rsqrt(), 0.0)[:, :, None] * weights
        seen = weights.flatten(1, 2) @ momenta
        own = weights.sum(-1)[..., None] * momenta[:, :objects, None]
        vectors = own + seen.view(own.shape)
        rest = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=momenta.dtype, device=momenta.device)
        return torch.where(pairs.mask.any(2)[..., None, None], vectors, rest)

    def phi(
        self,
        scalars: Float[Tensor, "batch tokens scalars"],
        invariants: Float[Tensor, "batch objects invariants"],
        mass2: Float[Tensor, "batch objects tokens"],
        mask: Bool[Tensor, "batch tokens"],
        pairs: Rows,
    ) -> Float[Tensor, "batch objects tokens vectors"]:
        """What is said to each pair; the first layer acts on the two tokens and on the pair by themselves, and adds."""
        objects, count = pairs.mask.shape[1:]
        rows = Rows(mask[:, :objects])
        normed = rows.unpack(self.norm(rows.pack(invariants)))
        tokens = torch.cat([scalars, nn.functional.pad(normed, (0, 0, 0, count - objects))], dim=-1)
        looking, seen = self.looking(tokens[:, :objects]), self.seen(tokens)
        own = self.pair_norm(pairs.pack(mass2[..., None]))
        if pairs.index is None:
            return pairs.unpack(self.said((looking[:, :, None] + seen[:, None]).flatten(0, 2), own))
        # a few events at a time, for gradients as well: what becomes of their pairs stays in the cache
        events, many = portions(pairs.mask.sum((1, 2)), looking.shape[2])
        looks = pairs.index.div(count, rounding_mode="floor")
        sees = looks.div(objects, rounding_mode="floor") * count + pairs.index % count
        said, start = [], 0
        of_events = (torch.split(each, events) for each in (looking, seen))
        of_pairs = (torch.split(each, many) for each in (looks, sees, own))
        for look, see, first, second, mass in zip(*of_events, *of_pairs, strict=True):
            both = look.flatten(0, 1).index_select(0, first - start * objects)
            both += see.flatten(0, 1).index_select(0, second - start * count)
            said.append(self.said(both, mass))
            start += len(look)
        return pairs.unpack(torch.cat(said))

    def said(
        self, both: Float[Tensor, "pairs width"], mass: Float[Tensor, "pairs 1"]
    ) -> Float[Tensor, "pairs vectors"]:
        """The layers behind the sum of what the first one makes of the two tokens."""
        hidden = torch.addmm(both, mass, self.pair.weight.t())
        for layer in self.hidden:
            hidden = layer(nn.functional.gelu(self.drop(hidden)))
        said: Tensor = self.weigh(nn.functional.gelu(self.drop(hidden)))
        return said

    def drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.chance, self.training, inplace=True)
