"""Atomic writing: a file is there whole or not at all, whenever the process may be killed.

A partial file lies beside its target until it is complete. Its name is new and it is opened exclusively, so that
neither a symbolic link nor the partial file of another process is ever written through.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: Ending of partial files and folders.
PARTIAL_SUFFIX = ".partial"

#: Characters of the target's name in the name of a partial file: file systems take 255 bytes.
MAX_NAME_LENGTH = 80

#: Errors of a full disk, which the operating system reports without the name of the file.
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EFBIG, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else []))


def unchecked() -> None:
    """Accepts every file: the default check before a file takes its place."""


@contextmanager
def atomic_write(
    path: str | Path, *, check: Callable[[], object] = unchecked, durable: bool = True
) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the place of `path` when the block ends without an error.

    Args:
        path: the file, replaced if it exists.
        check: called before the partial file is opened and when it is complete; its error leaves the old file in place.
        durable: wait until the disk has the content.

    Raises:
        OSError: the file cannot be written; names `path`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, atomic_write(Path(folder) / "a.bin") as file:
        ...     _ = file.write(b"whole")
    """
    with _partial(Path(path), check, durable) as (file, _):
        yield file


@contextmanager
def atomic_path(path: str | Path, *, check: Callable[[], object] = unchecked) -> Iterator[Path]:
    """As `atomic_write`, for a writer that opens a file by its name: an empty file with a new name.

    Args:
        path: the file, replaced if it exists.
        check: see `atomic_write`.
    """
    with _partial(Path(path), check, True) as (_, partial):
        yield partial


def atomic_write_bytes(path: str | Path, content: bytes, *, check: Callable[[], object] = unchecked) -> None:
    """Write bytes to a file that is complete or not there.

    Args:
        path: the file, replaced if it exists.
        content: all of it.
        check: see `atomic_write`.
    """
    with atomic_write(path, check=check) as file:
        file.write(content)


def partial_path(path: Path) -> Path:
    """A new name beside a file or folder, for its content until it is complete."""
    return path.with_name(
        f".{path.name[:MAX_NAME_LENGTH]}.{_host()}-{os.getpid()}-{secrets.token_hex(6)}{PARTIAL_SUFFIX}"
    )


def remove_leftovers(folder: Path) -> None:
    """Remove the partial files and folders that killed processes of this machine left in a folder."""
    pattern = re.compile(rf"\..+\.{re.escape(_host())}-(\d+)-[0-9a-f]{{12}}{re.escape(PARTIAL_SUFFIX)}")
    for entry in list(os.scandir(folder)):
        match = pattern.fullmatch(entry.name)
        if match is None or _is_alive(int(match[1])):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)


@contextmanager
def _partial(target: Path, check: Callable[[], object], durable: bool) -> Iterator[tuple[BinaryIO, Path]]:
    partial = partial_path(target)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    check()
    try:
        handle = os.open(partial, flags, 0o666)
        try:
            with open(handle, "w+b") as file:
                yield file, partial
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            check()
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.filename == str(partial) or (error.filename is None and error.errno in DISK_FULL_ERRORS):
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


def _host() -> str:
    return re.sub(r"[^0-9A-Za-z]+", "_", socket.gethostname())[:40]


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True  # a signal would end it there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
