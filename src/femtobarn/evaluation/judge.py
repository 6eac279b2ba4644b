"""The judgement: every number of a run, with its statistical error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.best import LEAST, Best, best_cut
from femtobarn.evaluation.measure import Measured, measure
from femtobarn.evaluation.reliability import calibrated, told
from femtobarn.evaluation.replicas import spread
from femtobarn.evaluation.scores import Scores
from femtobarn.evaluation.settings import Evaluation
from femtobarn.evaluation.significance import asimov, significance

#: ("auc", background), ("background_efficiency", working point, background) or ("significance", working point, kind).
Key = tuple[str, ...]

#: s/√b, the same with the systematic uncertainty of the background, and the Asimov significances of both.
KINDS = ("plain", "systematic", "asimov", "asimov_systematic")

#: The working point of largest significance, and what is known of it.
BEST: Key = ("significance", "best", "asimov_systematic")


def judge(scores: Scores, settings: Evaluation) -> dict[str, Any]:
    """AUC, background efficiencies and significances of one trained model, each with its statistical error.

    Returns:
        What `metrics.json` holds: `auc` by background and in `total`; `background_efficiency` by working point, then
        background; `significance` by working point (`plain` for s/√b, `systematic` with the relative uncertainty of
        the background, `asimov` and `asimov_systematic` for the median significance of a counting experiment, expected
        `signal` and `background` events, the `threshold` on the score); `best`, the working point of largest
        `asimov_systematic`, null where no cut leaves enough background events; `calibration`, see
        `femtobarn.evaluation.reliability`; `events` by process (number, effective number, expected yield). Each number
        is `{"value", "error"}`; null where the test events leave no background to count.

    Raises:
        ValueError: weights for another luminosity than the settings'.
    """
    measured, best = measured_by(scores, settings), best_by(scores, settings)
    numbers = numbers_of(measured, best, settings)
    entries = {key: _entry(values, floor(key, measured)) for key, values in numbers.items()}
    points = [label(efficiency) for efficiency in settings.efficiencies]
    backgrounds = list(measured.auc)
    return {
        "signal": list(scores.signal),
        "settings": settings.model_dump(mode="json"),
        "auc": {name: entries["auc", name] for name in backgrounds},
        "background_efficiency": {
            point: {name: entries["background_efficiency", point, name] for name in backgrounds} for point in points
        },
        "significance": {
            point: {
                **{kind: entries["significance", point, kind] for kind in KINDS},
                "signal": efficiency * measured.signal_yield,
                "background": float(measured.background["total"][0, index] * measured.background_yield),
                "threshold": float(measured.thresholds[index]),
            }
            for index, (point, efficiency) in enumerate(zip(points, settings.efficiencies, strict=True))
        },
        "best": best
        and {
            "asimov_systematic": entries[BEST],
            "signal": best.signal,
            "background": best.background,
            "effective": best.effective,
            "least": LEAST,
            "efficiency": best.efficiency,
            "threshold": best.threshold,
        },
        "calibration": told(calibrated(scores, replicas=settings.bootstrap, seed=settings.seed)),
        "events": {
            name: {
                "number": int((scores.process == name).sum()),
                "effective": measured.effective[name],
                "yield": measured.yields[name],
            }
            for name in scores.processes
        },
    }


def label(efficiency: float) -> str:
    """A working point as the files and tables write it: 0.3, 0.7."""
    return f"{efficiency:g}"


def measured_by(scores: Scores, settings: Evaluation) -> Measured:
    """The scores at the working points of the settings, with their replicas."""
    if not math.isclose(scores.luminosity, settings.luminosity, rel_tol=1e-9):
        raise ValueError(
            f"the weights stand for {scores.luminosity:g} 1/fb, the evaluation asks for {settings.luminosity:g} 1/fb; "
            "scale the weights first"
        )
    return measure(scores, settings.efficiencies, replicas=settings.bootstrap, seed=settings.seed)


def best_by(scores: Scores, settings: Evaluation) -> Best | None:
    """The working point of largest significance, with its replicas; None where too little background is left."""
    return best_cut(scores, settings.systematic, replicas=settings.bootstrap, seed=settings.seed)


def numbers_of(measured: Measured, best: Best | None, settings: Evaluation) -> dict[Key, NDArray[np.float64]]:
    """Every number of the judgement as a vector: the sample itself, then its replicas."""
    numbers: dict[Key, NDArray[np.float64]] = {("auc", name): values for name, values in measured.auc.items()}
    for index, efficiency in enumerate(settings.efficiencies):
        point = label(efficiency)
        for name, values in measured.background.items():
            numbers["background_efficiency", point, name] = values[:, index]
        background = measured.background["total"][:, index] * measured.background_yield
        signal = np.full_like(background, efficiency * measured.signal_yield)
        formulas = [(formula, delta) for formula in (significance, asimov) for delta in (0.0, settings.systematic)]
        for kind, (formula, delta) in zip(KINDS, formulas, strict=True):
            numbers["significance", point, kind] = formula(signal, background, delta)
    numbers[BEST] = np.full(settings.bootstrap + 1, np.nan) if best is None else best.significance
    return numbers


def floor(key: Key, measured: Measured) -> float:
    """The least statistical error of a number: where no background event passes, what a single one would add."""
    if key[0] != "background_efficiency":
        return 0.0
    if key[-1] != "total":
        return 1 / measured.effective[key[-1]]
    names = [name for name in measured.background if name != "total"]
    return max(measured.yields[name] / measured.effective[name] for name in names) / measured.background_yield


def _entry(values: NDArray[np.float64], least: float) -> Mapping[str, float | None]:
    value, error = float(values[0]), float(spread(values))
    if value == 0 and least > 0:
        error = least
    return {
        "value": value if math.isfinite(value) else None,
        "error": error if math.isfinite(error) and math.isfinite(value) else None,
    }
