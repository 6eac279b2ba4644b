"""Datasets: the events of one split, in memory or in a folder of shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from femtobarn.events import Events, concatenate, subset
from femtobarn.events.formats.parquet import stream_parquet
from femtobarn.events.record import KINEMATICS, MISSING_MOMENTUM
from femtobarn.events.shards.decode import Arrays
from femtobarn.events.shards.sharded_split import ShardedSplit
from femtobarn.inputs.batch import Batch, batch_from_arrays, make_batch
from femtobarn.inputs.event_columns import EventColumns, TargetMaker, event_columns
from femtobarn.inputs.feature_sets import check_columns, check_features

#: Events of a folder of shards from which means, standard deviations and the temperature are taken.
HEAD_EVENTS = 1 << 17

#: Most events of a folder of shards that are loaded into memory.
MAX_EVENTS_IN_MEMORY = 2_000_000

#: Events of a shard that are read at a time, as records.
CHUNK_EVENTS = 8192


@dataclass(frozen=True)
class SplitTotals:
    """Sums over all events of a split.

    Args:
        n_events: number of events.
        absolute_weights: sum of the absolute weights of each process.
    """

    n_events: int
    absolute_weights: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class InMemoryDataset:
    """Events of one split in memory, as records and as tensors.

    Args:
        events: the records.
        batch: the tensors.
        totals: sums over the split, if these are only some of its events.
    """

    events: Events
    batch: Batch
    totals: SplitTotals | None = None

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return f"InMemoryDataset({len(self)} events, {', '.join(self.events.processes)})"

    def head(self) -> InMemoryDataset:
        """Events in memory that represent the split: all of them."""
        return self

    def columns(self, task: TargetMaker) -> EventColumns:
        """Columns from which the task makes its targets."""
        totals = self.totals or SplitTotals(len(self), self._absolute_weights())
        factors = task.weight_factors(totals.absolute_weights)
        return event_columns(self.events, task.columns, factors, float(totals.n_events))

    def targets(self, task: TargetMaker) -> tuple[Tensor, ...]:
        """Targets of all events."""
        return task.targets(self.columns(task))

    def predict(self, model: Callable[[Batch], Tensor], columns: Sequence[str] = ()) -> tuple[Events, Tensor]:
        """The events, and the outputs of a model for them."""
        return self.events, model(self.batch)

    def check_features(self, features: str) -> None:
        """Check that the events have the columns of a set of features.

        Raises:
            ValueError: as `femtobarn.inputs.feature_sets.check_features`.
        """
        check_features(self.events, features)

    def _absolute_weights(self) -> dict[str, float]:
        processes, codes = np.unique(self.events.process, return_inverse=True)
        sums = np.bincount(codes, np.abs(self.events.weight), len(processes))
        return dict(zip(map(str, processes), sums.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class ShardedDataset:
    """Events of one split in a folder of shards, with the methods of `InMemoryDataset`.

    Args:
        split: the events on disk.
        processes: names of the processes that take part.
        sampling_rates: number of times each event of a process is drawn in an epoch of training (default 1).
        max_events_in_memory: most events that are loaded into memory.
    """

    split: ShardedSplit
    processes: tuple[str, ...]
    sampling_rates: Mapping[str, float]
    max_events_in_memory: int = MAX_EVENTS_IN_MEMORY

    def __len__(self) -> int:
        return int(self.split.counts[:, [self.all_processes.index(name) for name in self.processes]].sum())

    def __repr__(self) -> str:
        return f"ShardedDataset({len(self)} events in {self.split.folder}, {self.split.name})"

    @property
    def all_processes(self) -> list[str]:
        """Names of all processes in the folder."""
        return self.split.index.processes

    @property
    def totals(self) -> SplitTotals:
        """Sums over all events."""
        sums = dict(zip(self.all_processes, self.split.absolute_weights.tolist(), strict=True))
        return SplitTotals(len(self), sums)

    @cached_property
    def events(self) -> Events:
        """All events, in memory.

        Raises:
            ValueError: there are too many.
        """
        if len(self) > self.max_events_in_memory:
            raise ValueError(
                f"{len(self)} events of {self.split.folder} are not loaded into memory for this; at most "
                f"{self.max_events_in_memory} are; networks are trained and evaluated from disk, for anything else set "
                "data.fraction or prepare fewer events"
            )
        return replace(concatenate(list(self._pieces())), provenance=self.split.index.provenance)

    @cached_property
    def batch(self) -> Batch:
        """All events as tensors, in memory."""
        return self._batch(self.events)

    def head(self, n_events: int = HEAD_EVENTS) -> InMemoryDataset:
        """The first `n_events` events, up to a piece more, in memory: a random sample, because shards are shuffled."""
        parts: list[Events] = []
        for piece in self._pieces():
            parts.append(piece)
            if sum(map(len, parts)) >= n_events:
                break
        events = concatenate(parts)
        return InMemoryDataset(events, self._batch(events), self.totals)

    def columns(self, task: TargetMaker) -> EventColumns:
        """Columns from which the task makes its targets, of all events in memory."""
        return InMemoryDataset(self.events, self.batch).columns(task)

    def targets(self, task: TargetMaker) -> tuple[Tensor, ...]:
        """Targets of all events, in memory."""
        return task.targets(self.columns(task))

    def cache_folder(self, cache: bool | str, columns: Sequence[str] = ()) -> Path | None:
        """Folder for decoded row groups: below the events (True), elsewhere (a path), or none (False)."""
        if not cache:
            return None
        folder = self.split.folder / "cache" if cache is True else Path(cache)
        parts = [self.split.index.fingerprint[:16], str(self.split.slots)]
        parts += ["double"] if self.split.double else []
        parts += [hashlib.sha256(json.dumps(list(columns)).encode()).hexdigest()[:8]] if columns else []
        return folder / "-".join(parts)

    def predict(self, model: Callable[[Batch], Tensor], columns: Sequence[str] = ()) -> tuple[Events, Tensor]:
        """The events without their objects, which stay on disk, and the outputs of a model for them.

        Args:
            model: outputs with one row per event.
            columns: numeric columns for the context of the events.
        """
        names = np.array(self.all_processes)
        split = self.split.with_columns(columns)
        parts: list[Arrays] = []
        outputs: list[Tensor] = []
        for number in range(len(split.groups)):
            arrays, rows = split.read_group(number)
            rows = rows[np.isin(names[arrays["process"][rows]], self.processes)]
            parts.append({name: arrays[name][rows] for name in ("process", "weight", "number", "hard", "columns")})
            outputs.append(model(batch_from_arrays({name: column[rows] for name, column in arrays.items()})))
        merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        n_events = len(merged["weight"])
        context = {name: np.full(n_events, np.nan) for name in MISSING_MOMENTUM}
        context |= {name: merged["columns"][:, place] for place, name in enumerate(columns)}
        no_particles = ak.zip({name: np.zeros(0) for name in KINEMATICS}, with_name="Momentum4D")
        events = Events(
            particles=ak.unflatten(no_particles, np.zeros(n_events, np.int64)),
            context=ak.zip(context),
            weight=merged["weight"],
            process=names[merged["process"]],
            number=merged["number"],
            hard=merged["hard"],
            luminosity=self.split.index.luminosity,
        )
        return events, torch.cat(outputs)

    def check_features(self, features: str) -> None:
        """Check that the events have the columns of a set of features.

        Raises:
            ValueError: as `femtobarn.inputs.feature_sets.check_features`.
        """
        check_columns(self.split.index.tracks, self.split.index.kinds, features)

    def _batch(self, events: Events) -> Batch:
        return make_batch(events, self.split.slots, torch.float64 if self.split.double else torch.float32)

    def _pieces(self) -> Iterator[Events]:
        """Records of the events, some at a time."""
        for number in sorted({shard for shard, _ in self.split.groups}):
            for events in stream_parquet(self.split.shard(number), CHUNK_EVENTS):
                piece = subset(events, self.split.fraction)
                yield piece[np.isin(piece.process, self.processes)]


Dataset = InMemoryDataset | ShardedDataset
