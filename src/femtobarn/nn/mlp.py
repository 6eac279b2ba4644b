"""Fully connected layers: per particle, and from the latent vector of an event to the outputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from femtobarn.nn.products import Linear


def mlp_head(features: int, widths: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    """Fully connected layers of the given widths with ReLU and dropout, then a linear layer to the outputs."""
    layers: list[nn.Module] = []
    for before, after in zip((features, *widths), widths, strict=False):
        layers += [Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, Linear((features, *widths)[-1], outputs))


def mlp(features: int, widths: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Fully connected layers of the given widths, each with an activation: GELU for smooth functions."""
    layers: list[nn.Module] = []
    for before, after in zip((features, *widths), widths, strict=False):
        layers += [Linear(before, after), activation()]
    return nn.Sequential(*layers)


def init_he(network: nn.Module) -> None:
    """Initialize layers with ReLU whose inputs are small, such as directions within a jet; biases start at 0.

    The biases that torch draws by default would be larger than the contribution of such inputs.

    Source: He et al., *Delving Deep into Rectifiers*, arXiv:1502.01852.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
