"""Parameters of a network that were learned in an earlier training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainedParameters:
    """Parameters that a training does not start from random numbers.

    Args:
        origin: identity of the weights, such as the checksum of their file; a checkpoint of a training with other
            initial weights is refused.
        names: names of the pretrained parameters; they learn with `training.backbone_lr`.
    """

    origin: str = ""
    names: frozenset[str] = frozenset()
