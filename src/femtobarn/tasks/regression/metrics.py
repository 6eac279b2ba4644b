"""Metrics of a regression: bias, resolution, tails and R², with statistical errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import Evaluated, Replicas, bootstrap_std, draw_replicas, effective, hard_events
from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.predictions import Predictions
from femtobarn.tasks.regression.config import RegressionEvaluationConfig
from femtobarn.tasks.regression.regressor import OBSERVABLES, PREDICTED, SCALES, TARGETS, TRUE

#: Names of the metrics and their meaning; r is the relative error (predicted - true) / |true|.
METRICS = {
    "bias": "median of r",
    "resolution": "half width of the central 68.3 % interval of r",
    "resolution_95": "half width of the central 95.4 % interval of r",
    "tails": "fraction of events with |r - bias| above three times the resolution",
    "mse": "mean squared error of the transformed target, in units of its variance in the training events",
    "r2": "R², one minus the mean squared error over the variance of the true values",
}

#: Metrics whose lowest value is the best; bias has no best value.
LOWER_IS_BETTER = frozenset({"resolution", "resolution_95", "tails", "mse"})
UNRANKED = frozenset({"bias"})

#: Probabilities of 1 and 2 standard deviations of a Gaussian, so that widths are comparable with its sigma.
ONE_SIGMA, TWO_SIGMA = math.erf(1 / math.sqrt(2)), math.erf(2 / math.sqrt(2))
QUANTILES = (0.5, 0.5 - ONE_SIGMA / 2, 0.5 + ONE_SIGMA / 2, 0.5 - TWO_SIGMA / 2, 0.5 + TWO_SIGMA / 2)


#: Fraction of the events with the largest values of a target that have metrics of their own, and the fewest of them.
LARGEST_FRACTION, MIN_LARGEST_EVENTS = 0.01, 10


class Bin(NamedTuple):
    """Events in a range of a target or an observable."""

    variable: str
    low: float
    high: float
    events: NDArray[np.bool_]

    @property
    def label(self) -> str:
        """Name in metrics."""
        return f"{self.variable} {self.low:.4g} to {self.high:.4g}"


def relative_error(predictions: Predictions, target: str) -> NDArray[np.float64]:
    """Predicted minus true value, divided by the absolute true value.

    Raises:
        ValueError: a true value of 0.
    """
    true = predictions.columns[TRUE + target].astype(np.float64)
    if (true == 0).any():
        raise ValueError(f"{target} is 0 in {int((true == 0).sum())} events; relative errors need values other than 0")
    return np.asarray((predictions.columns[PREDICTED + target] - true) / np.abs(true))


def bins_of(predictions: Predictions, variable: str, n_bins: int) -> list[Bin]:
    """Bins with equal weight in a target or an observable.

    Args:
        predictions: with the column.
        variable: name of a target or an observable.
        n_bins: number of bins; fewer if the variable has fewer distinct values.
    """
    name = TRUE + variable if variable in predictions.metadata[TARGETS] else variable
    values = predictions.columns[name].astype(np.float64)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(np.abs(predictions.weight)[order])
    inner = np.searchsorted(cumulative, cumulative[-1] * np.arange(1, n_bins) / n_bins)
    edges = np.unique([values.min(), *values[order][np.minimum(inner, len(values) - 1)], values.max()])
    if len(edges) == 1:
        return [Bin(variable, edges[0], edges[0], np.ones(len(values), dtype=bool))]
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [Bin(variable, edges[i], edges[i + 1], place == i) for i in range(len(edges) - 1)]


def evaluate(predictions: Predictions, settings: RegressionEvaluationConfig) -> Evaluated:
    """Bias, resolution, tails and R² of one training, each with its statistical error.

    Returns:
        the replicas, and the content of `metrics.json`: each metric of `METRICS` by target; by process and target; and
        by bin and target; `events` by process (number, effective number). Each number is `{"value", "error"}`.

    Raises:
        ValueError: a true value of 0.
    """
    values = metric_replicas(predictions, settings)
    metrics: dict[str, Any] = {"settings": settings.model_dump(mode="json"), "targets": predictions.metadata[TARGETS]}
    for metric, numbers in values.values.items():
        branch = metrics
        for key in metric.path[:-1]:
            branch = branch.setdefault(key, {})
        value, error = float(numbers[0]), float(bootstrap_std(numbers))
        finite = math.isfinite(value)
        branch[metric.path[-1]] = {
            "value": value if finite else None,
            "error": error if finite and math.isfinite(error) else None,
        }
    group = hard_events(predictions)
    metrics["events"] = {
        str(name): {
            "number": int((predictions.process == name).sum()),
            "effective": effective(predictions.weight[predictions.process == name], group[predictions.process == name]),
        }
        for name in np.unique(predictions.process)
    }
    return Evaluated(metrics, values)


def metric_replicas(predictions: Predictions, settings: RegressionEvaluationConfig) -> Replicas:
    """Every metric for the test events and for bootstrap replicas of them."""
    parts = dict(_parts(predictions, settings))
    by_metric: dict[Metric, list[NDArray[np.float64]]] = {}
    targets: Sequence[str] = predictions.metadata[TARGETS]
    errors = {target: relative_error(predictions, target) for target in targets}
    for weights in draw_replicas(predictions, settings.bootstrap, settings.seed):
        for label, chosen in parts.items():
            for target in targets:
                true = predictions.columns[TRUE + target][chosen].astype(np.float64)
                predicted = predictions.columns[PREDICTED + target][chosen].astype(np.float64)
                numbers = _measure(errors[target][chosen], true, predicted, weights[:, chosen])
                if scale := predictions.metadata.get(SCALES, {}).get(target):
                    numbers["mse"] = _standardised_mse(scale, true, predicted, weights[:, chosen])
                for name, column in numbers.items():
                    by_metric.setdefault(Metric(name, target, at=label), []).append(column)
    return Replicas({metric: np.concatenate(blocks) for metric, blocks in by_metric.items()})


def _parts(
    predictions: Predictions, settings: RegressionEvaluationConfig
) -> Iterator[tuple[str | None, NDArray[np.bool_]]]:
    """All events, each process, and each bin."""
    yield None, np.ones(len(predictions), dtype=bool)
    names = [str(name) for name in np.unique(predictions.process)]
    if len(names) > 1:
        yield from ((name, predictions.process == name) for name in names)
    for target in predictions.metadata[TARGETS]:
        if (events := largest_events(predictions, target)) is not None:
            yield largest_label(target), events
    for variable in (*predictions.metadata[TARGETS], *predictions.metadata[OBSERVABLES]):
        for bin_ in bins_of(predictions, variable, settings.bins):
            yield bin_.label, bin_.events


def _measure(
    error: NDArray[np.float64],
    true: NDArray[np.float64],
    predicted: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Metrics of some events for each row of weights."""
    bias, low, high, low_95, high_95 = weighted_quantiles(error, weights, QUANTILES).T
    resolution = (high - low) / 2
    total = weights.sum(axis=1)
    outside = np.abs(error - bias[:, None]) > 3 * resolution[:, None]
    mean = weights @ true / total
    variance = weights @ true**2 / total - mean**2
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1 - (weights @ (predicted - true) ** 2 / total) / np.where(variance > 0, variance, np.nan)
    return {
        "bias": bias,
        "resolution": resolution,
        "resolution_95": (high_95 - low_95) / 2,
        "tails": (weights * outside).sum(axis=1) / total,
        "r2": r2,
    }


