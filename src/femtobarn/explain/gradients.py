"""Gradient x input: what each feature adds to the answer of a network, to first order.

Shrikumar et al., *Not Just a Black Box*, arXiv:1605.01713.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.inputs import Batch
from femtobarn.models import Network
from femtobarn.models.network import trim


class Attribution(NamedTuple):
    """Derivative of the log odds of signal by each standardised feature, times the feature."""

    objects: Float[Tensor, "batch particles features"]  # 0 in padded slots
    pairs: Float[Tensor, "batch particles particles pair_features"]  # symmetric; last axis may be 0
    context: Float[Tensor, "batch event_features"]


#: The log odds of signal, a function of the outputs of a network: shape (batch, outputs) to (batch,).
LogOdds = Callable[[Tensor], Tensor]


def gradient_times_input(network: Network, log_odds: LogOdds, batch: Batch) -> Attribution:
    """How far each feature moves the log odds of signal from where the average object would leave them.

    Features are standardised, so their zero is the mean over training events (for type flags: not of this type). To
    first order only: the parts need not sum to the answer.

    Args:
        network: any, in evaluation mode.
        log_odds: gives the log odds.
        batch: events; padded slots come out as 0.
    """
    encoded = network.inputs(trim(batch))
    inputs = [part.detach().requires_grad_() for part in (encoded.particles, encoded.pairs, encoded.context)]
    particles, pairs, context = inputs
    logits = network.architecture(encoded._replace(particles=particles, pairs=pairs, context=context))
    gradients = torch.autograd.grad(log_odds(logits).sum(), inputs, allow_unused=True)
    products = [
        torch.zeros_like(x) if grad is None else (grad * x).detach() for grad, x in zip(gradients, inputs, strict=True)
    ]
    # a network may read either half of a symmetric matrix
    return Attribution(products[0], (products[1] + products[1].transpose(1, 2)) / 2, products[2])


def slopes(log_odds: LogOdds, outputs: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
    """Derivative of the log odds of signal by each output: they sum to 0, signals count positive.

    Weighted with them the outputs of an event make the number that relevance explains: signal outputs minus those of
    the backgrounds, each as far as it matters for this event.
    """
    with torch.enable_grad():
        free = outputs.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_odds(free).sum(), free)
    return gradient
