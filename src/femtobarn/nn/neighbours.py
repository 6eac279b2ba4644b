"""Neighbours: which objects of an event see which."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Neighbours(NamedTuple):
    """For every object the slots of its neighbours; where `real` is False there is none."""

    slot: Int[Tensor, "batch particles neighbours"]
    real: Bool[Tensor, "batch particles neighbours"]


def all_pairs(mask: Bool[Tensor, "batch particles"]) -> Neighbours:
    """Every other real object is a neighbour: what `nearest` gives for k >= objects - 1, without sorting."""
    batch, slots = mask.shape
    index = torch.arange(slots, device=mask.device)
    other = index[:, None] != index[None, :]
    return Neighbours(index.expand(batch, slots, slots), mask[:, :, None] & mask[:, None, :] & other)


def nearest(
    distance2: Float[Tensor, "batch particles particles"], mask: Bool[Tensor, "batch particles"], k: int
) -> Neighbours:
    """The k nearest other objects of each object; with fewer than k others, all of them.

    Padding neither has nor is a neighbour, and nothing is a neighbour of itself, however small its distance.

    Args:
        distance2: squared distances, any monotonic function of the distance does.
        mask: True where an object is real.
        k: largest number of neighbours.
    """
    slots = mask.shape[1]
    real = all_pairs(mask).real
    chosen = distance2.masked_fill(~real, torch.inf).topk(
        max(1, min(k, slots - 1)), dim=-1, largest=False, sorted=False
    )
    return Neighbours(chosen.indices, real.gather(2, chosen.indices))
