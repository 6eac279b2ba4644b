"""Depths of a network: vectors of the particles, latent vector of the event, outputs.

    objects  (batch, particles, width)   vector of each particle
    latent   (batch, width)              vector of the event
    outputs  (batch, outputs)            head(latent)

A model has a depth if its class has the method of this name; every model has outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from femtobarn.models.registry import MODELS, Depth, model_spec


def models_with(depth: Depth) -> tuple[str, ...]:
    """Names of the models that have a depth."""
    return tuple(name for name, spec in sorted(MODELS.items()) if depth in spec.depths)


def at_depth(model: Any, depth: Depth) -> Callable[[Any], Tensor]:
    """Method of a model that computes a depth from features.

    Args:
        model: an architecture.
        depth: `objects`, `latent` or `outputs`.

    Raises:
        ValueError: the model does not have it; the message lists the models that do.
    """
    method: Callable[[Any], Tensor] | None = model if depth == "outputs" else getattr(model, depth, None)
    if method is None:
        raise missing_depth(type(model).__name__, depth)
    return method


def vectors_method(model: Any) -> Callable[[Any], Tensor]:
    """Method of an equivariant model that computes four-vectors of each particle from features.

    Raises:
        ValueError: the model does not have it; the message lists the models that do.
    """
    method: Callable[[Any], Tensor] | None = getattr(model, "vectors", None)
    if method is None:
        names = ", ".join(name for name, spec in sorted(MODELS.items()) if spec.has_vectors)
        raise ValueError(f"the model {type(model).__name__} has no four-vectors; models with four-vectors: {names}")
    return method


def check_depth(name: str, depth: Depth) -> None:
    """Check, before any file is opened, that a model has the depth that a task needs.

    Raises:
        ValueError: it does not; the message lists the models that do.
    """
    if depth not in model_spec(name).depths:
        raise missing_depth(name, depth)


def missing_depth(name: str, depth: Depth) -> ValueError:
    """Error for a model without a depth."""
    return ValueError(f"the model {name} has no {depth}; models with {depth}: {', '.join(models_with(depth))}")
