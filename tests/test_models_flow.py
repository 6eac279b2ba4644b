"""Particle flow network."""

from __future__ import annotations

import torch

from femtobarn.inputs import Batch, Sizes
from femtobarn.models import PFN
from tests.test_models_contract import build, events


def test_the_published_size():
    """arXiv:2202.03772, table 1: 17 features and 10 classes."""
    assert sum(parameter.numel() for parameter in PFN(Sizes(17, 0, 0, 10)).parameters()) == 86_154


def test_before_its_last_layers_objects_only_add_up():
    """What the objects of an event give together is what two halves of it give, one after the other."""
    network, batch = build("pfn", ()), events()
    sums = []
    assert isinstance(network.architecture, PFN)
    network.architecture.fc.register_forward_pre_hook(lambda _, given: sums.append(given[0][:, :16]))
    half = torch.arange(batch.mask.shape[1]) % 2 == 0
    for mask in (batch.mask, batch.mask & half, batch.mask & ~half):
        network(Batch(*batch._replace(mask=mask)))
    torch.testing.assert_close(sums[1] + sums[2], sums[0])
    assert (sums[1] - sums[2]).abs().max() > 0.1
