"""Metrics of a classifier, each with its statistical error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import Evaluated, Replicas, bootstrap_std
from femtobarn.evaluation.measurement import Metric
from femtobarn.tasks.classification import tagging
from femtobarn.tasks.classification.efficiency_curves import EfficiencyCurves, efficiency_curves
from femtobarn.tasks.classification.optimal_cut import MIN_BACKGROUND, OptimalCut, optimal_cut
from femtobarn.tasks.classification.reliability import evaluate_calibration
from femtobarn.tasks.classification.reliability import to_dict as calibration_dict
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.significance import asimov, significance

#: Area under the ROC curve, all backgrounds together.
AUC = Metric("auc", "total")

#: s/√b, the same with the systematic uncertainty of the background, and the Asimov significances of both.
KINDS = ("plain", "systematic", "asimov", "asimov_systematic")

#: The working point of largest significance, and what is known of it.
BEST = Metric("significance", "asimov_systematic", at="best")


def evaluate(scores: Scores, settings: ClassificationEvaluationConfig) -> Evaluated:
    """AUC, background efficiencies and significances of one trained model, each with its statistical error.

    Returns:
        the replicas, and what `metrics.json` holds: `auc` by background and in `total`; `background_efficiency` by
        working point, then background; `calibration`, see `femtobarn.tasks.classification.reliability`; `events` by
        process (number, effective number, expected yield); and, by the metrics that the settings ask for,

        - `significance` by working point (`plain` for s/√b, `systematic` with the relative uncertainty of the
          background, `asimov` and `asimov_systematic` for the median significance of a counting experiment, expected
          `signal` and `background` events, the `threshold` on the score); `best`, the working point of largest
          `asimov_systematic`, null where no cut leaves enough background events;
        - or, for taggers, `accuracy`; `rejection` by working point, then background; with a class for each process
          `pair_auc` and, by signal class and background, `class_efficiency` and `class_rejection`, and `class_point`,
          the signal efficiency by class; see `femtobarn.tasks.classification.tagging`.

        Each number is `{"value", "error"}`; null where the test events leave no background to count; a rejection then
        has the limit of 95 % confidence `above`.

    Raises:
        ValueError: weights for another luminosity than the settings'.
    """
    measured, best = curves_of(scores, settings), optimal_cut_of(scores, settings)
    values = _replicas(scores, measured, best, settings)
    floors = {metric: floor(metric, measured) for metric in values}
    shown = values | tagging.inverses(values) if settings.tagging else values
    entries = {metric: _entry(metric, numbers, floor(metric, measured)) for metric, numbers in shown.items()}
    special = (
        _tagging(entries, scores, settings) if settings.tagging else _significance(entries, measured, best, settings)
    )
    metrics = {
        "signal": list(scores.signal),
        "settings": settings.model_dump(mode="json"),
        "auc": _tree(entries, "auc"),
        "background_efficiency": _tree(entries, "background_efficiency"),
        **special,
        "calibration": calibration_dict(evaluate_calibration(scores, replicas=settings.bootstrap, seed=settings.seed)),
        "events": {
            name: {
                "number": int((scores.process == name).sum()),
                "effective": measured.effective[name],
                "yield": measured.yields[name],
            }
            for name in scores.processes
        },
    }
    return Evaluated(metrics, Replicas(values, floors))


def metric_replicas(scores: Scores, settings: ClassificationEvaluationConfig) -> Replicas:
    """Replicas of the metrics alone, as `evaluate` gives them."""
    measured = curves_of(scores, settings)
    values = _replicas(scores, measured, optimal_cut_of(scores, settings), settings)
    return Replicas(values, {metric: floor(metric, measured) for metric in values})


def _significance(
    entries: Mapping[Metric, dict[str, float | None]],
    measured: EfficiencyCurves,
    best: OptimalCut | None,
    settings: ClassificationEvaluationConfig,
) -> dict[str, Any]:
    points = {
        working_point_label(efficiency): {
            **{kind: entries[Metric("significance", kind, at=working_point_label(efficiency))] for kind in KINDS},
            "signal": efficiency * measured.signal_yield,
            "background": float(measured.background["total"][0, index] * measured.background_yield),
            "threshold": float(measured.thresholds[index]),
        }
        for index, efficiency in enumerate(settings.efficiencies)
    }
    return {
        "significance": points,
        "best": best
        and {
            "asimov_systematic": entries[BEST],
            "signal": best.signal,
            "background": best.background,
            "effective": best.effective,
            "least": MIN_BACKGROUND,
            "efficiency": best.efficiency,
            "threshold": best.threshold,
        },
    }


def _tagging(
    entries: Mapping[Metric, dict[str, float | None]], scores: Scores, settings: ClassificationEvaluationConfig
) -> dict[str, Any]:
    entry: dict[str, Any] = {"accuracy": entries[Metric("accuracy", "total")], "rejection": _tree(entries, "rejection")}
    if tagging.several_classes(scores):
        entry["pair_auc"] = entries[Metric("pair_auc", "mean")]
        entry |= {name: _tree(entries, name) for name in ("class_efficiency", "class_rejection")}
        entry["class_point"] = {name: tagging.working_point(name, settings) for name in scores.signal}
    return entry


def _tree(entries: Mapping[Metric, dict[str, float | None]], name: str) -> dict[str, Any]:
    """Numbers of one name, a mapping of mappings by what comes after it in the keys."""
    tree: dict[str, Any] = {}
    for metric, entry in entries.items():
        if metric.name == name:
            branch = tree
            for step in metric.path[1:-1]:
                branch = branch.setdefault(step, {})
            branch[metric.path[-1]] = entry
    return tree


def working_point_label(efficiency: float) -> str:
    """Working point as files and tables write it: 0.3, 0.7."""
    return f"{efficiency:g}"


def curves_of(scores: Scores, settings: ClassificationEvaluationConfig) -> EfficiencyCurves:
    """The scores at the working points of the settings, with their replicas."""
    if not math.isclose(scores.luminosity, settings.luminosity, rel_tol=1e-9):
        raise ValueError(
            f"the weights stand for {scores.luminosity:g} 1/fb, the evaluation asks for {settings.luminosity:g} 1/fb; "
            "scale the weights first"
        )
    return efficiency_curves(scores, settings.efficiencies, replicas=settings.bootstrap, seed=settings.seed)


def optimal_cut_of(scores: Scores, settings: ClassificationEvaluationConfig) -> OptimalCut | None:
    """The working point of largest significance, with its replicas; None where too little background is left.

    None for taggers, which have no significance.
    """
    if settings.tagging:
        return None
    return optimal_cut(scores, settings.systematic, replicas=settings.bootstrap, seed=settings.seed)


def _replicas(
    scores: Scores, measured: EfficiencyCurves, best: OptimalCut | None, settings: ClassificationEvaluationConfig
) -> dict[Metric, NDArray[np.float64]]:
    """Every metric as a vector: the sample itself, then its replicas; rejections follow from these."""
    numbers: dict[Metric, NDArray[np.float64]] = {Metric("auc", name): values for name, values in measured.auc.items()}
    for index, efficiency in enumerate(settings.efficiencies):
        for name, values in measured.background.items():
            numbers[Metric("background_efficiency", name, at=working_point_label(efficiency))] = values[:, index]
    if settings.tagging:
        return numbers | tagging.tagging_metrics(scores, settings)
    for index, efficiency in enumerate(settings.efficiencies):
        background = measured.background["total"][:, index] * measured.background_yield
        signal = np.full_like(background, efficiency * measured.signal_yield)
        formulas = [(formula, delta) for formula in (significance, asimov) for delta in (0.0, settings.systematic)]
        for kind, (formula, delta) in zip(KINDS, formulas, strict=True):
            numbers[Metric("significance", kind, at=working_point_label(efficiency))] = formula(
                signal, background, delta
            )
    numbers[BEST] = np.full(settings.bootstrap + 1, np.nan) if best is None else best.significance
    return numbers


def floor(metric: Metric, measured: EfficiencyCurves) -> float:
    """The least a background efficiency can be told from 0: where no event passes, what a single one would add.

    It is the statistical error of an efficiency of 0, and bounds the rejection that belongs to it; 0 for other numbers.
    """
    if metric.name not in (*tagging.INVERSE, *tagging.INVERSE.values()):
        return 0.0
    if metric.of is not None and metric.of != "total":
        return 1 / measured.effective[metric.of]
    names = [name for name in measured.background if name != "total"]
    return max(measured.yields[name] / measured.effective[name] for name in names) / measured.background_yield


def _entry(metric: Metric, values: NDArray[np.float64], least: float) -> dict[str, float | None]:
    value, error = float(values[0]), float(bootstrap_std(values))
    if metric.name in tagging.INVERSE.values() and not math.isfinite(value):
        return {"value": None, "error": None, "above": tagging.limit(least)}
    if value == 0 and least > 0:
        error = least
    return {
        "value": value if math.isfinite(value) else None,
        "error": error if math.isfinite(error) and math.isfinite(value) else None,
    }
