"""What models look at: sum rules, limits that are known, and brute force."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from femtobarn.explain import (
    MIXTURE,
    TYPES,
    Tally,
    attention,
    contributions,
    explain_network,
    explain_trees,
    gradient_times_input,
    note,
    propagate,
    slopes,
)
from femtobarn.explain.averages import FEW, ratio
from femtobarn.explain.relevance import _back
from femtobarn.explain.tally import types
from femtobarn.inputs import Batch, Inputs, columns, make_batch
from femtobarn.models import BDT, Network, ParT, model_spec, networks
from femtobarn.nn import PackedRows, key_padding_bias, record_attention, self_attention
from femtobarn.tasks.classification.classifier import Classifier
from femtobarn.tasks.classification.config import ClassificationConfig
from tests.support.sample import PROCESSES, make_events

SLOTS = 16
PAIRS = ("mass", "delta_r", "sm_const")


def events(count: int = 50, seed: int = 0, slots: int = SLOTS) -> Batch:
    return make_batch(make_events(count, seed=seed), slots, torch.float64)


def task(signal: tuple[str, ...] = ("tttt",), **settings: object) -> Classifier:
    background = [name for name in PROCESSES if name not in signal]
    yields = {name: 1.0 + number for number, name in enumerate(PROCESSES)}
    return Classifier(ClassificationConfig(signal=signal, **settings), signal, background, yields)  # type: ignore[arg-type]


def tally(count: int) -> Tally:
    sample = make_events(count)
    return Tally(sample.process, sample.hard, sample.weight, ("tttt",))


def build(name: str, interactions: tuple[str, ...] = (), outputs: int = 5) -> Network:
    torch.manual_seed(3)
    inputs = Inputs(interactions).fit(make_batch(make_events(50), SLOTS))
    network = Network(inputs, model_spec(name).build(inputs.sizes(outputs), **model_spec(name).small)).double().train()
    for seed in range(3):
        network(events(seed=seed))
    return network.eval()


@pytest.fixture
def cnn() -> Network:
    """Biases everywhere, so that their share is put to the test."""
    network = build("cnn")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.3)
    return network


def one(output: int):
    """Coefficients that choose a single output."""
    return lambda outputs: nn.functional.one_hot(torch.full((len(outputs),), output), outputs.shape[1]).to(outputs)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 3.0])
@pytest.mark.parametrize("output", [0, 4])
def test_relevance_is_conserved(cnn, gamma, output):
    found = propagate(cnn, events(), one(output), gamma=gamma)
    torch.testing.assert_close(found.explained, cnn(events())[:, output].detach())
    total = found.objects.sum((1, 2)) + found.context.sum(1) + found.bias
    assert ((total - found.explained).abs() / found.explained.abs()).max() < 1e-9
    assert found.lost < 1e-9
    assert found.bias.abs().min() > 0


def test_without_constants_all_relevance_is_in_the_inputs(cnn):
    for name, tensor in (*cnn.architecture.named_parameters(), *cnn.architecture.named_buffers()):
        if name.endswith(("bias", "running_mean")):
            tensor.data.zero_()
    found = propagate(cnn, events(), one(1), gamma=0.3)
    assert found.bias.abs().max() == 0
    torch.testing.assert_close(found.objects.sum((1, 2)) + found.context.sum(1), found.explained, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"loss": "focal", "alpha": 0.75, "gamma": 3.0}, {"classes": "binary"}])
def test_relevance_zero_is_gradient_times_input(settings):
    """Networks that are linear piece by piece: both rules are one (e.g. Montavon et al., section 10.2.1)."""
    chosen = task(**settings)
    cnn = build("cnn", outputs=chosen.outputs)
    found = propagate(cnn, events(), partial(slopes, chosen.log_odds), gamma=0.0)
    same = gradient_times_input(cnn, chosen.log_odds, events())
    torch.testing.assert_close(found.objects, same.objects, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.context, same.context, rtol=1e-9, atol=1e-12)


def test_the_gamma_rule_is_what_loops_give():
    rng = np.random.default_rng(5)
    x, w, b, r = rng.normal(size=(6, 4)), rng.normal(size=(3, 4)), rng.normal(size=3), rng.normal(size=(6, 3))
    gamma = 0.7
    expected, constant = np.zeros((6, 4)), np.zeros(6)
    for event in range(6):
        for j in range(3):
            z = x[event] @ w[j] + b[j]
            q = np.array([*(x[event] * w[j]), b[j]])
            q = q + gamma * np.where(np.sign(q) == np.sign(z), q, 0)
            expected[event] += q[:-1] / q.sum() * r[event, j]
            constant[event] += q[-1] / q.sum() * r[event, j]
    tx, tw, tb, tr = map(torch.from_numpy, (x, w, b, r))
    linear = nn.functional.linear
    inputs, bias = _back(tx, tw, tb, linear(tx, tw, tb), tr, gamma, linear, lambda s, w: linear(s, w.T))
    np.testing.assert_allclose(inputs, expected, rtol=1e-10)
    np.testing.assert_allclose(bias, constant, rtol=1e-10)


def test_padding_has_no_relevance(cnn):
    found = propagate(cnn, events(), one(0))
    assert found.objects[~events().mask[:, : found.objects.shape[1]]].abs().max() == 0
    more = propagate(cnn, events(slots=30), one(0))
    torch.testing.assert_close(more.objects, found.objects)


def test_events_without_objects_are_explained(cnn):
    batch = events(4)
    found = propagate(cnn, batch.replace(mask=torch.zeros_like(batch.mask)), one(0))
    assert found.objects.abs().max() == 0
    assert found.lost < 1e-9


def test_relevance_is_for_the_convolutional_network(cnn):
    with pytest.raises(ValueError, match="not ParT"):
        propagate(build("part"), events(), one(0))
    with pytest.raises(ValueError, match="gamma is -1"):
        propagate(cnn, events(), one(0), gamma=-1.0)


@pytest.mark.parametrize("name", networks())
def test_gradients_are_those_of_finite_differences(name):
    """All of gradient x input is the derivative by a common factor of the inputs."""
    chosen, network = task(), build(name, PAIRS)
    found = gradient_times_input(network, chosen.log_odds, events(20))
    encoded = network.inputs(events(20))
    step = 1e-6
    for part, product in zip(("particles", "pairs", "context"), found, strict=True):
        low, high = (
            chosen.log_odds(network.architecture(encoded._replace(**{part: getattr(encoded, part) * factor})))
            for factor in (1 - step, 1 + step)
        )
        torch.testing.assert_close(product.flatten(1).sum(1), (high - low).detach() / (2 * step), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["efn", "jetimage"])
def test_networks_that_look_at_momenta_alone_share_nothing_out(name):
    found = explain_network(build(name), task().log_odds, events(30), tally(30), lambda step, done: None)
    assert found == {}
    assert note({"label": name}).startswith(f"{name} uses the momenta themselves")


def test_slopes_sum_to_nothing():
    outputs = torch.randn(30, 5, dtype=torch.float64)
    for chosen in (task(), task(("tttt", "ttWW")), task(loss="focal", gamma=2.0)):
        slope = slopes(chosen.log_odds, outputs)
        torch.testing.assert_close(slope.sum(1), torch.zeros(30, dtype=torch.float64))
        assert (slope[:, : chosen.signals] >= 0).all()


def test_who_attends():
    assert attention(build("part"), events(4)) is not None
    assert attention(build("cnn"), events(4)) is None
    assert attention(build("particlenet"), events(4)) is None


@pytest.mark.parametrize("interactions", [(), PAIRS], ids=["plain", "pairs"])
@pytest.mark.parametrize("name", networks())
def test_attention_sums_to_one_over_the_real_objects(name, interactions):
    if model_spec(name).needs_pairs and not interactions:
        pytest.skip("nothing without pairs")
    found = attention(build(name, interactions), events())
    if found is None:
        pytest.skip("no attention")
    mask = events().mask
    rows = found.objects.sum(-1) + found.elsewhere
    torch.testing.assert_close(rows, mask[:, None].expand_as(rows).to(rows))
    assert (found.bias.shape[1] > 0) == bool(interactions)
    assert (found.readout.sum(-1) < 1 + 1e-12).all()
    # missing momentum is a token for some networks only
    assert (found.elsewhere > 0).any() == name.startswith(("lloca", "lgatr"))


def test_attention_as_told_is_attention_as_used():
    """The weights that listeners hear, times the values, against torch's fused attention."""
    torch.manual_seed(0)
    mask = events(8).mask
    heads, width = 2, 6
    rows, projected = PackedRows(mask), torch.randn(8, SLOTS, 3 * heads * width, dtype=torch.float64)
    bias = torch.randn(heads, 8, SLOTS, SLOTS, dtype=torch.float64) + key_padding_bias(mask, torch.float64)
    heard: list[torch.Tensor] = []
    with record_attention(lambda between, weights, u: heard.append(weights)):
        mixed = self_attention(rows.pack(projected), rows, bias)
    q, k, v = (part.reshape(8, SLOTS, heads, width).transpose(1, 2) for part in projected.chunk(3, -1))
    fused = nn.functional.scaled_dot_product_attention(q, k, v, bias.transpose(0, 1)).transpose(1, 2).flatten(2)
    real = mask[:, None, :, None]
    # nobody looks out of a padded slot
    told = torch.where(real, heard[0] @ v, 0.0).transpose(1, 2).flatten(2)
    torch.testing.assert_close(rows.pack(told), rows.pack(fused))
    torch.testing.assert_close(mixed, rows.pack(fused))
    self_attention(rows.pack(projected), rows, bias)
    assert len(heard) == 1


