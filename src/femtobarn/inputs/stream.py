"""Stream: prepared events, dealt out in batches from disk."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from femtobarn.events.shards.decode import Arrays
from femtobarn.events.shards.readers import Pass, Readers
from femtobarn.events.shards.source import Source
from femtobarn.inputs.batch import Batch


class Records(NamedTuple):
    """What is known of events beside what a network sees."""

    process: NDArray[np.int64]  # index of each one's process
    weight: NDArray[np.float64]
    number: NDArray[np.int64]
    hard: NDArray[np.int64]


class Stream:
    """Prepared events in batches, in memory that does not grow with their number.

    The order is a function of (seed, epoch) alone, as that of `femtobarn.inputs.batches`: every event of a rate of 1
    comes once in an epoch, the last batch is as short as it comes. It is another order than that of events in memory,
    because only the row groups of a block are shuffled with each other (`femtobarn.events.shards.epoch`).

    Args:
        source: the events.
        labels: class of each process, in the order of the index; negative for processes that take no part.
        factors: what the absolute weights of each process are multiplied by, so that all add up to 1; the weights of
            the loss have a mean of 1.
        rates: how often an event of each process is dealt in an epoch.
        readers: processes that read ahead; 0 reads when a batch is asked for.

    Raises:
        ValueError: a process that is dealt in no epoch.
    """

    def __init__(
        self,
        source: Source,
        labels: Sequence[int],
        factors: Sequence[float],
        rates: Sequence[float] | None = None,
        *,
        readers: int = 0,
    ) -> None:
        self.labels = torch.tensor(labels)
        chosen = np.ones(len(labels)) if rates is None else np.asarray(rates, dtype=np.float64)
        self.readers = Readers(source, np.where(np.asarray(labels) < 0, 0.0, chosen).tolist(), readers)
        there = source.counts.sum(0)
        dealt = self.readers.epoch(Pass(1)).quotas.sum(0)
        for name, many, some, label in zip(source.index.processes, there, dealt, labels, strict=True):
            if many and not some and label >= 0:
                raise ValueError(f"the rate of {name} deals none of its {many} events; raise it")
        # what is dealt seldom counts for more
        rarity = np.divide(there, dealt, out=np.zeros(len(there)), where=dealt > 0)
        self.count = int(dealt.sum())
        self.factors = np.asarray(factors, dtype=np.float64) * rarity * self.count

    def __len__(self) -> int:
        """Events that are dealt in an epoch."""
        return self.count

    def deal(
        self, size: int, *, seed: int | None = None, epoch: int = 0, first: int = 0, share: tuple[int, int] = (0, 1)
    ) -> Generator[tuple[Batch, tuple[Tensor, Tensor], int], None, None]:
        """Batches with labels and weights of the loss, and how many events a batch has in all shares.

        Args:
            size: events in a batch, all shares together.
            seed: None keeps the order of the files.
            epoch: gives every epoch its own order.
            first: batch to begin with; those before it are not read.
            share: (which, of how many) parts of every batch to deal.
        """
        for arrays, length in self._cut(Pass(size, seed, epoch, first, share)):
            process = arrays["process"].astype(np.int64)
            weights = np.abs(arrays["weight"]) * self.factors[process]
            targets = self.labels[torch.from_numpy(process)], torch.from_numpy(weights).float()
            yield batch(arrays), targets, length

    def records(self, size: int) -> Generator[tuple[Batch, Records], None, None]:
        """Batches of all events in the order of the files, with what is known of the events."""
        for arrays, _ in self._cut(Pass(size)):
            process = arrays["process"].astype(np.int64)
            yield batch(arrays), Records(process, *(arrays[name] for name in Records._fields[1:]))

    def close(self) -> None:
        """Ends the readers and frees their memory."""
        self.readers.close()

    def _cut(self, which: Pass) -> Generator[tuple[Arrays, int], None, None]:
        """Copies of the arrays, batch by batch; a batch may reach over the end of a block."""
        epoch = self.readers.epoch(which)
        blocks = self.readers.blocks(which)
        try:
            block: Arrays = {}
            at = end = 0
            numbers = np.arange(which.first, epoch.batches)
            low, high = epoch.bounds(numbers)
            for number, missing in zip(numbers.tolist(), (high - low).tolist(), strict=True):
                pieces: list[Arrays] = []
                while missing or not block:
                    if at == end:
                        block = next(blocks)
                        at, end = 0, len(block["kind"])
                        continue
                    take = min(missing, end - at)
                    pieces.append({name: column[at : at + take] for name, column in block.items()})
                    if take < missing:  # the next block may lie in the same memory
                        pieces[-1] = {name: column.copy() for name, column in pieces[-1].items()}
                    at, missing = at + take, missing - take
                pieces = pieces or [{name: column[:0] for name, column in block.items()}]
                yield {name: np.concatenate([piece[name] for piece in pieces]) for name in block}, epoch.length(number)
        finally:
            blocks.close()


def batch(arrays: Arrays) -> Batch:
    """Arrays of events as tensors."""
    kind = torch.from_numpy(arrays["kind"]).long()
    momenta, context, tracks = (torch.from_numpy(arrays[name]) for name in ("momenta", "context", "tracks"))
    return Batch(momenta, kind, kind > 0, context, tracks)
