"""File of the weights of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from femtobarn.evaluation.runs import TRAIN_AGAIN
from femtobarn.events.storage.atomic import unchecked
from femtobarn.events.storage.checksums import CheckedJson, compare_checksums
from femtobarn.training.tensorfile import load_tensors, save_tensors

#: Prefix of the tensors of the task.
TASK_PREFIX = "task."


def write_weights(
    path: Path, network: nn.Module, tensors: Mapping[str, Tensor], *, check: Callable[[], object] = unchecked
) -> None:
    """Write the weights of a network, with the tensors of its task."""
    of_task = {f"{TASK_PREFIX}{name}": value for name, value in tensors.items()}
    save_tensors(path, network.state_dict() | of_task, check=check)


def read_weights(path: Path, meta: CheckedJson) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of a trained network and tensors of its task, compared with their checksums.

    Args:
        path: the safetensors file of a run.
        meta: of the run, from `femtobarn.evaluation.runs.read_meta`.

    Raises:
        ValueError: no such file, or it was changed or damaged.
    """
    if path.is_file():  # anything else is named below
        compare_checksums(path.parent, meta.files, [path.name], TRAIN_AGAIN)
    weights = load_tensors(path, "file of weights", TRAIN_AGAIN)[0]
    of_task = {name: weights.pop(name) for name in list(weights) if name.startswith(TASK_PREFIX)}
    return weights, {name.removeprefix(TASK_PREFIX): value for name, value in of_task.items()}


def set_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a network.

    Args:
        network: the network.
        weights: by name.
        path: their file, for messages.

    Raises:
        ValueError: names, shapes or types differ; the message names the first difference.
    """
    for name, value in network.state_dict().items():
        expected = f"{list(value.shape)} of {value.dtype}"
        if name not in weights:
            raise ValueError(f"{path} lacks {name}, {expected}; {TRAIN_AGAIN}")
        if weights[name].shape != value.shape or weights[name].dtype != value.dtype:
            stored = f"{list(weights[name].shape)} of {weights[name].dtype}"
            raise ValueError(
                f"{path} holds {name} as {stored}, but the network of the run has {expected}; {TRAIN_AGAIN}"
            )
    if extra := sorted(set(weights) - set(network.state_dict())):
        raise ValueError(f"{path} holds {extra[0]}, which the network of the run lacks; {TRAIN_AGAIN}")
    try:
        network.load_state_dict(dict(weights))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is of another network than the run: {error}; {TRAIN_AGAIN}") from None
