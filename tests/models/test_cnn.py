"""The convolutional network against one written out by hand, and its behaviour at the ends of the list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from femtobarn.inputs import Inputs, make_batch
from femtobarn.models import CNN, model_spec
from femtobarn.models.cnn import SUM_UNIT
from tests.support.sample import make_events


@pytest.fixture
def encoded():
    batch = make_batch(make_events(40, seed=4), 16, torch.float64)
    return Inputs().fit(batch).double()(batch)


@pytest.fixture
def network(encoded):
    torch.manual_seed(1)
    network = CNN(Inputs().sizes(3), channels=(8, 6), kernel=5, fc=(7,)).double().train()
    network(encoded)  # running statistics that are not 0 and 1
    return network.eval()


def by_hand(network: CNN, objects: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Logits of one event: loops over the real objects, zeros beyond both ends."""
    x = objects
    layers: list[tuple[Any, Any]] = list(zip(network.convolutions, network.norms, strict=True))
    for convolution, norm in layers:
        weight = convolution.weight.detach().numpy()
        reach = weight.shape[-1] // 2
        out = np.zeros((len(x), len(weight)))
        for place in range(len(x)):
            for offset in range(-reach, reach + 1):
                if 0 <= place + offset < len(x):
                    out[place] += weight[:, :, offset + reach] @ x[place + offset]
        mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
        scaled = (out - mean) / np.sqrt(variance + norm.eps)
        x = np.maximum(scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy(), 0)
    y = np.concatenate([x.sum(0) / SUM_UNIT, x.max(0), context])
    for layer in network.fc:
        if isinstance(layer, torch.nn.Linear):
            y = layer.weight.detach().numpy() @ y + layer.bias.detach().numpy()
        elif isinstance(layer, torch.nn.ReLU):
            y = np.maximum(y, 0)
    return y


def test_it_is_what_loops_over_the_objects_give(network, encoded):
    logits = network(encoded).detach().numpy()
    for event in range(len(logits)):
        real = encoded.particles[event, encoded.mask[event]].numpy()
        np.testing.assert_allclose(logits[event], by_hand(network, real, encoded.context[event].numpy()), rtol=1e-9)


def test_the_order_of_the_list_matters(network, encoded):
    order = torch.arange(16)
    order[[0, 5]] = order[[5, 0]]
    full = encoded.mask[:, :6].all(1)
    swapped = encoded._replace(particles=encoded.particles[:, order], mask=encoded.mask[:, order])
    assert (network(swapped) - network(encoded))[full].abs().max() > 1e-3


def test_filters_are_centred_on_an_object():
    with pytest.raises(ValidationError, match="4 is even"):
        model_spec("cnn").schema(kernel=4)
    with pytest.raises(ValueError, match="4 is even"):
        CNN(Inputs().sizes(2), kernel=4)
