"""Order in which the events of shards are drawn: a function of the seed and the number of the epoch alone.

All row groups are put in random order, and cut into blocks of a few. The events of a block are shuffled and drawn in
batches that continue in the next block. So every block can be made without those before it, in any process, and a
training that was stopped resumes at any batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Row groups that are shuffled together.
GROUPS_PER_BLOCK = 8


class EpochSpec(NamedTuple):
    """One epoch over the events of a split.

    Args:
        batch_size: events per batch.
        seed: random seed; None keeps the order of the shards.
        epoch: number of the epoch.
        first: batch to begin with.
        share: (number, count): which of `count` equal shares of every batch is asked for.
    """

    batch_size: int
    seed: int | None = None
    epoch: int = 0
    first: int = 0
    share: tuple[int, int] = (0, 1)


class RowGroupSlice(NamedTuple):
    """Events of one row group that go into a block.

    Args:
        group: number of the row group.
        ranks: which of its events, counted through the processes in their order.
        places: position of each of them in the block.
    """

    group: int
    ranks: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True)
class ShufflePlan:
    """Order of the events in one epoch.

    Args:
        counts: events by row group and process.
        sampling_rates: number of times each event of a process is drawn: at 0.5 half of them, others in each epoch.
        spec: the epoch.
    """

    counts: NDArray[np.int64]
    sampling_rates: NDArray[np.float64]
    spec: EpochSpec

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Row groups in the order in which they are read."""
        if self.spec.seed is None:
            return np.arange(len(self.counts))
        return np.random.default_rng((self.spec.seed, self.spec.epoch)).permutation(len(self.counts))

    @cached_property
    def quotas(self) -> NDArray[np.int64]:
        """Events to draw, by row group in `order` and process; the sums over row groups are equal in all epochs."""
        available = np.cumsum(self.counts[self.order], axis=0)
        drawn: NDArray[np.int64] = np.floor(self.sampling_rates * available + 0.5).astype(np.int64)
        drawn[1:] -= drawn[:-1].copy()
        return drawn

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Events drawn by the end of each block."""
        drawn = np.cumsum(self.quotas.sum(1))
        n_blocks = -(-len(drawn) // GROUPS_PER_BLOCK)
        last_groups = np.minimum(GROUPS_PER_BLOCK * np.arange(1, n_blocks + 1), len(drawn)) - 1
        ends: NDArray[np.int64] = drawn[last_groups]
        return ends

    @property
    def n_events(self) -> int:
        """Events of the epoch."""
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def n_batches(self) -> int:
        """Number of batches; the last may be shorter."""
        return -(-self.n_events // self.spec.batch_size)

    @property
    def blocks(self) -> range:
        """Blocks with events from the first batch on."""
        first = int(np.searchsorted(self.ends, self.spec.first * self.spec.batch_size, side="right"))
        return range(first, len(self.ends))

    def batch_length(self, batch: int) -> int:
        """Events of a batch, all shares together."""
        return min(self.spec.batch_size, self.n_events - batch * self.spec.batch_size)

    def bounds(self, batch: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First event, and last + 1, of this share within each of some batches."""
        length = np.minimum(self.spec.batch_size, self.n_events - batch * self.spec.batch_size)
        number, n_shares = self.spec.share
        return length * number // n_shares, length * (number + 1) // n_shares

    def block(self, number: int) -> tuple[int, list[RowGroupSlice]]:
        """Number of events of this share in a block, and the row groups from which they are taken.

        Within a batch the events are sorted by row group, so that a share needs few of these.
        """
        groups = self.order[GROUPS_PER_BLOCK * number : GROUPS_PER_BLOCK * (number + 1)].tolist()
        group_of, rank_of = self._drawn(number)
        start = int(self.ends[number - 1]) if number else 0
        position = start + np.arange(len(rank_of))
        batch = position // self.spec.batch_size
        order = np.lexsort((group_of, batch))
        low, high = self.bounds(batch)
        within = position - batch * self.spec.batch_size
        in_share = (batch >= self.spec.first) & (within >= low) & (within < high)
        group_of, rank_of = group_of[order][in_share], rank_of[order][in_share]
        slices = []
        for place, group in enumerate(groups):
            places = np.flatnonzero(group_of == place)
            if len(places):
                slices.append(RowGroupSlice(group, rank_of[places], places))
        return len(rank_of), slices

    def _drawn(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row group, counted within the block, and rank of each event of a block, shuffled."""
        block = slice(GROUPS_PER_BLOCK * number, GROUPS_PER_BLOCK * (number + 1))
        seed, epoch = self.spec.seed, self.spec.epoch
        random = None if seed is None else np.random.default_rng((seed, epoch, number + 1))
        group_parts, rank_parts = [], []
        for place, (group, quotas) in enumerate(zip(self.order[block].tolist(), self.quotas[block], strict=True)):
            before = 0
            for count, quota in zip(self.counts[group].tolist(), quotas.tolist(), strict=True):
                n_full, rest = divmod(quota, count) if count else (0, 0)
                extra = random.permutation(count)[:rest] if rest and random is not None else np.arange(rest)
                rank_parts.append(before + np.concatenate([np.tile(np.arange(count), n_full), extra]))
                group_parts.append(np.full(quota, place))
                before += count
        group_of, rank_of = np.concatenate(group_parts), np.concatenate(rank_parts)
        if random is not None:
            shuffled = random.permutation(len(rank_of))
            group_of, rank_of = group_of[shuffled], rank_of[shuffled]
        return group_of, rank_of

    @cached_property
    def max_block_events(self) -> int:
        """No block of any epoch with these counts and rates holds more events."""
        per_group = np.ceil(self.sampling_rates * self.counts).sum(1)
        return int(np.sort(per_group)[-GROUPS_PER_BLOCK:].sum())