def test_u_is_that_of_the_model():
    network = build("part", PAIRS)
    assert isinstance(network.architecture, ParT)
    encoded = network.inputs(events())
    u = network.architecture.bias(encoded.pairs, encoded.mask).transpose(0, 1)
    both = (encoded.mask[:, :, None] & encoded.mask[:, None, :])[:, None]
    found = attention(network, events())
    assert found is not None
    torch.testing.assert_close(found.bias, torch.where(both, u, 0.0))


def test_attention_to_all_alike_is_one_for_all_types():
    network = build("part")
    for name, parameter in network.named_parameters():
        if "project" in name:
            parameter.data.zero_()
    found = explain_network(network, task().log_odds, events(60), tally(60), lambda step, done: None)
    matrix = np.array(found["attention"]["objects"][MIXTURE]["values"], dtype=float)
    np.testing.assert_allclose(matrix[np.isfinite(matrix)], 1)
    assert np.isfinite(matrix).sum() > 20
    own = [entry["mean"] for entry in found["attention"]["itself"][MIXTURE].values() if entry["mean"] is not None]
    np.testing.assert_allclose(own, 1)


def test_couplings_by_type_are_the_matrix_itself():
    network = build("part", ("sm_ids",))
    found = explain_network(network, task().log_odds, events(200), tally(200), lambda step, done: None)
    matrix = np.array(found["bias"]["couplings"]["sm_ids"][MIXTURE]["values"], dtype=float)
    strong = matrix[:2, :2]
    np.testing.assert_allclose(strong, 1)
    assert matrix[TYPES.index("e-"), TYPES.index("e+")] == 1
    assert matrix[TYPES.index("e-"), TYPES.index("mu+")] == 0
    assert matrix[TYPES.index("jet"), TYPES.index("mu+")] == 0


