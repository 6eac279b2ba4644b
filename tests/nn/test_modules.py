"""Packed rows, the batch norm over them, and dropout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from femtobarn.nn import BatchNorm, PackedRows, dropout, linear_batch_norm

MASK = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])


@pytest.fixture(params=[False, True], ids=["packed", "exporting"])
def rows(request, monkeypatch) -> PackedRows:
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: request.param)
    return PackedRows(MASK)


def test_there_and_back(rows):
    x = torch.randn(3, 3, 4)
    assert torch.equal(rows.unpack(rows.pack(x)), torch.where(MASK[..., None], x, 0))


def test_sums_and_means(rows):
    x = torch.randn(3, 3, 4, dtype=torch.float64)
    means = torch.stack([x[0][[0, 2]].mean(0), torch.zeros(4, dtype=torch.float64), x[2].mean(0)])
    torch.testing.assert_close(rows.mean(rows.pack(x)), means)
    torch.testing.assert_close(rows.sum(rows.pack(x)), means * torch.tensor([[2.0], [0.0], [3.0]]))


def test_gradients_go_to_real_entries_alone(rows):
    x = torch.randn(3, 3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(rows.unpack(2 * rows.pack(x)).sum(), x)
    assert torch.equal(gradient, 2.0 * MASK[..., None].expand(3, 3, 4))


def test_batch_norm_sees_what_is_real():
    x, norm = torch.randn(3, 3, 4), BatchNorm(4)
    plain = nn.BatchNorm1d(4)
    packed = PackedRows(MASK)
    expected = plain(torch.stack([x[0, 0], x[0, 2], *x[2]]))
    torch.testing.assert_close(norm(packed.pack(x)), expected)
    torch.testing.assert_close(norm.running_var, plain.running_var)


@pytest.mark.parametrize("count", [0, 1])
def test_batch_norm_of_nothing_takes_the_running_statistics(count):
    norm: Any = BatchNorm(4).train()
    norm.running_mean.fill_(2.0)
    rows = torch.randn(count, 4)
    torch.testing.assert_close(norm(rows), (rows - 2) / (1 + norm.eps) ** 0.5)
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.93])
@pytest.mark.parametrize("inplace", [False, True])
def test_dropout_drops_that_share_and_keeps_the_mean(chance, inplace):
    torch.manual_seed(3)
    x = torch.ones(1001, 301, dtype=torch.float64)
    dropped = dropout(x, chance, inplace=inplace)
    lost = (dropped == 0).double()
    spread = (chance * (1 - chance) / x.numel()) ** 0.5
    assert abs(lost.mean() - chance) < 5 * spread + 1 / 65536
    # neighbours are decided by bits of one number: as many pairs go together as if they had nothing in common
    for apart in (1, 2, 3):
        both = (lost.flatten()[apart:] * lost.flatten()[:-apart]).mean()
        assert abs(both - chance**2) < 5 * chance * (1 - chance**2) ** 0.5 / x.numel() ** 0.5 + 2 * chance / 65536
    values = torch.tensor(sorted(set(dropped.flatten().tolist())), dtype=torch.float64)
    torch.testing.assert_close(values, torch.tensor([0, 1 / (1 - chance)], dtype=torch.float64), rtol=2e-4, atol=0)
    assert (dropped is x) == inplace


def test_dropout_has_the_gradient_of_what_it_kept():
    x = torch.randn(50, 7, requires_grad=True)
    dropped = dropout(x, 0.4)
    (slope,) = torch.autograd.grad(dropped.sum(), x)
    torch.testing.assert_close(slope * x, dropped)
    assert torch.equal(dropout(x, 0.4, training=False), x)


def test_dropout_is_a_function_of_the_seed():
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropout(torch.ones(99), 0.5)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert dropout(torch.ones(0, 3), 0.5).shape == (0, 3)


@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_and_its_batch_norm_are_one_layer_outside_training(bias):
    linear, norm = nn.Linear(5, 3, bias=bias).double(), BatchNorm(3).double()
    for seed, tensor in enumerate((norm.weight.data, norm.bias.data, norm.running_mean)):
        assert tensor is not None
        tensor.copy_(torch.randn(3, generator=torch.Generator().manual_seed(seed)))
    x = torch.randn(20, 5, dtype=torch.float64)
    torch.testing.assert_close(linear_batch_norm(linear, norm.eval(), x), norm(linear(x)))
    before = norm.running_mean.clone() if norm.running_mean is not None else None
    torch.testing.assert_close(
        linear_batch_norm(linear, norm.train(), x),
        nn.functional.batch_norm(linear(x), None, None, norm.weight, norm.bias, training=True),
    )
    assert before is not None
    assert norm.running_mean is not None
    assert not torch.equal(before, norm.running_mean)
