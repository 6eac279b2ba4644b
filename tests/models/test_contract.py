"""What every registered network must hold to; registering one is enough to have it tested here."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from femtobarn.inputs import Batch, Inputs, make_batch
from femtobarn.inputs.batch import concatenate_batches
from femtobarn.models import Network, model_spec, networks
from femtobarn.models.network import MIN_SLOTS
from tests.support.sample import make_events
from tests.support.symmetries import TRANSFORMATIONS

#: More slots than `MIN_SLOTS`, and no multiple of it: one event fills them, the others fill 14 at most.
SLOTS, OUTPUTS = 21, 3
INTERACTIONS = {"plain": (), "pairs": ("mass", "delta_r", "sm_running")}


@cache
def made_events(count: int, seed: int, dtype: torch.dtype) -> Batch:
    return make_batch(make_events(count, seed=seed, first=SLOTS), SLOTS, dtype)


def events(count: int = 48, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """Events of which the first has an object in every slot; a copy of those made before."""
    return made_events(count, seed, dtype).map(Tensor.clone)


#: Networks that `build` has made, by its arguments.
BUILT: dict[str, Network] = {}


def build(name: str, interactions: tuple[str, ...], dtype: torch.dtype = torch.float64, **settings: object) -> Network:
    """A small network whose running statistics are those of some events; a copy of the one built before."""
    key = repr((name, interactions, dtype, sorted(settings.items())))
    if key not in BUILT:
        torch.manual_seed(7)
        inputs = Inputs(interactions, slots=SLOTS).fit(events(dtype=torch.float32))
        chosen = {**model_spec(name).small, **settings}
        network = Network(inputs, model_spec(name).build(inputs.sizes(OUTPUTS), **chosen)).to(dtype).train()
        with torch.no_grad():
            for seed in range(3):
                network(events(seed=seed, dtype=dtype))
        BUILT[key] = network.eval()
    torch.manual_seed(7)
    return deepcopy(BUILT[key])


#: Interactions that no frame changes.
INVARIANT = ((), ("mass", "sm_const"))

CASES = [
    (name, key)
    for name in networks()
    for key in INTERACTIONS
    if (not model_spec(name).needs_pairs if key == "plain" else model_spec(name).takes_pairs)
]


@pytest.fixture(params=CASES, ids="-".join)
def case(request) -> tuple[str, tuple[str, ...]]:
    return request.param[0], INTERACTIONS[request.param[1]]


@pytest.fixture
def network(case) -> Network:
    return build(*case)


def with_garbage(batch: Batch) -> Batch:
    padded = ~batch.mask
    momenta = batch.momenta.masked_fill(padded[..., None], float("nan"))
    momenta[:, ::2] = torch.where(padded[:, ::2, None], 1e6, momenta[:, ::2])
    return batch.replace(momenta=momenta, kind=torch.where(padded, 3, batch.kind))


def with_slots(batch: Batch, slots: int) -> Batch:
    more = slots - batch.mask.shape[1]
    pad = torch.nn.functional.pad
    return batch.replace(
        momenta=pad(batch.momenta, (0, 0, 0, more)),
        kind=pad(batch.kind, (0, more)),
        mask=pad(batch.mask, (0, more)),
        tracks=pad(batch.tracks, (0, 0, 0, more)),
    )


def shuffled(batch: Batch) -> Batch:
    """Every event in an order of its own, padding anywhere."""
    order = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(3)).argsort(1)
    return batch.replace(
        momenta=batch.momenta.gather(1, order[..., None].expand_as(batch.momenta)),
        kind=batch.kind.gather(1, order),
        mask=batch.mask.gather(1, order),
    )


def emptied(batch: Batch) -> Batch:
    """The first event without any object, the second with one, the third with two."""
    left = torch.tensor([0, 1, 2]).repeat(len(batch) // 3 + 1)[: len(batch)]
    return batch.replace(mask=batch.mask & (torch.arange(batch.mask.shape[1]) < left[:, None]))


def same(network: Network, batch: Batch, other: Batch) -> None:
    torch.testing.assert_close(network(other), network(batch), rtol=1e-9, atol=1e-11)


def test_slots_are_more_than_a_network_fills_up_to():
    assert SLOTS > MIN_SLOTS
    assert SLOTS % MIN_SLOTS
    assert events().mask.sum(1).tolist()[0] == SLOTS > int(events().mask[1:].sum(1).max())


def test_events_get_different_answers(network):
    assert network(events()).std(0).min() > 1e-4  # or everything below would be empty


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_padding_changes_nothing(network, training):
    network.train(training)  # in training it would show in the batch statistics
    same(network, events(), with_garbage(events()))
    same(network, events(), with_garbage(with_slots(events(), SLOTS + 5)))


def test_order_changes_nothing(case, network):
    if model_spec(case[0]).ordered:
        pytest.skip("declared ordered")
    same(network, events(), shuffled(events()))


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_no_events_get_no_answers(network, training):
    """A process that trains with others may have none of a batch; it takes part in the way back all the same."""
    nothing = events()[:0]
    answers = network.train(training)(nothing)
    assert answers.shape == (0, OUTPUTS)
    answers.sum().backward()


def test_no_event_influences_another(network):
    batch = events()
    together = network(batch)
    for number in range(0, len(batch), 7):
        alone = batch[number : number + 1]
        torch.testing.assert_close(network(alone)[0], together[number], rtol=1e-9, atol=1e-11)


def test_every_parameter_gets_a_gradient(network):
    network.train()
    labels = torch.arange(48) % OUTPUTS
    torch.autograd.backward(cross_entropy(network(events()), labels))
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not without


def test_single_precision_is_enough(case, network):
    single = build(case[0], case[1], torch.float32)
    single.load_state_dict(network.state_dict())
    torch.testing.assert_close(single(events(dtype=torch.float32)).double(), network(events()), rtol=1e-3, atol=1e-4)


def test_saved_and_loaded_it_is_the_same(case, network, tmp_path):
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(99)
    inputs = Inputs(case[1], slots=SLOTS)
    spec = model_spec(case[0])
    again = Network(inputs, spec.build(inputs.sizes(OUTPUTS), **spec.small)).double().eval()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(again(events()), network(events()))


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("poor", [True, False], ids=["up to two objects", "full"])
def test_rare_events_are_finite(network, training, count, poor):
    batch = events(count)
    network.train(training)
    logits = network(emptied(batch) if poor else batch)
    assert logits.shape == (count, OUTPUTS)
    assert logits.isfinite().all()
    torch.autograd.backward(logits.square().sum())
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_nothing_at_all_is_finite(network):
    batch = events(4)
    assert network(batch.replace(mask=torch.zeros_like(batch.mask))).isfinite().all()


def test_as_exported_it_is_the_same(network, monkeypatch):
    """While exporting, every slot is computed and padding blanked; a file must say what the network says."""
    batch = emptied(events())
    batch = concatenate_batches([batch, with_slots(events(), SLOTS)])
    packed = network(batch)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(network(batch), packed, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("interactions", INVARIANT, ids=["plain", "pairs"])
@pytest.mark.parametrize("name", [name for name in networks() if model_spec(name).is_equivariant])
def test_declared_lorentz_invariant_it_is(name, interactions, transformation):
    """With four-vectors in another frame, and nonsense where features depend on the frame."""
    network = build(name, interactions, **(model_spec(name).lorentz or {}))
    encoded = network.inputs(events())
    moved = TRANSFORMATIONS[transformation]
    start, stop = network.inputs.sizes(OUTPUTS).scalars
    particles = torch.full_like(encoded.particles, 17.0)
    particles[..., start:stop] = encoded.particles[..., start:stop]
    other = encoded._replace(
        momenta=torch.where(encoded.mask[..., None], moved(encoded.momenta), 0.0),
        vectors=moved(encoded.vectors),
        particles=torch.where(encoded.mask[..., None], particles, 0.0),
        context=torch.full_like(encoded.context, 17.0),
    )
    expected = network.architecture(encoded)
    assert expected.std(0).min() > 1e-4
    torch.testing.assert_close(network.architecture(other), expected, rtol=1e-9, atol=1e-9)


def test_it_can_learn_32_events_by_heart(case):
    network = build(case[0], case[1], torch.float32).train()
    batch = events(32, dtype=torch.float32)
    labels = torch.arange(32) % OUTPUTS
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)  # twice as much makes some of them jump about
    loss: Tensor = torch.tensor(float("inf"))
    for _ in range(300):
        loss = cross_entropy(network(batch), labels)
        if loss < 0.02:
            break
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss < 0.02
