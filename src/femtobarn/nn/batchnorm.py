"""Batch norm over the real rows of a batch, on however many processes the batch lies."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from femtobarn.nn.products import linear


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of packed rows; fewer than two rows have no spread and take the running statistics.

    A batch may hold a single object, or no pair at all; that is a legal event, not an error. Where a batch is shared
    out over processes (`femtobarn.training.parallel`) mean and variance are those of the whole batch, so that the
    network is the same function as in one process; a process may then have no row at all.
    """

    def forward(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "rows features"]:
        if self.training and distributed.is_available() and distributed.is_initialized():
            return self._across(rows)
        if self.training and rows.shape[0] < 2:
            return self._by_running(rows)
        return super().forward(rows)

    def _by_running(self, rows: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            rows, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )

    def _across(self, rows: Tensor) -> Tensor:
        """As in one process that had the rows of all.

        Means and squared deviations of the processes are put together, not sums of squares, which lose digits where
        the mean is large against the spread. Source: Chan, Golub and LeVeque, *Updating formulae and a pairwise
        algorithm for computing sample variances*, Stanford CS-TR-79-773 (1979).
        """
        mean = rows.sum(0) / max(len(rows), 1)
        told = torch.cat([rows.new_tensor([len(rows)]), mean, (rows - mean).square().sum(0)])
        line = torch.arange(distributed.get_world_size(), device=rows.device) == distributed.get_rank()
        # each process fills its own line of zeros, so that the sum holds the lines of all
        lines: Tensor = _Sum.apply(line[:, None] * told)  # type: ignore[no-untyped-call]
        counts, means, squares = lines[:, :1], *lines[:, 1:].chunk(2, dim=1)
        count = counts.sum()
        if count < 2:
            return self._by_running(rows)
        mean = (counts * means).sum(0) / count
        square = (squares + counts * (means - mean).square()).sum(0)
        with torch.no_grad():
            for running, now in ((self.running_mean, mean), (self.running_var, square / (count - 1))):
                assert running is not None
                running.lerp_(now, self.momentum or 0.0)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
        normed: Tensor = (rows - mean) * torch.rsqrt(square / count + self.eps) * self.weight + self.bias
        return normed


def folded(layer: nn.Linear, norm: BatchNorm) -> tuple[Float[Tensor, "outputs inputs"], Float[Tensor, " outputs"]]:
    """Weight and bias of the one layer that a layer and its batch norm are outside training."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    mean = norm.running_mean if layer.bias is None else norm.running_mean - layer.bias
    return layer.weight * scale[:, None], norm.bias - mean * scale


def normed(layer: nn.Linear, norm: BatchNorm, rows: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
    """A layer and its batch norm; outside training in one pass over the rows."""
    if norm.training:
        out: Tensor = norm(layer(rows))
        return out
    return linear(rows, *folded(layer, norm))


class _Sum(torch.autograd.Function):
    """The sum over all processes; what each of them makes of it comes back to all."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        total = mine.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        total = slopes[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
