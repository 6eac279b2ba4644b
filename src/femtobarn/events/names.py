"""Names of processes and models: what may stand in tables, figures, messages and paths."""

from __future__ import annotations

import re
import unicodedata

#: Most characters of a name.
MAX_NAME_LENGTH = 200

#: Names that Windows keeps for devices, whatever their suffix.
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}

#: Marks that turn the direction of the text behind them around.
DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_MARKUP = re.compile(r"[\\`*<|$\[\]~]|^_|_$|&(?=#?\w+;)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]+")


def is_printable(text: str) -> bool:
    """True for text without control characters, line breaks, half characters and marks of direction.

    Example:
        >>> is_printable("tt̄H → bb̄"), is_printable("tt\\0H")
        (True, False)
    """
    return not any(
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in DIRECTION_MARKS for letter in text
    )


def check_name(name: str) -> str:
    """The name of a process as it is, if people can read it.

    Raises:
        ValueError: it is empty, too long, or has characters that can't be printed.
    """
    if not name.strip():
        raise ValueError("a name is empty")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"the name {name[:20]!r}… has {len(name)} characters; at most {MAX_NAME_LENGTH} are allowed")
    if not is_printable(name):
        raise ValueError(f"the name {name!r} has characters that can't be printed")
    return name


def check_folder_name(name: str) -> str:
    """A label as it is, if every file system takes it for the name of a folder.

    Raises:
        ValueError: it is reserved, too long for a file system, or has characters that can't be printed.
    """
    check_name(name)
    if name.split(".")[0].lower() in DEVICES:
        raise ValueError(f"{name!r} is no folder on Windows; choose another label")
    if len(name.encode()) > MAX_NAME_LENGTH:
        raise ValueError(f"the label has {len(name.encode())} bytes; at most {MAX_NAME_LENGTH} are allowed")
    return name


def escape_markdown(name: str) -> str:
    """Escape a name for Markdown: a backslash before every character that text or tables take for markup.

    Example:
        >>> escape_markdown("a|b<c>"), escape_markdown("ParT_int_SM")
        ('a\\\\|b\\\\<c>', 'ParT_int_SM')
    """
    return _MARKUP.sub(r"\\\g<0>", _CONTROL.sub(" ", name))
