"""Data loaders: batches with targets on the device of the network, from memory or from shards on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from femtobarn.events.shards.prefetch import PrefetchWorkers
from femtobarn.events.shards.shuffle import EpochSpec
from femtobarn.inputs.batch import Batch, batch_from_arrays, to_device
from femtobarn.inputs.datasets import Dataset, InMemoryDataset, ShardedDataset
from femtobarn.inputs.event_columns import EventColumns, TargetMaker
from femtobarn.inputs.loader import batches
from femtobarn.training import distributed
from femtobarn.training.settings import TrainingConfig

Targets = tuple[Tensor, ...]


@runtime_checkable
class Loader(Protocol):
    """Batches of a dataset, epoch by epoch."""

    batch_size: int

    @property
    def n_events(self) -> int:
        """Events per epoch."""

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Batch, Targets]]:
        """Batches of an epoch from number `first` on, with their targets."""

    def close(self) -> None:
        """Free processes and shared memory."""


def n_batches(loader: Loader) -> int:
    """Batches per epoch; the last may be shorter."""
    return math.ceil(loader.n_events / loader.batch_size)


def make_loader(
    dataset: Dataset, task: TargetMaker, settings: TrainingConfig, device: torch.device, seed: int | None = None
) -> Loader:
    """Loader of a dataset.

    Args:
        dataset: events in memory or on disk.
        task: makes the targets.
        settings: batch size, number of workers and cache.
        device: device of the network.
        seed: random seed of the order; None keeps a fixed order, for validation.
    """
    if isinstance(dataset, ShardedDataset):
        return StreamingLoader(dataset, task, settings, device, seed)
    return InMemoryLoader(dataset, task, settings.batch_size, device, seed)


class InMemoryLoader:
    """Batches of events in memory, on the device of the network; all processes receive all events."""

    def __init__(
        self,
        dataset: InMemoryDataset,
        task: TargetMaker,
        batch_size: int,
        device: torch.device,
        seed: int | None = None,
    ) -> None:
        batch, targets = dataset.batch, dataset.targets(task)
        if seed is None:
            # events of similar multiplicity together: padding costs pairs, and empty slots of a batch are cut
            order = batch.mask.sum(1).argsort(stable=True)
            batch, targets = batch[order], tuple(target[order] for target in targets)
        self.batch = batch.to(device)
        self.targets = tuple(to_device(target, device) for target in targets)
        self.batch_size, self.seed = batch_size, seed

    @property
    def n_events(self) -> int:
        return self.batch.n_events

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Batch, Targets]]:
        return batches(self.batch, self.targets, self.batch_size, seed=self.seed, epoch=epoch, first=first)

    def close(self) -> None:
        """Nothing to free."""


class StreamingLoader:
    """Batches of events in shards, in memory that does not grow with their number.

    The order is a function of (seed, epoch) alone: every event with a sampling rate of 1 comes once per epoch. It is
    another order than that of events in memory, because only the row groups of a block are shuffled with each other
    (`femtobarn.events.shards.shuffle`). Of several processes each reads its share, and all receive all events.

    Raises:
        ValueError: a sampling rate with which no event of a process is drawn.
    """

    def __init__(
        self,
        dataset: ShardedDataset,
        task: TargetMaker,
        settings: TrainingConfig,
        device: torch.device,
        seed: int | None = None,
    ) -> None:
        self.task, self.device, self.seed, self.batch_size = task, device, seed, settings.batch_size
        self.processes = tuple(dataset.all_processes)
        factors = task.weight_factors(dataset.totals.absolute_weights)
        rates = [dataset.sampling_rates.get(name, 1.0) if name in factors else 0.0 for name in self.processes]
        split = dataset.split.with_columns(task.columns, cache=dataset.cache_folder(settings.cache, task.columns))
        self.workers = PrefetchWorkers(split, rates, settings.num_workers)
        available = split.counts.sum(0)
        drawn = self.workers.plan(EpochSpec(1)).quotas.sum(0)
        for name, n_available, n_drawn in zip(self.processes, available, drawn, strict=True):
            if n_available and not n_drawn and name in factors:
                raise ValueError(
                    f"data.sampling_rates: with the rate of {name}, none of its {n_available} events is drawn; raise it"
                )
        self._n_events = int(drawn.sum())
        # events that are drawn less often get more weight
        per_draw = np.divide(available, drawn, out=np.zeros(len(drawn)), where=drawn > 0)
        self.scale = per_draw * [factors.get(name, 0.0) for name in self.processes] * self._n_events

    @property
    def n_events(self) -> int:
        return self._n_events

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Batch, Targets]]:
        pending = None
        spec = EpochSpec(self.batch_size, self.seed, epoch, first, (distributed.rank(), distributed.world_size()))
        for arrays, length in self.workers.batches(spec):
            process = arrays["process"].astype(np.int64)
            values = {name: arrays["columns"][:, place] for place, name in enumerate(self.task.columns)}
            weight = np.abs(arrays["weight"]) * self.scale[process]
            targets = self.task.targets(EventColumns(process, self.processes, weight, values))
            batch = batch_from_arrays(arrays)
            if self.device.type == "cuda":
                # from pinned memory the next batch is copied while the network computes with this one
                batch, targets = batch.pin_memory(), tuple(target.pin_memory() for target in targets)
            batch, targets = batch.to(self.device), tuple(to_device(target, self.device) for target in targets)
            if pending is not None:
                yield pending
            if distributed.world_size() > 1:
                batch = batch.map(partial(distributed.all_gather, n_events=length))
                targets = tuple(distributed.all_gather(target, length) for target in targets)
            pending = batch, targets
        if pending is not None:
            yield pending

    def close(self) -> None:
        self.workers.close()
