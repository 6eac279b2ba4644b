"""Packed rows and the batch norm over them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from femtobarn.nn import BatchNorm, Rows

MASK = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])


@pytest.fixture(params=[False, True], ids=["packed", "exporting"])
def rows(request, monkeypatch) -> Rows:
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: request.param)
    return Rows(MASK)


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
    packed = Rows(MASK)
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
