"""Depths of every registered network: vectors of particles, latent vector, outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from femtobarn.experiments.experiment import experiment_schema
from femtobarn.inputs import Batch
from femtobarn.models import DEPTHS, Depth, Network, at_depth, check_depth, model_spec, networks
from femtobarn.tasks.classification.config import ClassificationConfig
from tests.inputs.test_constituents import jets
from tests.inputs.test_constituents import network as jet_network
from tests.models.test_contract import (
    INTERACTIONS,
    OUTPUTS,
    SLOTS,
    build,
    emptied,
    events,
    shuffled,
    with_garbage,
    with_slots,
)
from tests.support.symmetries import TRANSFORMATIONS

#: Models that have vectors of particles; the others compute the latent vector directly.
WITH_OBJECTS = {
    *("cnn", "efn", "lgatr", "lgatr-slim", "lloca-part", "lloca-particlenet", "lloca-transformer", "lorentznet"),
    *("mipart", "mpnn", "part", "particlenet", "pfn", "sett", "transformer"),
}


def built(name: str, dtype: torch.dtype = torch.float64, **settings: object) -> Network:
    return build(name, INTERACTIONS["pairs"] if model_spec(name).takes_pairs else (), dtype, **settings)


@pytest.fixture(scope="module", params=networks())
def network(request) -> tuple[str, Network]:
    return request.param, built(request.param)


def at_depths(name: str, network: Network) -> list[Callable[[Batch], Tensor]]:
    return [network.latent, *([network.objects] if "objects" in model_spec(name).depths else [])]


def test_every_network_has_a_latent_vector_and_most_have_objects():
    assert {name for name in networks() if "latent" in model_spec(name).depths} == set(networks())
    assert {name for name in networks() if "objects" in model_spec(name).depths} >= WITH_OBJECTS
    assert model_spec("bdt").depths == ("outputs",)
    assert model_spec("mipart-l").depths == DEPTHS


def test_missing_depth_is_an_error_that_lists_the_models_with_it():
    with pytest.raises(ValueError, match="the model fcn has no objects; models with objects: cnn, efn, lgatr"):
        check_depth("fcn", "objects")
    with pytest.raises(ValueError, match="the model bdt has no latent; models with latent: cnn, deepjet"):
        check_depth("bdt", "latent")
    with pytest.raises(ValueError, match="FCN has no objects; models with objects: cnn"):
        built("fcn").objects(events(2))
    check_depth("part", "objects")


def test_a_model_without_the_depth_of_the_task_is_refused_by_the_experiment():
    class OfParticles(ClassificationConfig):
        depth: ClassVar[Depth] = "objects"

    class OfParticlesExperiment(experiment_schema()):  # type: ignore[misc]
        task: OfParticles

    plain = {"data": {"files": ["nowhere.parquet"]}, "task": {"signal": ["tttt"]}}
    OfParticlesExperiment.model_validate(plain | {"model": {"name": "part"}})
    for name in ("fcn", "bdt"):
        experiment_schema().model_validate(plain | {"model": {"name": name}})
        with pytest.raises(ValidationError, match=f"the model {name} has no objects; models with objects: cnn, efn"):
            OfParticlesExperiment.model_validate(plain | {"model": {"name": name}})


def test_outputs_are_the_head_of_the_latent_vector(network):
    _, network = network
    batch = emptied(events())
    latent = network.latent(batch)
    assert latent.shape[0] == len(batch.mask)
    assert latent.dim() == 2
    assert latent.std(0).max() > 1e-4
    assert torch.equal(network.head(latent), network(batch))
    assert torch.equal(at_depth(network.architecture, "outputs")(network.features(batch)), network(batch))


def test_objects_have_the_slots_of_the_batch_and_are_0_in_padding(network):
    name, network = network
    if "objects" not in model_spec(name).depths:
        pytest.skip("has no objects")
    batch = with_slots(events(), SLOTS + 5)  # the network removes empty slots
    objects = network.objects(batch)
    assert objects.shape[:2] == batch.mask.shape
    assert objects.isfinite().all()
    assert objects[batch.mask].std(0).max() > 1e-4
    assert not objects[~batch.mask].any()


def test_depths_ignore_padding(network):
    name, network = network
    for depth in at_depths(name, network):
        torch.testing.assert_close(depth(with_garbage(events())), depth(events()), rtol=1e-9, atol=1e-11)
        more = depth(with_garbage(with_slots(events(), SLOTS + 5)))
        more = more[:, :SLOTS] if more.dim() == 3 else more
        torch.testing.assert_close(more, depth(events()), rtol=1e-9, atol=1e-11)


def test_order_changes_no_latent_vector_and_objects_follow_it(network):
    name, network = network
    if model_spec(name).ordered:
        pytest.skip("declared ordered")
    batch = events()
    order = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(3)).argsort(1)  # as in `shuffled`
    torch.testing.assert_close(network.latent(shuffled(batch)), network.latent(batch), rtol=1e-9, atol=1e-11)
    if "objects" in model_spec(name).depths:
        objects = network.objects(batch)
        expected = objects.gather(1, order[..., None].expand_as(objects))
        torch.testing.assert_close(network.objects(shuffled(batch)), expected, rtol=1e-9, atol=1e-11)


def test_events_do_not_influence_each_other_at_any_depth(network):
    name, network = network
    batch = events()
    for depth in at_depths(name, network):
        together = depth(batch)
        for number in range(0, len(batch.mask), 11):
            single = depth(batch[number : number + 1])
            torch.testing.assert_close(single[0], together[number], rtol=1e-9, atol=1e-11)


def test_empty_events_and_empty_batches_are_finite_at_every_depth(network):
    name, network = network
    nothing = events()[:0]
    for depth in at_depths(name, network):
        assert depth(emptied(events())).isfinite().all()
        assert depth(nothing).shape[0] == 0


def test_depths_in_float32_agree_with_float64(network):
    name, network = network
    single = built(name, torch.float32)
    single.load_state_dict(network.state_dict())
    for low, high in zip(at_depths(name, single), at_depths(name, network), strict=True):
        expected = high(events()).detach()
        atol = 3e-4 * float(expected.abs().max())
        torch.testing.assert_close(low(events(dtype=torch.float32)).double(), expected, rtol=1e-3, atol=atol)


def test_depths_while_exporting_agree_with_packed_rows(network, monkeypatch):
    name, network = network
    batch = emptied(events())
    packed = [depth(batch) for depth in at_depths(name, network)]
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    for depth, expected in zip(at_depths(name, network), packed, strict=True):
        torch.testing.assert_close(depth(batch), expected, rtol=1e-9, atol=1e-11)


def test_gradients_of_objects_reach_the_momenta_of_real_particles_alone(network):
    name, network = network
    if "objects" not in model_spec(name).depths:
        pytest.skip("has no objects")
    batch = events(12)
    momenta = batch.momenta.clone().requires_grad_()
    (grad,) = torch.autograd.grad(network.objects(batch.replace(momenta=momenta)).square().sum(), momenta)
    assert grad.isfinite().all()
    assert grad[batch.mask].abs().sum(-1).gt(0).float().mean() > 0.9
    assert not grad[~batch.mask].any()


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("name", [name for name in networks() if model_spec(name).is_equivariant])
def test_depths_of_lorentz_invariant_networks_are_invariant(name, transformation):
    network = build(name, ("mass", "sm_const"), **(model_spec(name).lorentz or {}))
    features = network.inputs(events())
    moved = TRANSFORMATIONS[transformation]
    start, stop = network.inputs.sizes(OUTPUTS).scalars
    particles = torch.full_like(features.particles, 17.0)  # features that depend on the frame must not be used
    particles[..., start:stop] = features.particles[..., start:stop]
    other = features._replace(
        momenta=torch.where(features.mask[..., None], moved(features.momenta), 0.0),
        vectors=moved(features.vectors),
        particles=torch.where(features.mask[..., None], particles, 0.0),
        context=torch.full_like(features.context, 17.0),
    )
    for depth in ("latent", "objects"):
        vectors = at_depth(network.architecture, depth)
        expected = vectors(features)
        assert expected.std(0).max() > 1e-4
        torch.testing.assert_close(vectors(other), expected, rtol=1e-7, atol=1e-9)


EQUIVARIANT = [name for name in networks() if model_spec(name).has_vectors]


def test_equivariant_networks_have_four_vectors():
    assert set(EQUIVARIANT) == {name for name in networks() if model_spec(name).is_equivariant}
    with pytest.raises(ValueError, match="ParT has no four-vectors; models with four-vectors: lgatr, lgatr-slim"):
        built("part").vectors(events(2))
    with pytest.raises(ValueError, match="frames: identity has no local frames"):
        built("lloca-part", frames="identity").vectors(events(2))


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_four_vectors_have_the_slots_of_the_batch_and_are_0_in_padding(name):
    network, batch = built(name), with_slots(events(), SLOTS + 5)
    vectors = network.vectors(batch)
    assert vectors.dtype == torch.float64
    assert vectors.shape[:2] == batch.mask.shape
    assert vectors.shape[3] == 4
    assert not vectors[~batch.mask].any()
    torch.testing.assert_close(network.vectors(with_garbage(batch)), vectors, rtol=1e-9, atol=1e-9)
    order = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(3)).argsort(1)  # as in `shuffled`
    expected = vectors.gather(1, order[..., None, None].expand_as(vectors))
    torch.testing.assert_close(network.vectors(shuffled(batch)), expected, rtol=1e-9, atol=1e-8)
    assert network.vectors(emptied(batch)).isfinite().all()


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("name", EQUIVARIANT)
def test_four_vectors_transform_with_the_event(name, transformation):
    """Jets, whose constituents are the whole event; without interactions, which need not be invariant."""
    network = jet_network(name, "kin", (), **(model_spec(name).lorentz or {}))
    batch, moved = jets(20, seed=3), TRANSFORMATIONS[transformation]
    batch = batch[batch.mask.sum(1) > 2]  # a massless particle has no rest frame
    vectors = network.vectors(batch)
    boosted = batch.replace(momenta=torch.where(batch.mask[..., None], moved(batch.momenta), 0.0))
    expected = moved(vectors)
    difference = (network.vectors(boosted) - expected).abs().amax(-1)
    assert (difference / expected.abs().amax(-1).clamp_min(1e-3)).max() < 1e-6
    # not the trivial multiples of the momenta alone
    assert vectors[batch.mask].std(0).min() > 1e-6
