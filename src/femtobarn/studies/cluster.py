"""Cluster: units of work in the hands of an existing Dask cluster, with the results they have on this machine.

Its workers need the same version of femtobarn, and the same files at the same paths.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from importlib import import_module
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import femtobarn
from femtobarn.runs.event_cache import EventCache

P = ParamSpec("P")
R = TypeVar("R")

#: Threads of a worker share torch's and Pythia's state: one unit at a time in each process.
ALONE = threading.Lock()

#: Seconds within which a scheduler must answer.
PATIENCE = 20


class Cluster(Executor):
    """The workers of a Dask cluster as an executor, as those of `concurrent.futures`. Use it as a context.

    Args:
        address: of the scheduler, as in `tcp://host:8786`, or its file.

    Raises:
        ValueError: Dask is not installed, or workers have another version of femtobarn.
        OSError: nobody answers at the address.
        RuntimeError: the cluster has no workers.
    """

    def __init__(self, address: str) -> None:
        try:
            distributed: Any = import_module("distributed")  # partly typed
        except ImportError:
            raise ValueError("--dask needs Dask: pip install 'femtobarn[dask]'") from None
        where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
        self.client: Any = distributed.Client(**where, timeout=PATIENCE, set_as_default=False)
        try:
            versions = self.client.run(version)
            others = {there for there in versions.values() if there != femtobarn.__version__}
            if others:
                raise ValueError(f"femtobarn is {femtobarn.__version__} here and {', '.join(others)} in the cluster")
            if not versions:
                raise RuntimeError(f"the cluster at {address} has no workers")
        except BaseException:
            self.client.close()
            raise
        self.workers = len(versions)
        self.executor: Executor = self.client.get_executor(pure=False)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """The function called by a worker, no other one at the same time in its process."""
        return self.executor.submit(alone, fn, args, kwargs)

    def listen(self, topic: str, heard: Callable[[Any], object]) -> None:
        """Calls `heard`, in another thread, with whatever workers `tell` about a topic."""
        self.client.subscribe_topic(topic, lambda event: heard(event[1]))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leaves the cluster; what has not begun is not begun any more."""
        self.executor.shutdown(wait and not cancel_futures)
        self.client.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)


def alone(function: Callable[..., R], arguments: tuple[Any, ...], named: dict[str, Any]) -> R:
    """What a worker calls."""
    with ALONE:
        return function(*arguments, **named)


def tell(topic: str, what: Any) -> None:
    """Sends plain values from a worker to whoever listens."""
    import_module("distributed").get_worker().log_event(topic, what)


def worker_cache() -> EventCache:
    """Cache of events that belongs to the Dask worker of this process."""
    worker: Any = import_module("distributed").get_worker()
    if not hasattr(worker, "femtobarn_events"):
        worker.femtobarn_events = EventCache()
    cache: EventCache = worker.femtobarn_events
    return cache


def version() -> str:
    """Of the femtobarn that a worker has."""
    return femtobarn.__version__
