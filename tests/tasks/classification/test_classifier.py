"""The classification task against closed formulas, numerical minima and other implementations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import minimize
from sklearn.metrics import log_loss

from femtobarn.inputs import make_batch
from femtobarn.inputs.datasets import InMemoryDataset
from femtobarn.tasks.classification.classifier import classifier_of
from femtobarn.tasks.classification.config import ClassificationConfig
from femtobarn.tasks.classification.losses import cross_entropy, focal, unfocal
from tests.support.sample import PROCESSES, make_events


def classification(**settings: Any) -> ClassificationConfig:
    """Settings as they come from a config file."""
    return ClassificationConfig.model_validate(settings)


@pytest.fixture
def logits():
    return torch.randn(200, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2


@pytest.fixture
def labels():
    return torch.randint(5, (200,), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def events():
    return make_events(300, seed=4)


def test_focal_without_gamma_is_cross_entropy(logits, labels):
    torch.testing.assert_close(focal(logits, labels, 0.0), cross_entropy(logits, labels))


def test_focal_follows_its_formula(logits, labels):
    alpha = torch.tensor([0.75, 0.25, 0.25, 0.25, 0.25], dtype=torch.float64)
    p = logits.softmax(-1)[torch.arange(200), labels]
    expected = -alpha[labels] * (1 - p) ** 3 * p.log()
    torch.testing.assert_close(focal(logits, labels, 3.0, alpha), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_focal_gradient_is_finite_for_sure_answers(gamma):
    sure = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [0.0, 0.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(focal(sure, torch.tensor([0, 0, 1]), gamma).sum(), sure)
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("share", [None, 0.75])
def test_unfocal_finds_the_probabilities_that_minimise_the_focal_loss(gamma, share):
    truth = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    alpha = None if share is None else torch.tensor([share, 1 - share, 1 - share], dtype=torch.float64)

    def expected(outputs):
        return float((truth * focal(torch.tensor(outputs).expand(3, 3), torch.arange(3), gamma, alpha)).sum())

    best = minimize(
        expected, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 5000}
    )
    found = unfocal(torch.tensor(best.x)[None], gamma, alpha).exp()[0]
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=0)
    if gamma:
        assert not torch.allclose(torch.tensor(best.x).softmax(-1), truth, atol=1e-2)


def test_unfocal_stays_finite_for_sure_answers():
    sure = torch.tensor([[80.0, -80.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.isfinite(unfocal(sure, 3.0)).all()


def test_weights_balance_classes_and_keep_composition(events):
    task = classifier_of(classification(signal="tttt"), events)
    weights, labels = task.weights(events), task.labels(events)
    totals = np.bincount(labels, weights=weights)
    np.testing.assert_allclose(totals, totals[0])
    assert weights.mean() == pytest.approx(1)
    for number in range(5):
        inside = labels == number
        np.testing.assert_allclose(
            weights[inside] / weights[inside].sum(), events.weight[inside] / events.weight[inside].sum()
        )


def test_binary_background_keeps_its_expected_mixture(events):
    task = classifier_of(classification(signal=["tttt"], classes="binary"), events)
    weights, labels = task.weights(events), task.labels(events)
    assert task.names == ("signal", "background")
    np.testing.assert_allclose(weights[labels == 0].sum(), weights[labels == 1].sum())
    share = weights[events.process == "ttZ"].sum() / weights[labels == 1].sum()
    expected = events.weight[events.process == "ttZ"].sum() / events.weight[events.process != "tttt"].sum()
    assert share == pytest.approx(expected)


def test_weighted_loss_agrees_with_scikit_learn(events):
    task = classifier_of(classification(signal="tttt"), events)
    outputs = torch.randn(len(events), 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    dataset = InMemoryDataset(events, make_batch(events, 4))
    labels, weights = dataset.targets(task)
    assert np.array_equal(labels, task.labels(events))
    np.testing.assert_allclose(weights, task.weights(events), rtol=1e-6)
    ours = task.loss(lambda batch: outputs, dataset.batch, (labels, weights)).item()
    expected = log_loss(labels, outputs.softmax(-1).numpy(), sample_weight=task.weights(events))
    assert ours == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="neither signal nor background: ttZ; classes are"):
        dataset.targets(classifier_of(classification(signal="tttt", background=["ttH", "ttW", "ttWW"]), events))


def test_negative_weights_train_by_absolute_value_and_count_signed(events):
    flipped = replace(events, weight=np.where(np.arange(len(events)) % 7 == 0, -1, 1) * events.weight)
    task = classifier_of(classification(signal="tttt"), flipped)
    np.testing.assert_allclose(
        task.weights(flipped), classifier_of(classification(signal="tttt"), events).weights(events)
    )
    assert task.yields["ttZ"] == pytest.approx(flipped.weight[flipped.process == "ttZ"].sum())


def test_process_score_is_the_likelihood_ratio():
    """Gaussian processes in one dimension: with the true log-likelihoods as outputs the score is known."""
    events = make_events(50)
    task = classifier_of(classification(signal=["tttt", "ttH"]), events)
    x = np.linspace(-3, 3, 41)
    centres = dict(zip(task.names, [2.0, 1.0, 0.0, -0.5, -1.0], strict=True))
    density = {name: np.exp(-((x - centre) ** 2) / 2) for name, centre in centres.items()}
    outputs = torch.tensor(np.log(np.stack([density[name] for name in task.names], axis=1)))
    s = sum(task.yields[n] * density[n] for n in task.signal) / sum(task.yields[n] for n in task.signal)
    b = sum(task.yields[n] * density[n] for n in task.background) / sum(task.yields[n] for n in task.background)
    columns = task.predict(outputs)
    np.testing.assert_allclose(columns["score"], s / (s + b), rtol=1e-5)
    assert list(columns) == ["score", *(f"probability_{name}" for name in task.names)]
    np.testing.assert_allclose(sum(columns[f"probability_{name}"] for name in task.names), 1, rtol=1e-5)


def test_score_ignores_a_common_shift_of_the_outputs(events, logits):
    task = classifier_of(classification(signal="tttt", loss="focal", alpha=0.75, gamma=3), events)
    torch.testing.assert_close(task(logits), task(logits + 3.7))


def test_binary_score_is_the_signal_probability(events):
    task = classifier_of(classification(signal="tttt", classes="binary"), events)
    outputs = torch.randn(20, 2, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(task(outputs), outputs.softmax(-1)[:, 0])


def test_processes_outside_the_task_are_known_as_such(events):
    task = classifier_of(classification(signal="tttt", background=["ttH", "ttW"]), events)
    assert set(events.process[task.known(events)]) == {"tttt", "ttH", "ttW"}
    with pytest.raises(ValueError, match="neither signal nor background: ttWW, ttZ"):
        task.labels(events)


def test_unknown_process_is_answered_with_the_right_names(events):
    with pytest.raises(ValueError, match=r"task.signal: no process is called 'ttt' .*did you mean tttt\?.*ttZ"):
        classifier_of(classification(signal="ttt"), events)
    with pytest.raises(ValueError, match=r"task.background: no process is called 'ttbar'"):
        classifier_of(classification(signal="tttt", background=["ttbar"]), events)
    with pytest.raises(ValueError, match="tell it from"):
        classifier_of(classification(signal=list(PROCESSES)), events)


def test_a_class_without_weight_is_an_error(events):
    empty = replace(events, weight=np.where(events.process == "ttH", 0.0, events.weight))
    with pytest.raises(ValueError, match="'ttH' sum to 0"):
        classifier_of(classification(signal="tttt"), empty)
    task = classifier_of(classification(signal="tttt"), events)
    with pytest.raises(ValueError, match="class 'ttH' has no events"):
        task.weights(empty)


@pytest.mark.parametrize(
    "wrong",
    [
        {"signal": "tttt", "gamma": 3},
        {"signal": "tttt", "loss": "focal"},
        {"signal": "tttt", "loss": "focal", "gamma": -1},
        {"signal": "tttt", "background": ["tttt"]},
        {"signal": ["tttt", "tttt"]},
        {"signal": []},
        {"signal": "tttt", "clases": "binary"},
    ],
)
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValidationError):
        classification(**wrong)
