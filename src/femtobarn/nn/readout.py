"""Fully connected layers: of an object, and from what a network has made of an event to its outputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def readout(features: int, widths: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    """Fully connected layers of these widths with ReLU and dropout, then a linear one to the outputs."""
    layers: list[nn.Module] = []
    for before, after in zip((features, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear((features, *widths)[-1], outputs))


def perceptron(features: int, widths: Sequence[int]) -> nn.Sequential:
    """Fully connected layers of these widths, each with ReLU."""
    layers: list[nn.Module] = []
    for before, after in zip((features, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)
