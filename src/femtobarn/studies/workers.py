"""Workers: runs of a study in several processes, on this machine or on a Dask cluster."""

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
from femtobarn.runs import run as runs
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.provenance import atomic_write_text
from femtobarn.runs.run import Progress, Step
from femtobarn.studies.cluster import Cluster, send_event, worker_cache
from femtobarn.studies.study import PlannedRun

Run = TypeVar("Run", bound=PlannedRun)

#: Traceback of a failure, in the run folder.
ERROR = "error.txt"


@runtime_checkable
class ProgressListener(Protocol):
    """Receiver of the progress of a study."""

    def started(self, planned: PlannedRun) -> None:
        """A run has started."""

    def stepped(self, planned: PlannedRun, step: Step) -> None:
        """A run has completed an epoch, or entered its next stage."""

    def finished(self, planned: PlannedRun) -> None:
        """A run is complete."""

    def failed(self, planned: PlannedRun, reason: str) -> None:
        """A run has failed."""


@dataclass(frozen=True)
class StudyResult:
    """Result of a study.

    Args:
        finished: folders of all finished runs in the order of the study, including runs finished earlier.
        computed: names of the runs that this call computed.
        failures: message of each failed run, by its name.
    """

    finished: tuple[Path, ...]
    computed: tuple[str, ...]
    failures: dict[str, str]


class WorkerResult(NamedTuple):
    """End of a run in a worker."""

    failure: str | None


