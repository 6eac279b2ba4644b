"""Readers: processes that decode shards ahead of who uses the events, and hand them over in shared memory.

What comes, and in which order, does not depend on how many readers there are. With none of them everything is done by
the process that asks.
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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.shards.decode import Arrays, size, views
from femtobarn.events.shards.epoch import Epoch
from femtobarn.events.shards.source import Source

#: Where shared memory is looked for, before the folder of temporary files.
SHARED = "/dev/shm"


class Pass(NamedTuple):
    """One pass over the events, as `Epoch` has it."""

    size: int
    seed: int | None = None
    number: int = 0
    first: int = 0
    share: tuple[int, int] = (0, 1)


class Readers:
    """Blocks of events, made by so many processes ahead of time.

    Args:
        source: the events.
        rates: how often those of each process are dealt in a pass, in the order of the index.
        count: processes; 0 makes every block when it is asked for. Where processes can't be given files (Windows) none
            is started.

    Raises:
        OSError: there is too little shared memory.
    """

    def __init__(self, source: Source, rates: Sequence[float], count: int) -> None:
        self.source, self.rates = source, np.asarray(rates, dtype=np.float64)
        self.count = count if os.name == "posix" else 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self._hands: list[Connection] = []
        self._memory: list[Any] = []
        self._end: Callable[[], object] = lambda: None

    def epoch(self, which: Pass) -> Epoch:
        """The order of a pass."""
        return Epoch(self.source.counts, self.rates, *which)

    def blocks(self, which: Pass) -> Generator[Arrays, None, None]:
        """The events of a pass, a block at a time; one block is there until the next is asked for.

        Raises:
            ValueError: a shard is damaged.
            RuntimeError: a reader was ended.
        """
        epoch = self.epoch(which)
        if not self._memory:
            self._begin(epoch.largest)
        if not self._hands:
            for block in epoch.blocks:
                yield views(self._memory[0], self.source.columns, fill(self.source, epoch, block, self._memory[0]))
            return
        asked: deque[int] = deque()
        waiting = iter(epoch.blocks)

        def ask() -> None:
            if (block := next(waiting, None)) is not None:
                place = block % len(self._memory)
                self._hands[block % len(self._hands)].send((which, block, place))
                asked.append(block)

        try:
            for _ in self._hands:
                ask()
            while asked:
                block = asked.popleft()
                found = self._answer(block)
                ask()  # the memory of the block before is free
                yield views(self._memory[block % len(self._memory)], self.source.columns, found)
        finally:
            for block in asked:
                self._answer(block)

    def close(self) -> None:
        """Lets the processes go and gives the memory back; asked again, others begin."""
        if self._memory:
            self._end()
            self._hands, self._memory = [], []

    def _begin(self, most: int) -> None:
        bytes_ = max(size(self.source.columns, most), mmap.PAGESIZE)
        if not self.count:
            self._memory = [bytearray(bytes_)]
            return
        files = [_shared(bytes_) for _ in range(self.count + 1)]
        self._memory = [mmap.mmap(file, bytes_) for file in files]
        hired = [_hire(files, bytes_) for _ in range(self.count)]
        self._hands = [hand for _, hand in hired]
        self.processes = [process for process, _ in hired]
        self._end = weakref.finalize(self, _dismiss, hired)
        for file in files:
            os.close(file)
        for hand in self._hands:
            hand.send((self.source, self.rates))

    def _answer(self, block: int) -> int:
        try:
            said = self._hands[block % len(self._hands)].recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError("a reader of prepared events was ended (too little memory?)") from None
        if isinstance(said, str):
            raise ValueError(said)
        return int(said)


def fill(source: Source, epoch: Epoch, block: int, memory: Any) -> int:
    """Puts the events of a block into memory that is large enough, and says how many there are."""
    count, parts = epoch.block(block)
    out = views(memory, source.columns, count)
    for part in parts:
        there, rows = source.group(part.group)
        chosen: NDArray[np.int64] = rows[part.ranks]
        for name, column in out.items():
            column[part.places] = there[name][chosen]
    return count


def serve(file: int, memory: Sequence[int], bytes_: int) -> None:
    """What a reader does until nobody asks any more: the main function of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who asks decides
    hand = Connection(file)
    try:
        source, rates = hand.recv()
        blocks = [mmap.mmap(place, bytes_) for place in memory]
        epoch, known = None, None
        while True:
            which, block, place = hand.recv()
            if epoch is None or which != known:
                epoch, known = Epoch(source.counts, rates, *which), which
            try:
                hand.send(fill(source, epoch, block, blocks[place]))
            except (ValueError, OSError) as error:
                if isinstance(error, BrokenPipeError | ConnectionResetError):
                    raise
                hand.send(str(error))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _shared(bytes_: int) -> int:
    """A file that is nothing but memory, and gone with those who hold it, whatever ends them."""
    places = [place for place in (SHARED, None) if place is None or os.access(place, os.W_OK)]
    for place in places:
        with tempfile.TemporaryFile(dir=place) as file:
            try:
                if hasattr(os, "posix_fallocate"):  # or a page too many would end the process
                    os.posix_fallocate(file.fileno(), 0, bytes_)
                else:
                    file.truncate(bytes_)
            except OSError:
                continue
            return os.dup(file.fileno())
    raise OSError(
        f"there is no room for {bytes_ / 1e6:.0f} MB that processes share in {SHARED} or the folder of temporary "
        "files; set training.num_workers=0"
    )


def _hire(memory: Sequence[int], bytes_: int) -> tuple[subprocess.Popen[bytes], Connection]:
    # not multiprocessing: that would run the user's script again, and is closed to the workers of a study
    ours, theirs = socket.socketpair()
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from femtobarn.events.processes import end_with_parent; end_with_parent({os.getpid()}); "
        f"from femtobarn.events.shards.readers import serve; serve({theirs.fileno()}, {list(memory)}, {bytes_})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), *memory)
    )
    theirs.close()
    return process, Connection(ours.detach())


def _dismiss(hired: Sequence[tuple[subprocess.Popen[bytes], Connection]]) -> None:
    for _, hand in hired:
        hand.close()
    for process, _ in hired:
        process.wait()
