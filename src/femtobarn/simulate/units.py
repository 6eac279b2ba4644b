"""Units: a production in pieces with seeds of their own, spread over processes, resumed where it stopped.

Each unit has its own seeds and its own file, so that the result does not depend on the number of workers, and a
production that was stopped goes on with the units that are missing.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from femtobarn.events import read_parquet
from femtobarn.events.processes import end_with_parent
from femtobarn.events.storage.atomic import atomic_write_bytes

#: Hard processes of a unit: ten seconds to a minute of work.
UNIT_SIZE = 10_000


class Progress(NamedTuple):
    """State of a production: hard processes done, and events selected."""

    done: int  # hard processes
    total: int
    selected: int
    target: int | None


@dataclass(frozen=True)
class Unit:
    """One piece of work: `count` hard processes from the `start`-th on, all copies of the file counted through."""

    start: int
    count: int


def unit_file(folder: Path, unit: Unit) -> Path:
    """Path of a finished unit."""
    return folder / f"{unit.start:012d}.parquet"


def first_number(seed: int) -> int:
    """First event number of a production: 0 for seed 1, other numbers for other seeds, so that they do not repeat."""
    return (seed - 1) % (1 << 16) << 36


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder of units, or check that it belongs to a production with the same settings.

    Raises:
        ValueError: the folder belongs to another production.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps(settings))
    file = folder / "plan.json"
    if file.exists():
        earlier = {"unit_size": UNIT_SIZE, **json.loads(file.read_text())}
        different = sorted(key for key in settings if settings[key] != earlier.get(key))
        if different:
            raise ValueError(
                f"{folder} holds the unfinished production of another plan: "
                + ", ".join(f"{key} was {earlier.get(key)}, is {settings[key]}" for key in different)
                + "; remove the folder or choose another output"
            )
    else:
        atomic_write_bytes(file, json.dumps(settings).encode())


@dataclass(frozen=True)
class UnitQueue:
    """The units of a production in order, and the finished ones among them.

    Args:
        work: makes the file of a unit and returns its number of selected events; it goes to other processes.
        total: number of hard processes or points in all.
        target: stop as soon as this many events are selected; None to use all.
        units: all units, in the order in which they are used.
        folder: folder of the finished units.
        progress: called after every unit.
        n_selected: selected events of each finished unit.
    """

    work: Callable[[Unit, Path], int]
    total: int
    target: int | None
    units: Sequence[Unit]
    folder: Path
    progress: Callable[[Progress], None]
    n_selected: dict[Unit, int] = field(default_factory=dict)

    def finish(self, unit: Unit, n_selected: int) -> None:
        """Count a finished unit."""
        self.n_selected[unit] = n_selected
        done = sum(unit.count for unit in self.n_selected)
        self.progress(Progress(done, self.total, sum(self.n_selected.values()), self.target))

    def sufficient(self) -> list[Unit] | None:
        """The shortest beginning of the list that is complete and meets the target; None if there is none yet."""
        total = 0
        for number, unit in enumerate(self.units, start=1):
            if unit not in self.n_selected:
                return None
            total += self.n_selected[unit]
            if self.target is not None and total >= self.target:
                return list(self.units[:number])
        return list(self.units)


def run_units(queue: UnitQueue, n_workers: int, executor: Executor | None = None) -> list[Unit]:
    """Work through the units in order until the target is met; the first ones that meet it together are used."""
    for unit in queue.units:
        if unit_file(queue.folder, unit).exists():
            queue.finish(unit, len(read_parquet(unit_file(queue.folder, unit))))
    missing = iter([unit for unit in queue.units if unit not in queue.n_selected])
    used = queue.sufficient()
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with (
        ProcessPoolExecutor(n_workers, mp_context=context, initializer=start_worker)
        if executor is None
        else nullcontext(executor)
    ) as pool:
        running: dict[Future[int], Unit] = {}
        try:
            while used is None:
                while len(running) < n_workers and (upcoming := next(missing, None)) is not None:
                    file = unit_file(queue.folder, upcoming)
                    running[pool.submit(queue.work, upcoming, file)] = upcoming
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    queue.finish(running.pop(future), future.result())
                used = queue.sufficient()
            wait(running)  # or they would write into a folder that is gone
        except KeyboardInterrupt:
            if isinstance(pool, ProcessPoolExecutor):
                stop_workers(pool, others)
            raise
    return used


def start_worker() -> None:
    """Prepare a worker: it ends with its parent, which handles Ctrl-C for both."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop_workers(pool: ProcessPoolExecutor, others: Sequence[object]) -> None:
    """End the workers of a pool in the middle of their units, which are made again when the production resumes."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in multiprocessing.active_children():
        if process not in others:
            process.terminate()
