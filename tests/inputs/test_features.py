"""Features: their values by hand, their standardisation by numpy, and that padding holds no information."""

import math

import numpy as np
import pytest
import torch

from femtobarn.inputs import INTERACTIONS, Batch, Inputs, Sizes, make_batch
from femtobarn.inputs.batch import FIELDS
from femtobarn.inputs.object_features import CONTEXT_FEATURES, PARTICLES
from femtobarn.physics import lorentz, pairwise
from tests.support.sample import make_events

ALL = tuple(INTERACTIONS)
KINEMATIC = tuple(name for name in ALL if not name.startswith("sm_"))


def sample(count: int = 64, dtype: torch.dtype = torch.float64, seed: int = 0) -> Batch:
    return make_batch(make_events(count, seed), 18, dtype)


def dirty(batch: Batch, filler: float) -> Batch:
    return batch.replace(
        momenta=torch.where(batch.mask[..., None], batch.momenta, filler), kind=torch.where(batch.mask, batch.kind, 99)
    )


def test_particle_features_by_hand():
    events = make_events(30)
    objects = events.padded(18)
    particles = Inputs().double()(make_batch(events, 18, torch.float64)).particles.numpy()
    real = objects.mask
    with np.errstate(divide="ignore"):
        expected = np.stack([np.log(objects.E), np.log(objects.pt), objects.eta, objects.phi], axis=-1)
    np.testing.assert_allclose(particles[real][:, :4], expected[real], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(particles[real][:, 4:], np.eye(8)[objects.kind[real]][:, 1:])
    assert particles.shape == (30, 18, len(PARTICLES))
    assert not particles[~real].any()


def test_context_features_by_hand():
    batch = sample(3).replace(context=torch.tensor([[math.e**4, 0.0], [50, math.pi / 2], [0, 1]], dtype=torch.float64))
    context = Inputs().double()(batch).context
    expected = [[4, 1, 0], [math.log(50), 0, 1], [0, math.cos(1), math.sin(1)]]
    torch.testing.assert_close(context, torch.tensor(expected, dtype=torch.float64))
    assert context.shape[1] == len(CONTEXT_FEATURES)


@pytest.mark.parametrize("name", ALL)
def test_pair_features_are_logarithms_of_kinematics_and_plain_couplings(name):
    batch = sample()
    pairs = Inputs([name]).double()(batch).pairs[..., 0]
    value = INTERACTIONS[name].value(batch)
    real = pairwise.pairs(batch.mask)
    expected = value.clamp_min(1e-8).log() if name in KINEMATIC else value
    torch.testing.assert_close(pairs[real], expected[real], rtol=1e-12, atol=1e-12)
    assert not pairs[~real].any()
    assert torch.equal(pairs, pairs.mT)


def test_interactions_stand_in_the_order_asked_for():
    batch = sample()
    both = Inputs(["sm_running", "mass"]).double()(batch).pairs
    assert torch.equal(both[..., 0], Inputs(["sm_running"]).double()(batch).pairs[..., 0])
    assert torch.equal(both[..., 1], Inputs(["mass"]).double()(batch).pairs[..., 0])


def test_unknown_and_repeated_interactions_are_named_with_the_right_ones():
    with pytest.raises(ValueError, match="no interaction is called 'masss'; there are mass, mass2, delta_r"):
        Inputs(["mass", "masss"])
    with pytest.raises(ValueError, match="twice: mass, mass"):
        Inputs(["mass", "mass"])


@pytest.mark.parametrize("weighted", [False, True])
def test_fit_makes_weighted_mean_zero_and_variance_one(weighted):
    batch = sample(400)
    weight = torch.from_numpy(make_events(400).weight) * (1 + 9 * (batch.context[:, 0] > 80)) if weighted else None
    encoded = Inputs(ALL).double().fit(dirty(batch, math.nan), weight)(batch)
    share = torch.ones(400, dtype=torch.float64) if weight is None else weight
    real = pairwise.pairs(batch.mask)
    for features, chosen, columns in (
        (encoded.particles, batch.mask, range(4)),
        (encoded.pairs, real, [ALL.index(name) for name in KINEMATIC]),
        (encoded.context, torch.ones(400, dtype=torch.bool), range(1)),
    ):
        weights = share.reshape(-1, *[1] * (chosen.ndim - 1)).expand_as(chosen)[chosen].numpy()
        for column in columns:
            values = features[chosen][:, column].numpy()
            mean = np.average(values, weights=weights)
            assert mean == pytest.approx(0, abs=1e-9)
            assert np.average(values**2, weights=weights) == pytest.approx(1, rel=1e-9)


def test_fit_leaves_flags_angles_of_met_and_couplings_alone():
    batch = sample()
    fitted, plain = Inputs(ALL).double().fit(batch)(batch), Inputs(ALL).double()(batch)
    assert torch.equal(fitted.particles[..., 4:], plain.particles[..., 4:])
    assert torch.equal(fitted.context[:, 1:], plain.context[:, 1:])
    assert torch.equal(fitted.pairs[..., len(KINEMATIC) :], plain.pairs[..., len(KINEMATIC) :])


def test_fit_in_chunks_is_fit_at_once():
    batch = sample(300)
    weight = torch.rand(300, generator=torch.Generator().manual_seed(0))
    whole = Inputs(ALL).fit(batch, weight).state_dict()
    for name, value in Inputs(ALL).fit(batch, weight, chunk_events=17).state_dict().items():
        torch.testing.assert_close(value, whole[name], rtol=1e-6, atol=1e-7)


def test_fit_counts_weights_not_events():
    batch, twice = sample(40), torch.arange(40).repeat_interleave(torch.arange(40) % 3)
    weight = (torch.arange(40) % 3).double()
    by_weight = Inputs(["mass"]).double().fit(batch, -5 * weight)  # generators give negative weights
    by_copies = Inputs(["mass"]).double().fit(batch[twice])
    for name, value in by_copies.state_dict().items():
        torch.testing.assert_close(by_weight.state_dict()[name], value)


def test_fit_refuses_nothing_to_fit_on():
    batch = sample(4)
    with pytest.raises(ValueError, match="nothing to fit on: 4 events"):
        Inputs().fit(batch, torch.zeros(4))
    with pytest.raises(ValueError, match="nothing to fit on: 0 events"):
        Inputs().fit(batch[:0])
    with pytest.raises(ValueError, match="3 weights for 4 events"):
        Inputs().fit(batch, torch.ones(3))


def test_features_that_never_vary_are_centred_and_not_blown_up():
    copies = sample(1)[torch.zeros(5, dtype=torch.long)]
    lonely = copies.replace(mask=torch.arange(18).expand(5, 18) < 1)  # one object each, so no pair at all
    encoded = Inputs(ALL).double().fit(lonely)(lonely)
    torch.testing.assert_close(encoded.particles[:, 0, :4], torch.zeros(5, 4, dtype=torch.float64))
    assert not encoded.pairs.any()


@pytest.mark.parametrize("filler", [math.nan, 1e30, -math.inf])
def test_padding_holds_no_information(filler):
    batch = sample()
    inputs = Inputs(ALL).double().fit(batch)
    for name, value in inputs(dirty(batch, filler))._asdict().items():
        assert torch.equal(value, getattr(inputs(batch), name)), name
    assert all(
        torch.equal(value, inputs.state_dict()[name])
        for name, value in Inputs(ALL).double().fit(dirty(batch, filler)).state_dict().items()
    )


def test_more_slots_change_nothing():
    events = make_events(20)
    inputs = Inputs(ALL).double()
    few, many = (inputs(make_batch(events, slots, torch.float64)) for slots in (14, 25))
    torch.testing.assert_close(many.particles[:, :14], few.particles)
    torch.testing.assert_close(many.pairs[:, :14, :14], few.pairs)
    assert not many.pairs[:, 14:].any()


def test_order_of_objects_changes_nothing_but_the_order():
    batch, inputs = sample(), Inputs(ALL).double()
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    shuffled = inputs(batch.replace(**{name: getattr(batch, name)[:, order] for name in FIELDS if name != "context"}))
    torch.testing.assert_close(shuffled.particles, inputs(batch).particles[:, order])
    torch.testing.assert_close(shuffled.pairs, inputs(batch).pairs[:, order][:, :, order])


def test_turning_the_detector_changes_only_phi():
    batch, inputs = sample(), Inputs(ALL).double()
    px, py, pz, energy = batch.momenta.unbind(-1)
    c, s = math.cos(2), math.sin(2)
    turned = inputs(batch.replace(momenta=torch.stack([c * px - s * py, s * px + c * py, pz, energy], dim=-1)))
    others = [column for column in range(len(PARTICLES)) if PARTICLES[column] != "phi"]
    torch.testing.assert_close(turned.particles[..., others], inputs(batch).particles[..., others])
    torch.testing.assert_close(turned.pairs, inputs(batch).pairs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_and_gradients_are_finite_in_every_corner(dtype):
    corners = torch.tensor(
        [
            [[3, 4, 0, 5], [3, 4, 0, 5], [6, 8, 0, 10]],  # twins, collinear
            [[0, 0, 6500, 6500], [0, 0, -6500, 6500], [-0.0, -0.0, 1, 1]],  # in the beam
            [[30, 0, 0, 29], [-30, 0, 0, 29], [1e-3, 0, 0, 1e-3]],  # space-like, soft
            [[math.nan] * 4, [0, 0, 0, 0], [1e30] * 4],  # nothing real
        ],
        dtype=dtype,
        requires_grad=True,
    )
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[3] = False
    kind = torch.tensor([[1, 2, 7]]).expand(4, 3)
    batch = Batch(corners, kind, mask, torch.zeros(4, 2, dtype=dtype), corners[..., :0])
    encoded = Inputs(ALL).to(dtype)(batch)
    features = (encoded.particles, encoded.pairs, encoded.context)
    assert all(feature.isfinite().all() for feature in features)
    (slope,) = torch.autograd.grad(sum(feature.square().sum() for feature in features), corners)
    assert slope.isfinite().all()
    assert not slope[3].any()


def test_gradients_reach_momenta_only_when_asked_for():
    batch = sample()
    encoded = Inputs(ALL).double()(batch)
    assert not any(value.requires_grad for value in encoded)
    watched = batch.replace(momenta=batch.momenta.clone().requires_grad_())
    (slope,) = torch.autograd.grad(Inputs(KINEMATIC).double()(watched).pairs.sum(), watched.momenta)
    assert slope[batch.mask].any(-1).all()


def test_float32_agrees_with_float64():
    single, double = sample(200, torch.float32), sample(200)
    inputs = Inputs(ALL).double().fit(double)
    exact, rounded = inputs(double), Inputs(ALL).fit(double)(single)
    assert rounded.pairs.dtype == rounded.particles.dtype == torch.float32
    torch.testing.assert_close(rounded.particles.double(), exact.particles, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rounded.context.double(), exact.context, rtol=1e-4, atol=1e-5)
    # masses of collinear pairs keep fewer digits (see pairwise.mass2)
    torch.testing.assert_close(rounded.pairs.double(), exact.pairs, rtol=1e-3, atol=5e-3)


def test_momenta_keep_their_precision_in_a_float32_network():
    batch = sample()
    encoded = Inputs(ALL)(batch)
    assert encoded.momenta.dtype == torch.float64
    assert encoded.particles.dtype == encoded.pairs.dtype == encoded.context.dtype == torch.float32
    torch.testing.assert_close(lorentz.mass2(encoded.momenta), lorentz.mass2(batch.momenta))


def test_sizes_are_those_of_what_comes_out():
    batch = sample(5)
    for names in ((), ("mass",), ALL):
        inputs = Inputs(names)
        encoded, sizes = inputs(batch), inputs.sizes(3)
        assert sizes == Sizes(11, len(names), 3, 3, scalars=(4, 11), vectors=1)
        assert encoded.particles.shape == (5, 18, sizes.particles)
        assert encoded.pairs.shape == (5, 18, 18, sizes.pairs)
        assert encoded.context.shape == (5, sizes.context)
        assert encoded.vectors.shape == (5, sizes.vectors, 4)


def test_buffers_round_trip_and_know_their_interactions():
    batch = sample()
    fitted = Inputs(["mass", "sm_ids"]).fit(batch)
    again = Inputs(["mass", "sm_ids"])
    again.load_state_dict(fitted.state_dict())
    assert torch.equal(again(batch).pairs, fitted(batch).pairs)
    assert list(fitted.parameters()) == []
    with pytest.raises(ValueError, match="weights for the interactions mass,sm_ids, not for mass, sm_const"):
        Inputs(["mass", "sm_const"]).load_state_dict(fitted.state_dict())
    with pytest.raises(ValueError, match="not for none"):
        torch.nn.Sequential(Inputs()).load_state_dict({f"0.{k}": v for k, v in fitted.state_dict().items()})


@pytest.mark.parametrize("names", [(), ALL])
def test_one_exported_graph_serves_any_number_of_events_and_objects(names):
    batch = sample(6, torch.float32)
    inputs = Inputs(names).fit(batch)

    events, slots = torch.export.Dim("events", min=1), torch.export.Dim("slots", min=2)
    objects = {0: events, 1: slots}
    shapes = ([objects, objects, objects, {0: events}, objects],)
    graph = torch.export.export(inputs, (batch,), dynamic_shapes=shapes, strict=False).module()
    for other in (batch, make_batch(make_events(9, 1), 11), make_batch(make_events(1, 2), 25)):
        for exported, eager in zip(graph(other), inputs(other), strict=True):
            torch.testing.assert_close(exported, eager)
