"""Metrics of a regression: closed formulas, numpy's quantiles, and known errors."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from femtobarn.evaluation.predictions import Predictions
from femtobarn.tasks.regression.config import RegressionEvaluationConfig
from femtobarn.tasks.regression.metrics import bins_of, evaluate, weighted_quantiles

RNG = np.random.default_rng(3)


def gaussian(
    n_events: int = 20_000, bias: float = 0.02, sigma: float = 0.1, weight: float | None = None
) -> Predictions:
    """Predictions with a Gaussian relative error of two targets, the second one exact."""
    true = RNG.uniform(100, 200, n_events)
    return Predictions(
        process=np.where(np.arange(n_events) % 2, "a", "b"),
        number=np.arange(n_events),
        hard=np.arange(n_events),
        weight=RNG.uniform(0.5, 1.5, n_events) if weight is None else np.full(n_events, weight),
        columns={
            "true_E": true,
            "predicted_E": true * (1 + RNG.normal(bias, sigma, n_events)),
            "true_m": true / 2,
            "predicted_m": true / 2,
            "eta": RNG.normal(size=n_events),
        },
        metadata={"targets": ["E", "m"], "observables": ["eta"]},
    )


@pytest.mark.parametrize("probabilities", [(0.5,), (0.1, 0.35, 0.9)])
def test_weighted_quantiles_with_equal_weights_are_hazens(probabilities):
    values = RNG.normal(size=101)
    expected = np.quantile(values, probabilities, method="hazen")
    np.testing.assert_allclose(weighted_quantiles(values, np.ones((1, 101)), probabilities)[0], expected, rtol=1e-12)


def test_weighted_quantiles_count_an_event_of_double_weight_twice():
    values, weights = RNG.normal(size=4000), RNG.integers(1, 4, 4000)
    repeated = np.quantile(np.repeat(values, weights), (0.2, 0.8))
    found = weighted_quantiles(values, weights[None].astype(float), (0.2, 0.8))[0]
    np.testing.assert_allclose(found, repeated, atol=5e-3)


def test_metrics_of_gaussian_errors_are_mean_and_width_of_the_gaussian():
    metrics = evaluate(gaussian(), RegressionEvaluationConfig(bootstrap=30, bins=2)).metrics
    expected = {"bias": 0.02, "resolution": 0.1, "resolution_95": 0.2, "tails": 2 * norm.sf(3)}
    for name, value in expected.items():
        entry = metrics[name]["E"]
        assert abs(entry["value"] - value) < 4 * entry["error"] + 2e-4, name
        assert metrics[name]["m"]["value"] == 0, name
    # errors of median and of the mean squared error, by the formulas for Gaussians
    n_effective = sum(entry["effective"] for entry in metrics["events"].values())
    assert metrics["bias"]["E"]["error"] == pytest.approx(0.1 * math.sqrt(math.pi / 2 / n_effective), rel=0.5)
    assert metrics["r2"]["m"]["value"] == 1


def test_r2_is_that_of_scikit_learn():
    from sklearn.metrics import r2_score

    predictions = gaussian(500)
    value = evaluate(predictions, RegressionEvaluationConfig(bootstrap=10)).metrics["r2"]["E"]["value"]
    columns = predictions.columns
    expected = r2_score(columns["true_E"], columns["predicted_E"], sample_weight=predictions.weight)
    assert value == pytest.approx(expected, rel=1e-9)


def test_bins_have_equal_weight_and_hold_every_event_once():
    predictions = gaussian(1000)
    for variable in ("E", "eta"):
        bins = bins_of(predictions, variable, 5)
        assert np.sum([each.events for each in bins], axis=0).tolist() == [1] * 1000
        weights = [predictions.weight[each.events].sum() for each in bins]
        np.testing.assert_allclose(weights, predictions.weight.sum() / 5, atol=2)
        assert all(low.high == high.low for low, high in pairwise(bins))


def test_metrics_in_bins_and_processes_are_metrics_of_these_events_alone():
    predictions = gaussian(2000)
    settings = RegressionEvaluationConfig(bootstrap=10, bins=3)
    metrics = evaluate(predictions, settings).metrics
    second = bins_of(predictions, "E", 3)[1]
    for label, chosen in ((second.label, second.events), ("a", predictions.process == "a")):
        part = Predictions(
            **{name: column[chosen] for name, column in predictions.event_columns.items()},
            columns={name: column[chosen] for name, column in predictions.columns.items()},
            metadata=predictions.metadata,
        )
        alone = evaluate(part, RegressionEvaluationConfig(bootstrap=10, bins=1)).metrics
        assert metrics["resolution"][label]["E"]["value"] == pytest.approx(alone["resolution"]["E"]["value"], rel=1e-12)


def test_relative_error_of_a_true_value_of_zero_is_an_error():
    predictions = gaussian(50)
    predictions.columns["true_E"][3] = 0.0
    with pytest.raises(ValueError, match="E is 0 in 1 events"):
        evaluate(predictions, RegressionEvaluationConfig(bootstrap=10))
