"""Calibration: one temperature, so that the probabilities a classifier states are those that come true."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

#: Temperatures are sought between these; validation events without a single error would ask for 0, and much below the
#: first one a score in float32 could not tell the most signal-like events apart.
LOWEST, HIGHEST = 0.25, 20.0


@runtime_checkable
class ProbabilityModel(Protocol):
    """A classifier whose log-probabilities are divided by a temperature."""

    @property
    def temperature(self) -> Tensor:
        """The temperature, a scalar."""

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Logarithm of the probability of each class."""


class Calibration(NamedTuple):
    """The temperature of a classifier, and what it is worth on the events it was fitted on.

    Args:
        temperature: what log-probabilities are divided by.
        before, after: weighted mean of -ln(probability of the true class), without and with the temperature.
        events: how many it was fitted on.
    """

    temperature: float
    before: float
    after: float
    events: int


@torch.no_grad()
def fit_temperature(
    task: ProbabilityModel,
    logits: Float[Tensor, "events classes"],
    labels: Int[Tensor, " events"],
    weights: Float[Tensor, " events"],
) -> Calibration:
    r"""The temperature at which the true classes of held-out events are least surprising.

    .. math:: T = \arg\min -\sum_i w_i \ln\,\mathrm{softmax}(\ln p_i / T)_{t_i} \big/ \sum_i w_i

    The sum is convex in 1/T, so its slope has one zero, found by bisection. With two classes the order of events by
    their score stays as it was; with more it changes a little, as the mixture of backgrounds is weighed anew.

    Args:
        task: gives the probabilities :math:`p`; its own temperature plays no part.
        logits: outputs for events the model was not trained on.
        labels: their true classes.
        weights: those of the training, with which all classes are equally frequent.

    Returns:
        a temperature between `LOWEST` and `HIGHEST`.

    Source: Guo, Pleiss, Sun and Weinberger, *On Calibration of Modern Neural Networks*, arXiv:1706.04599.
    """
    plain = (task.log_posterior(logits.cpu().double()) * task.temperature.cpu()).log_softmax(-1)
    weights = weights.cpu().double() / weights.cpu().double().sum()
    labels = labels.cpu()
    true = plain.gather(1, labels[:, None])[:, 0]

    def surprise(temperature: float) -> float:
        stated = (plain / temperature).log_softmax(-1).gather(1, labels[:, None])[:, 0]
        return -float((weights * stated).sum())

    def slope(inverse: float) -> float:
        probability = (plain * inverse).softmax(-1)
        return float((weights * ((probability * plain).sum(-1) - true)).sum())

    low, high = -math.log(HIGHEST), -math.log(LOWEST)  # of 1/T
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(math.exp(middle)) > 0 else (middle, high)
    temperature = math.exp(-(low + high) / 2)
    return Calibration(temperature, surprise(1.0), surprise(temperature), len(labels))
