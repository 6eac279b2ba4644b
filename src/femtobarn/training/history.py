"""History of a training: one result per epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochResult:
    """Result of one epoch of a training."""

    number: int  # from 1
    train_loss: float  # mean over the epoch, while the weights changed
    valid_loss: float  # of the (averaged) weights after the epoch
    lr: float  # at the last step
    seconds: float
    best: bool  # the lowest validation loss so far


@dataclass(frozen=True)
class EpochProgress:
    """Position within an unfinished epoch."""

    step: int = 0  # the next one
    loss: float = 0.0  # of the steps so far, summed over their events
    seconds: float = 0.0


def early_stop(history: Sequence[EpochResult], patience: int | None) -> bool:
    """Whether the last `patience` epochs had no lower validation loss; never without patience."""
    return patience is not None and len(history) > patience and not any(epoch.best for epoch in history[-patience:])
