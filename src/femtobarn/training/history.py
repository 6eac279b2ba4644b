"""History: what each pass over the training events came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training events came to."""

    number: int  # from 1
    train_loss: float  # mean over the pass, while the weights changed
    valid_loss: float  # of the (averaged) weights after the pass
    lr: float  # at the last step
    seconds: float
    best: bool  # the lowest validation loss so far


@dataclass(frozen=True)
class Begun:
    """How far an epoch is that was begun."""

    step: int = 0  # the next one
    loss: float = 0.0  # of the steps so far, summed over their events
    seconds: float = 0.0


def stalled(history: Sequence[Epoch], patience: int | None) -> bool:
    """True when the last `patience` epochs brought no lower validation loss; never without patience."""
    return patience is not None and len(history) > patience and not any(epoch.best for epoch in history[-patience:])
