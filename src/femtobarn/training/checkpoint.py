"""Checkpoint: the state of a training in one safetensors file with a checksum, written whole or not at all; no pickle.

A damaged checkpoint is an error, never a training from the first epoch without a word: the user decides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from femtobarn.events.storage.atomic import unchecked
from femtobarn.training.tensorfile import load_tensors, save_tensors

#: Key of the JSON text among the metadata of the file.
FACTS = "femtobarn"

#: What the file holds, for messages.
CONTENT = "checkpoint of a training"

#: Remedy for a file that cannot be used.
REMEDY = "delete it to start anew, from the first epoch"


def save(
    path: Path,
    facts: Mapping[str, Any],
    *,
    check: Callable[[], object] = unchecked,
    **states: Mapping[str, Tensor],
) -> None:
    """Write groups of named tensors and JSON facts; a kill at any moment leaves the old file or the new one.

    Args:
        path: the file.
        facts: what JSON can hold.
        check: called before and after the state is written beside the old file; its error leaves the old file.
        states: tensors by group.
    """
    check()
    tensors = {f"{group}/{name}": value for group, state in states.items() for name, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors, {FACTS: json.dumps(facts)}, check=check)


def load(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The facts and the groups of tensors that `save` wrote, on the processor.

    Raises:
        ValueError: the file is not such a checkpoint, or was changed or damaged.
    """
    tensors, texts = load_tensors(path, CONTENT, REMEDY)
    try:
        facts = json.loads(texts[FACTS])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no {CONTENT} ({error}); {REMEDY}") from None
    if not isinstance(facts, dict):
        raise ValueError(f"{path} is no {CONTENT} (it holds {facts!r:.40}); {REMEDY}")
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = value
    return facts, groups


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of an optimiser's state, and everything else as plain JSON values."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            (tensors if isinstance(value, Tensor) else plain)[f"{number}.{name}"] = value
    return tensors, plain


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Give an optimiser the state that `optimizer_state` took; its groups stay what the settings made them."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in (*tensors.items(), *plain.items()):
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def clone_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """Copy of the weights and buffers of a network, independent of further training."""
    return {name: torch.clone(value.detach()) for name, value in network.state_dict().items()}
