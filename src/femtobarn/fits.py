"""Fits: what a profile-likelihood fit to the score of a finished run is expected to find.

workspace.json       the fit in the JSON format of HistFactory, for pyhf and other tools
fit.json             discovery significance and upper limit with errors, and the histogram; written last
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn import provenance
from femtobarn.evaluation import Evaluation, load_run
from femtobarn.evaluation.best import LEAST
from femtobarn.evaluation.likelihood import fit, histogram, imported, workspace
from femtobarn.evaluation.replicas import spread
from femtobarn.evaluation.runs import FIT, SCORES, WORKSPACE, checksum

#: Replicas of the test events that are fitted; twenty know an error to a sixth of itself.
REPLICAS = 20


def fit_run(folder: str | Path, *, least: float = LEAST, replicas: int = REPLICAS) -> dict[str, Any]:
    """Fits the score of a finished run and writes `workspace.json` and `fit.json` into its folder.

    Args:
        folder: of the run.
        least: fewest effective background events in a bin.
        replicas: of the test events, for the statistical errors; those of the judgement come first, so that models
            can be compared replica by replica.

    Returns:
        what `fit.json` holds: `discovery` (median significance) and `limit` (median 95 % CLs upper limit on the signal
        strength without signal, with its `band` of -2 to 2 standard deviations), each with `value`, `error` and
        `replicas`; and the histogram by process.

    Raises:
        ValueError: an unfinished run, or too little background for a single bin.
        RuntimeError: pyhf is not installed, or another process is at work in the folder.
    """
    folder, pyhf = Path(folder), imported()
    run = load_run(folder)
    settings = Evaluation.model_validate(run.metrics["settings"])
    filled = histogram(run.scores, least=least, replicas=replicas, seed=settings.seed)
    found = fit(filled, settings.systematic)
    told = {
        "settings": run.metrics["settings"],
        "scores": checksum(folder / SCORES),
        "pyhf": pyhf.__version__,
        "least": least,
        "systematics": [],
        "discovery": _number(found.discovery),
        "limit": {**_number(found.limit), "band": list(found.band)},
        "edges": filled.edges.tolist(),
        "effective": filled.effective.tolist(),
        "yields": {name: values[0].tolist() for name, values in filled.yields.items()},
        "errors": {name: values.tolist() for name, values in filled.errors.items()},
    }
    with provenance.alone(folder):
        provenance.write_json(folder / WORKSPACE, workspace(filled, settings.systematic))
        provenance.write_json(folder / FIT, told)
    return told


def _number(values: NDArray[np.float64]) -> dict[str, Any]:
    return {"value": float(values[0]), "error": float(spread(values)), "replicas": values[1:].tolist()}
