"""Neighbours of each particle of an event."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Neighbours(NamedTuple):
    """Slots of the neighbours of every particle; entries where `mask` is False are no neighbours."""

    slot: Int[Tensor, "batch particles neighbours"]
    mask: Bool[Tensor, "batch particles neighbours"]


def all_neighbours(mask: Bool[Tensor, "batch particles"]) -> Neighbours:
    """Every other real particle as a neighbour: `nearest_neighbours` for k >= particles - 1, without sorting."""
    batch, slots = mask.shape
    index = torch.arange(slots, device=mask.device)
    is_other = index[:, None] != index[None, :]
    return Neighbours(index.expand(batch, slots, slots), mask[:, :, None] & mask[:, None, :] & is_other)


def nearest_neighbours(
    distance2: Float[Tensor, "batch particles particles"], mask: Bool[Tensor, "batch particles"], k: int
) -> Neighbours:
    """The k nearest other particles of each particle; all others if there are fewer than k.

    Padding has no neighbours and is no neighbour, and no particle is its own neighbour.

    Args:
        distance2: squared distances, or any monotonic function of the distance.
        mask: True where a particle is real.
        k: maximum number of neighbours.
    """
    slots = mask.shape[1]
    is_pair = all_neighbours(mask).mask
    count = max(1, min(k, slots - 1)) if isinstance(slots, int) else torch.sym_min(k, slots - 1)
    nearest = distance2.masked_fill(~is_pair, torch.inf).topk(count, dim=-1, largest=False, sorted=False)
    return Neighbours(nearest.indices, is_pair.gather(2, nearest.indices))
