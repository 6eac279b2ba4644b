"""Outputs of a network for many events."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from femtobarn.inputs.batch import Batch
from femtobarn.inputs.loader import batches


@torch.no_grad()
def predict_outputs(network: nn.Module, batch: Batch, batch_size: int = 512) -> Tensor:
    """Outputs of a network in evaluation mode for all events, computed in batches of `batch_size`."""
    network.eval()
    # events of similar multiplicity together: padding costs pairs, and empty slots of a batch are cut
    order = batch.mask.sum(1).argsort(stable=True)
    outputs = torch.cat([network(part) for part, _ in batches(batch[order], (), batch_size)])
    return torch.empty_like(outputs).index_copy_(0, order, outputs)
