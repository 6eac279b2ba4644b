"""Bootstrap: replicas of the test events, for statistical errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from femtobarn.evaluation.measurement import Metric
from femtobarn.events.storage.atomic import atomic_write, unchecked

#: Weights in one block of replicas: 32 MB in float64, whatever the sample.
BLOCK_WEIGHTS = 4_000_000

METADATA = b"femtobarn"


@runtime_checkable
class WeightedEvents(Protocol):
    """Events of several processes with weights: `Predictions` of any task, or scores."""

    @property
    def process(self) -> NDArray[Any]:
        """Name of the process of each event."""

    @property
    def hard(self) -> NDArray[np.int64]:
        """Number of the hard-scattering event; copies share it."""

    @property
    def weight(self) -> NDArray[np.float64]:
        """Weight of each event."""


@dataclass(frozen=True, eq=False)
class Replicas:
    """Metrics of a run for the test events and for bootstrap replicas of them.

    Args:
        values: by metric: the value, then its value in each replica, shape (1 + replicas,).
        floors: smallest statistical error of a metric, where its value can be 0 (an efficiency without passing events).
    """

    values: Mapping[Metric, NDArray[np.float64]]
    floors: Mapping[Metric, float] = field(default_factory=dict)

    def write(self, path: Path, settings: Mapping[str, Any], *, check: Callable[[], object] = unchecked) -> None:
        """Write a Parquet file with one column per metric; it is either complete or absent.

        Args:
            path: the file.
            settings: of the evaluation, from which `read` decides whether the replicas still hold.
            check: see `femtobarn.events.storage.atomic.atomic_write`.
        """
        names = {json.dumps([metric.name, metric.of, metric.at]): metric for metric in self.values}
        metadata = {"settings": settings, "floors": {key: self.floors.get(names[key], 0.0) for key in names}}
        table = pa.table({key: self.values[metric] for key, metric in names.items()})
        table = table.replace_schema_metadata({METADATA: json.dumps(metadata).encode()})
        with atomic_write(path, check=check) as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)

    @classmethod
    def read(cls, path: Path, settings: Mapping[str, Any]) -> Replicas | None:
        """Read a file of `write`; None if there is none or it was written for other settings.

        Raises:
            ValueError: the file is damaged.
        """
        if not path.is_file():
            return None
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read()
            metadata = json.loads(table.schema.metadata[METADATA])
            if metadata["settings"] != settings:
                return None
            metrics = {name: Metric(*json.loads(name)) for name in table.column_names}
            values = {metric: table[name].to_numpy() for name, metric in metrics.items()}
            return cls(values, {metric: metadata["floors"][name] for name, metric in metrics.items()})
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and evaluate the run again") from None


class Evaluated(NamedTuple):
    """Metrics of a run: content of `metrics.json`, and their bootstrap replicas."""

    metrics: dict[str, Any]
    replicas: Replicas


def hard_events(events: WeightedEvents) -> NDArray[np.intp]:
    """Index of the hard event of each event, counted by process and number; copies of one collision share it."""
    _, code = np.unique(events.process, return_inverse=True)
    group: NDArray[np.intp]
    _, group = np.unique(np.stack([code, events.hard], axis=1), axis=0, return_inverse=True)
    return group


def draw_replicas(
    events: WeightedEvents, count: int, seed: int, *, block_weights: int = BLOCK_WEIGHTS
) -> Iterator[NDArray[np.float64]]:
    """Weights of all events: one block with the sample itself, then `count` replicas in blocks that fit into memory.

    A replica multiplies the weights by independent exponential numbers of mean 1 (the Bayesian bootstrap: Rubin, Ann.
    Statist. 9, 130, 1981, doi:10.1214/aos/1176345338). Its variance is that of the Poisson bootstrap, and no process
    ever vanishes from a replica, nor the last event of a tail. All copies of one hard event get the same number, and
    each process keeps its yield, which is known from cross section and the whole sample, not from the test events.

    Args:
        events: the held-out events.
        count: number of replicas; 0 for the sample only.
        seed: the same events and seed give the same replicas, in any order of the events.
        block_weights: weights that are held in memory at a time.
    """
    yield events.weight[None].astype(np.float64)
    group = hard_events(events)
    groups = int(group.max()) + 1
    parts = [np.flatnonzero(events.process == name) for name in np.unique(events.process)]
    rng = np.random.default_rng(seed)
    size = max(1, block_weights // len(events.weight))
    for start in range(0, count, size):
        draws = rng.exponential(size=(min(size, count - start), groups))
        weights = np.empty((len(draws), len(events.weight)))
        for part in parts:
            drawn = events.weight[part] * draws[:, group[part]]
            weights[:, part] = drawn * (events.weight[part].sum() / drawn.sum(axis=1, keepdims=True))
        yield weights


def effective(weight: NDArray[np.float64], group: NDArray[np.intp]) -> float:
    """As many hard events of equal weight would have the same statistical error, (Σw)²/Σw²; 0 without events."""
    summed = np.bincount(group, weights=weight)
    squares = float((summed**2).sum())
    return float(summed.sum()) ** 2 / squares if squares > 0 else 0.0


def bootstrap_std(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Statistical error: standard deviation over the replicas (rows from 1 on); NaN if a replica is NaN."""
    return np.asarray(values[1:].std(axis=0, ddof=1), dtype=np.float64)
