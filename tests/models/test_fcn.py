"""Fully connected network: its slots are those of the BDT's columns, filled inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from femtobarn.experiments import experiment
from femtobarn.experiments.document import ConfigError
from femtobarn.inputs import Batch, Inputs, Sizes, columns, make_batch
from femtobarn.models import FCN
from femtobarn.physics.lorentz import pt
from femtobarn.physics.objects import ELECTRON, JET, NAMES, PHOTON, SLOTS
from tests.support.sample import make_events

SIZES = Sizes(11, 0, 3, 2)


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    return FCN(SIZES, widths=(8,)).double().eval()


def test_its_slots_are_the_columns_of_the_trees(network):
    """The trees' table is filled by other code, with sorting in numpy."""
    batch = make_batch(make_events(200, seed=2), 18, torch.float64)
    names, table = columns(batch)
    chosen = network.select(batch.momenta, batch.kind, batch.mask)
    assert chosen.sum(-1).max() == 1
    found = (chosen.double() @ pt(batch.momenta.masked_fill(~batch.mask[..., None], 0.0))[..., None]).squeeze(-1)
    expected = table[:, [name.startswith("pt_") and name[3:].rstrip("1234") in SLOTS for name in names]]
    assert expected.shape[1] == found.shape[1] == 12
    np.testing.assert_array_equal(chosen.any(-1).numpy(), ~np.isnan(expected))
    np.testing.assert_allclose(found.numpy(), np.nan_to_num(expected), rtol=1e-6)


def crowd(kind: int, count: int) -> Batch:
    """One event of objects of one kind, all of the same pT, and of the same energy the first two of them."""
    angles = torch.arange(count, dtype=torch.float64)
    energies = 60.0 + angles.clamp_min(1)
    momenta = torch.stack([torch.full_like(angles, 50.0), 0 * angles, angles.cos(), energies], -1)[None]
    return Batch(
        momenta=momenta,
        kind=torch.full((1, count), kind),
        mask=torch.ones(1, count, dtype=torch.bool),
        context=torch.zeros(1, 2, dtype=torch.float64),
        tracks=momenta[..., :0],
    )


def test_ties_fill_each_slot_once_with_the_more_energetic(network):
    batch = crowd(JET, 6)
    chosen = network.select(batch.momenta, batch.kind, batch.mask)[0]
    assert chosen[:4].int().argmax(-1).tolist() == [5, 4, 3, 2]
    assert chosen.sum().item() == 4
    batch = crowd(ELECTRON, 2)
    alike = network.select(batch.momenta, batch.kind, batch.mask)[0]
    assert alike.nonzero().tolist() == [[8, 0]]


@pytest.mark.parametrize("ulps", [-2, 2])
def test_rounding_does_not_decide_a_tie(network, ulps):
    """Or another library, which makes pT of px and py with other roundings, would fill the slots in another order."""
    batch = crowd(JET, 3)
    momenta = batch.momenta.float()
    momenta[0, 0, 0] += ulps * torch.finfo(torch.float32).eps * 32
    assert momenta[0, 0, 0] != momenta[0, 1, 0]
    assert network.select(momenta, batch.kind, batch.mask)[0, :3].int().argmax(-1).tolist() == [2, 0, 1]


def answer(network: Any, batch: Batch) -> torch.Tensor:
    logits: torch.Tensor = network(Inputs().double()(batch))
    return logits


def test_photons_and_softer_objects_are_not_seen(network):
    nothing = crowd(JET, 3).replace(mask=torch.zeros(1, 3, dtype=torch.bool))
    torch.testing.assert_close(answer(network, crowd(PHOTON, 3)), answer(network, nothing))
    batch = crowd(JET, 6)
    batch.momenta[0, 0, :2] = 10.0
    without = batch.replace(mask=torch.tensor([[False, True, True, True, True, True]]))
    torch.testing.assert_close(answer(network, batch), answer(network, without))
    batch.momenta[0, 0, :2] = 100.0
    assert not torch.allclose(answer(network, batch), answer(network, without))


def test_an_empty_slot_is_not_an_average_object(network):
    """Standardised features are 0 for an average object as well; the flag tells them apart."""
    mean = crowd(JET, 1)
    encoded = Inputs().double()(mean)
    average = encoded._replace(particles=torch.zeros_like(encoded.particles))
    empty = average._replace(mask=~average.mask)
    assert not torch.allclose(network(average), network(empty))


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_a_batch_of_one_event_trains(norm):
    network = FCN(SIZES, widths=(8, 8), norm=norm).double().train()
    logits = answer(network, crowd(JET, 2))
    assert logits.isfinite().all()
    assert isinstance(
        network.layers[1], {"batch": torch.nn.BatchNorm1d, "layer": torch.nn.LayerNorm}.get(norm, torch.nn.ReLU)
    )


def test_it_takes_no_interactions():
    plain = {"data": {"sample": "four-top"}, "model": {"name": "fcn"}, "task": {"signal": ["tttt"]}}
    assert experiment.load(plain).inputs.interactions == ()
    message = r"model fcn takes no interactions, but inputs.interactions is \[mass, delta_r\]; leave it empty"
    with pytest.raises(ConfigError, match=message):
        experiment.load(plain, ["inputs.interactions=[mass, delta_r]"])


def test_every_kind_but_photons_has_slots():
    kinds = [kind for kind, _ in SLOTS.values()]
    assert sorted([*kinds, PHOTON]) == list(range(1, len(NAMES)))
    assert sum(most for _, most in SLOTS.values()) == 12
