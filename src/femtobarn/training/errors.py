"""Message for a loss that is not finite."""

from __future__ import annotations

from torch import nn

from femtobarn.training.settings import TrainingConfig


def nonfinite_loss(name: str, value: float, place: str, network: nn.Module, settings: TrainingConfig) -> str:
    """Text with the loss and its place, whether weights or events are the cause, and the remedies."""
    nonfinite = [label for label, p in network.named_parameters() if not bool(p.isfinite().all())]
    cause = (
        f"the weights {nonfinite[0]} are not finite either"
        if nonfinite
        else "all weights are finite, so look at the events"
    )
    return (
        f"{name} is {value} in {place}; {cause}. Lower training.lr (now {settings.lr:g}), set training.clip "
        f"(now {settings.clip}) or training.warmup (now {settings.warmup}), or check the inputs for NaN"
    )
