"""Network: the whole function from raw objects to outputs, one module and one file."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from femtobarn.inputs import Batch, Inputs

#: Fewer slots than a processor's vector registers hold numbers make a softmax six times slower, not faster.
VECTOR = 16


class Network(nn.Module):
    """Feature extraction and architecture in one: raw objects in GeV go in, logits come out.

    Args:
        inputs: features and their standardisation, fitted on training events.
        architecture: a registered model, built for `inputs.sizes(outputs)`.

    Example:
        >>> network = Network(inputs, find("part")(inputs.sizes(5)))  # doctest: +SKIP
        >>> logits = network(make_batch(events, slots=18))  # doctest: +SKIP
    """

    def __init__(self, inputs: Inputs, architecture: nn.Module) -> None:
        super().__init__()
        self.inputs = inputs
        self.architecture = architecture

    def forward(self, batch: Batch) -> Float[Tensor, "batch outputs"]:
        """Logits of each event; garbage in padded slots changes nothing."""
        outputs: Tensor = self.architecture(self.inputs(trim(batch)))
        return outputs


def trim(batch: Batch) -> Batch:
    """The same events without the slots at the end that no event of the batch fills: pairs cost the slots squared."""
    if torch.compiler.is_exporting():
        return batch
    filled = batch.mask.any(0).nonzero()
    slots = max(VECTOR, int(filled[-1]) + 1 if len(filled) else 1)
    return batch._replace(
        momenta=batch.momenta[:, :slots],
        kind=batch.kind[:, :slots],
        mask=batch.mask[:, :slots],
        tracks=batch.tracks[:, :slots],
    )
