"""Messages of errors for the user of the command line, for exceptions of any library."""

from __future__ import annotations

import errno
import json

#: Maximum number of characters of a message.
MAX_LENGTH = 20_000

#: Libraries whose exceptions mean a damaged or unsuitable file, whatever their type.
FILE_LIBRARIES = {
    "binascii",
    "h5py",
    "lightgbm",
    "lzma",
    "_lzma",
    "onnx",
    "onnxruntime",
    "optuna",
    "pickle",
    "_pickle",
    "pyarrow",
    "safetensors",
    "safetensors_rust",
    "struct",
    "uproot",
    "zipfile",
    "zlib",
}

#: Messages of torch and of operating systems when memory is exhausted.
NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "not enough memory")

MEMORY_REMEDY = (
    "lower training.batch_size or inputs.slots, use a smaller model, fewer runs at once (--workers 1), or prepare the "
    "events for reading from disk (femtobarn prepare)"
)


def cut(text: str, max_length: int) -> str:
    """Shorten a text to a maximum number of characters; an ellipsis replaces the rest."""
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def describe_error(error: BaseException) -> str | None:
    """Cause of an error and its remedy; None for an internal error of femtobarn, which no input should cause."""
    text = str(error).strip()
    message = _message(error, text or type(error).__name__)
    return None if message is None else cut(message, MAX_LENGTH)


def _message(error: BaseException, text: str) -> str | None:
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(phrase in text.lower() for phrase in NO_MEMORY)
    ):
        detail = f" ({cut(text.splitlines()[0], 200)})" if str(error) else ""
        return f"not enough memory{detail}; {MEMORY_REMEDY}"
    if isinstance(error, RecursionError):
        return "a file or an expression is nested too deeply; use fewer levels"
    if isinstance(error, OSError):
        return _system_message(error, text)
    if isinstance(error, json.JSONDecodeError):
        return f"a JSON file is damaged: {text}"
    if isinstance(error, UnicodeError):
        return f"a text is not in UTF-8: {text}; convert the file to UTF-8"
    if isinstance(error, ImportError):
        return f"a package is missing or damaged: {text}; install it with pip"
    if isinstance(error, NotImplementedError) or type(error).__module__.split(".")[0] in FILE_LIBRARIES:
        return f"a file is damaged or has an unsupported format: {text}"
    if isinstance(error, EOFError):
        return f"a file is truncated: {text}"
    # FloatingPointError: a loss that is not finite
    return text if isinstance(error, ValueError | RuntimeError | FloatingPointError) else None


def _system_message(error: OSError, text: str) -> str:
    prefix = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{prefix}no space left on the disk; free some space, and run the same command again"
    if error.errno == errno.EMFILE:
        return f"{prefix}too many open files; raise the limit (ulimit -n) or use fewer workers (--workers)"
    return f"{prefix}{error.strerror.lower()}" if prefix and error.strerror else text
