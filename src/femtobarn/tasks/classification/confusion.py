"""Confusion: what each process is taken for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femtobarn.tasks.classification.efficiency_curves import efficiency_curves
from femtobarn.tasks.classification.scores import Scores


@dataclass(frozen=True, eq=False)
class Confusion:
    """Fractions of each true process (rows) that end up in each category (columns), by weight.

    Args:
        processes: names of the rows, the signal first.
        categories: names of the columns.
        fractions: shape (processes, categories); `exclusive` rows sum to 1.
        exclusive: True where an event is in one category only; False for working points, which lie in each other.
    """

    processes: tuple[str, ...]
    categories: tuple[str, ...]
    fractions: NDArray[np.float64]
    exclusive: bool


def confusion(scores: Scores, efficiencies: Sequence[float] = (0.3, 0.7)) -> Confusion:
    """What each process is taken for: its most probable class or, with two classes, whether it passes the cuts.

    The most probable class is the model's own, for classes that were equally frequent in training.

    Args:
        scores: the held-out events.
        efficiencies: signal efficiencies of the cuts, for models with two classes or none.
    """
    processes = scores.processes
    if len(scores.probabilities) > 2:
        named = tuple(name for name in processes if name in scores.probabilities)
        categories = (*named, *(name for name in scores.probabilities if name not in named))
        chosen = np.argmax(np.stack([scores.probabilities[name] for name in categories]), axis=0)
        inside = np.stack([chosen == index for index in range(len(categories))])
    else:
        cuts = efficiency_curves(scores, efficiencies).thresholds
        categories = tuple(f"passes {efficiency:.0%}" for efficiency in efficiencies)
        inside = np.stack([scores.score >= cut for cut in cuts])
    fractions = np.empty((len(processes), len(categories)))
    for row, name in enumerate(processes):
        weight = np.where(scores.process == name, scores.weight, 0.0)
        fractions[row] = inside @ weight / weight.sum()
    return Confusion(processes, categories, fractions, exclusive=len(scores.probabilities) > 2)
