"""Reliability: honest probabilities come out as honest, over-confident ones do not, by weight and by hard event."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from femtobarn.evaluation.bootstrap import bootstrap_std
from femtobarn.tasks.classification.metrics import evaluate
from femtobarn.tasks.classification.reliability import evaluate_calibration
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from tests.support.fake_runs import make_scores
from tests.support.sample import make_events

YIELDS = np.array([2.0, 30.0, 10.0])
NAMES = ("s", "b", "c")


def drawn(scale: float = 1.0, seed: int = 0, count: int = 12_000) -> Scores:
    """Events of three processes whose likelihoods are known: Gaussians in one dimension, logits off by `scale`."""
    rng = np.random.default_rng(seed)
    process = rng.integers(3, size=count)
    x = rng.normal(np.array([1.5, 0.0, -1.0])[process], 1)
    logits = -scale * (x[:, None] - np.array([1.5, 0.0, -1.0])) ** 2 / 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    prior = YIELDS[1:] / YIELDS[1:].sum()
    weight = rng.uniform(0.5, 1.5, count)
    for index, total in enumerate(YIELDS):
        weight[process == index] *= total / weight[process == index].sum()
    return Scores(
        process=np.array(NAMES)[process],
        number=np.arange(count),
        hard=np.arange(count),
        weight=weight,
        score=(p[:, 0] / (p[:, 0] + p[:, 1:] @ prior)).astype(np.float32),
        signal=("s",),
        probabilities={name: p[:, index].astype(np.float32) for index, name in enumerate(NAMES)},
    )


def test_true_likelihoods_are_calibrated():
    found = evaluate_calibration(drawn(), replicas=100)
    assert set(found.reliability) == {"score", *NAMES}
    pulls = []
    for each in found.reliability.values():
        pulls += list((each.observed - each.stated) / each.error)
        assert each.gap[0] < 2.5 * each.floor
        assert each.floor == pytest.approx(0.01, abs=0.007)
        assert each.edges[0] == 0
        assert each.edges[-1] == 1
        assert (np.diff(each.stated) > 0).all()
    assert np.mean(np.square(pulls)) == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize(("scale", "sign"), [(3.0, -1), (0.3, 1)])
def test_too_sure_and_too_shy_models_are_found_out(scale, sign):
    found = evaluate_calibration(drawn(scale), replicas=50)
    honest = evaluate_calibration(drawn(), replicas=50)
    for name, each in found.reliability.items():
        assert each.gap[0] > 4 * each.floor, name
        assert each.gap[0] - honest.reliability[name].gap[0] > 5 * bootstrap_std(each.gap)
        # too sure: less often true than stated where much is stated
        assert np.sign(each.observed[-1] - each.stated[-1]) == sign
    assert found.surprise is not None
    assert honest.surprise is not None
    assert found.surprise[0] > honest.surprise[0]


def test_bins_and_surprise_by_hand():
    scores = drawn(2.0, count=3000)
    found = evaluate_calibration(scores, replicas=20)
    balance = np.zeros(len(scores))
    for name in NAMES:
        mine = scores.process == name
        balance[mine] = scores.weight[mine] / scores.weight[mine].sum()
    p = np.stack([scores.probabilities[name] for name in NAMES], axis=1).astype(float)
    label = np.array([NAMES.index(name) for name in scores.process])
    assert found.surprise is not None
    p /= p.sum(axis=1, keepdims=True)
    assert found.surprise[0] == pytest.approx(log_loss(label, p, sample_weight=balance), rel=1e-5)
    each = found.reliability["b"]
    stated = scores.probabilities["b"]
    gap, total = 0.0, 0.0
    for low, high, mean, observed in zip(each.edges, each.edges[1:], each.stated, each.observed, strict=False):
        mine = (stated >= low) & (stated < high)
        share = balance[mine].sum()
        assert share == pytest.approx(balance.sum() / 10, rel=0.05)
        assert np.average(stated[mine], weights=balance[mine]) == pytest.approx(mean)
        assert np.average(scores.process[mine] == "b", weights=balance[mine]) == pytest.approx(observed)
        gap, total = gap + share * abs(mean - observed), total + share
    assert each.gap[0] == pytest.approx(gap / total)


def test_copies_of_a_hard_event_count_once():
    scores = drawn(count=3000)
    many: dict[str, Any] = {name: np.tile(getattr(scores, name), 4) for name in ("process", "hard", "weight", "score")}
    copied = Scores(number=np.arange(12_000), signal=("s",), **many)
    one, four = (evaluate_calibration(each, replicas=50).reliability["score"] for each in (scores, copied))
    np.testing.assert_allclose(four.effective, one.effective, rtol=0.02)
    np.testing.assert_allclose(four.error, one.error, rtol=0.05)


def binned(stated: np.ndarray, is_signal: np.ndarray, weight: np.ndarray, hard: np.ndarray | None = None) -> Scores:
    """Scores of one signal and one background."""
    return Scores(
        process=np.where(is_signal, "s", "b"),
        number=np.arange(len(stated)),
        hard=np.arange(len(stated)) if hard is None else hard,
        weight=weight,
        score=stated.astype(np.float32),
        signal=("s",),
    )


def test_a_bin_without_a_true_event_has_the_error_of_one():
    """1000 events of each kind; the lowest bins hold background alone, stated to be signal at 0.3 %."""
    is_signal = np.repeat([True, False], 1000)
    stated = np.concatenate([np.linspace(0.5, 0.99, 1000), np.linspace(0.002, 0.004, 500), np.linspace(0.5, 0.9, 500)])
    for copies in (1, 3):  # of a hard event, which count as one
        scores = binned(
            np.repeat(stated, copies), np.repeat(is_signal, copies), np.full(2000 * copies, 1 / copies),
            np.repeat(np.arange(2000), copies),
        )  # fmt: skip
        found = evaluate_calibration(scores, replicas=200)
        each = found.reliability["score"]
        empty = each.observed == 0
        assert empty.sum() >= 2
        # one signal event more: 1 / (n + 1)
        np.testing.assert_allclose(each.error[empty], 1 / (each.effective[empty] + 1), rtol=1e-2)
        pull = (each.observed - each.stated)[empty] / each.error[empty]
        assert (np.square(pull) < 1).all()
        # no two hard events stand behind the rest, so the floor is all that is left of the error of the gap
        weight = each.effective / each.effective.sum()
        known = evaluate_calibration(
            binned(stated[stated >= 0.5], is_signal[stated >= 0.5], np.ones(1500)), replicas=200
        )
        assert bootstrap_std(each.gap) > 0.5 * np.sqrt(np.square(weight * each.error)[empty].sum())
        assert bootstrap_std(known.reliability["score"].gap) > 0


def test_a_bin_with_true_events_alone_has_the_error_of_a_false_one():
    """The mirror image: what is stated of signal and of background change places."""
    rng = np.random.default_rng(2)
    stated = np.concatenate([rng.uniform(0.997, 0.998, 500), rng.uniform(0.1, 0.9, 1500)])
    scores = binned(stated, rng.random(2000) < np.where(stated > 0.99, 1, stated), rng.uniform(0.5, 1.5, 2000))
    mirrored = binned(1 - scores.score, ~scores.is_signal, scores.weight)
    first, second = (evaluate_calibration(each, replicas=400).reliability["score"] for each in (scores, mirrored))
    for each, other in ((first, second), (second, first)):
        lone = np.minimum(each.observed, 1 - each.observed) < 1e-9
        assert lone.any()
        for low, high, error in zip(each.edges[:-1][lone], each.edges[1:][lone], each.error[lone], strict=True):
            twin = np.argmin(np.abs(other.edges[:-1] + high - 1) + np.abs(other.edges[1:] + low - 1))
            assert other.error[twin] == pytest.approx(error, rel=0.1)
            assert error > 1 / 2000


def test_errors_cover_the_fluctuations_of_bins_that_are_often_empty():
    """Toys of a calibrated model whose lowest bin expects about one true event: squared pulls of about one."""
    rng = np.random.default_rng(5)
    pulls, gaps, floors, errors = [], [], [], []
    for _ in range(60):
        stated = np.concatenate([rng.uniform(0.002, 0.003, 400), rng.uniform(0.1, 0.9, 1600)])
        is_signal = rng.random(2000) < stated
        # the score refers to equal yields of signal and background
        odds = stated / (1 - stated) * (1 / stated.mean() - 1)
        each = evaluate_calibration(binned(odds / (1 + odds), is_signal, np.ones(2000)), replicas=50).reliability[
            "score"
        ]
        pulls.append((each.observed[0] - each.stated[0]) / each.error[0])
        gaps.append(each.gap[0])
        floors.append(each.floor)
        errors.append(float(bootstrap_std(each.gap)))
    assert np.mean(np.square(pulls)) < 2.5
    assert np.mean(np.abs(pulls) < 1) > 0.5
    assert np.mean(floors) == pytest.approx(np.mean(gaps), rel=0.35)
    # replicas of a gap that is a fluctuation itself spread more than the gap
    assert 0.8 < np.mean(errors) / np.std(gaps) < 2


@pytest.mark.parametrize("kind", ["process", "binary"])
def test_judgement_tells_the_calibration(kind):
    found = evaluate(make_scores(make_events(800), kind=kind), ClassificationEvaluationConfig(bootstrap=20)).metrics[
        "calibration"
    ]
    json.dumps(found, allow_nan=False)
    assert set(found) == {"surprise", "score", "classes"}
    assert len(found["classes"]) == (5 if kind == "process" else 0)
    assert found["score"]["ece"]["error"] > 0
    assert found["score"]["bins"][0]["low"] == 0


def test_scores_all_the_same_and_scores_without_probabilities():
    scores = drawn(count=300)
    bare = Scores(**{**vars(scores), "probabilities": {}, "score": np.full(300, 0.5, np.float32)})
    found = evaluate_calibration(bare, replicas=10)
    assert found.surprise is None
    each = found.reliability["score"]
    assert len(each.stated) == 1
    assert each.observed[0] == pytest.approx(0.5)
    assert each.gap[0] == pytest.approx(0, abs=1e-12)
