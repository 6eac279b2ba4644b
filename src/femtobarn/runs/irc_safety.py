"""Infrared and collinear (IRC) safety: change of a jet tagger's score by soft particles and collinear splittings.

An infrared- and collinear-safe observable does not move in the limit of no momentum and of no angle; only such can be
computed in perturbation theory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events import Events
from femtobarn.events.emissions import add_soft_particle, split_collinear
from femtobarn.events.storage.checksums import write_checked_json
from femtobarn.inputs import JETS
from femtobarn.inputs.feature_sets import check_features
from femtobarn.runs import provenance
from femtobarn.runs.predictor import Predictor, require_classifier, require_trained
from femtobarn.tasks.classification.comparison import SAFETY

#: Shares of the jet's pT of the soft particle, and angles of the splitting.
STEPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

#: One number for each event, such as the logarithm of the odds.
Number = Callable[[Events], NDArray[np.float64]]


def evaluate_irc_safety(folder: str | Path, *, events: int = 1000, seed: int = 1) -> dict[str, Any]:
    """Changes of the log-odds of a trained tagger on held-out jets; written as `safety.json` into its run folder.

    Args:
        folder: of a trained run.
        events: maximum number of jets, evenly spread over the held-out ones.
        seed: of directions and shares.

    Returns:
        what `safety.json` holds: the median and the 90 % quantile of the change for every step, by kind of emission,
        and the spread of the log-odds themselves (half of the way between their 16 % and 84 % quantiles) to compare.

    Raises:
        ValueError: no trained run in the folder, one of events, or its events have changed since.
    """
    folder = Path(folder)
    require_trained(folder)
    with provenance.open_folder(folder) as held:
        result = _evaluate(Predictor.load(folder), folder, events, seed)
        write_checked_json(folder / SAFETY, result, check=held.check)
    return result


def _evaluate(predictor: Predictor, folder: Path, events: int, seed: int) -> dict[str, Any]:
    task, inputs = require_classifier(predictor, folder), predictor.experiment.inputs
    if inputs.domain is not JETS:
        raise ValueError(f"{folder}: only jet taggers are tested; this model uses {inputs.domain.members}")
    held_out = predictor.splits(folder).test.events
    chosen = held_out[:: -(-len(held_out) // events)]
    check_features(chosen, inputs.features)

    def log_odds(jets: Events) -> NDArray[np.float64]:
        odds: NDArray[np.float64] = task.log_odds(predictor.predict_logits(jets).double()).numpy()
        return odds

    return {"label": predictor.experiment.label, "events": len(chosen), "seed": seed, **changes(log_odds, chosen, seed)}


def changes(number: Number, jets: Events, seed: int = 1) -> dict[str, Any]:
    """Quantiles of the changes of a number of each jet for the emissions of `STEPS`."""
    before = number(jets)
    low, high = np.quantile(before, [0.16, 0.84])
    quantiles: dict[str, Any] = {"spread": float(high - low) / 2}
    for name, emission in (("soft", add_soft_particle), ("collinear", split_collinear)):
        quantiles[name] = []
        for step in STEPS:
            # the same directions at every step
            after = number(emission(jets, step, np.random.default_rng(seed)))
            median, upper = np.quantile(np.abs(after - before), [0.5, 0.9])
            quantiles[name].append({"step": step, "median": float(median), "most": float(upper)})
    return quantiles
