"""Places of particles for networks that have an input for each: ordered by type, equal types in the given order."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from femtobarn.inputs.feature_batch import Features, Sizes


def n_kinematic(sizes: Sizes) -> int:
    """Number of features of a particle that are not its type or charge."""
    return sizes.particles - (sizes.scalars[1] - sizes.scalars[0])


def kinematic(features: Features, scalars: tuple[int, int]) -> Float[Tensor, "batch particles kinematic"]:
    """Features of the particles without their types and charges."""
    first, last = scalars
    return torch.cat([features.particles[..., :first], features.particles[..., last:]], dim=-1)


def n_pair_inputs(sizes: Sizes) -> int:
    """Number of inputs that `pairs_in_slots` gives.

    Raises:
        ValueError: no pairwise features.
    """
    if not sizes.pairs:
        raise ValueError("its inputs are pairwise features; set inputs.interactions, for amplitudes to [dot]")
    return sizes.pairs * sizes.slots * (sizes.slots - 1) // 2


def order_by_type(features: Features, slots: int) -> Int[Tensor, "batch places"]:
    """Index of the particle of each slot in the batch padded by `slots` particles; padding comes last.

    Args:
        features: a batch; particles with larger codes of their type come first.
        slots: number of slots; further particles are left out.
    """
    kind = torch.nn.functional.pad(torch.where(features.mask, features.kind, 0), (0, slots))
    n_places = kind.shape[1]
    # unique, so that the order does not depend on the sorting algorithm
    rank = kind * n_places + torch.arange(n_places - 1, -1, -1, device=kind.device)
    return rank.topk(slots, dim=1, sorted=True).indices


def particles_in_slots(
    columns: Float[Tensor, "batch particles columns"], index: Int[Tensor, "batch places"]
) -> Float[Tensor, "batch places columns"]:
    """Columns of the particle of each slot; 0 in empty slots if padded particles are 0."""
    slots = index.shape[1]
    padded = torch.nn.functional.pad(columns, (0, 0, 0, slots))
    return padded.gather(1, index[..., None].expand(-1, -1, columns.shape[-1]))


def pairs_in_slots(
    pairs: Float[Tensor, "batch particles particles features"], index: Int[Tensor, "batch places"]
) -> Float[Tensor, "batch columns"]:
    """Features of every pair of slots i < j, flat; 0 where a slot is empty."""
    slots, width = index.shape[1], pairs.shape[-1]
    padded = torch.nn.functional.pad(pairs, (0, 0, 0, slots, 0, slots))
    rows = padded.gather(1, index[:, :, None, None].expand(-1, -1, padded.shape[2], width))
    both = rows.gather(2, index[:, None, :, None].expand(-1, slots, -1, width))
    first, second = torch.triu_indices(slots, slots, 1, device=pairs.device)
    return both[:, first, second].flatten(1)
