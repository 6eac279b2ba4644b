"""Loader: events in memory, dealt out in batches."""

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
) -> Iterator[tuple[Batch, tuple[Tensor, ...]]]:
    """Events with their targets in batches of `size`, each event exactly once, the last batch as short as it comes.

    The order is a function of (seed, epoch) alone: the same pair deals the same batches on every machine, so a resumed
    training sees what an unbroken one would have seen. Without a seed the events come in the order they have.

    Args:
        batch: all events.
        targets: labels, weights or whatever else has one entry an event, cut alike.
        size: events in a batch, at least 1.
        seed: None keeps the order; any integer >= 0 shuffles.
        epoch: gives every epoch its own order.

    Raises:
        ValueError: `size` is below 1, or a target is not as long as the batch.
    """
    if size < 1:
        raise ValueError(f"a batch of {size} events; at least 1 is needed")
    count = len(batch)
    lengths = [len(target) for target in targets]
    if any(length != count for length in lengths):
        raise ValueError(f"targets of lengths {lengths} for {count} events")
    return _deal(batch, targets, size, _order(count, seed, epoch, batch.mask.device))


def _order(count: int, seed: int | None, epoch: int, device: torch.device) -> Tensor | None:
    if seed is None:
        return None
    # numpy's permutation, not torch's: it does not depend on the device, and SeedSequence keeps (1, 2) and (2, 1) apart
    shuffled = np.random.default_rng((seed, epoch)).permutation(count)
    return torch.from_numpy(shuffled).to(device)


def _deal(
    batch: Batch, targets: tuple[Tensor, ...], size: int, order: Tensor | None
) -> Iterator[tuple[Batch, tuple[Tensor, ...]]]:
    for start in range(0, len(batch), size):
        chosen: slice | Tensor = slice(start, start + size) if order is None else order[start : start + size]
        yield batch[chosen], tuple(target[chosen] for target in targets)
