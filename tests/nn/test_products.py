"""Products of matrices are what torch makes of them, whichever library computes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from femtobarn.nn import Linear, linear, pad_rows, products
from femtobarn.runs.operations import operations
from femtobarn.training.devices import matmul_precision
from tests.models.test_contract import build, events

needs_library = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="torch was built without oneDNN",
)


@pytest.fixture
def taken(monkeypatch):
    """oneDNN taken for every shape, on every processor, and a list of the shapes."""
    shapes = []
    product = products.onednn_linear

    def counted(rows, weight, bias=None):
        shapes.append((tuple(rows.shape), tuple(weight.shape)))
        return product(rows, weight, bias)

    def prefers_onednn(rows, weight):
        return products.can_use_onednn(rows) and rows.dtype == weight.dtype

    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(products, "onednn_linear", counted)
    monkeypatch.setattr(products, "prefers_onednn", prefers_onednn)
    return shapes


def layer(inputs: int, outputs: int, bias: bool, seed: int = 1) -> Linear:
    torch.manual_seed(seed)
    return Linear(inputs, outputs, bias=bias)


@needs_library
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("shape", "inputs", "outputs"), [((64,), 5, 7), ((3, 70), 16, 4), ((2050,), 8, 32), ((1,), 3, 3), ((4, 5, 6), 2, 9)]
)
def test_values_and_slopes_are_those_of_float64(taken, shape, inputs, outputs, bias):
    mine = layer(inputs, outputs, bias)
    exact = nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64)
    exact.load_state_dict(mine.state_dict())
    rows = torch.randn(*shape, inputs)
    found = []
    for network in (mine, exact):
        x = rows.to(network.weight.dtype, copy=True).requires_grad_()
        said = network(x)
        said.backward(torch.linspace(0.5, 1.5, said.numel()).view(said.shape).to(said.dtype))
        found.append([said, x.grad, *(each.grad for each in network.parameters())])
    assert taken
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=3e-6 * float(other.detach().abs().max()) + 1e-6)


@needs_library
def test_rows_and_weights_may_be_views(taken):
    weight = layer(6, 8, bias=False).weight
    rows = torch.randn(10, 9)
    for x, w in (
        (rows[:, 2:5], weight[:, :3]),
        (rows[:, :6].T.contiguous().T, weight),
        (rows[:1, :6].expand(10, -1), weight),
    ):
        torch.testing.assert_close(linear(x, w), x @ w.T)
        x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
        # the slope of a sum is one number that stands for all
        of_x, of_w = torch.autograd.grad(linear(x, w).sum(), (x, w))
        torch.testing.assert_close(of_x, w.detach().sum(0).expand_as(of_x))
        torch.testing.assert_close(of_w, x.detach().sum(0).expand_as(of_w))


@needs_library
def test_slopes_nobody_asks_for_are_not_computed(taken):
    weight = layer(4, 4, bias=False).weight.detach()
    x = torch.randn(64, 4, requires_grad=True)
    taken.clear()
    torch.autograd.grad(linear(x, weight).sum(), x)
    assert len(taken) == 2  # forward, and the slope of the rows


@pytest.mark.parametrize("reason", ["narrow", "few", "odd", "double", "bf16", "elsewhere"])
def test_torch_computes_what_onednn_would_not_do_faster(monkeypatch, reason):
    monkeypatch.setattr(products, "onednn_is_faster", lambda: reason != "elsewhere")
    rows, weight = torch.zeros(2048, 128), torch.zeros(128, 128)
    changed = {
        "narrow": (rows[:, :16], weight[:, :16]),
        "few": (rows[:64], weight),
        "odd": (rows[:-1], weight),
        "double": (rows.double(), weight.double()),
    }
    with matmul_precision("bf16" if reason == "bf16" else "fp32", torch.device("cpu")):
        assert not products.prefers_onednn(*changed.get(reason, (rows, weight)))
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    assert products.prefers_onednn(rows, weight)


def test_rows_are_filled_up_where_that_pays(monkeypatch):
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    rows = torch.randn(2000, 128)
    more = pad_rows(rows)
    assert len(more) == 2048
    assert torch.equal(more[:2000], rows)
    assert torch.equal(more[2000:], rows[-1:].expand(48, -1))
    for same in (rows[:1984], rows[:, :16], rows[:0], rows[:100], rows.double()):
        assert pad_rows(same) is same
    monkeypatch.setattr(products, "onednn_is_faster", lambda: False)
    assert pad_rows(rows) is rows


@needs_library
@pytest.mark.parametrize(
    "name", ["part", "mipart", "transformer", "sett", "particlenet", "lorentznet", "lgatr-slim", "lloca-part"]
)
@pytest.mark.parametrize("training", [True, False])
def test_networks_are_the_same_functions(taken, monkeypatch, name, training):
    """With rows that are no multiple of 64 filled up, as near to float64 as torch alone comes."""
    monkeypatch.setattr(products, "prefers_padding", products.can_use_onednn)
    exact = build(name, ("mass",)).train(training)
    network = build(name, ("mass",), torch.float32).train(training)
    network.load_state_dict(exact.state_dict())
    for each in (*network.modules(), *exact.modules()):
        if isinstance(each, nn.Dropout):
            each.p = 0.0
    found = []
    for mine, used in ((exact, False), (network, True), (network, False)):
        monkeypatch.setattr(products, "onednn_is_faster", lambda used=used: used)
        taken.clear()
        mine.zero_grad()
        batch = events(dtype=next(mine.parameters()).dtype)
        assert int(batch.mask.sum()) % products.ROW_MULTIPLE
        said = mine(batch)
        said.square().sum().backward()
        assert bool(taken) == used
        found.append([said, *(each.grad for each in mine.parameters() if each.grad is not None)])
    found = [[each.detach().double() for each in mine] for mine in found]
    largest = max(float(each.abs().max()) for each in found[0])
    for right, one, other in zip(*found, strict=True):
        off, usual = (float((each - right).abs().max()) for each in (one, other))
        assert off <= 5 * usual + 1e-5 * largest


@needs_library
def test_operations_are_counted_whoever_computes(taken, monkeypatch):
    network = build("part", ("mass",), torch.float32)
    batch = events(dtype=torch.float32)
    counts = []
    for used in (True, False):
        monkeypatch.setattr(products, "onednn_is_faster", lambda used=used: used)
        with FlopCounterMode(display=False) as counter:
            network(batch).sum().backward()
        counts.append((counter.get_total_flops(), operations(network, batch)[0]))
    assert counts[0] == counts[1]
