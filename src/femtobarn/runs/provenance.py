"""Provenance: versions, device and command of a result; files that are written completely or not at all."""

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
    """Versions of the packages that numbers may depend on, with the git commit of a development tree."""
    import femtobarn

    packages = {"femtobarn": femtobarn.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    commit = _commit(Path(femtobarn.__file__).resolve().parents[2])
    return packages | ({"commit": commit} if commit else {})


def device(name: str) -> str:
    """Product name of a device (`cpu`, `cuda`, ...)."""
    import torch

    return torch.cuda.get_device_name() if name == "cuda" else processor()


def processor() -> str:
    """Model of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def command() -> str:
    """Command line of this process, without the folder of the program."""
    path = Path(sys.argv[0])
    program = ["python", "-m", path.parent.name] if path.name == "__main__.py" else [path.name]
    return shlex.join([*program, *sys.argv[1:]])


def atomic_write_text(path: Path, text: str, *, check: Callable[[], object] = unchecked) -> None:
    """Write a text file completely or not at all, even if the process is killed."""
    atomic_write_bytes(path, text.encode(), check=check)


def atomic_write_json(path: Path, value: Any, *, check: Callable[[], object] = unchecked) -> None:
    """Write indented JSON, completely or not at all."""
    atomic_write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n", check=check)


class OpenFolder:
    """Open folder, so that nothing is written into another folder that replaces it.

    Args:
        path: of the folder. It stays open until `close`, so that the file system does not reuse its inode number.

    Raises:
        OSError: no such folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle = os.open(path, os.O_RDONLY) if os.name == "posix" else None  # Windows opens no folders
        self._identity = os.fstat(self.handle) if self.handle is not None else os.stat(path)
        self._end = weakref.finalize(self, os.close, self.handle) if self.handle is not None else lambda: None

    def check(self) -> None:
        """Check that the folder at this path is the one that was opened.

        Raises:
            RuntimeError: it was deleted or replaced.
        """
        try:
            same = os.path.samestat(os.stat(self.path), self._identity)
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise RuntimeError(
                f"{self.path} was deleted, moved or replaced while this process worked in it, so nothing more is "
                "written there; do not change a folder before its process has ended, and run the command again"
            )

    def close(self) -> None:
        """Close the folder."""
        self._end()


@contextmanager
def open_folder(folder: Path) -> Iterator[OpenFolder]:
    """Folder to write to, kept open until the block ends."""
    handle = OpenFolder(folder)
    try:
        yield handle
    finally:
        handle.close()


@contextmanager
def folder_lock(folder: Path) -> Iterator[OpenFolder]:
    """Lock a folder for this process; the end of the process releases the lock.

    The lock belongs to the folder itself, not to its path: pass `check` of the result to functions that write into it.

    Raises:
        RuntimeError: another process is at work in the folder.
    """
    with open_folder(folder) as lock:
        try:
            import fcntl
        except ImportError:  # Windows has no such locks
            yield lock
            return
        assert lock.handle is not None
        try:
            fcntl.flock(lock.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another process is working in {folder}; wait for its end or stop it") from None
        lock.check()  # it may have been replaced before the lock
        remove_leftovers(folder)
        yield lock


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