def _standardised_mse(
    scale: Mapping[str, Any], true: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean squared error after the transformation, divided by the variance of the training events."""
    if scale["transform"] == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            true, predicted = np.log(true), np.log(predicted)
    squares = ((predicted - true) / scale["std"]) ** 2
    mean: NDArray[np.float64] = weights @ squares / weights.sum(axis=1)
    return mean


def largest_label(target: str) -> str:
    """Label of the metrics of the events with the largest values of a target."""
    return f"largest {LARGEST_FRACTION:.0%} of {target}"


def largest_events(predictions: Predictions, target: str) -> NDArray[np.bool_] | None:
    """The events with the largest true values of a target; None if they are too few for metrics of their own."""
    n_events = int(LARGEST_FRACTION * len(predictions))
    if n_events < MIN_LARGEST_EVENTS:
        return None
    order = np.argsort(predictions.columns[TRUE + target], kind="stable")
    chosen = np.zeros(len(predictions), dtype=bool)
    chosen[order[-n_events:]] = True
    return chosen


def weighted_quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], probabilities: Sequence[float]
) -> NDArray[np.float64]:
    """Quantiles of weighted values, for each row of weights.

    The distribution function rises at each value by its weight; between the middles of the steps it is linear.

    Args:
        values: shape (events,).
        weights: shape (rows, events).
        probabilities: each in (0, 1).

    Returns:
        shape (rows, probabilities).
    """
    order = np.argsort(values, kind="stable")
    ordered, sorted_weights = values[order], weights[:, order]
    middle = np.cumsum(sorted_weights, axis=1) - sorted_weights / 2
    middle /= sorted_weights.sum(axis=1, keepdims=True)
    return np.stack([np.interp(probabilities, np.maximum.accumulate(row), ordered) for row in middle])
