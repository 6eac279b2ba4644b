"""Checksums inside of JSON files, and of the files beside them: damage is an error, not another number.

    "checksums": {"content": SHA-256 of everything else, "files": {"weights.safetensors": SHA-256, ...}}

The content is hashed as compact JSON with sorted keys, so that indentation is free. Files without the key were written
by earlier versions and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from femtobarn.events.storage.atomic import atomic_write_bytes, unchecked
from femtobarn.events.storage.files import checksum

#: Key of the checksums among the keys of a file.
KEY = "checksums"


class CheckedJson(NamedTuple):
    """What a JSON file holds.

    Args:
        content: without the checksums.
        files: SHA-256 of files in the same folder, by name; empty where none were recorded.
        checked: False for files of earlier versions, which have no checksums.
    """

    content: Any
    files: Mapping[str, str]
    checked: bool


def content_checksum(value: Any) -> str:
    """SHA-256 of a JSON value; the order of keys and the layout of the text do not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_checked_json(
    path: Path,
    value: Mapping[str, Any],
    *,
    files: Iterable[str] = (),
    check: Callable[[], object] = unchecked,
) -> None:
    """Write JSON that a person can read, with checksums of its content and of files beside it.

    Args:
        path: the file; complete or not there.
        value: its content.
        files: names of complete files in the same folder.
        check: see `femtobarn.events.storage.atomic.atomic_write`.
    """
    content = json.loads(json.dumps(dict(value)))  # as it will be read
    sums = {name: checksum(path.parent / name) for name in files}
    content[KEY] = {"content": content_checksum([content, sums]), "files": sums}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    atomic_write_bytes(path, text.encode(), check=check)


def read_checked_json(path: Path, remedy: str) -> CheckedJson:
    """The content of a file that `write_checked_json` or an earlier version wrote.

    Args:
        path: the file.
        remedy: what helps if it is damaged, for the message.

    Raises:
        ValueError: no such file, no JSON with keys and values, or not what was written.
    """
    content = read_json(path, remedy)
    if not isinstance(content, dict):
        raise ValueError(f"{path} can't be read: it holds a {type(content).__name__}, not keys and values; {remedy}")
    hidden = any(isinstance(value, dict) and set(value) == {"content", "files"} for value in content.values())
    if KEY not in content and not hidden:  # the key itself may be damaged
        return CheckedJson(content, {}, False)
    recorded = content.pop(KEY, None)
    files = recorded.get("files") if isinstance(recorded, dict) else None
    if not isinstance(files, dict) or recorded.get("content") != content_checksum([content, files]):
        raise ValueError(f"{path} was changed or damaged after it was written (its SHA-256 differs); {remedy}")
    return CheckedJson(content, files, True)


def read_json(path: Path, remedy: str) -> Any:
    """Any JSON value from a file.

    Raises:
        ValueError: no such file, or no JSON text in UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; {remedy}")
    try:
        return json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} can't be read: {error}; {remedy}") from None


def compare_checksums(folder: Path, files: Mapping[str, str], names: Iterable[str], remedy: str) -> None:
    """Compare files with the checksums that were recorded for them; those without a record pass.

    Args:
        folder: of the files.
        files: SHA-256 by name.
        names: files to compare.
        remedy: what helps, for the message.

    Raises:
        ValueError: a file is missing, or was changed or damaged.
    """
    for name in names:
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; {remedy}")
        if name in files and (digest := checksum(path)) != files[name]:
            difference = f"its SHA-256 is {digest[:12]}..., not {str(files[name])[:12]}..."
            raise ValueError(f"{path} was changed or damaged after it was written ({difference}); {remedy}")
