"""Cost: what one event costs a trained model, in operations and in time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from femtobarn.inputs import Batch
from femtobarn.runs.trained_model import TrainedModel

#: Events that operations are counted for, and events that scoring is timed with, at most.
COUNTED, TIMED = 16, 2000

#: Seconds of scoring that are enough to know its pace.
ENOUGH = 0.1


def cost(model: TrainedModel, batch: Batch) -> dict[str, Any]:
    """What a trained model costs: operations of one event, and events a second from raw objects to outputs.

    Args:
        model: the trained model.
        batch: events with real multiplicities, as the test events.

    Returns:
        `flops` and `elementwise` as `operations` has them, the mean over events (None for trees); `leaves` of all trees
        (None for networks); `scored_per_second`, by the device and threads of the training, the making of features or
        columns included.
    """
    sample = _sample_multiplicities(batch, COUNTED)
    return {**model.costs(_single_events(sample)), "scored_per_second": _pace(model, _sample_events(batch, TIMED))}


def _pace(model: TrainedModel, batch: Batch) -> float:
    """Events scored in a second, after a first call that allocates."""
    model.outputs(_sample_events(batch, 10))
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < ENOUGH:
        model.outputs(batch)
        done += len(batch)
    return done / spent


def _sample_events(batch: Batch, count: int) -> Batch:
    """So many events from all over the batch, at most."""
    chosen = np.unique(np.linspace(0, len(batch) - 1, min(count, len(batch))).round().astype(np.int64))
    return batch[torch.from_numpy(chosen)]


def _sample_multiplicities(batch: Batch, count: int) -> Batch:
    """So many events whose multiplicities are spread as those of the batch: operations depend on little else."""
    count = min(count, len(batch))
    places = ((np.arange(count) + 0.5) * len(batch) / count).astype(np.int64)
    chosen = batch.mask.sum(1).argsort(stable=True)[torch.from_numpy(places)]
    return batch[chosen]


def _single_events(batch: Batch) -> list[Batch]:
    """Every event on its own, without slots beyond its last object."""
    batches = []
    for place in range(len(batch)):
        event = batch[place : place + 1]
        slots = max(1, int(event.mask.sum()))
        columns = {name: getattr(event, name)[:, :slots] for name in ("momenta", "kind", "mask", "tracks")}
        batches.append(event.replace(**columns))
    return batches
