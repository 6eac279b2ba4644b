"""Provenance: what a result was made with, and files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from femtobarn.events.storage.atomic import atomic_write_bytes, remove_leftovers, unchecked

PACKAGES = ("torch", "numpy", "awkward", "lightgbm", "pyarrow")


def versions() -> dict[str, str]:
    """Versions of everything that numbers may depend on, with the git commit of a development tree."""
    import femtobarn

    found = {"femtobarn": femtobarn.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    commit = _commit(Path(femtobarn.__file__).resolve().parents[2])
    return found | ({"commit": commit} if commit else {})


def device(name: str) -> str:
    """What a device (`cpu`, `cuda`, ...) is called by its maker."""
    import torch

    return torch.cuda.get_device_name() if name == "cuda" else processor()


def processor() -> str:
    """The model of the processor, as the machine calls it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def command() -> str:
    """The command line of this process, with the program's name without its folder."""
    path = Path(sys.argv[0])
    program = ["python", "-m", path.parent.name] if path.name == "__main__.py" else [path.name]
    return shlex.join([*program, *sys.argv[1:]])


def write_text(path: Path, text: str, *, check: Callable[[], object] = unchecked) -> None:
    """Writes a text so that it is either complete or not there, whenever the process may be killed."""
    atomic_write_bytes(path, text.encode(), check=check)


def write_bytes(path: Path, content: bytes, *, check: Callable[[], object] = unchecked) -> None:
    """Writes a file so that it is either complete or not there, whenever the process may be killed."""
    atomic_write_bytes(path, content, check=check)


def write_json(path: Path, value: Any, *, check: Callable[[], object] = unchecked) -> None:
    """Writes JSON that a person can read, complete or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n", check=check)


class OpenFolder:
    """A folder as it was opened, so that nothing is written into another folder that takes its place.

    Args:
        path: of the folder; it stays open until `close`, which keeps its number on the disk from being given away.

    Raises:
        OSError: no such folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle = os.open(path, os.O_RDONLY) if os.name == "posix" else None  # Windows opens no folders
        self._identity = os.fstat(self.handle) if self.handle is not None else os.stat(path)
        self._end = weakref.finalize(self, os.close, self.handle) if self.handle is not None else lambda: None

    def check(self) -> None:
        """Makes sure that the folder at this path is the one that was opened.

        Raises:
            RuntimeError: it was deleted, or another one stands there.
        """
        try:
            same = os.path.samestat(os.stat(self.path), self._identity)
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise RuntimeError(
                f"{self.path} was deleted, moved or replaced while this process worked in it, so nothing more is "
                "written there; leave a folder alone until its process has ended, and start the command again"
            )

    def close(self) -> None:
        """Lets go of the folder."""
        self._end()


@contextmanager
def opened(folder: Path) -> Iterator[OpenFolder]:
    """A folder to write to, kept open until the block ends."""
    held = OpenFolder(folder)
    try:
        yield held
    finally:
        held.close()


@contextmanager
def alone(folder: Path) -> Iterator[OpenFolder]:
    """Keeps other processes out of a folder; a killed process lets go by dying.

    The lock is that of the folder itself, not of its path: give `check` of the result to whatever writes into it.

    Raises:
        RuntimeError: another process is at work in the folder.
    """
    with opened(folder) as held:
        try:
            import fcntl
        except ImportError:  # Windows has no such locks
            yield held
            return
        assert held.handle is not None
        try:
            fcntl.flock(held.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another process is at work in {folder}; wait for it or end it") from None
        held.check()  # it may have been replaced before the lock
        remove_leftovers(folder)
        yield held


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    try:
        hash_, changes = (
            subprocess.run(
                ["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{hash_} with changes" if changes else hash_
