"""Errors in the words of the user of the command line, whichever library raised them."""

from __future__ import annotations

import errno
import json

#: Longest message.
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

#: Words of torch and of operating systems for memory that is not there.
NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "not enough memory")

MEMORY_REMEDY = (
    "lower training.batch_size or inputs.slots, use a smaller model, fewer runs at once (--workers 1), or prepare the "
    "events for reading from disk (femtobarn prepare)"
)


def cut(text: str, max_length: int) -> str:
    """A text of at most so many characters; an ellipsis stands for the rest."""
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def describe_error(error: BaseException) -> str | None:
    """The cause of an error and its remedy; None for an error that no input should cause, a fault of femtobarn."""
    text = str(error).strip()
    words = _words(error, text or type(error).__name__)
    return None if words is None else cut(words, MAX_LENGTH)


def _words(error: BaseException, text: str) -> str | None:
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(words in text.lower() for words in NO_MEMORY)
    ):
        detail = f" ({cut(text.splitlines()[0], 200)})" if str(error) else ""
        return f"there is too little memory{detail}; {MEMORY_REMEDY}"
    if isinstance(error, RecursionError):
        return "a file or an expression is nested too deeply; write it with fewer levels"
    if isinstance(error, OSError):
        return _system(error, text)
    if isinstance(error, json.JSONDecodeError):
        return f"a JSON file is damaged: {text}"
    if isinstance(error, UnicodeError):
        return f"a text is not in UTF-8: {text}"
    if isinstance(error, ImportError):
        return f"a package is missing or damaged: {text}; install it with pip"
    if isinstance(error, NotImplementedError) or type(error).__module__.split(".")[0] in FILE_LIBRARIES:
        return f"a file is damaged, or of a kind that can't be used: {text}"
    if isinstance(error, EOFError):
        return f"a file ends too early: {text}"
    # FloatingPointError: a loss that is not finite
    return text if isinstance(error, ValueError | RuntimeError | FloatingPointError) else None


def _system(error: OSError, text: str) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}no space left on the disk; free some, and give the same command again"
    if error.errno == errno.EMFILE:
        return f"{where}too many open files; raise the limit (ulimit -n) or use fewer workers (--workers)"
    return f"{where}{error.strerror.lower()}" if where and error.strerror else text
