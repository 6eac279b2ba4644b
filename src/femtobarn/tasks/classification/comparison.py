"""Comparison of classifiers: finished runs side by side, with rejections, luminosity gains and fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation import comparison as generic
from femtobarn.evaluation.bootstrap import Replicas, bootstrap_std
from femtobarn.evaluation.comparison import baseline_label, by_model, check_same_events, model_result, pooled_seeds
from femtobarn.evaluation.measurement import Measurement, Metric
from femtobarn.evaluation.runs import PREDICTIONS, Run, predictions_file
from femtobarn.evaluation.runs import load_run as load_any_run
from femtobarn.events.storage.checksums import read_checked_json
from femtobarn.events.storage.files import checksum
from femtobarn.tasks.classification import tagging
from femtobarn.tasks.classification.metrics import AUC, metric_replicas, working_point_label
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.significance import luminosity_gain

#: Result of `femtobarn fit` in a run folder.
FIT = "fit.json"

#: Result of `femtobarn irc-safety` in a run folder.
SAFETY = "safety.json"

#: What a fit measures: `Metric("fit", ...)`.
FITTED = ("discovery", "limit")
LIMIT = Metric("fit", "limit")

#: Efficiency that each rejection is the inverse of.
EFFICIENCIES = {rejection: efficiency for efficiency, rejection in tagging.INVERSE.items()}


@dataclass(frozen=True, eq=False)
class ClassifierRun(Run):
    """One training of a classifier.

    Args:
        scores: of the held-out events.
        fit: content of `fit.json` for these scores and settings; None without.
    """

    scores: Scores = None  # type: ignore[assignment]  # always given; the base class has defaults
    fit: Mapping[str, Any] | None = None


ModelResult = generic.ModelResult[ClassifierRun]


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison(generic.Comparison[ClassifierRun]):
    """Classifiers side by side, all evaluated on the same events.

    Args:
        signal: names of the signal processes.
        backgrounds: names of the backgrounds.
    """

    settings: ClassificationEvaluationConfig
    signal: tuple[str, ...]
    backgrounds: tuple[str, ...]

    @property
    def fitted(self) -> bool:
        """True if all runs have been fitted (`femtobarn fit`), in the same way."""
        return Metric("fit", FITTED[0]) in self.rows[0].measurements

    @property
    def points(self) -> tuple[str, ...]:
        """Working points as metrics write them."""
        return tuple(working_point_label(efficiency) for efficiency in self.settings.efficiencies)

    def deviation(self, first: ModelResult, second: ModelResult, metric: Metric) -> float:
        """Difference of two models in standard deviations, positive if the first is larger; see `difference`."""
        if metric.name == "gain":  # the square of a ratio to a common baseline: the same order, but never exactly 1
            metric = replace(metric, name="significance")
        return super().deviation(first, second, metric)


def load_run(path: Path) -> ClassifierRun:
    """Read a finished run of a classifier.

    Raises:
        ValueError: as `femtobarn.evaluation.runs.load_run`, or predictions of another task.
    """
    return as_classifier_run(load_any_run(path))


def as_classifier_run(run: Run) -> ClassifierRun:
    """The run with its scores and its fit.

    Raises:
        ValueError: predictions of another task.
    """
    if isinstance(run, ClassifierRun):
        return run
    try:
        scores = Scores.from_predictions(run.predictions)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{run.path / PREDICTIONS}: {error}") from None
    return ClassifierRun(**vars(run), scores=scores, fit=_fit(run.path, run.metrics))


def _fit(path: Path, metrics: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Result of `femtobarn fit`, unless the run was evaluated again since."""
    if not (path / FIT).is_file():
        return None
    fit: Mapping[str, Any] = read_checked_json(path / FIT, "delete it and run `femtobarn fit` again").content
    current = fit.get("settings") == metrics["settings"] and fit.get("scores") == checksum(predictions_file(path))
    return fit if current else None


