"""Batches of events in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from femtobarn.inputs.batch import Batch


def batches(
    batch: Batch,
    targets: tuple[Tensor, ...] = (),
    size: int = 512,
    *,
    seed: int | None = None,
    epoch: int = 0,
    first: int = 0,
) -> Iterator[tuple[Batch, tuple[Tensor, ...]]]:
    """Events with their targets in batches of `size`, each event exactly once; the last batch may be shorter.

    The order is a function of (seed, epoch) alone, so that a resumed training gets the same batches on every machine.

    Args:
        batch: all events.
        targets: tensors with one row per event, such as labels and weights.
        size: events per batch, at least 1.
        seed: random seed >= 0; None keeps the order of the events.
        epoch: gives every epoch its own order.
        first: number of batches that are skipped.

    Raises:
        ValueError: `size` is below 1, or a target has another length than the batch.
    """
    if size < 1:
        raise ValueError(f"a batch of {size} events; at least 1 is needed")
    lengths = [len(target) for target in targets]
    if any(length != batch.n_events for length in lengths):
        raise ValueError(f"targets of lengths {lengths} for {batch.n_events} events")
    order = None if seed is None else _shuffled(batch.n_events, seed, epoch, batch.mask.device)
    indices = (
        slice(start, start + size) if order is None else order[start : start + size]
        for start in range(first * size, batch.n_events, size)
    )
    return ((batch[index], tuple(target[index] for target in targets)) for index in indices)


def _shuffled(n_events: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    # numpy's permutation, not torch's: it does not depend on the device, and SeedSequence keeps (1, 2) and (2, 1) apart
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(n_events)).to(device)
