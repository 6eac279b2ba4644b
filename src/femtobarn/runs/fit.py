"""Fits: what a profile-likelihood fit to the score of a finished run is expected to find.

workspace.json       the fit in the JSON format of HistFactory, for pyhf and other tools
fit.json             discovery significance and upper limit with errors, and the histogram; written last
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import bootstrap_std
from femtobarn.evaluation.runs import predictions_file
from femtobarn.events.storage.checksums import write_checked_json
from femtobarn.events.storage.files import checksum
from femtobarn.events.systematics import DIRECTIONS, SYSTEMATICS
from femtobarn.runs import provenance
from femtobarn.tasks.classification.comparison import FIT, load_run
from femtobarn.tasks.classification.likelihood import (
    Histogram,
    Variations,
    fill,
    fit,
    histogram,
    import_pyhf,
    workspace,
)
from femtobarn.tasks.classification.optimal_cut import MIN_BACKGROUND
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.systematics import FOLDER, read_systematics

#: The fit as HistFactory JSON.
WORKSPACE = "workspace.json"

#: Replicas of the test events that are fitted; twenty know an error to a sixth of itself.
REPLICAS = 20

#: Sources whose variation up can't be simulated from selected events, because events that would enter the selection are
#: missing; the mirror image of the variation down replaces it.
MIRRORED = ("jes",)


def fit_run(folder: str | Path, *, least: float = MIN_BACKGROUND, replicas: int = REPLICAS) -> dict[str, Any]:
    """Fits the score of a finished run and writes `workspace.json` and `fit.json` into its folder.

    Each source that `femtobarn systematics` has evaluated, up and down, is a systematic uncertainty that changes
    the histogram of every process.

    Args:
        folder: of the run.
        least: fewest effective background events in a bin.
        replicas: of the test events, for the statistical errors; those of the evaluation come first, so that models
            can be compared replica by replica.

    Returns:
        what `fit.json` holds: `discovery` (median significance) and `limit` (median 95 % CLs upper limit on the signal
        strength without signal, with its `band` of -2 to 2 standard deviations), each with `value`, `error` and
        `replicas`; and the histogram by process.

    Raises:
        ValueError: an unfinished run, one evaluated as a tagger of jets, or too little background for a single bin.
        RuntimeError: pyhf is not installed, or another process is at work in the folder.
    """
    folder, pyhf = Path(folder), import_pyhf()
    run = load_run(folder)
    settings = ClassificationEvaluationConfig.model_validate(run.metrics["settings"])
    if settings.tagging:
        raise ValueError(f"{folder} was evaluated as a tagger of jets; a fit needs evaluation.metrics: significance")
    filled = histogram(run.scores, least=least, replicas=replicas, seed=settings.seed)
    shapes = variations(folder, filled)
    result = fit(filled, settings.systematic, variations=shapes)
    content = {
        "settings": run.metrics["settings"],
        "scores": checksum(predictions_file(folder)),
        "pyhf": pyhf.__version__,
        "least": least,
        "systematics": list(shapes),
        "discovery": _number(result.discovery),
        "limit": {**_number(result.limit), "band": list(result.band)},
        "edges": filled.edges.tolist(),
        "effective": filled.effective.tolist(),
        "yields": {name: values[0].tolist() for name, values in filled.yields.items()},
        "errors": {name: values.tolist() for name, values in filled.errors.items()},
    }
    with provenance.folder_lock(folder) as lock:
        if checksum(predictions_file(folder)) != content["scores"]:
            raise RuntimeError(f"{folder} was evaluated again while its scores were fitted; repeat the fit")
        form = workspace(filled, settings.systematic, variations=shapes)
        provenance.atomic_write_json(folder / WORKSPACE, form, check=lock.check)
        write_checked_json(folder / FIT, content, check=lock.check)
    return content


def variations(folder: Path, filled: Histogram) -> Variations:
    """Histogram of each process under the up and down variation of every source that was evaluated for the run.

    Args:
        folder: of the run; what it holds of earlier scores does not count.
        filled: the histogram of the events as they are.
    """
    available = (read_systematics(folder) or {"shifts": ()})["shifts"]
    templates: dict[str, dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for source in SYSTEMATICS:
        names = [f"{source}_{direction}" for direction in DIRECTIONS]
        if any(name not in available for name in names):
            continue
        varied = [fill(Scores.read(folder / FOLDER / f"{name}.parquet"), filled.edges).yields for name in names]
        templates[source] = {}
        for process, values in filled.yields.items():
            up, down = (yields[process][0] for yields in varied)
            up = 2 * values[0] - down if source in MIRRORED else up
            templates[source][process] = np.maximum(up, 0.0), np.maximum(down, 0.0)
    return templates


def _number(values: NDArray[np.float64]) -> dict[str, Any]:
    return {"value": float(values[0]), "error": float(bootstrap_std(values)), "replicas": values[1:].tolist()}
