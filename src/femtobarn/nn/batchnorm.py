"""Batch norm over the real rows of a batch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of packed rows; fewer than two rows have no spread and take the running statistics.

    A batch may hold a single object, or no pair at all; that is a legal event, not an error.
    """

    def forward(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "rows features"]:
        if self.training and rows.shape[0] < 2:
            return nn.functional.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(rows)