def run_all(
    planned: Sequence[PlannedRun],
    listener: ProgressListener,
    *,
    workers: int | None = None,
    cluster: Cluster | None = None,
) -> StudyResult:
    """Train and evaluate all unfinished runs, several at once; a failure does not stop the others.

    The numbers do not depend on the number of workers. Ctrl-C stops all runs; the next call resumes them.

    Args:
        planned: from `femtobarn.studies.study.plan`.
        listener: receives the progress.
        workers: number of processes; default: one per processor core. With 1 everything happens in this process.
        cluster: runs the study instead of this machine, as many runs at once as it has workers.

    Raises:
        ValueError: fewer than 1 worker.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"{workers} workers; at least 1 is needed")
    due = [run for run in planned if run.state != "finished"]
    if cluster is not None:
        outcomes = run_on_cluster(due, listener, cluster)
    else:
        outcomes = run_in_processes(due, listener, min(workers or cores(), len(due)))
    computed: list[str] = []
    failures: dict[str, str] = {}
    for run, failure in outcomes:
        if failure is None:
            computed.append(run.name)
        else:
            failures[run.name] = failure
    finished = tuple(run.folder for run in planned if run.name not in failures)
    return StudyResult(finished, tuple(computed), failures)


def run_in_processes(
    due: Iterable[Run], listener: ProgressListener, workers: int, *, evaluate: bool = True
) -> Iterator[tuple[Run, str | None]]:
    """Train runs as workers become free, and yield each run with its failure, or None.

    Args:
        due: the runs; the next one is taken only when a worker is free and the last result has been processed.
        listener: receives the progress.
        workers: number of processes; with 1 everything happens in this process.
        evaluate: evaluate the trained models on the test events too.
    """
    outcomes = _run_spawned(due, listener, workers, evaluate) if workers > 1 else _run_inline(due, listener, evaluate)
    for run, failure in outcomes:
        _report_end(listener, run, failure)
        yield run, failure


def run_on_cluster(
    due: Iterable[Run], listener: ProgressListener, cluster: Cluster
) -> Iterator[tuple[Run, str | None]]:
    """Submit all runs to a cluster, and yield each run with its failure, or None."""
    messages: Queue[tuple[str, Step | Future[str | None]]] = Queue()
    topic = f"femtobarn-{uuid.uuid4().hex}"
    cluster.subscribe(topic, lambda message: messages.put((message[0], Step(*message[1]))))
    pending: dict[str, Run] = {}
    started: set[str] = set()
    for run in due:
        pending[run.name] = run
        text, folder = experiment.dump(run.experiment), str(run.folder.absolute())
        future = cluster.submit(_run_on_cluster, text, folder, topic, run.name)
        future.add_done_callback(lambda future, name=run.name: messages.put((name, future)))  # type: ignore[misc]
    while pending:
        name, message = messages.get()
        if name not in pending:
            continue  # progress of a run may arrive after its result
        if name not in started:
            started.add(name)
            listener.started(pending[name])
        if isinstance(message, Step):
            listener.stepped(pending[name], message)
            continue
        error = message.exception()  # of a worker that died, for example
        failure = message.result() if error is None else f"{type(error).__name__}: {error}"
        run = pending.pop(name)
        _report_end(listener, run, failure)
        yield run, failure


def _run_on_cluster(text: str, folder: str, topic: str, name: str) -> str | None:
    """One run in a worker of a cluster."""

    def progress(step: Step) -> None:
        send_event(topic, [name, list(step)])

    progress(Step("starting"))
    return _execute(experiment.load(document.parse(text)), Path(folder), True, progress, worker_cache())


def _report_end(listener: ProgressListener, run: Run, failure: str | None) -> None:
    if failure is None:
        listener.finished(run)
    else:
        listener.failed(run, failure)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _execute(
    config: experiment.Experiment, folder: Path, evaluate: bool, progress: Progress, cache: EventCache
) -> str | None:
    """Train and evaluate one run; the failure, or None."""
    try:
        runs.train(config, folder, progress=progress, cache=cache)
        if evaluate:
            runs.evaluate(folder, progress=progress, cache=cache)
    except BrokenPipeError:
        raise  # the parent process has ended
    except Exception as error:
        return _failure(error, folder)
    with suppress(OSError):  # of an earlier attempt
        (folder / ERROR).unlink(missing_ok=True)
    return None


def _failure(error: Exception, folder: Path) -> str:
    """Failure in one line; the traceback is written into the folder if possible."""
    description = describe_error(error)
    # a search takes a loss that is not finite as a result
    failure = (
        description if description and not isinstance(error, FloatingPointError) else f"{type(error).__name__}: {error}"
    )
    try:
        if folder.is_dir():
            atomic_write_text(folder / ERROR, "".join(traceback.format_exception(error)))
    except OSError as problem:
        failure += f" ({ERROR} could not be written: {describe_error(problem)})"
    return failure


def _run_inline(due: Iterable[Run], listener: ProgressListener, evaluate: bool) -> Iterator[tuple[Run, str | None]]:
    cache = EventCache()
    for run in due:
        listener.started(run)
        yield run, _execute(run.experiment, run.folder, evaluate, partial(listener.stepped, run), cache)


def _run_spawned(
    due: Iterable[Run], listener: ProgressListener, workers: int, evaluate: bool
) -> Iterator[tuple[Run, str | None]]:
    waiting = iter(due)
    busy: dict[Connection, tuple[SpawnProcess, Run]] = {}

    def start(process: SpawnProcess, connection: Connection, run: Run) -> None:
        job = experiment.dump(run.experiment), str(run.folder), evaluate
        try:
            connection.send(job)
        except (BrokenPipeError, ConnectionResetError):  # the worker died idle, without a run
            process, connection = _spawn_worker()
            connection.send(job)
        busy[connection] = process, run
        listener.started(run)

    try:
        for run in islice(waiting, workers):
            start(*_spawn_worker(), run)
        while busy:
            for connection in [ready for ready in wait(list(busy)) if isinstance(ready, Connection)]:
                process, run = busy[connection]
                message = _receive(connection, process)
                if isinstance(message, Step):
                    listener.stepped(run, message)
                    continue
                del busy[connection]
                yield run, message.failure
                if (following := next(waiting, None)) is None:
                    connection.close()  # the worker ends
                elif process.exitcode is None:
                    start(process, connection, following)
                else:
                    start(*_spawn_worker(), following)
    finally:
        for process, _ in busy.values():
            process.terminate()
            process.join()


def _receive(connection: Connection, process: SpawnProcess) -> Step | WorkerResult:
    """Next message of a worker; the end of its process is a failure of its run."""
    try:
        message: Step | WorkerResult = connection.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        return WorkerResult(f"the process ended with exit code {process.exitcode} (-9: often too little memory)")
    return message


def _spawn_worker() -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in an unknown state
    connection, worker_connection = context.Pipe()
    process = context.Process(target=_worker_main, args=(worker_connection,), daemon=True)
    process.start()
    worker_connection.close()  # so that the end of the worker is the end of the pipe
    return process, connection


def _worker_main(connection: Connection) -> None:
    """Run after run, until the other end of the pipe is closed or its process dies."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    cache = EventCache()
    try:
        while True:
            text, folder, evaluate = connection.recv()
            config = experiment.load(document.parse(text))
            connection.send(WorkerResult(_execute(config, Path(folder), evaluate, connection.send, cache)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
