"""Processes: workers that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time

#: Option of prctl: signal that a process gets when its parent ends (linux/prctl.h).
PR_SET_PDEATHSIG = 1

#: Seconds between two looks at the parent where nothing reports its end.
POLL_INTERVAL = 1.0


def end_with_parent(parent: int | None = None) -> None:
    """Make this worker process end when its parent ends, however that ends; call it first in a worker.

    On Linux the kernel ends it at once, even while a library holds the interpreter; elsewhere, and beside that, a
    thread waits for the end of the parent.

    Args:
        parent: identifier of the parent process; None for workers of `multiprocessing`, which know it.
    """
    process = multiprocessing.parent_process()
    number = process.pid if parent is None and process is not None else parent

    def watch() -> None:
        if process is not None:
            process.join()
        else:
            while os.getppid() == number:
                time.sleep(POLL_INTERVAL)
        os._exit(1)

    if number is None:
        return
    threading.Thread(target=watch, daemon=True).start()
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if process is None and os.getppid() != number:  # it ended before the kernel knew
            os._exit(1)
