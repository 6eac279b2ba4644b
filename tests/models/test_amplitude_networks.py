"""Networks of amplitudes: published sizes, symmetries, and points of phase space as inputs."""

from __future__ import annotations

import pytest
import torch

from femtobarn.inputs import Batch, Inputs, make_batch
from femtobarn.models import Network, model_spec
from femtobarn.physics import lorentz
from femtobarn.simulate.amplitudes import AmplitudePlan, draw_amplitudes

EVENTS = draw_amplitudes(AmplitudePlan("u u~ > z g g g", 64))


def batch(slots: int = 6) -> Batch:
    return make_batch(EVENTS, slots, torch.float64)


def build(name: str, slots: int, **settings: object) -> Network:
    torch.manual_seed(1)
    inputs = Inputs(("dot",) if model_spec(name).needs_pairs else (), "momenta", slots=slots).fit(batch(slots))
    return Network(inputs, model_spec(name).build(inputs.sizes(1), **settings)).double().eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mlp", 69_889),  # lloca 2.0.0, MLP of 2508.14898
        ("mlp-i-momenta", 56_065),  # momenta and invariants
        ("dsi", 253_249 - 7 * 128),  # the published one has the seven masses among its invariants (i <= j)
    ],
)
def test_networks_have_published_sizes_for_z_and_four_gluons(name, published):
    architecture = build(name, 7).architecture
    assert sum(parameter.numel() for parameter in architecture.parameters()) == published


@pytest.mark.parametrize("name", ["mlp", "mlp-i", "dsi"])
def test_empty_slots_change_nothing(name):
    network = build(name, 6)
    wider = make_batch(EVENTS, 9, torch.float64)
    torch.testing.assert_close(network(wider), network(batch()), rtol=1e-10, atol=1e-12)


def test_mlp_on_invariants_is_lorentz_invariant():
    network = build("mlp-i", 6)
    transformation = lorentz.random_transformations(len(EVENTS), torch.zeros(0, dtype=torch.float64))
    moved = batch().replace(momenta=batch().momenta @ transformation.transpose(1, 2))
    expected = network(batch())
    spread = float(expected.std())
    assert spread > 1e-4
    torch.testing.assert_close(network(moved), expected, rtol=0, atol=1e-6 * spread)
    for other in (build("mlp", 6), build("dsi", 6)):
        change = other(moved) - other(batch())
        assert float(change.std()) > 1e-2 * float(other(batch()).std())


def test_legs_are_ordered_by_type_and_not_by_place():
    """Beams, boson and gluons exchange their places in the batch; gluons keep their order."""
    network = build("mlp", 6)
    kinds = batch().kind[0]
    boson = (batch().kind == 12).float().argmax(1)
    assert boson.min() < boson.max(), "the Z boson is in another place by its pT"
    # all legs in the order of their types
    order = batch().kind.argsort(dim=1, descending=True, stable=True)
    same = batch().replace(
        momenta=batch().momenta.gather(1, order[..., None].expand(-1, -1, 4)), kind=batch().kind.gather(1, order)
    )
    assert kinds.sort().values.tolist() == [11, 11, 11, 12, 13, 13]
    torch.testing.assert_close(network(same), network(batch()))


def test_augmentation_transforms_training_events_only():
    inputs = Inputs(("dot",), "momenta", slots=6, augmentation="lorentz").fit(batch()).double()
    torch.manual_seed(3)
    first, second = inputs.train()(batch()), inputs(batch())
    assert float((first.momenta - second.momenta).abs().max()) > 1
    torch.testing.assert_close(lorentz.mass2(first.momenta.sum(1)), lorentz.mass2(batch().momenta.sum(1)))
    assert torch.equal(inputs.eval()(batch()).momenta, batch().momenta)


def test_momenta_are_divided_by_one_scale():
    inputs = Inputs((), "momenta", slots=6).fit(batch()).double()
    features = inputs(batch())
    scale = batch().momenta.square().mean().sqrt()
    torch.testing.assert_close(features.particles[..., :4], batch().momenta / scale, rtol=1e-6, atol=1e-9)
