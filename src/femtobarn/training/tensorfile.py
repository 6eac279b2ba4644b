"""Tensor files: named tensors and a text in one safetensors file with a checksum, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from femtobarn.events.storage.atomic import atomic_write_bytes, unchecked

#: Key of the checksum among the metadata of the file.
CHECKSUM = "sha256"


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    check: Callable[[], object] = unchecked,
) -> None:
    """Write named tensors; a kill at any moment leaves the old file or the new one.

    Args:
        path: the file.
        tensors: on any device.
        metadata: texts by name.
        check: see `femtobarn.events.storage.atomic.atomic_write`.
    """
    # clones, because safetensors refuses tensors that share memory
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    texts = dict(metadata or {})
    content = save(plain, metadata={**texts, CHECKSUM: _checksum(plain, texts)})
    atomic_write_bytes(path, content, check=check)


def load_tensors(path: Path, content: str, remedy: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and texts of a safetensors file, on the processor; compared with its checksum if there is one.

    Args:
        path: the file.
        content: what the file should be, for messages.
        remedy: for messages.

    Raises:
        ValueError: no such file, no safetensors file, or changed or damaged after it was written.
    """
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'missing'}, not {content}; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            texts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} is no {content} ({error}); {remedy}") from None
    recorded = texts.pop(CHECKSUM, None)
    if recorded is not None and recorded != _checksum(tensors, texts):
        raise ValueError(f"{path} was changed or damaged after it was written (its SHA-256 differs); {remedy}")
    return tensors, texts


def _checksum(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """SHA-256 of names, types, shapes and values, whatever the layout of the file."""
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
