"""Checkpoint: the state of a training in one safetensors file, written whole or not at all; no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

#: Key of the JSON text among the metadata of the file.
FACTS = "femtobarn"


def save(path: Path, facts: Mapping[str, Any], **states: Mapping[str, Tensor]) -> None:
    """Write groups of named tensors and JSON facts; a kill at any moment leaves the old file or the new one."""
    # clones, because safetensors refuses tensors that share memory
    tensors = {
        f"{group}/{name}": value.detach().clone() for group, state in states.items() for name, value in state.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    save_file(tensors, partial, metadata={FACTS: json.dumps(facts)})
    os.replace(partial, path)


def load(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The facts and the groups of tensors that `save` wrote, on the processor.

    Raises:
        ValueError: the file is not such a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[FACTS])
            groups: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118  # not a dict
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no checkpoint of a training ({error}); delete it to start anew") from error
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


def copied(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network at this moment, untouched by further training."""
    return {name: torch.clone(value.detach()) for name, value in network.state_dict().items()}
