"""Complaint: what to say, and to advise, when a loss is not finite."""

from __future__ import annotations

from torch import nn

from femtobarn.training.settings import TrainingConfig


def not_finite(what: str, value: float, where: str, network: nn.Module, settings: TrainingConfig) -> str:
    """Names the loss and its place, says whether weights or events are to blame, and the remedies."""
    sick = [name for name, p in network.named_parameters() if not bool(p.isfinite().all())]
    weights = (
        f"the weights {sick[0]} are not finite either" if sick else "all weights are finite, so look at the events"
    )
    return (
        f"{what} is {value} in {where}; {weights}. Lower training.lr (now {settings.lr:g}), set training.clip "
        f"(now {settings.clip}) or training.warmup (now {settings.warmup}), or check the inputs for NaN"
    )
