"""Prefetch workers: processes that decode shards ahead of the training, and pass the events in shared memory.

The events and their order do not depend on the number of workers. Without workers, everything happens in the calling
process.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.shards.decode import Arrays, array_views, n_bytes
from femtobarn.events.shards.sharded_split import ShardedSplit
from femtobarn.events.shards.shuffle import EpochSpec, ShufflePlan

#: Folder for shared memory, tried before the folder of temporary files.
SHARED_MEMORY = "/dev/shm"


class PrefetchWorkers:
    """Events of a split in blocks or batches, decoded ahead of time by processes.

    Args:
        split: the events.
        sampling_rates: number of times each event of a process is drawn per epoch, in the order of the index.
        num_workers: processes; 0 decodes every block when it is asked for. Where processes cannot inherit files
            (Windows) none is started.

    Raises:
        OSError: there is too little shared memory.
    """

    def __init__(self, split: ShardedSplit, sampling_rates: Sequence[float], num_workers: int) -> None:
        self.split, self.sampling_rates = split, np.asarray(sampling_rates, dtype=np.float64)
        self.num_workers = num_workers if os.name == "posix" else 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        self._memory: list[Any] = []
        self._stop: Callable[[], object] = lambda: None

    def plan(self, spec: EpochSpec) -> ShufflePlan:
        """Order of the events in an epoch."""
        return ShufflePlan(self.split.counts, self.sampling_rates, spec)

    def batches(self, spec: EpochSpec) -> Generator[tuple[Arrays, int], None, None]:
        """Arrays of this share of each batch, copied, with the number of events of the batch in all shares.

        A batch may begin in one block and end in the next.
        """
        plan, blocks = self.plan(spec), self.blocks(spec)
        try:
            block: Arrays = {}
            position = end = 0
            numbers = np.arange(spec.first, plan.n_batches)
            low, high = plan.bounds(numbers)
            for number, missing in zip(numbers.tolist(), (high - low).tolist(), strict=True):
                pieces: list[Arrays] = []
                while missing or not block:
                    if position == end:
                        block = next(blocks)
                        position, end = 0, len(block["kind"])
                        continue
                    n_taken = min(missing, end - position)
                    pieces.append({name: column[position : position + n_taken] for name, column in block.items()})
                    if n_taken < missing:  # the next block may use the same memory
                        pieces[-1] = {name: column.copy() for name, column in pieces[-1].items()}
                    position, missing = position + n_taken, missing - n_taken
                pieces = pieces or [{name: column[:0] for name, column in block.items()}]
                arrays = {name: np.concatenate([piece[name] for piece in pieces]) for name in block}
                yield arrays, plan.batch_length(number)
        finally:
            blocks.close()

    def blocks(self, spec: EpochSpec) -> Generator[Arrays, None, None]:
        """Arrays of an epoch, one block at a time; a block is valid until the next is asked for.

        Raises:
            ValueError: a shard is damaged.
            RuntimeError: a worker was killed.
        """
        plan = self.plan(spec)
        if not self._memory:
            self._start(plan.max_block_events)
        if not self._connections:
            memory = self._memory[0]
            for block in plan.blocks:
                yield array_views(memory, self.split.layout, fill_block(self.split, plan, block, memory))
            return
        pending: deque[int] = deque()
        remaining = iter(plan.blocks)

        def request() -> None:
            if (block := next(remaining, None)) is not None:
                place = block % len(self._memory)
                self._connections[block % len(self._connections)].send((spec, block, place))
                pending.append(block)

        try:
            for _ in self._connections:
                request()
            while pending:
                block = pending.popleft()
                n_events = self._receive(block)
                request()  # the memory of the block before is free
                yield array_views(self._memory[block % len(self._memory)], self.split.layout, n_events)
        finally:
            for block in pending:
                self._receive(block)

    def close(self) -> None:
        """Stop the workers and free their memory; used again, others start."""
        if self._memory:
            self._stop()
            self._connections, self._memory = [], []

    def _start(self, max_events: int) -> None:
        size = max(n_bytes(self.split.layout, max_events), mmap.PAGESIZE)
        if not self.num_workers:
            self._memory = [bytearray(size)]
            return
        files = [_shared_memory(size) for _ in range(self.num_workers + 1)]
        self._memory = [mmap.mmap(file, size) for file in files]
        workers = [_spawn(files, size) for _ in range(self.num_workers)]
        self._connections = [connection for _, connection in workers]
        self.processes = [process for process, _ in workers]
        self._stop = weakref.finalize(self, _stop_workers, workers)
        for file in files:
            os.close(file)
        for connection in self._connections:
            connection.send((self.split, self.sampling_rates))

    def _receive(self, block: int) -> int:
        """Number of events of a block that a worker has filled."""
        try:
            reply = self._connections[block % len(self._connections)].recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError("a process that reads prepared events was killed (too little memory?)") from None
        if isinstance(reply, str):
            raise ValueError(reply)
        return int(reply)


def fill_block(split: ShardedSplit, plan: ShufflePlan, block: int, memory: Any) -> int:
    """Write the events of a block into memory that is large enough; returns their number."""
    count, slices = plan.block(block)
    columns = array_views(memory, split.layout, count)
    for part in slices:
        arrays, rows = split.read_group(part.group)
        selected: NDArray[np.int64] = rows[part.ranks]
        for name, column in columns.items():
            column[part.places] = arrays[name][selected]
    return count


def worker_main(file: int, memory: Sequence[int], size: int) -> None:
    """Main function of a worker: fill the blocks that are requested until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the training decides
    connection = Connection(file)
    try:
        split, sampling_rates = connection.recv()
        blocks = [mmap.mmap(descriptor, size) for descriptor in memory]
        plan: ShufflePlan | None = None
        while True:
            spec, block, place = connection.recv()
            if plan is None or plan.spec != spec:
                plan = ShufflePlan(split.counts, sampling_rates, spec)
            try:
                connection.send(fill_block(split, plan, block, blocks[place]))
            except (ValueError, OSError) as error:
                if isinstance(error, BrokenPipeError | ConnectionResetError):
                    raise
                connection.send(str(error))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _shared_memory(size: int) -> int:
    """Descriptor of a file in memory, which disappears with the processes that hold it."""
    for folder in [folder for folder in (SHARED_MEMORY, None) if folder is None or os.access(folder, os.W_OK)]:
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                if hasattr(os, "posix_fallocate"):  # or a page too many would end the process
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
            except OSError:
                continue
            return os.dup(file.fileno())
    raise OSError(
        f"there is no room for {size / 1e6:.0f} MB of shared memory in {SHARED_MEMORY} or the folder of temporary "
        "files; set training.num_workers=0"
    )


def _spawn(memory: Sequence[int], size: int) -> tuple[subprocess.Popen[bytes], Connection]:
    # not multiprocessing: that would run the user's script again, and the workers of a study may not use it
    ours, theirs = socket.socketpair()
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from femtobarn.events.processes import end_with_parent; end_with_parent({os.getpid()}); "
        f"from femtobarn.events.shards.prefetch import worker_main; "
        f"worker_main({theirs.fileno()}, {list(memory)}, {size})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), *memory)
    )
    theirs.close()
    return process, Connection(ours.detach())


def _stop_workers(workers: Sequence[tuple[subprocess.Popen[bytes], Connection]]) -> None:
    for _, connection in workers:
        connection.close()
    for process, _ in workers:
        process.wait()
