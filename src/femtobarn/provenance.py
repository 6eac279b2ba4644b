"""Provenance: what a result was made with, and files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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


def write_text(path: Path, text: str) -> None:
    """Writes a text so that it is either complete or not there, whenever the process may be killed."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that it is either complete or not there, whenever the process may be killed."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that a person can read, complete or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder; a killed process lets go by dying.

    Raises:
        RuntimeError: another process is at work in the folder.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another process is at work in {folder}; wait for it or end it") from None
        yield
    finally:
        os.close(handle)


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
