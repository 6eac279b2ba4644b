"""Fully connected layers: of an object, and from what a network has made of an event to its outputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from femtobarn.nn.products import Linear


def readout(features: int, widths: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    """Fully connected layers of these widths with ReLU and dropout, then a linear one to the outputs."""
    layers: list[nn.Module] = []
    for before, after in zip((features, *widths), widths, strict=False):
        layers += [Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, Linear((features, *widths)[-1], outputs))


def perceptron(features: int, widths: Sequence[int]) -> nn.Sequential:
    """Fully connected layers of these widths, each with ReLU."""
    layers: list[nn.Module] = []
    for before, after in zip((features, *widths), widths, strict=False):
        layers += [Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def start(network: nn.Module) -> None:
    """Initial weights for layers with ReLU whose inputs are small, as directions within a jet are: no constants.

    Constants as torch draws them would be larger than what such inputs make, and the network deaf to them at first.

    Source: He et al., *Delving Deep into Rectifiers*, arXiv:1502.01852.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
