"""Exponential moving average of the weights of a network, which varies less than the weights themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def exponential_moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Copy of a network, in evaluation mode, whose weights follow those of the original with `update_parameters`.

    Update t, counted from 0, moves the weights by a fraction 1 - min(decay, (1 + t) / (10 + t)) towards the original:
    the initial weights lose their influence within few steps. Running statistics of batch norms are averaged alike;
    integers are copied.

    Args:
        network: the original.
        decay: largest fraction of the average that an update keeps.
    """

    def average(averages: Sequence[Tensor], values: Sequence[Tensor], n_averaged: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(list(averages), list(values))
            return
        step = int(n_averaged) - 1
        torch._foreach_lerp_(list(averages), list(values), 1 - min(decay, (1 + step) / (10 + step)))

    averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    averaged.n_averaged.fill_(1)  # the copy itself; at 0, torch would overwrite it by the first update
    return averaged.eval().requires_grad_(False)
