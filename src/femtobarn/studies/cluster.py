"""Cluster: work on an existing Dask cluster, with the same results as on this machine.

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

#: Threads of a worker share the state of torch and Pythia: one unit at a time in each process.
WORKER_LOCK = threading.Lock()

#: Seconds to wait for the answer of a scheduler.
SCHEDULER_TIMEOUT = 20.0


class Cluster(Executor):
    """Executor on the workers of a Dask cluster, like the executors of `concurrent.futures`. Use it as a context.

    Args:
        address: of the scheduler, such as `tcp://host:8786`, or its file.
        timeout: seconds to wait for its answer.
        own_version: version of femtobarn that the workers must have; the version of this process by default.

    Raises:
        ValueError: Dask is not installed, or workers have another version of femtobarn.
        OSError: no answer at the address.
        RuntimeError: the cluster has no workers.
    """

    def __init__(
        self, address: str, *, timeout: float = SCHEDULER_TIMEOUT, own_version: str = femtobarn.__version__
    ) -> None:
        try:
            distributed: Any = import_module("distributed")  # partly typed
        except ImportError:
            raise ValueError("--dask needs Dask: pip install 'femtobarn[dask]'") from None
        where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
        self.client: Any = distributed.Client(**where, timeout=timeout, set_as_default=False)
        try:
            versions = self.client.run(version)
            others = {other for other in versions.values() if other != own_version}
            if others:
                raise ValueError(f"femtobarn is {own_version} here and {', '.join(others)} in the cluster")
            if not versions:
                raise RuntimeError(f"the cluster at {address} has no workers")
        except BaseException:
            self.client.close()
            raise
        self.workers = len(versions)
        self.executor: Executor = self.client.get_executor(pure=False)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Call a function in a worker, one at a time in each process."""
        return self.executor.submit(run_exclusively, fn, args, kwargs)

    def subscribe(self, topic: str, callback: Callable[[Any], object]) -> None:
        """Call a function, in another thread, with every value that workers send under a topic."""
        self.client.subscribe_topic(topic, lambda event: callback(event[1]))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; work that has not started is cancelled."""
        self.executor.shutdown(wait and not cancel_futures)
        self.client.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)


def run_exclusively(function: Callable[..., R], arguments: tuple[Any, ...], named: dict[str, Any]) -> R:
    """Call a function in a worker while no other one runs in its process."""
    with WORKER_LOCK:
        return function(*arguments, **named)


def send_event(topic: str, value: Any) -> None:
    """Send plain values from a worker to the subscribers of a topic."""
    import_module("distributed").get_worker().log_event(topic, value)


def worker_cache() -> EventCache:
    """Cache of events that belongs to the Dask worker of this process."""
    worker: Any = import_module("distributed").get_worker()
    if not hasattr(worker, "femtobarn_events"):
        worker.femtobarn_events = EventCache()
    cache: EventCache = worker.femtobarn_events
    return cache


def version() -> str:
    """Version of femtobarn in a worker."""
    return femtobarn.__version__