@pytest.mark.parametrize("classes", [2, 5])
def test_contributions_of_columns_sum_to_the_output(classes):
    batch = make_batch(make_events(400), 18)
    names, x = columns(batch)
    y = np.arange(400) % classes
    trees = BDT(Inputs().sizes(classes), **model_spec("bdt").small)
    trees.fit(x, y, np.ones(400), x, y, np.ones(400), names, seed=1, threads=1)
    parts, expected, raw = contributions(trees, x)
    assert parts.shape == (400, classes, len(names))
    np.testing.assert_allclose(parts.sum(-1) + expected, raw, rtol=1e-6, atol=1e-9)
    said = torch.from_numpy(raw).softmax(-1).numpy()
    np.testing.assert_allclose(said, trees.predict(x), rtol=1e-9)
    chosen = task(classes="binary") if classes == 2 else task()
    found = explain_trees(trees, chosen.log_odds, names, x, tally(400))["contributions"]
    assert found["lost"] < 1e-6
    assert sum(found["gain"].values()) == pytest.approx(1)
    for entries in found["column"].values():
        assert sum(entry["share"] for entry in entries.values()) == pytest.approx(1)


def test_shares_sum_to_one_and_means_to_the_sums(cnn):
    found = explain_network(cnn, task().log_odds, events(60), tally(60), lambda step, done: None)
    assert set(found) == {"gradient", "relevance"}
    for method in found.values():
        for kind in ("type", "rank"):
            for entries in method[kind].values():
                assert sum(entry["share"] or 0 for entry in entries.values()) == pytest.approx(1)
        for group in method["type"]:
            entries = [entry for part in method["feature"].values() for entry in part[group].values()]
            assert sum(entry["share"] for entry in entries) == pytest.approx(1)
    relevance = found["relevance"]
    for group, sums in relevance["sums"].items():
        parts = [sums[name]["mean"] for name in ("objects", "context", "constants")]
        assert sum(parts) == pytest.approx(sums["explained"]["mean"], rel=1e-9)
        of_features = sum(entry["mean"] for entry in relevance["feature"]["object"][group].values())
        assert of_features == pytest.approx(sums["objects"]["mean"], rel=1e-9)


