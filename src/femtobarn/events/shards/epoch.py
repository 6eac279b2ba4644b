"""Epoch: in which order the events of shards are dealt, a function of the seed and the number of the epoch alone.

All row groups are put in random order, and cut into blocks of a few. The events of a block are shuffled and dealt in
batches that run on into the next block. So any block can be made without those before it, by whoever has time, and a
training that was stopped goes on at any batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Row groups that are shuffled together.
BLOCK = 8


class Part(NamedTuple):
    """Events of one row group that go into a block.

    Args:
        group: number of the row group.
        ranks: which of its events, counted through the processes in their order.
        places: where each of them stands in the block.
    """

    group: int
    ranks: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """One pass over the events of a side.

    Args:
        counts: events by row group and process.
        rates: how often an event of each process is dealt in a pass: 0.5 deals half of them, others each time.
        size: events of a batch.
        seed: None keeps the order of the shards.
        number: of the pass.
        first: batch to begin with.
        share: (which, of how many) parts of every batch is asked for.
    """

    counts: NDArray[np.int64]
    rates: NDArray[np.float64]
    size: int
    seed: int | None = None
    number: int = 0
    first: int = 0
    share: tuple[int, int] = (0, 1)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The row groups as they come."""
        if self.seed is None:
            return np.arange(len(self.counts))
        return np.random.default_rng((self.seed, self.number)).permutation(len(self.counts))

    @cached_property
    def quotas(self) -> NDArray[np.int64]:
        """Events to deal, by row group in `order` and process; the sums over row groups are the same in every pass."""
        passed = np.cumsum(self.counts[self.order], axis=0)
        dealt: NDArray[np.int64] = np.floor(self.rates * passed + 0.5).astype(np.int64)
        dealt[1:] -= dealt[:-1].copy()
        return dealt

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Events dealt by the end of each block."""
        dealt = np.cumsum(self.quotas.sum(1))
        blocks = -(-len(dealt) // BLOCK)
        ends: NDArray[np.int64] = dealt[np.minimum(BLOCK * np.arange(1, blocks + 1), len(dealt)) - 1]
        return ends

    @property
    def total(self) -> int:
        """Events of the pass."""
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def batches(self) -> int:
        """Number of batches, the last as short as it comes."""
        return -(-self.total // self.size)

    @property
    def blocks(self) -> range:
        """The blocks with events from batch `first` on."""
        begun = int(np.searchsorted(self.ends, self.first * self.size, side="right"))
        return range(begun, len(self.ends))

    def length(self, batch: int) -> int:
        """Events of a batch, all shares together."""
        return min(self.size, self.total - batch * self.size)

    def bounds(self, batch: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and behind last event of this share within each of some batches."""
        length = np.minimum(self.size, self.total - batch * self.size)
        which, many = self.share
        return length * which // many, length * (which + 1) // many

    def block(self, number: int) -> tuple[int, list[Part]]:
        """Events of this share in a block, and from which row groups each is taken.

        Within a batch the events are sorted by row group, so that a share needs few of these.
        """
        here = slice(BLOCK * number, BLOCK * (number + 1))
        random = None if self.seed is None else np.random.default_rng((self.seed, self.number, number + 1))
        which, rank = [], []
        for place, (group, quotas) in enumerate(zip(self.order[here].tolist(), self.quotas[here], strict=True)):
            before = 0
            for count, quota in zip(self.counts[group].tolist(), quotas.tolist(), strict=True):
                whole, rest = divmod(quota, count) if count else (0, 0)
                some = random.permutation(count)[:rest] if rest and random is not None else np.arange(rest)
                rank.append(before + np.concatenate([np.tile(np.arange(count), whole), some]))
                which.append(np.full(quota, place))
                before += count
        group_of, rank_of = np.concatenate(which), np.concatenate(rank)
        if random is not None:
            shuffled = random.permutation(len(rank_of))
            group_of, rank_of = group_of[shuffled], rank_of[shuffled]
        start = int(self.ends[number - 1]) if number else 0
        position = start + np.arange(len(rank_of))
        batch = position // self.size
        order = np.lexsort((group_of, batch))
        low, high = self.bounds(batch)
        within = position - batch * self.size
        mine = (batch >= self.first) & (within >= low) & (within < high)
        group_of, rank_of = group_of[order][mine], rank_of[order][mine]
        parts = []
        for place, group in enumerate(self.order[here].tolist()):
            places = np.flatnonzero(group_of == place)
            if len(places):
                parts.append(Part(group, rank_of[places], places))
        return len(rank_of), parts

    @cached_property
    def largest(self) -> int:
        """No block of any pass with these counts and rates holds more events."""
        most = np.ceil(self.rates * self.counts).sum(1)
        return int(np.sort(most)[-BLOCK:].sum())
