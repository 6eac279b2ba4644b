"""Comparison: finished runs side by side, model by model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation import tagging
from femtobarn.evaluation.judge import best_by, floor, label, measured_by, numbers_of
from femtobarn.evaluation.measurement import Measurement, Metric
from femtobarn.evaluation.replicas import spread
from femtobarn.evaluation.runs import Run, load_run
from femtobarn.evaluation.settings import EvaluationConfig
from femtobarn.evaluation.significance import luminosity_gain

#: What a fit measures: `Metric("fit", ...)`.
FITTED = ("discovery", "limit")
LIMIT = Metric("fit", "limit")

#: Efficiency that each rejection is the inverse of.
EFFICIENCIES = {rejection: efficiency for efficiency, rejection in tagging.INVERSE.items()}

#: Two models closer than so many standard deviations are shown as equals.
TIE = 2.0


@dataclass(frozen=True, eq=False)
class ModelResult:
    """A model: its trainings and what was measured of them.

    Args:
        label: name of the model.
        runs: its trainings, by seed.
        measurements: by metric: those of `femtobarn.evaluation.judge.numbers_of`, `gain` by working point and kind,
            and `fit` (`discovery`, `limit`).
        replicas: mean over the trainings of each metric, for the test events and for bootstrap replicas of them.
    """

    label: str
    runs: tuple[Run, ...]
    measurements: Mapping[Metric, Measurement]
    replicas: Mapping[Metric, NDArray[np.float64]]

    @property
    def model(self) -> str:
        """Label of the model without the size of the training set."""
        return self.runs[0].label

    @property
    def family(self) -> str:
        """The architecture."""
        return str((self.runs[0].config.get("model") or {}).get("name"))

    @property
    def fraction(self) -> float:
        """Part of the training events that was used."""
        return self.runs[0].fraction

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the trainings."""
        return tuple(run.seed for run in self.runs)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models side by side, all judged on the same events.

    Args:
        rows: one a model, in the order the runs were given.
        baseline: label of the model that luminosity gains refer to.
        settings: the evaluation all runs share.
        signal: names of the signal processes.
        backgrounds: names of the backgrounds.
        pooled: spread over seeds by metric, from all models with more than one training.
    """

    rows: tuple[ModelResult, ...]
    baseline: str
    settings: EvaluationConfig
    signal: tuple[str, ...]
    backgrounds: tuple[str, ...]
    pooled: Mapping[Metric, float]

    @property
    def fitted(self) -> bool:
        """True if all runs have been fitted (`femtobarn fit`), in the same way."""
        return Metric("fit", FITTED[0]) in self.rows[0].measurements

    @property
    def points(self) -> tuple[str, ...]:
        """Working points as metrics write them."""
        return tuple(label(efficiency) for efficiency in self.settings.efficiencies)

    @property
    def sizes(self) -> tuple[float, ...]:
        """Parts of the training events that models were trained on, the smallest first."""
        return tuple(sorted({row.fraction for row in self.rows}))

    def at(self, size: float) -> Comparison:
        """The models trained on this part of the training events."""
        return replace(self, rows=tuple(row for row in self.rows if row.fraction == size))

    @property
    def largest(self) -> Comparison:
        """The models trained on the largest part of the training events, and the one that gains refer to."""
        size = self.sizes[-1]
        return replace(self, rows=tuple(row for row in self.rows if row.fraction == size or row.label == self.baseline))

    def __getitem__(self, name: str) -> ModelResult:
        """The row of a model."""
        return next(row for row in self.rows if row.label == name)

    def best(self, metric: Metric) -> ModelResult | None:
        """The model with the best value, lowest for background efficiencies and limits; None if none was measured."""
        measured = [row for row in self.rows if row.measurements[metric].value is not None]
        sign = -1 if metric.name in tagging.INVERSE or metric == LIMIT else 1
        return max(measured, key=lambda row: sign * (row.measurements[metric].value or 0.0), default=None)

    def ties(self, metric: Metric) -> tuple[str, ...]:
        """Labels of the models that differ from the best one by less than `TIE` standard deviations."""
        best = self.best(metric)
        if best is None:
            return ()
        rivals = [row for row in self.rows if row is not best and row.measurements[metric].value is not None]
        return tuple(row.label for row in rivals if abs(self.deviation(best, row, metric)) < TIE)

    def difference(self, first: ModelResult, second: ModelResult, metric: Metric) -> tuple[float, float, float]:
        r"""First model's value minus the second's, its statistical error, and its error from the trainings.

        The test events are the same for both, so the statistical error is that of the difference, replica by replica.
        A model's mean over n seeds adds :math:`s/\sqrt n`, with the spread s pooled over all models, since that of two
        or three trainings alone is too rough; without any model of two seeds there is no such term.
        """
        difference = first.replicas[metric] - second.replicas[metric]
        training = self.pooled.get(metric, 0.0) * math.sqrt(1 / len(first.runs) + 1 / len(second.runs))
        return float(difference[0]), float(spread(difference)), training

    def deviation(self, first: ModelResult, second: ModelResult, metric: Metric) -> float:
        """Difference of two models in standard deviations, positive if the first is larger; see `difference`."""
        if metric.name == "gain":  # the square of a ratio to a common baseline: the same order, but never exactly 1
            metric = replace(metric, name="significance")
        value, statistical, training = self.difference(first, second, metric)
        error = math.hypot(statistical, training)
        return value / error if error > 0 else math.copysign(math.inf, value) if value else 0.0


def compare(
    runs: Sequence[Path | Run], *, baseline: str | None = None, settings: EvaluationConfig | None = None
) -> Comparison:
    """Groups finished runs by model and puts their numbers side by side.

    Args:
        runs: run folders, or runs already read.
        baseline: label of the model that luminosity gains refer to; the first one if not given.
        settings: of the evaluation; those the runs were judged with if not given.

    Raises:
        ValueError: no runs, an unfinished one, runs judged on different events or signals or with different settings,
            the same label and seed twice, or a baseline that is not among the models.
    """
    read = [run if isinstance(run, Run) else load_run(run) for run in runs]
    if not read:
        raise ValueError("no runs to compare")
    for other in read[1:]:
        _same_events(read[0], other)
    settings = settings or _settings(read)
    groups = by_model(read)
    baseline = _baseline(groups, baseline)
    fitted = _fitted_alike(read, settings)
    rows = _with_gains([_result(name, members, settings, fitted) for name, members in groups.items()], baseline)
    scores = read[0].scores
    return Comparison(tuple(rows), baseline, settings, scores.signal, scores.backgrounds, _pooled(rows))


def _fitted_alike(runs: Sequence[Run], settings: EvaluationConfig) -> bool:
    """True if all runs have been fitted, and in the same way."""
    told = [run.fit for run in runs if run.fit is not None]
    ways = [(one["settings"], one["least"], one["systematics"], len(one["limit"]["replicas"])) for one in told]
    # not key by key: the settings may have got new ones since
    judged = [EvaluationConfig.model_validate(way[0]) == settings for way in ways]
    return len(told) == len(runs) and all(way == ways[0] for way in ways) and all(judged)


def _result(label: str, runs: Sequence[Run], settings: EvaluationConfig, fitted: bool) -> ModelResult:
    trainings: defaultdict[Metric, list[NDArray[np.float64]]] = defaultdict(list)
    floors: dict[Metric, float] = {}
    for run in runs:
        measured, best = measured_by(run.scores, settings), best_by(run.scores, settings)
        for metric, values in numbers_of(run.scores, measured, best, settings).items():
            trainings[metric].append(values)
            floors[metric] = floor(metric, measured)
        for name in FITTED if fitted else ():
            fit = (run.fit or {})[name]
            trainings[Metric("fit", name)].append(np.array([fit["value"], *fit["replicas"]]))
    replicas: dict[Metric, NDArray[np.float64]] = {
        metric: np.mean(values, axis=0) for metric, values in trainings.items()
    }
    measurements = {}
    for metric, by_training in trainings.items():
        mean, least = replicas[metric], floors.get(metric, 0.0)
        error = least if mean[0] == 0 and least > 0 else float(spread(mean))
        seeds = float(np.std([values[0] for values in by_training], ddof=1)) if len(by_training) > 1 else None
        measurements[metric] = Measurement.finite(float(mean[0]), error, seeds)
    for metric, inverse in tagging.inverses(replicas).items() if settings.tagging else ():
        replicas[metric] = inverse
        efficiency = replace(metric, name=EFFICIENCIES[metric.name])
        measurements[metric] = _rejection(inverse, measurements[efficiency], floors[efficiency])
    return ModelResult(label, tuple(runs), measurements, replicas)


def _rejection(replicas: NDArray[np.float64], efficiency: Measurement, least: float) -> Measurement:
    value = float(replicas[0])
    if not math.isfinite(value):
        return Measurement(above=tagging.limit(least))
    # the inverse of the mean efficiency: the mean of inverses would be dominated by the luckiest training
    seeds = None if efficiency.seeds is None else value**2 * efficiency.seeds
    return Measurement.finite(value, float(spread(replicas)), seeds)


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
            measurements[gain] = Measurement.finite(value, float(spread(replicas[gain])), seeds)
        finished.append(replace(row, measurements=measurements, replicas=replicas))
    return finished


def _relative_seeds(measurement: Measurement) -> float | None:
    """Spread over seeds in units of the value."""
    return measurement.seeds / measurement.value if measurement.seeds is not None and measurement.value else None


def _pooled(rows: Sequence[ModelResult]) -> dict[Metric, float]:
    several = [row for row in rows if len(row.runs) > 1]
    freedom = sum(len(row.runs) - 1 for row in several)
    pooled: dict[Metric, float] = {}
    for metric in several[0].measurements if several else ():
        spreads = [(row.measurements[metric].seeds, len(row.runs) - 1) for row in several]
        pooled[metric] = math.sqrt(sum(degrees * (seeds or 0.0) ** 2 for seeds, degrees in spreads) / freedom)
    return pooled


def by_model(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Trainings of each model by seed; with several sizes of the training set, each is a model of its own.

    Raises:
        ValueError: the same label and seed twice.
    """
    sizes = {run.fraction for run in runs}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        whole = run.fraction == max(sizes)
        name = run.label if whole else f"{run.label}, {100 * run.fraction:.3g} % of training"
        twin = next((other for other in groups.get(name, []) if other.seed == run.seed), None)
        if twin is not None:
            raise ValueError(f"{twin.path} and {run.path} are both {name} with seed {run.seed}; leave one out")
        groups.setdefault(name, []).append(run)
    return {name: sorted(members, key=lambda run: run.seed) for name, members in groups.items()}


