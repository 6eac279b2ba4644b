"""Start: what a training begins with, where that is not chance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """What a training begins with, where that is not chance.

    Args:
        origin: where the weights come from, in any words; a checkpoint of a training from elsewhere is refused.
        learned: names of the parameters that are not new; they learn with `training.body_lr`.
    """

    origin: str = ""
    learned: frozenset[str] = frozenset()
