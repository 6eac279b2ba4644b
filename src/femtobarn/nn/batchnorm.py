"""Batch norm over the real rows of a batch, on one process or several."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from femtobarn.nn.products import linear


class BatchNorm(nn.BatchNorm1d):
    """Batch normalization of packed rows; fewer than two rows have no variance and use the running statistics.

    A batch may hold a single particle, or no pair at all; both are legal. If a batch is split over processes
    (`femtobarn.training.distributed`), mean and variance are computed over the full batch, so that the network is the
    same function as in one process. A process may then have no row at all.
    """

    def forward(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "rows features"]:
        if self.training and distributed.is_available() and distributed.is_initialized():
            return self._synchronized(rows)
        if self.training and rows.shape[0] < 2:
            return self._with_running_statistics(rows)
        return super().forward(rows)

    def _with_running_statistics(self, rows: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            rows, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )

    def _synchronized(self, rows: Tensor) -> Tensor:
        """Batch norm over the rows of all processes.

        Means and squared deviations of the processes are combined, not sums of squares, which lose digits where the
        mean is large compared with the standard deviation. Source: Chan, Golub and LeVeque, *Updating formulae and a
        pairwise algorithm for computing sample variances*, Stanford CS-TR-79-773 (1979).
        """
        mean = rows.sum(0) / max(len(rows), 1)
        statistics = torch.cat([rows.new_tensor([len(rows)]), mean, (rows - mean).square().sum(0)])
        is_own = torch.arange(distributed.get_world_size(), device=rows.device) == distributed.get_rank()
        # each process fills its own row of zeros, so that the sum holds the rows of all
        gathered: Tensor = _AllReduceSum.apply(is_own[:, None] * statistics)  # type: ignore[no-untyped-call]
        counts, means, squares = gathered[:, :1], *gathered[:, 1:].chunk(2, dim=1)
        count = counts.sum()
        if count < 2:
            return self._with_running_statistics(rows)
        mean = (counts * means).sum(0) / count
        square = (squares + counts * (means - mean).square()).sum(0)
        with torch.no_grad():
            for running, current in ((self.running_mean, mean), (self.running_var, square / (count - 1))):
                assert running is not None
                running.lerp_(current, self.momentum or 0.0)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
        normalized: Tensor = (rows - mean) * torch.rsqrt(square / count + self.eps) * self.weight + self.bias
        return normalized


def fuse_linear_bn(
    layer: nn.Linear, norm: BatchNorm
) -> tuple[Float[Tensor, "outputs inputs"], Float[Tensor, " outputs"]]:
    """Weight and bias of the single linear layer that equals a layer and its batch norm outside training."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    mean = norm.running_mean if layer.bias is None else norm.running_mean - layer.bias
    return layer.weight * scale[:, None], norm.bias - mean * scale


def linear_batch_norm(
    layer: nn.Linear, norm: BatchNorm, rows: Float[Tensor, "rows inputs"]
) -> Float[Tensor, "rows outputs"]:
    """Apply a linear layer and its batch norm; fused into one product outside training."""
    if norm.training:
        out: Tensor = norm(layer(rows))
        return out
    return linear(rows, *fuse_linear_bn(layer, norm))


class _AllReduceSum(torch.autograd.Function):
    """Sum over all processes; the gradient is the sum of the gradients of all processes."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        total = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