def _baseline(groups: Mapping[str, Sequence[Run]], name: str | None) -> str:
    """The row that gains refer to; with several sizes of the training set, the model's largest."""
    wanted = name or next(iter(groups.values()))[0].label
    if wanted in groups:
        return wanted
    sizes = {group: runs[0].fraction for group, runs in groups.items() if runs[0].label == wanted}
    if not sizes:
        raise ValueError(f"no model is labelled {name!r}; there are {', '.join(groups)}")
    return max(sizes, key=lambda group: sizes[group])


def _settings(runs: Sequence[Run]) -> EvaluationConfig:
    found = [EvaluationConfig.model_validate(run.metrics["settings"]) for run in runs]
    for run, settings in zip(runs, found, strict=True):
        if settings != found[0]:
            raise ValueError(f"{runs[0].path} was judged with {found[0]}, {run.path} with {settings}; judge them alike")
    return found[0]


def _same_events(first: Run, second: Run) -> None:
    one, other = first.scores, second.scores
    if one.signal != other.signal:
        raise ValueError(
            f"the signal is {', '.join(one.signal)} in {first.path}, {', '.join(other.signal)} in {second.path}"
        )
    orders = [np.lexsort((scores.number, scores.process)) for scores in (one, other)]
    same = len(one) == len(other) and all(
        np.array_equal(getattr(one, name)[orders[0]], getattr(other, name)[orders[1]])
        for name in ("process", "number", "hard")
    )
    if not (same and np.allclose(one.weight[orders[0]], other.weight[orders[1]], rtol=1e-6)):
        raise ValueError(
            f"{first.path} and {second.path} were judged on different events (or weights), so their numbers can't be "
            f"compared: {len(one)} and {len(other)} events"
        )
