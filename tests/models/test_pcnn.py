"""P-CNN: the size of the paper, and the residual units against lists without padding, written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from femtobarn.inputs import Features, Inputs, Sizes
from femtobarn.models import PCNN, Network
from femtobarn.models.pcnn import Convolution
from tests.models.test_contract import events


def test_the_published_size():
    """arXiv:2202.03772, table 1: 17 features and 10 classes."""
    assert sum(parameter.numel() for parameter in PCNN(Sizes(17, 0, 0, 10)).parameters()) == 354_540


def layer(convolution: Convolution, x: Tensor, stride: int = 1) -> Tensor:
    norm = convolution.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    z = conv1d(x, convolution.filters.weight, convolution.filters.bias, stride, padding=1)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return ((z - norm.running_mean[:, None]) * scale[:, None] + norm.bias[:, None]).relu()


def by_hand(network: PCNN, encoded: Features, row: int) -> Tensor:
    """One event as a list of its own length, (channels, objects), with zeros beyond either end and nowhere else."""
    x = network.norm(encoded.particles[row][encoded.mask[row]]).T
    x = layer(network.first, x)
    unit: Any
    for unit in network.units:
        around = x[:, :: unit.stride]
        if unit.shortcut is not None:
            around = unit.shortcut.weight @ around
        x = around + layer(unit.two, layer(unit.one, x, unit.stride))
    answer: Tensor = network.fc(torch.cat([x.mean(1), encoded.context[row]]))
    return answer


def test_lists_are_convolved_at_their_own_length():
    torch.manual_seed(3)
    inputs = Inputs().fit(events(dtype=torch.float32))
    architecture = PCNN(inputs.sizes(3), first=5, stages=((6, 6), (8,), (8, 8)), fc=(7,))
    network = Network(inputs, architecture).double().train()
    with torch.no_grad():
        for seed in range(4):
            network(events(seed=seed))
    batch = events()
    found, encoded = network.eval()(batch), inputs(batch)
    assert len({int(number) for number in batch.mask.sum(1)}) > 4  # odd and even ones
    for row in range(len(batch)):
        torch.testing.assert_close(found[row], by_hand(architecture, encoded, row))
    assert architecture.strides == [1, 1, 2, 2, 1]
    assert ["shortcut.weight" in unit.state_dict() for unit in architecture.units] == [True, False, True, True, False]
