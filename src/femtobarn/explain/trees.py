"""Contributions of columns to the outputs of boosted trees, the counterpart of relevance.

Lundberg et al., *From Local Explanations to Global Understanding with Explainable AI for Trees*,
doi:10.1038/s42256-019-0138-9 (TreeSHAP, as LightGBM computes it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from femtobarn.explain.gradients import LogOdds, slopes
from femtobarn.explain.tally import Tally
from femtobarn.models import BDT


def contributions(
    trees: BDT, x: Float[np.ndarray, "events columns"]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Contribution of each column to the raw output of each class, the expectation, and the output itself.

    Shapley values: contributions and expectation sum to the output, event by event.

    Returns:
        contributions (events, outputs, columns), expectations (events, outputs) and raw outputs (events, outputs). With
        two classes the trees have one output, the log odds of the second class; half of it is assigned to each class.

    Raises:
        RuntimeError: no trees yet.
    """
    if trees.booster is None:
        raise RuntimeError("no trees yet: fit or load first")
    shapley_values = np.asarray(trees.booster.predict(x, pred_contrib=True), dtype=np.float64)
    raw = np.asarray(trees.booster.predict(x, raw_score=True), dtype=np.float64)
    shapley_values = shapley_values.reshape(len(x), -1, x.shape[1] + 1)
    raw = raw.reshape(len(x), -1)
    if trees.outputs == 2:
        shapley_values = np.concatenate([-shapley_values, shapley_values], axis=1) / 2
        raw = np.concatenate([-raw, raw], axis=1) / 2
    return shapley_values[..., :-1], shapley_values[..., -1], raw


def explain_trees(
    trees: BDT, log_odds: LogOdds, names: Sequence[str], x: Float[np.ndarray, "events columns"], tally: Tally
) -> dict[str, Any]:
    """Contributions of the columns to the log odds of signal and their importance in training, as in `explain.json`.

    Args:
        trees: trained.
        log_odds: gives the log odds, whose slopes weigh the outputs as they do for networks.
        names: of the columns.
        x: a row an event.
        tally: of the same events.
    """
    parts, expected, raw = contributions(trees, x)
    outputs = torch.from_numpy(trees.predict(x)).clamp_min(1e-300).log()
    slope = slopes(log_odds, outputs).numpy()
    attributions = np.einsum("nk,nkc->nc", slope, parts)
    constant, explained = (slope * expected).sum(1), (slope * raw).sum(1)
    lost = np.abs(attributions.sum(1) + constant - explained) / np.maximum(np.abs(explained), 1e-300)
    sizes = np.abs(attributions)
    sums = np.stack([attributions.sum(1), constant, explained], axis=1)
    gains = trees.importance()
    total = sum(gains.values()) or 1.0
    assert trees.booster is not None
    return {
        "contributions": {
            "lost": float(lost.max()),
            "column": tally.entries(names, attributions, sizes, np.ones_like(attributions), sizes.sum(1)),
            "sums": tally.entries(
                ("columns", "constants", "explained"), sums, np.abs(sums), np.ones_like(sums), np.abs(explained)
            ),
            # the trees know the columns by names without special characters, in the same order
            "gain": {name: gains[safe] / total for name, safe in zip(names, trees.booster.feature_name(), strict=True)},
        }
    }
