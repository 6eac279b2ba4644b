"""Layer-wise relevance propagation: how much of a network's answer came in through each object.

Bach et al., doi:10.1371/journal.pone.0130140; the gamma rule is that of Montavon et al., *Layer-Wise Relevance
Propagation: An Overview*, doi:10.1007/978-3-030-28954-6_10. On physics objects: Agarwal et al., arXiv:2011.13466.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv_transpose1d, linear

from femtobarn.inputs import Batch, Features
from femtobarn.models import CNN, Network
from femtobarn.models.network import trim

#: How much the gamma rule favours what supported an output over what spoke against it.
GAMMA = 0.25

Operation = Callable[[Tensor, Tensor], Tensor]


class Relevance(NamedTuple):
    """Where the explained number came from; the four parts of it sum to `explained`, event by event."""

    objects: Float[Tensor, "batch particles features"]  # 0 in padded slots
    context: Float[Tensor, "batch event_features"]
    bias: Float[Tensor, " batch"]  # came from no input, but from the network's constants
    explained: Float[Tensor, " batch"]

    @property
    def lost(self) -> float:
        """Largest violation of the conservation of relevance in any event, relative to the explained number."""
        total = self.objects.sum((1, 2)) + self.context.sum(1) + self.bias
        return float(((total - self.explained).abs() / self.explained.abs().clamp_min(1e-300)).max())


@torch.no_grad()
def propagate(
    network: Network,
    batch: Batch,
    coefficients: Callable[[Float[Tensor, "batch outputs"]], Float[Tensor, "batch outputs"]],
    *,
    gamma: float = GAMMA,
) -> Relevance:
    r"""Relevance of every feature of every object for a linear combination of the outputs of a convolutional network.

    Each layer hands the relevance of an output j back to its inputs i, in proportion to what they contributed:

    .. math:: R_i = \sum_j \frac{q_{ij}}{\sum_i q_{ij} + q_{bj}} R_j, \quad
              q_{ij} = x_i w_{ij} + \gamma\, [x_i w_{ij}]_j

    where :math:`[\cdot]_j` keeps what has the sign of output j and is 0 otherwise, and the constant of the layer
    contributes :math:`q_{bj} = b_j + \gamma\,[b_j]_j`. Its share goes to no input but is counted as `bias`, so
    relevance is conserved exactly. gamma = 0 is the rule LRP-0; for these networks, which are linear piece by piece,
    it gives gradient x input. Batch norm is folded into the convolution before it; a sum hands back in proportion,
    a maximum to the object that has it. Computed in float64.

    Args:
        network: with the architecture `cnn`.
        batch: events.
        coefficients: gives the weight of each output in the explained number, from the outputs.
        gamma: see above; 0 or more.

    Raises:
        ValueError: another architecture, or a negative gamma.
    """
    if not isinstance(network.architecture, CNN):
        raise ValueError(f"relevance is propagated through the model cnn, not {type(network.architecture).__name__}")
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}; it must not be negative")
    network = copy.deepcopy(network).double().eval()
    batch = batch.replace(momenta=batch.momenta.double(), context=batch.context.double())
    encoded = network.inputs(trim(batch))
    return _through(network.architecture, encoded, coefficients, gamma)


def _through(
    architecture: nn.Module, encoded: Features, coefficients: Callable[[Tensor], Tensor], gamma: float
) -> Relevance:
    assert isinstance(architecture, CNN)
    real = encoded.mask[:, None]
    lists = [encoded.particles.transpose(1, 2)]
    filters = [_folded(*pair) for pair in zip(architecture.convolutions, architecture.norms, strict=True)]
    for weight, shift in filters:
        z = conv1d(lists[-1], weight, shift, padding=weight.shape[-1] // 2)
        lists.append(torch.where(real, z.relu(), 0.0))
    last = lists[-1]
    channels = last.shape[1]
    vectors = [architecture.pool(last, encoded.context)]
    layers = [layer for layer in architecture.fc if isinstance(layer, nn.Linear)]
    for layer in layers[:-1]:
        vectors.append(layer(vectors[-1]).relu())
    outputs = layers[-1](vectors[-1])

    chosen = coefficients(outputs).to(outputs)
    r = chosen * outputs
    explained = r.sum(1)
    bias = torch.zeros_like(explained)
    for layer, x in zip(reversed(layers), reversed(vectors), strict=True):
        z = layer(x)
        r, constant = _back(x, layer.weight, layer.bias, z, r, gamma, linear, lambda s, w: linear(s, w.T))
        bias = bias + constant
    of_sum, of_maximum, context = r[:, :channels], r[:, channels : 2 * channels], r[:, 2 * channels :]
    r = last * _ratio(of_sum, last.sum(-1))[..., None]
    r = r.scatter_add(2, last.argmax(-1, keepdim=True), of_maximum[..., None])
    for (weight, shift), x in zip(reversed(filters), reversed(lists[:-1]), strict=True):
        reach = weight.shape[-1] // 2

        def forth(x: Tensor, w: Tensor, reach: int = reach) -> Tensor:
            return conv1d(x, w, padding=reach)

        def back(s: Tensor, w: Tensor, reach: int = reach) -> Tensor:
            return conv_transpose1d(s, w, padding=reach)

        z = forth(x, weight) + shift[:, None]
        r, constant = _back(x, weight, shift[:, None], z, r, gamma, forth, back)
        bias = bias + constant
    return Relevance(r.transpose(1, 2), context, bias, explained)


def _back(
    x: Tensor,
    weight: Tensor,
    shift: Tensor,
    z: Tensor,
    r: Tensor,
    gamma: float,
    forth: Operation,
    back: Operation,
) -> tuple[Tensor, Tensor]:
    """Relevance of a layer's inputs and of its constant, from that of its outputs z = x w + b."""
    up, down = x.clamp_min(0), x.clamp_max(0)
    plus, minus = weight.clamp_min(0), weight.clamp_max(0)
    supporting = forth(up, plus) + forth(down, minus) + shift.clamp_min(0)
    opposing = forth(up, minus) + forth(down, plus) + shift.clamp_max(0)
    share = _ratio(r, z + gamma * torch.where(z > 0, supporting, opposing))
    high, low = torch.where(z > 0, share, 0.0), torch.where(z > 0, 0.0, share)
    inputs = x * back(share, weight)
    inputs = inputs + gamma * up * (back(high, plus) + back(low, minus))
    inputs = inputs + gamma * down * (back(high, minus) + back(low, plus))
    constant = share * shift + gamma * (high * shift.clamp_min(0) + low * shift.clamp_max(0))
    return inputs, constant.flatten(1).sum(1)


def _ratio(r: Tensor, z: Tensor) -> Tensor:
    """r / z, and 0 where z is: an output of 0 has no relevance to hand on."""
    return torch.where(z == 0, 0.0, r / torch.where(z == 0, 1.0, z))


def _folded(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weights and constants of a convolution that does what it and its batch norm do together."""
    assert isinstance(convolution, nn.Conv1d)
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return convolution.weight * scale[:, None, None], norm.bias - norm.running_mean * scale
