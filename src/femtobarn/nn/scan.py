"""Scan: a loop over steps, exported as one loop and not as one copy per step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


def scan(
    step: Callable[..., tuple[Tensors, Tensors]], state: Tensors, inputs: Tensors, constants: Tensors = ()
) -> tuple[Tensors, Tensors]:
    """Apply a step to each entry of the first axis of the inputs, starting from the state that the last step returned.

    While a model is exported this is one operator of the graph (`Scan`) for any number of steps: 127 copies of a step
    would take the exporter many minutes. The operator has no gradient. PyTorch exports it since version 2.9.

    Args:
        step: function of three tuples: state, inputs of the step, and `constants`. It returns the next state and the
            outputs of the step (at least one tensor). It must not use other tensors or the number of events, and must
            neither modify nor return one of its arguments.
        state: tensors of fixed shape.
        inputs: tensors with the steps on their first axis; at least one step.
        constants: tensors that every step uses, such as weights.

    Returns:
        the last state, and the outputs with the steps on the first axis.
    """
    if torch.compiler.is_compiling():

        def flat(*tensors: Tensor) -> list[Tensor]:
            next_state, outputs = step(
                tensors[: len(state)],
                tensors[len(state) : len(state) + len(inputs)],
                tensors[len(state) + len(inputs) :],
            )
            return [*next_state, *outputs]

        with torch.no_grad():
            out = torch.ops.higher_order.scan(flat, list(state), list(inputs), additional_inputs=constants)
        return tuple(out[: len(state)]), tuple(out[len(state) :])
    history = []
    for step_inputs in zip(*(tensor.unbind(0) for tensor in inputs), strict=True):
        state, outputs = step(state, step_inputs, constants)
        history.append(outputs)
    return state, tuple(torch.stack(column) for column in zip(*history, strict=True))
