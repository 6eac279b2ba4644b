"""Workers: the runs of a study, several at once, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from femtobarn import document, experiment, run
from femtobarn.provenance import write_text
from femtobarn.run import Progress, Step
from femtobarn.study import Planned

#: The full story of a failure, in the run folder.
ERROR = "error.txt"


@runtime_checkable
class Watcher(Protocol):
    """Whoever shows how a study goes on."""

    def started(self, planned: Planned) -> None:
        """A run begins."""

    def stepped(self, planned: Planned, step: Step) -> None:
        """A run comes an epoch further, or to its next stage."""

    def finished(self, planned: Planned) -> None:
        """A run is complete."""

    def failed(self, planned: Planned, reason: str) -> None:
        """A run could not be completed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a study.

    Args:
        finished: folders of all finished runs in the order of the study, those of earlier times included.
        computed: names of the runs that were computed now.
        failures: by name of the run, what went wrong.
    """

    finished: tuple[Path, ...]
    computed: tuple[str, ...]
    failures: dict[str, str]


class Done(NamedTuple):
    """A worker's last word about a run."""

    failure: str | None


def run_all(planned: Sequence[Planned], watcher: Watcher, *, workers: int | None = None) -> Outcome:
    """Trains and judges what is not finished, several runs at once; a failure does not stop the others.

    The numbers do not depend on how many workers there are. Ctrl-C ends them all; the next call goes on from there.

    Args:
        planned: from `femtobarn.study.plan`.
        watcher: is told what happens.
        workers: processes; by default one a processor core. With 1 everything happens in this process.

    Raises:
        ValueError: fewer than 1 worker.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"{workers} workers; at least 1 is needed")
    due = [one for one in planned if one.state != "finished"]
    several = min(workers or cores(), len(due))
    computed: list[str] = []
    failures: dict[str, str] = {}
    for one, failure in _spawned(due, watcher, several) if several > 1 else _here(due, watcher):
        if failure is None:
            computed.append(one.name)
            watcher.finished(one)
        else:
            failures[one.name] = failure
            watcher.failed(one, failure)
    finished = tuple(one.folder for one in planned if one.name not in failures)
    return Outcome(finished, tuple(computed), failures)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _execute(config: experiment.Experiment, folder: Path, progress: Progress) -> str | None:
    """Trains and judges one run; what went wrong, if something did."""
    try:
        run.train(config, folder, progress=progress)
        run.evaluate(folder, progress=progress)
    except BrokenPipeError:
        raise  # nobody is listening any more
    except Exception as error:
        if folder.is_dir():
            write_text(folder / ERROR, traceback.format_exc())
        return str(error) if isinstance(error, ValueError | FileNotFoundError) else f"{type(error).__name__}: {error}"
    (folder / ERROR).unlink(missing_ok=True)
    return None


def _here(due: Sequence[Planned], watcher: Watcher) -> Iterator[tuple[Planned, str | None]]:
    for one in due:
        watcher.started(one)
        yield one, _execute(one.experiment, one.folder, lambda step, one=one: watcher.stepped(one, step))  # type: ignore[misc]


def _spawned(due: Sequence[Planned], watcher: Watcher, workers: int) -> Iterator[tuple[Planned, str | None]]:
    waiting = deque(due)
    busy: dict[Connection, tuple[SpawnProcess, Planned]] = {}

    def hand(process: SpawnProcess, connection: Connection) -> None:
        one = waiting.popleft()
        job = experiment.dump(one.experiment), str(one.folder)
        try:
            connection.send(job)
        except (BrokenPipeError, ConnectionResetError):  # it died idle, and no run with it
            process, connection = _hire()
            connection.send(job)
        busy[connection] = process, one
        watcher.started(one)

    try:
        for _ in range(workers):
            hand(*_hire())
        while busy:
            for connection in [ready for ready in wait(list(busy)) if isinstance(ready, Connection)]:
                process, one = busy[connection]
                try:
                    said = connection.recv()
                except (EOFError, ConnectionResetError):
                    process.join()
                    del busy[connection]
                    yield one, f"the process ended with exit code {process.exitcode} (-9: often too little memory)"
                    if waiting:
                        hand(*_hire())
                    continue
                if isinstance(said, Step):
                    watcher.stepped(one, said)
                    continue
                del busy[connection]
                yield one, said.failure
                if waiting:
                    hand(process, connection)
                else:
                    connection.close()  # the worker goes home
    finally:
        for process, _ in busy.values():
            process.terminate()
            process.join()


def _hire() -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in an unknown state
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that the end of the worker is the end of the pipe
    return process, ours


def _work(connection: Connection) -> None:
    """One run after another, until the other end of the pipe is closed, by intention or by death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    try:
        while True:
            text, folder = connection.recv()
            config = experiment.load(document.parse(text))
            connection.send(Done(_execute(config, Path(folder), connection.send)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
