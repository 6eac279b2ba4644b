"""Calibration: a known mis-scaling is found again, and at temperature 1 nothing changes."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from femtobarn.events import write_parquet
from femtobarn.experiments import experiment
from femtobarn.runs import run
from femtobarn.runs.predictor import Predictor
from femtobarn.tasks.classification.calibration import HIGHEST, LOWEST, fit_temperature
from femtobarn.tasks.classification.classifier import Classifier
from femtobarn.tasks.classification.config import ClassificationConfig
from femtobarn.tasks.classification.losses import unfocal
from tests.support.sample import make_events

YIELDS = {"tttt": 1.0, "ttH": 3.0, "ttW": 5.0}
FOCAL: dict[str, Any] = {"loss": "focal", "alpha": 0.75, "gamma": 3.0}


def classifier(temperature: float = 1.0, **settings: Any) -> Classifier:
    task = ClassificationConfig.model_validate({"signal": "tttt", **settings})
    return Classifier(task, ("tttt",), ("ttH", "ttW"), YIELDS, temperature)


@pytest.fixture(scope="module")
def honest():
    """Logits, labels and weights of a classifier that is right: the labels are drawn from its probabilities."""
    rng = np.random.default_rng(5)
    logits = torch.from_numpy(rng.normal(size=(20_000, 3)) * 2)
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64)
    labels = (logits.softmax(-1).cumsum(-1) < uniform).sum(-1).clamp_max(2)
    return logits, labels, torch.from_numpy(rng.uniform(0.2, 2.0, len(logits)))


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_known_scale_is_found_again(honest, scale):
    logits, labels, weights = honest
    found = fit_temperature(classifier(), scale * logits, labels, weights)
    assert found.temperature == pytest.approx(scale, rel=0.03)
    assert found.events == len(labels)
    probabilities = (logits * scale).softmax(-1).numpy()
    assert found.before == pytest.approx(log_loss(labels, probabilities, sample_weight=weights))
    calibrated = (logits * scale / found.temperature).softmax(-1).numpy()
    assert found.after == pytest.approx(log_loss(labels, calibrated, sample_weight=weights))
    assert found.after <= found.before
    if scale != 1:
        assert found.after < found.before - 0.01


@pytest.mark.parametrize("settings", [{}, FOCAL], ids=["cross-entropy", "focal"])
def test_the_temperature_is_that_of_a_minimiser(honest, settings):
    logits, labels, weights = honest
    task = classifier(**settings)

    def surprise(logarithm: float) -> float:
        hot = classifier(math.exp(logarithm), **settings).log_posterior(2 * logits).exp().numpy()
        return float(log_loss(labels, hot, sample_weight=weights))

    best = minimize_scalar(surprise, bounds=(-2, 3), method="bounded", options={"xatol": 1e-6})
    assert fit_temperature(task, 2 * logits, labels, weights).temperature == pytest.approx(math.exp(best.x), rel=1e-3)
    # a temperature that is there already plays no part
    warm = fit_temperature(classifier(1.7, **settings), 2 * logits, labels, weights)
    assert warm.temperature == pytest.approx(math.exp(best.x), rel=1e-3)


def test_weights_matter(honest):
    logits, labels, weights = honest
    right = logits.argmax(-1) == labels
    surer = fit_temperature(classifier(), logits, labels, torch.where(right, weights, 0.2 * weights))
    assert surer.temperature < 0.8 * fit_temperature(classifier(), logits, labels, weights).temperature


def test_hopeless_cases_stay_in_bounds():
    labels = torch.tensor([0, 1, 2] * 10)
    ones = torch.ones(30)
    perfect = 5.0 * torch.nn.functional.one_hot(labels, 3).double()
    assert fit_temperature(classifier(), perfect, labels, ones).temperature == pytest.approx(LOWEST, rel=1e-6)
    assert fit_temperature(classifier(), -perfect, labels, ones).temperature == pytest.approx(HIGHEST, rel=1e-6)
    flat = fit_temperature(classifier(), torch.zeros(30, 3), labels, ones)
    assert LOWEST <= flat.temperature <= HIGHEST
    assert flat.before == flat.after == pytest.approx(math.log(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperature_one_changes_no_bit(honest, dtype):
    logits = honest[0].to(dtype)
    assert torch.equal(classifier().log_posterior(logits), logits.log_softmax(-1))
    task = classifier(**FOCAL)
    assert torch.equal(task.log_posterior(logits), unfocal(logits, 3.0, task.alpha.to(logits)))


@pytest.mark.parametrize("settings", [{}, FOCAL, {"classes": "binary"}], ids=["process", "focal", "binary"])
def test_the_score_stays_the_likelihood_ratio_at_any_temperature(honest, settings):
    task = classifier(2.5, **settings)
    logits = honest[0][:200, : task.outputs]
    plain = classifier(**settings).log_posterior(logits)
    posterior = (plain / 2.5).softmax(-1)
    torch.testing.assert_close(task.log_posterior(logits).exp(), posterior)
    p = task.predict(logits)
    torch.testing.assert_close(torch.from_numpy(p[f"probability_{task.names[0]}"]), posterior[:, 0].float())
    s, b = posterior[:, 0], posterior[:, 1:] @ task.priors[1:]
    torch.testing.assert_close(task(logits), s / (s + b))


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must be a positive number"):
        classifier(wrong)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "particlenet", "k": 4, "blocks": [[8, 8]], "fc": [8]},
        {"name": "bdt", "n_estimators": 60, "num_leaves": 8, "min_leaf_fraction": 0.002, "patience": 60},
    ],
    ids=["network", "trees"],
)
def test_runs_are_calibrated_on_their_validation_events(tmp_path, model):
    write_parquet(make_events(500, seed=3), tmp_path / "events.parquet")
    one = experiment.load(
        {
            "data": {"files": [str(tmp_path / "events.parquet")]},
            "model": model,
            "task": {"signal": ["tttt"]},
            "training": {"epochs": 2, "batch_size": 64, "lr": 0.02, "threads": 1},
            "evaluation": {"bootstrap": 10},
        }
    )
    folder = run.train(one, tmp_path / "run")
    meta = json.loads((folder / "meta.json").read_text())
    found = meta["calibration"]
    assert found["temperature"] == meta["task"]["temperature"] != 1
    assert found["after"] < found["before"]
    assert found["events"] == meta["events"]["validation"]
    trained = Predictor.load(folder)
    assert float(cast(Any, trained.task).temperature) == found["temperature"]
    # a run folder of before has neither checksums nor temperature: its scores stay what they were
    del meta["task"]["temperature"], meta["checksums"], meta["config_sha256"]
    (folder / "meta.json").write_text(json.dumps(meta))
    assert float(cast(Any, Predictor.load(folder).task).temperature) == 1