def compare(
    runs: Sequence[Path | Run], *, baseline: str | None = None, settings: ClassificationEvaluationConfig | None = None
) -> Comparison:
    """Group finished runs by model and put their metrics side by side.

    Args:
        runs: run folders, or runs already read.
        baseline: label of the model that luminosity gains refer to; default: the first one.
        settings: of the evaluation; default: those of the runs.

    Raises:
        ValueError: no runs, an unfinished one, runs evaluated on different events or signals or with different
            settings, the same label and seed twice, or a baseline that is not among the models.
    """
    loaded = [as_classifier_run(run) if isinstance(run, Run) else load_run(run) for run in runs]
    if not loaded:
        raise ValueError("no runs to compare")
    first = loaded[0]
    for other in loaded[1:]:
        if first.scores.signal != other.scores.signal:
            raise ValueError(
                f"the signal is {', '.join(first.scores.signal)} in {first.path}, "
                f"{', '.join(other.scores.signal)} in {other.path}"
            )
    check_same_events(loaded)
    settings = settings or generic.shared_settings(loaded, ClassificationEvaluationConfig)
    groups = by_model(loaded)
    baseline = baseline_label(groups, baseline)
    fitted = _have_same_fit(loaded, settings)
    rows = _with_gains([_result(name, members, settings, fitted) for name, members in groups.items()], baseline)
    return Comparison(
        rows=tuple(rows),
        baseline=baseline,
        settings=settings,
        headline=AUC,
        lower_is_better=frozenset({*tagging.INVERSE, LIMIT}),
        pooled=pooled_seeds(rows),
        signal=first.scores.signal,
        backgrounds=first.scores.backgrounds,
    )


def _have_same_fit(runs: Sequence[ClassifierRun], settings: ClassificationEvaluationConfig) -> bool:
    """True if all runs have been fitted, and in the same way."""
    fits = [run.fit for run in runs if run.fit is not None]
    settings_of_fits = [
        (fit["settings"], fit["least"], fit["systematics"], len(fit["limit"]["replicas"])) for fit in fits
    ]
    # not key by key: the settings may have got new ones since
    same_settings = [
        ClassificationEvaluationConfig.model_validate(fit_settings[0]) == settings for fit_settings in settings_of_fits
    ]
    return (
        len(fits) == len(runs)
        and all(fit_settings == settings_of_fits[0] for fit_settings in settings_of_fits)
        and all(same_settings)
    )


def _result(
    label: str, runs: Sequence[ClassifierRun], settings: ClassificationEvaluationConfig, fitted: bool
) -> ModelResult:
    trainings = [_run_replicas(run, settings, fitted) for run in runs]
    result = model_result(label, runs, trainings)
    if not settings.tagging:
        return result
    floors = trainings[-1].floors
    measurements, replicas = dict(result.measurements), dict(result.replicas)
    for metric, inverse in tagging.inverses(replicas).items():
        replicas[metric] = inverse
        efficiency = replace(metric, name=EFFICIENCIES[metric.name])
        measurements[metric] = _rejection(inverse, measurements[efficiency], floors[efficiency])
    return replace(result, measurements=measurements, replicas=replicas)


def _run_replicas(run: ClassifierRun, settings: ClassificationEvaluationConfig, fitted: bool) -> Replicas:
    """The replicas stored with the run, where they were made with these settings; with those of its fit."""
    stored = run.replicas if run.metrics["settings"] == settings.model_dump(mode="json") else None
    replicas = stored or metric_replicas(run.scores, settings)
    if not fitted:
        return replicas
    fits = {name: (run.fit or {})[name] for name in FITTED}
    extra = {Metric("fit", name): np.array([fit["value"], *fit["replicas"]]) for name, fit in fits.items()}
    return replace(replicas, values={**replicas.values, **extra})


def _rejection(replicas: NDArray[np.float64], efficiency: Measurement, least: float) -> Measurement:
    value = float(replicas[0])
    if not math.isfinite(value):
        return Measurement(above=tagging.limit(least))
    # the inverse of the mean efficiency: the mean of inverses would be dominated by the luckiest training
    seeds = None if efficiency.seeds is None else value**2 * efficiency.seeds
    return Measurement.finite(value, float(bootstrap_std(replicas)), seeds)


def _with_gains(rows: Sequence[ModelResult], baseline: str) -> list[ModelResult]:
    reference = next(row for row in rows if row.label == baseline)
    finished = []
    for row in rows:
        measurements, replicas = dict(row.measurements), dict(row.replicas)
        for metric in [metric for metric in row.measurements if metric.name == "significance"]:
            gain = replace(metric, name="gain")
            replicas[gain] = luminosity_gain(row.replicas[metric], reference.replicas[metric])
            value = float(replicas[gain][0])
            if row is reference:
                measurements[gain] = Measurement.finite(value)
                continue
            spreads = [_relative_seeds(model.measurements[metric]) for model in (row, reference)]
            relative = [spread for spread in spreads if spread is not None]
            seeds = 2 * value * math.hypot(*relative) if len(relative) == 2 else None
            measurements[gain] = Measurement.finite(value, float(bootstrap_std(replicas[gain])), seeds)
        finished.append(replace(row, measurements=measurements, replicas=replicas))
    return finished


def _relative_seeds(measurement: Measurement) -> float | None:
    """Spread over seeds in units of the value."""
    return measurement.seeds / measurement.value if measurement.seeds is not None and measurement.value else None
