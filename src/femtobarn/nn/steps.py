"""Steps: the same thing done again and again, in a file as one loop and not as so many copies."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


def repeat(
    step: Callable[..., tuple[Tensors, Tensors]], state: Tensors, given: Tensors, fixed: Tensors = ()
) -> tuple[Tensors, Tensors]:
    """A step for each entry of the first axis of what is given, each from the state that the one before has left.

    While a model is being exported this is one operator of the graph (`Scan`), whatever the number of steps: 127 copies
    of a step would take the exporter many minutes. It has no gradient then. PyTorch's exporter knows it since 2.9.

    Args:
        step: called with the state, with what is given for the step, and with `fixed`, three tuples; its results are
            the next state and what is told of the step, one tensor at least. It knows no other tensors and no number of
            events, and neither changes nor gives back a tensor that it was given.
        state: tensors that keep their shapes.
        given: tensors with the steps on their first axis, at least one step.
        fixed: tensors that every step needs, such as weights.

    Returns:
        the last state, and what was told, with the steps on the first axis.
    """
    if torch.compiler.is_compiling():

        def flat(*tensors: Tensor) -> list[Tensor]:
            after, told = step(
                tensors[: len(state)],
                tensors[len(state) : len(state) + len(given)],
                tensors[len(state) + len(given) :],
            )
            return [*after, *told]

        with torch.no_grad():
            out = torch.ops.higher_order.scan(flat, list(state), list(given), additional_inputs=fixed)
        return tuple(out[: len(state)]), tuple(out[len(state) :])
    lines = []
    for now in zip(*(tensor.unbind(0) for tensor in given), strict=True):
        state, line = step(state, now, fixed)
        lines.append(line)
    return state, tuple(torch.stack(column) for column in zip(*lines, strict=True))
