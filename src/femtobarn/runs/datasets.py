"""Sides: the events to train on, to choose by and to be judged on, in memory or in a folder of shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from femtobarn.events import Events, concatenate, subset
from femtobarn.events.formats.parquet import stream_parquet
from femtobarn.events.record import KINEMATICS, MISSING_MOMENTUM
from femtobarn.events.shards.source import Source
from femtobarn.inputs import Batch, make_batch
from femtobarn.inputs.constituents import fit_for, suits
from femtobarn.inputs.stream import Records, Stream
from femtobarn.tasks.classification.classifier import Classifier
from femtobarn.training import TrainingConfig
from femtobarn.training.feeds import Data

#: Events of a folder from which means, standard deviations and the temperature are taken.
HEAD = 1 << 17

#: Events of a folder that are taken into memory at most.
MOST = 2_000_000

#: Events that are scored at a time.
SCORED = 8192


@dataclass(frozen=True, eq=False)
class Side:
    """Events on one side of the split in memory, as records and as tensors.

    Args:
        events: the records.
        batch: the tensors.
        magnitudes: sum of the absolute weights of each process, where these are but some of the events of the side.
    """

    events: Events
    batch: Batch
    magnitudes: Mapping[str, float] | None = None

    def __len__(self) -> int:
        return len(self.events)

    def head(self) -> Side:
        """Some of the events in memory: here all."""
        return self

    def weights(self, task: Classifier) -> NDArray[np.float64]:
        """Weights of the loss; those of some of the events are on a scale of their own."""
        if self.magnitudes is None:
            return task.weights(self.events)
        factors = task.factors(self.magnitudes)
        found: NDArray[np.float64] = np.abs(self.events.weight) * [factors[str(name)] for name in self.events.process]
        return found

    def targets(self, task: Classifier) -> tuple[Tensor, Tensor]:
        """Labels, and weights of the loss."""
        return torch.from_numpy(task.labels(self.events)), torch.from_numpy(self.weights(task)).float()

    def data(self, task: Classifier, settings: TrainingConfig) -> Data:
        """What the training loop takes."""
        return self.batch, self.targets(task)

    def judged(self, outputs: Callable[[Batch], Tensor]) -> tuple[Events, Tensor]:
        """The events, and what a model says about them."""
        return self.events, outputs(self.batch)

    def suits(self, features: str) -> None:
        """Checks that the events have what a set of features is made of.

        Raises:
            ValueError: as `femtobarn.inputs.constituents.suits`.
        """
        suits(self.events, features)


@dataclass(frozen=True, eq=False)
class Stored:
    """Events on one side of the split in a folder of shards, with the methods of `Side`.

    Args:
        source: the events on disk.
        processes: those that take part.
        rates: how often events of a process are dealt in an epoch of training, where it is not once.
    """

    source: Source
    processes: tuple[str, ...]
    rates: Mapping[str, float]

    def __len__(self) -> int:
        return int(self.source.counts[:, [self._names.index(name) for name in self.processes]].sum())

    @cached_property
    def events(self) -> Events:
        """All of them, in memory.

        Raises:
            ValueError: there are too many.
        """
        if len(self) > MOST:
            raise ValueError(
                f"{len(self)} events of {self.source.folder} are not taken into memory for this, {MOST} would be; "
                "networks are trained and judged from disk, for anything else set data.fraction or prepare fewer"
            )
        return replace(concatenate(list(self._pieces())), provenance=self.source.index.provenance)

    @cached_property
    def batch(self) -> Batch:
        """All of them, in memory."""
        return self._batch(self.events)

    def head(self) -> Side:
        """The first `HEAD` events or so in memory: a sample of all, because shards are shuffled."""
        parts: list[Events] = []
        for piece in self._pieces():
            parts.append(piece)
            if sum(map(len, parts)) >= HEAD:
                break
        some = concatenate(parts)
        magnitudes = dict(zip(self._names, self.source.magnitude.tolist(), strict=True))
        return Side(some, self._batch(some), magnitudes)

    def targets(self, task: Classifier) -> tuple[Tensor, Tensor]:
        """Labels and weights of all events, in memory."""
        return Side(self.events, self.batch).targets(task)

    def data(self, task: Classifier, settings: TrainingConfig) -> Stream:
        """What the training loop takes."""
        cache = None
        if settings.cache:
            folder = self.source.folder / "cache" if settings.cache is True else Path(settings.cache)
            precision = "-double" if self.source.double else ""
            cache = folder / f"{self.source.index.fingerprint[:16]}-{self.source.slots}{precision}"
        factors = task.factors(dict(zip(self._names, self.source.magnitude.tolist(), strict=True)))
        return Stream(
            replace(self.source, cache=cache),
            [task.classes.get(name, -1) for name in self._names],
            [factors.get(name, 0.0) for name in self._names],
            [self.rates.get(name, 1.0) for name in self._names],
            readers=settings.num_workers,
        )

    def judged(self, outputs: Callable[[Batch], Tensor]) -> tuple[Events, Tensor]:
        """The events without their objects, and what a model says about them; the objects stay on disk."""
        known = [0 if name in self.processes else -1 for name in self._names]
        found: list[Records] = []
        said: list[Tensor] = []
        for batch, records in Stream(self.source, known, [1.0] * len(known)).records(SCORED):
            found.append(records)
            said.append(outputs(batch))
        process, weight, number, hard = (np.concatenate(column) for column in zip(*found, strict=True))
        nothing = {name: np.zeros(0) for name in KINEMATICS}
        missing = {name: np.full(len(weight), np.nan) for name in MISSING_MOMENTUM}
        events = Events(
            particles=ak.unflatten(ak.zip(nothing, with_name="Momentum4D"), np.zeros(len(weight), np.int64)),
            context=ak.zip(missing),
            weight=weight,
            process=np.array(self._names)[process],
            number=number,
            hard=hard,
            luminosity=self.source.index.luminosity,
        )
        return events, torch.cat(said)

    def suits(self, features: str) -> None:
        """Checks that the events have what a set of features is made of.

        Raises:
            ValueError: as `femtobarn.inputs.constituents.suits`.
        """
        fit_for(self.source.index.tracks, self.source.index.kinds, features)

    def _batch(self, events: Events) -> Batch:
        return make_batch(events, self.source.slots, torch.float64 if self.source.double else torch.float32)

    @property
    def _names(self) -> list[str]:
        return self.source.index.processes

    def _pieces(self) -> Iterator[Events]:
        """The events as records, a few at a time."""
        for number in sorted({shard for shard, _ in self.source.groups}):
            for events in stream_parquet(self.source.shard(number), SCORED):
                some = subset(events, self.source.fraction)
                yield some[np.isin(some.process, self.processes)]
