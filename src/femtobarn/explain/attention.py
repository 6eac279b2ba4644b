"""Attention maps: which types of object a network lets look at each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.inputs import Batch
from femtobarn.models import Network
from femtobarn.models.network import trim
from femtobarn.nn import record_attention


class Attention(NamedTuple):
    """What the attention of a network did in a batch of events; 0 wherever padding takes part."""

    objects: Float[Tensor, "batch layers particles particles"]  # mean over heads; rows look at columns
    elsewhere: Float[Tensor, "batch layers particles"]  # what further tokens get; with `objects` it sums to 1
    readout: Float[Tensor, "batch layers heads particles"]  # weight of each object where the event is read; or 0 layers
    bias: Float[Tensor, "batch heads particles particles"]  # U; 0 heads without pairwise features


@torch.no_grad()
def attention(network: Network, batch: Batch) -> Attention | None:
    """Attention weights and the bias U of a network, layer by layer; None for a network without attention.

    Args:
        network: any, in evaluation mode.
        batch: events.
    """
    batch = trim(batch)
    mask = batch.mask
    both = mask[:, :, None] & mask[:, None, :]
    weights_per_layer: list[Tensor] = []
    read: list[Tensor] = []
    biases: list[Tensor] = []
    apart: list[Tensor] = []
    slots = mask.shape[1]

    def listen(between: str, weights: Tensor, bias: Tensor | None) -> None:
        if between == "objects":
            weights = weights.mean(1)[:, :slots]  # layers may differ in their number of heads; tokens come last
            weights_per_layer.append(torch.where(both, weights[..., :slots], 0.0))
            apart.append(torch.where(mask, weights[..., slots:].sum(-1), 0.0))
            # without pairwise features U is one row, which closes padding and says nothing
            if bias is not None and bias.shape[2] > 1:
                biases.append(torch.where(both[:, None], bias[..., :slots, :slots], 0.0))
        else:  # seeds and tokens beside the objects come first
            own = weights[..., weights.shape[-1] - slots :].mean(2)
            read.append(torch.where(mask[:, None], own, 0.0))

    with record_attention(listen):
        network(batch)
    if not weights_per_layer and not read:
        return None
    blank = batch.momenta.new_zeros(len(mask), 0, 1, slots)
    return Attention(
        objects=torch.stack(weights_per_layer, dim=1) if weights_per_layer else blank.expand(-1, -1, slots, -1),
        elsewhere=torch.stack(apart, dim=1) if apart else blank[:, :, 0],
        readout=torch.stack(read, dim=1) if read else blank,
        bias=torch.stack(biases).mean(0) if biases else blank.new_zeros(len(mask), 0, *both.shape[1:]),
    )
