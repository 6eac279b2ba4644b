"""Comparison: finished runs side by side, model by model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import Replicas, bootstrap_std
from femtobarn.evaluation.measurement import Measurement, Metric
from femtobarn.evaluation.runs import Run
from femtobarn.evaluation.settings import EvaluationConfig

#: Two models closer than so many standard deviations are shown as equals.
TIE = 2.0

R = TypeVar("R", bound=Run)
C = TypeVar("C", bound="Comparison[Any]")
S = TypeVar("S", bound=EvaluationConfig)


@dataclass(frozen=True, eq=False)
class ModelResult(Generic[R]):
    """A model: its trainings and their metrics.

    Args:
        label: name of the model.
        runs: its trainings, by seed.
        measurements: each metric with its errors.
        replicas: mean over the trainings of each metric, for the test events and for bootstrap replicas of them.
    """

    label: str
    runs: tuple[R, ...]
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison(Generic[R]):
    """Models side by side, all evaluated on the same events.

    Args:
        rows: one per model, in the order the runs were given.
        baseline: label of the model that the others are compared with.
        settings: the evaluation that all runs share.
        headline: the metric that ranks the models.
        lower_is_better: names of the metrics, or metrics, whose lowest value is the best.
        unranked: names of the metrics without a best value, such as a bias.
        pooled: spread over seeds by metric, from all models with more than one training.
    """

    rows: tuple[ModelResult[R], ...]
    baseline: str
    settings: Any
    headline: Metric
    lower_is_better: frozenset[str | Metric] = frozenset()
    unranked: frozenset[str] = frozenset()
    pooled: Mapping[Metric, float] = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[float, ...]:
        """Parts of the training events that models were trained on, the smallest first."""
        return tuple(sorted({row.fraction for row in self.rows}))

    def at(self: C, size: float) -> C:
        """The models trained on this part of the training events."""
        return replace(self, rows=tuple(row for row in self.rows if row.fraction == size))

    @property
    def largest(self: C) -> C:
        """The models trained on the largest part of the training events, and the baseline."""
        size = self.sizes[-1]
        return replace(self, rows=tuple(row for row in self.rows if row.fraction == size or row.label == self.baseline))

    @property
    def leader(self) -> ModelResult[R]:
        """The model with the best headline metric."""
        return self.best(self.headline) or self.rows[0]

    def __getitem__(self, name: str) -> ModelResult[R]:
        """The row of a model."""
        return next(row for row in self.rows if row.label == name)

    def best(self, metric: Metric) -> ModelResult[R] | None:
        """The model with the best value; None if no model has a value or the metric has no best value."""
        if metric.name in self.unranked:
            return None
        measured = [row for row in self.rows if row.measurements[metric].value is not None]
        sign = -1 if self.lower_is_better & {metric.name, metric} else 1
        return max(measured, key=lambda row: sign * (row.measurements[metric].value or 0.0), default=None)

    def ties(self, metric: Metric) -> tuple[str, ...]:
        """Labels of the models that differ from the best one by less than `TIE` standard deviations."""
        best = self.best(metric)
        if best is None:
            return ()
        rivals = [row for row in self.rows if row is not best and row.measurements[metric].value is not None]
        return tuple(row.label for row in rivals if abs(self.deviation(best, row, metric)) < TIE)

    def difference(self, first: ModelResult[R], second: ModelResult[R], metric: Metric) -> tuple[float, float, float]:
        r"""First model's value minus the second's, its statistical error, and its error from the trainings.

        The test events are the same for both, so the statistical error is that of the difference, replica by replica.
        A model's mean over n seeds adds :math:`s/\sqrt n`, with the spread s pooled over all models, since that of two
        or three trainings alone is too rough; without any model of two seeds there is no such term.
        """
        difference = first.replicas[metric] - second.replicas[metric]
        training = self.pooled.get(metric, 0.0) * math.sqrt(1 / len(first.runs) + 1 / len(second.runs))
        return float(difference[0]), float(bootstrap_std(difference)), training

    def deviation(self, first: ModelResult[R], second: ModelResult[R], metric: Metric) -> float:
        """Difference of two models in standard deviations, positive if the first is larger; see `difference`."""
        value, statistical, training = self.difference(first, second, metric)
        error = math.hypot(statistical, training)
        return value / error if error > 0 else math.copysign(math.inf, value) if value else 0.0


def model_result(label: str, runs: Sequence[R], replicas: Sequence[Replicas]) -> ModelResult[R]:
    """Mean over the trainings of a model, with the statistical error of the mean and the spread over seeds.

    Args:
        label: name of the model.
        runs: its trainings.
        replicas: metrics of each training.
    """
    by_metric: defaultdict[Metric, list[NDArray[np.float64]]] = defaultdict(list)
    for training in replicas:
        for metric, values in training.values.items():
            by_metric[metric].append(values)
    means: dict[Metric, NDArray[np.float64]] = {metric: np.mean(values, axis=0) for metric, values in by_metric.items()}
    measurements = {}
    for metric, trainings in by_metric.items():
        mean, floor = means[metric], replicas[-1].floors.get(metric, 0.0)
        error = floor if mean[0] == 0 and floor > 0 else float(bootstrap_std(mean))
        seeds = float(np.std([values[0] for values in trainings], ddof=1)) if len(trainings) > 1 else None
        measurements[metric] = Measurement.finite(float(mean[0]), error, seeds)
    return ModelResult(label, tuple(runs), measurements, means)


def pooled_seeds(rows: Sequence[ModelResult[Any]]) -> dict[Metric, float]:
    """Standard deviation over seeds by metric, pooled over the models with more than one training."""
    several = [row for row in rows if len(row.runs) > 1]
    freedom = sum(len(row.runs) - 1 for row in several)
    pooled: dict[Metric, float] = {}
    for metric in several[0].measurements if several else ():
        spreads = [(row.measurements[metric].seeds, len(row.runs) - 1) for row in several]
        pooled[metric] = math.sqrt(sum(degrees * (seeds or 0.0) ** 2 for seeds, degrees in spreads) / freedom)
    return pooled


def by_model(runs: Sequence[R]) -> dict[str, list[R]]:
    """Trainings of each model by seed; with several sizes of the training set, each is a model of its own.

    Raises:
        ValueError: the same label and seed twice.
    """
    sizes = {run.fraction for run in runs}
    groups: dict[str, list[R]] = {}
    for run in runs:
        is_full = run.fraction == max(sizes)
        name = run.label if is_full else f"{run.label}, {100 * run.fraction:.3g} % of training"
        twin = next((other for other in groups.get(name, []) if other.seed == run.seed), None)
        if twin is not None:
            raise ValueError(f"{twin.path} and {run.path} are both {name} with seed {run.seed}; leave one out")
        groups.setdefault(name, []).append(run)
    return {name: sorted(members, key=lambda run: run.seed) for name, members in groups.items()}


def baseline_label(groups: Mapping[str, Sequence[Run]], name: str | None) -> str:
    """Label of the baseline; with several sizes of the training set, the model's largest.

    Raises:
        ValueError: no model has this label.
    """
    wanted = name or next(iter(groups.values()))[0].label
    if wanted in groups:
        return wanted
    sizes = {group: runs[0].fraction for group, runs in groups.items() if runs[0].label == wanted}
    if not sizes:
        raise ValueError(f"no model is labelled {name!r}; there are {', '.join(groups)}")
    return max(sizes, key=lambda group: sizes[group])


def compare_runs(
    runs: Sequence[R],
    replicas: Callable[[R, Any], Replicas],
    config: type[S],
    *,
    headline: Metric | None = None,
    baseline: str | None = None,
    lower_is_better: frozenset[str | Metric] = frozenset(),
    unranked: frozenset[str] = frozenset(),
) -> Comparison[R]:
    """Put runs side by side, model by model, with the errors of their differences.

    Args:
        runs: finished runs.
        replicas: computes the metrics of a run with settings, for runs that have not stored them.
        config: schema of the settings.
        headline: the metric that ranks the models; default: the first one.
        baseline: label of the model that the others are compared with; default: the first one.
        lower_is_better: names of the metrics, or metrics, whose lowest value is the best.
        unranked: names of the metrics without a best value.

    Raises:
        ValueError: no runs, runs that were evaluated on different events or with different settings, the same label
            and seed twice, or a baseline that is not among the models.
    """
    if not runs:
        raise ValueError("no runs to compare")
    check_same_events(runs)
    settings = shared_settings(runs, config)
    groups = by_model(runs)
    rows = tuple(
        model_result(label, members, [run.replicas or replicas(run, settings) for run in members])
        for label, members in groups.items()
    )
    return Comparison(
        rows=rows,
        baseline=baseline_label(groups, baseline),
        settings=settings,
        headline=headline or next(iter(rows[0].measurements)),
        lower_is_better=lower_is_better,
        unranked=unranked,
        pooled=pooled_seeds(rows),
    )


def shared_settings(runs: Sequence[Run], config: type[S]) -> S:
    """Settings of the evaluation that all runs share.

    Args:
        runs: the runs.
        config: schema of the settings.

    Raises:
        ValueError: runs that were evaluated with different settings.
    """
    settings = [config.model_validate(run.metrics["settings"]) for run in runs]
    for run, other in zip(runs, settings, strict=True):
        if other != settings[0]:
            raise ValueError(
                f"{runs[0].path} was evaluated with {settings[0]}, {run.path} with {other}; use the same settings"
            )
    return settings[0]


def check_same_events(runs: Sequence[Run]) -> None:
    """Check that all runs were evaluated on the same events with the same weights.

    Raises:
        ValueError: two runs whose events or weights differ.
    """
    for other in runs[1:]:
        first, second = runs[0].predictions, other.predictions
        orders = [np.lexsort((events.number, events.process)) for events in (first, second)]
        same = len(first) == len(second) and all(
            np.array_equal(getattr(first, name)[orders[0]], getattr(second, name)[orders[1]])
            for name in ("process", "number", "hard")
        )
        if not (same and np.allclose(first.weight[orders[0]], second.weight[orders[1]], rtol=1e-6)):
            raise ValueError(
                f"{runs[0].path} and {other.path} were evaluated on different events (or weights), so their metrics "
                f"can't be compared: {len(first)} and {len(second)} events"
            )
