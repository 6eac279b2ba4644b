"""Regression settings and the scale of targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from femtobarn.inputs import make_batch
from femtobarn.inputs.event_columns import EventColumns
from femtobarn.tasks.registry import task_kind
from femtobarn.tasks.regression.config import RegressionConfig
from femtobarn.tasks.regression.regressor import Regressor, fit_regressor
from tests.support.sample import make_events

RNG = np.random.default_rng(5)


def columns(**values: np.ndarray) -> EventColumns:
    n_events = len(next(iter(values.values())))
    return EventColumns(np.zeros(n_events, np.int64), ("a",), RNG.uniform(0.5, 1.5, n_events), values)


def config(**settings: object) -> RegressionConfig:
    return RegressionConfig.model_validate({"kind": "regression", "target": "m", **settings})


def test_standardised_targets_have_mean_0_and_variance_1_and_come_back():
    data = columns(m=RNG.lognormal(3, 0.5, 400), pt=RNG.normal(500, 30, 400))
    settings = config(target=["m", "pt"], transform={"m": "log"})
    task = fit_regressor(settings, ("a",), data)
    standardised, weights = task.targets(data)
    mean = (weights[:, None] * standardised).sum(0) / weights.sum()
    torch.testing.assert_close(mean, torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close((weights[:, None] * standardised**2).sum(0) / weights.sum(), torch.ones(2))
    predicted = task.predict(standardised)
    np.testing.assert_allclose(predicted["predicted_m"], data.values["m"], rtol=1e-5)
    np.testing.assert_allclose(predicted["predicted_pt"], data.values["pt"], rtol=1e-5)
    restored = task_kind("regression").restore(settings, task.state(), task.tensors())
    np.testing.assert_array_equal(restored.predict(standardised)["predicted_m"], predicted["predicted_m"])


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), ("l1", 1)])
def test_loss_is_the_weighted_mean_error(loss, power):
    data = columns(m=RNG.normal(10, 2, 60))
    task = fit_regressor(config(loss=loss), ("a",), data)
    values, weights = task.targets(data)
    outputs = torch.randn(60, 1, generator=torch.Generator().manual_seed(1))
    batch = make_batch(make_events(2), 3)
    expected = np.mean(weights.numpy() * np.abs((outputs - values).numpy()[:, 0]) ** power)
    assert float(task.loss(lambda _: outputs, batch, (values, weights))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "transform", "message"),
    [
        ([1.0, np.nan], "none", "m is nan in 1 of 2 events; it must be finite.*data.selection"),
        ([1.0, -2.0], "log", "m is -2 in 1 of 2 events; it must be positive"),
        ([3.0, 3.0], "none", "m has a standard deviation of 0"),
    ],
)
def test_targets_without_a_scale_are_named(values, transform, message):
    with pytest.raises(ValueError, match=message):
        fit_regressor(config(transform=transform), ("a",), columns(m=np.array(values)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": ["m", "m"]}, "names m twice"),
        ({"transform": {"pt": "log"}}, "pt, which is no target; targets are m"),
        ({"loss": "huber"}, "'mse' or 'l1'"),
    ],
)
def test_settings_that_contradict_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        config(**settings)


def test_processes_get_equal_weight_unless_they_keep_their_yields():
    sums = {"a": 10.0, "b": 30.0}
    balanced = Regressor(config(), ("a", "b"), [0.0], [1.0]).weight_factors(sums)
    assert {name: balanced[name] * sums[name] for name in sums} == pytest.approx({"a": 0.5, "b": 0.5})
    plain = Regressor(config(balance=False), ("a", "b"), [0.0], [1.0]).weight_factors(sums)
    assert {name: plain[name] * sums[name] for name in sums} == pytest.approx({"a": 0.25, "b": 0.75})
