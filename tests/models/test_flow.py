"""Particle flow and energy flow networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import vector

from femtobarn.events import Events
from femtobarn.inputs import Batch, Sizes, make_batch
from femtobarn.models import EFN, PFN, Network, model_spec
from femtobarn.nn import directions
from femtobarn.physics.lorentz import boost
from femtobarn.runs.irc_safety import changes
from tests.inputs.test_constituents import network
from tests.models.test_contract import build, events
from tests.support.jets import jet_events


@pytest.mark.parametrize(
    ("model", "name", "sizes", "parameters"),
    [
        ("pfn", "pfn", Sizes(17, 0, 0, 10), 86_154),  # arXiv:2202.03772, table 1: 17 features and 10 classes
        ("pfn", "pfn-energyflow", Sizes(3, 0, 0, 2), 82_458),  # pT, y, phi; 82k in arXiv:1902.09914, table 1
        ("efn", "efn", Sizes(7, 0, 0, 2), 82_358),  # 82k there too
    ],
)
def test_the_published_sizes(model, name, sizes, parameters):
    built = model_spec(model).build(sizes, **model_spec(name).schema().model_dump())
    assert sum(parameter.numel() for parameter in built.parameters()) == parameters


def test_before_its_last_layers_objects_only_add_up():
    """What the objects of an event give together is what two halves of it give, one after the other."""
    network, batch = build("pfn", ()), events()
    sums = []
    assert isinstance(network.architecture, PFN)
    network.architecture.fc.register_forward_pre_hook(lambda _, given: sums.append(given[0][:, :16]))
    half = torch.arange(batch.mask.shape[1]) % 2 == 0
    for mask in (batch.mask, batch.mask & half, batch.mask & ~half):
        network(batch.replace(mask=mask))
    torch.testing.assert_close(sums[1] + sums[2], sums[0])
    assert (sums[1] - sums[2]).abs().max() > 0.1


def log_odds(tagger: Network) -> Callable[[Events], np.ndarray]:
    def number(jets: Events) -> np.ndarray:
        logits = tagger(make_batch(jets, 40, torch.float64)).detach().numpy()
        return np.asarray(logits[:, 1] - logits[:, 0])

    return number


def test_the_energy_flow_network_is_safe_and_the_particle_flow_network_is_not():
    """The change goes with the share of a soft particle and the angle of a splitting, down to nothing."""
    jets = jet_events(60, max_particles=20)
    safe, unsafe = (changes(log_odds(network(name, "kin")), jets) for name in ("efn", "pfn"))
    for kind in ("soft", "collinear"):
        steps = {each["step"]: each["most"] / safe["spread"] for each in safe[kind]}
        assert steps[1e-6] < 1e-4
        assert steps[1e-5] < 0.02 * steps[1e-3]
        assert unsafe[kind][-1]["most"] / unsafe["spread"] > 1e-2


def test_the_energy_flow_network_of_a_jet_by_hand():
    tagger, jets = network("efn", "kin"), jet_events(10)
    assert isinstance(tagger.architecture, EFN)
    found = tagger(make_batch(jets, 40, torch.float64))
    for row, particles in enumerate(jets.particles.tolist()):
        momenta: list[Any] = [
            vector.obj(**{name: one[name] for name in ("pt", "eta", "phi", "E")}) for one in particles
        ]
        jet = momenta[0]
        for one in momenta[1:]:
            jet = jet + one
        places = [[p.rapidity - jet.rapidity, p.deltaphi(jet)] for p in momenta]
        share = torch.tensor([p.pt for p in momenta], dtype=torch.float64) / sum(p.pt for p in momenta)
        whole = share @ tagger.architecture.phi(torch.tensor(places, dtype=torch.float64))
        torch.testing.assert_close(found[row], tagger.architecture.fc(whole), rtol=1e-7, atol=1e-9)


def test_the_energy_flow_network_sees_no_type_and_no_scale_of_a_jet():
    tagger, batch = network("efn", "full"), make_batch(jet_events(10), 40, torch.float64)
    other = batch.replace(momenta=3 * batch.momenta, kind=1 + 0 * batch.kind, tracks=batch.tracks + 1)
    torch.testing.assert_close(tagger(other), tagger(batch))


def test_events_turned_and_boosted_along_the_beam_get_the_same_answer():
    flow, batch = build("efn", ()), events()
    px, py, pz, energy = batch.momenta.unbind(-1)
    c, s = math.cos(2.5), math.sin(2.5)
    turned = torch.stack([c * px - s * py, s * px + c * py, pz, energy], -1)
    context = batch.context + torch.tensor([0.0, 2.5])
    along = boost(turned, torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64).expand(*px.shape, 3))
    moved = batch.replace(momenta=along, context=context)
    torch.testing.assert_close(flow(moved), flow(batch), rtol=1e-7, atol=1e-9)
    alone = batch.replace(context=context)  # the missing momentum turned, the objects not
    assert (flow(alone) - flow(batch)).abs().max() > 1e-3


def test_azimuths_do_not_jump_opposite_of_the_axis():
    """On either side of π an object differs by 2π in its azimuth, and by next to nothing in what the network says."""
    azimuth = torch.tensor([[0.0, math.pi - 1e-7], [0.0, math.pi + 1e-7]], dtype=torch.float64)
    pt, eta = torch.tensor([200.0, 80.0], dtype=torch.float64), torch.tensor([0.3, -0.9], dtype=torch.float64)
    space = (pt * azimuth.cos(), pt * azimuth.sin(), (pt * eta.sinh()).expand(2, 2), (pt * eta.cosh()).expand(2, 2))
    momenta, mask = torch.stack(space, -1), torch.ones(2, 2, dtype=torch.bool)
    assert directions(momenta, mask).delta_phi[:, 1].prod() < -9
    one, other = build("efn", ())(
        Batch(momenta, mask.long(), mask, torch.zeros(2, 2, dtype=torch.float64), momenta[..., :0])
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
