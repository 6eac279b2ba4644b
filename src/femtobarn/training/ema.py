"""EMA: a running average of the weights, which is steadier than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """A copy of a network whose weights follow those of the original slowly.

    After step t the copy moves by a fraction 1 - min(decay, (1 + t) / (10 + t)) towards the original, so that it
    forgets the random start soon. Running statistics of batch norms are averaged alike; integers are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Follow the network after its step (counted from 0)."""
        part = 1 - min(self.decay, (1 + step) / (10 + step))
        original = network.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(original[name], part)
            else:
                value.copy_(original[name])
