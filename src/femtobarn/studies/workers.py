"""Workers: the runs of a study, several at once, each in a process of its own, here or in a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import Queue
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from femtobarn.events.processes import end_with_parent
from femtobarn.experiments import document, experiment
from femtobarn.experiments.errors import describe_error
from femtobarn.runs import run
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.provenance import write_text
from femtobarn.runs.run import Progress, Step
from femtobarn.studies.cluster import Cluster, tell, worker_cache
from femtobarn.studies.study import Planned

P = TypeVar("P", bound=Planned)

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


def run_all(
    planned: Sequence[Planned], watcher: Watcher, *, workers: int | None = None, cluster: Cluster | None = None
) -> Outcome:
    """Trains and judges what is not finished, several runs at once; a failure does not stop the others.

    The numbers do not depend on how many workers there are. Ctrl-C ends them all; the next call goes on from there.

    Args:
        planned: from `femtobarn.studies.study.plan`.
        watcher: is told what happens.
        workers: processes; by default one a processor core. With 1 everything happens in this process.
        cluster: trains and judges in place of this machine, as many runs at once as it has workers.

    Raises:
        ValueError: fewer than 1 worker.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"{workers} workers; at least 1 is needed")
    due = [one for one in planned if one.state != "finished"]
    several = min(workers or cores(), len(due))
    computed: list[str] = []
    failures: dict[str, str] = {}
    carried = clustered(due, watcher, cluster) if cluster is not None else carry_out(due, watcher, several)
    for one, failure in carried:
        if failure is None:
            computed.append(one.name)
        else:
            failures[one.name] = failure
    finished = tuple(one.folder for one in planned if one.name not in failures)
    return Outcome(finished, tuple(computed), failures)


def carry_out(
    due: Iterable[P], watcher: Watcher, workers: int, *, judged: bool = True
) -> Iterator[tuple[P, str | None]]:
    """Trains runs as workers become free, and yields each with what went wrong, if something did.

    Args:
        due: the runs; the next one is drawn only when a worker is free and the last result has been taken note of.
        watcher: is told what happens.
        workers: processes; with 1 everything happens in this one.
        judged: judge the trained models on the test events too.
    """
    for one, failure in _spawned(due, watcher, workers, judged) if workers > 1 else _here(due, watcher, judged):
        _tell(watcher, one, failure)
        yield one, failure


def clustered(due: Iterable[P], watcher: Watcher, cluster: Cluster) -> Iterator[tuple[P, str | None]]:
    """Hands all runs to a cluster, and yields each with what went wrong, if something did."""
    said: Queue[tuple[str, Step | Future[str | None]]] = Queue()
    topic = f"femtobarn-{uuid.uuid4().hex}"
    cluster.listen(topic, lambda told: said.put((told[0], Step(*told[1]))))
    runs: dict[str, P] = {}
    begun: set[str] = set()
    for one in due:
        runs[one.name] = one
        text, folder = experiment.dump(one.experiment), str(one.folder.absolute())
        future = cluster.submit(_far, text, folder, topic, one.name)
        future.add_done_callback(lambda future, name=one.name: said.put((name, future)))  # type: ignore[misc]
    while runs:
        name, what = said.get()
        if name not in runs:
            continue  # the last words of a run may come after its result
        if name not in begun:
            begun.add(name)
            watcher.started(runs[name])
        if isinstance(what, Step):
            watcher.stepped(runs[name], what)
            continue
        error = what.exception()  # of a worker that died, say
        failure = what.result() if error is None else f"{type(error).__name__}: {error}"
        one = runs.pop(name)
        _tell(watcher, one, failure)
        yield one, failure


def _far(text: str, folder: str, topic: str, name: str) -> str | None:
    """What a worker of a cluster does with a run."""

    def progress(step: Step) -> None:
        tell(topic, [name, list(step)])

    progress(Step("starting"))
    return _execute(experiment.load(document.parse(text)), Path(folder), True, progress, worker_cache())


def _tell(watcher: Watcher, one: P, failure: str | None) -> None:
    if failure is None:
        watcher.finished(one)
    else:
        watcher.failed(one, failure)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _execute(
    config: experiment.Experiment, folder: Path, judged: bool, progress: Progress, cache: EventCache
) -> str | None:
    """Trains and judges one run; what went wrong, if something did."""
    try:
        run.train(config, folder, progress=progress, cache=cache)
        if judged:
            run.evaluate(folder, progress=progress, cache=cache)
    except BrokenPipeError:
        raise  # nobody is listening any more
    except Exception as error:
        return _failure(error, folder)
    with suppress(OSError):  # of an earlier attempt
        (folder / ERROR).unlink(missing_ok=True)
    return None


def _failure(error: Exception, folder: Path) -> str:
    """What went wrong, in a line; the traceback goes into the folder, where that can be written."""
    words = describe_error(error)
    # a scan takes a loss that is not finite for a result
    failure = words if words and not isinstance(error, FloatingPointError) else f"{type(error).__name__}: {error}"
    try:
        if folder.is_dir():
            write_text(folder / ERROR, "".join(traceback.format_exception(error)))
    except OSError as problem:
        failure += f" ({ERROR} could not be written: {describe_error(problem)})"
    return failure


def _here(due: Iterable[P], watcher: Watcher, judged: bool) -> Iterator[tuple[P, str | None]]:
    cache = EventCache()
    for one in due:
        watcher.started(one)
        yield one, _execute(one.experiment, one.folder, judged, partial(watcher.stepped, one), cache)


def _spawned(due: Iterable[P], watcher: Watcher, workers: int, judged: bool) -> Iterator[tuple[P, str | None]]:
    waiting = iter(due)
    busy: dict[Connection, tuple[SpawnProcess, P]] = {}

    def hand(process: SpawnProcess, connection: Connection, one: P) -> None:
        job = experiment.dump(one.experiment), str(one.folder), judged
        try:
            connection.send(job)
        except (BrokenPipeError, ConnectionResetError):  # it died idle, and no run with it
            process, connection = _hire()
            connection.send(job)
        busy[connection] = process, one
        watcher.started(one)

    try:
        for one in islice(waiting, workers):
            hand(*_hire(), one)
        while busy:
            for connection in [ready for ready in wait(list(busy)) if isinstance(ready, Connection)]:
                process, one = busy[connection]
                try:
                    said = connection.recv()
                except (EOFError, ConnectionResetError):
                    process.join()
                    del busy[connection]
                    yield one, f"the process ended with exit code {process.exitcode} (-9: often too little memory)"
                    if (upcoming := next(waiting, None)) is not None:
                        hand(*_hire(), upcoming)
                    continue
                if isinstance(said, Step):
                    watcher.stepped(one, said)
                    continue
                del busy[connection]
                yield one, said.failure
                if (upcoming := next(waiting, None)) is not None:
                    hand(process, connection, upcoming)
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
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    cache = EventCache()
    try:
        while True:
            text, folder, judged = connection.recv()
            config = experiment.load(document.parse(text))
            connection.send(Done(_execute(config, Path(folder), judged, connection.send, cache)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