def test_types_are_those_of_the_objects():
    batch = events(30)
    flags = types(batch.kind, batch.mask)
    assert torch.equal(flags.sum(-1) == 1, batch.mask)
    assert torch.equal(flags[..., TYPES.index("b-jet")], (batch.kind == 2) & batch.mask)


def test_errors_of_means_are_the_textbook_ones_and_copies_are_no_news():
    rng = np.random.default_rng(0)
    x, ones = rng.normal(size=(500, 1)), np.ones((500, 1))
    value, error = ratio(x, ones, np.ones(500), np.arange(500))
    np.testing.assert_allclose(value, x.mean())
    np.testing.assert_allclose(error, x.std() / np.sqrt(500))
    twice = [np.concatenate([each, each]) for each in (x, ones, np.ones(500), np.arange(500))]
    np.testing.assert_allclose(ratio(*twice)[1], error)
    assert np.isnan(ratio(x, 0 * ones, np.ones(500), np.arange(500))).all()
    few = np.where(np.arange(500)[:, None] < 2 * (FEW - 1), 1.0, 0.0)
    assert np.isfinite(ratio(x, few, np.ones(500), np.arange(500))).all()
    assert np.isnan(ratio(x, few, np.ones(500), np.arange(500) // 2)).all()


def test_errors_of_ratios_are_the_spread_over_samples():
    rng = np.random.default_rng(1)
    values, errors = [], []
    for _ in range(400):
        below = rng.poisson(3, size=(200, 1)).astype(float)
        above = below * 0.5 + rng.normal(size=(200, 1)) * np.sqrt(below)
        value, error = ratio(above, below, rng.uniform(0.5, 1.5, 200), np.arange(200) // 2)
        values.append(value[0])
        errors.append(error[0])
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.1)
