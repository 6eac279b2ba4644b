"""Reliability: honest probabilities come out as honest, over-confident ones do not, by weight and by hard event."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from femtobarn.evaluation import Evaluation, Scores, calibrated, judge
from femtobarn.evaluation.replicas import spread
from tests.fake_runs import make_scores
from tests.sample import make_events

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
    found = calibrated(drawn(), replicas=100)
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
    found = calibrated(drawn(scale), replicas=50)
    honest = calibrated(drawn(), replicas=50)
    for name, each in found.reliability.items():
        assert each.gap[0] > 4 * each.floor, name
        assert each.gap[0] - honest.reliability[name].gap[0] > 5 * spread(each.gap)
        # too sure: less often true than stated where much is stated
        assert np.sign(each.observed[-1] - each.stated[-1]) == sign
    assert found.surprise is not None
    assert honest.surprise is not None
    assert found.surprise[0] > honest.surprise[0]


def test_bins_and_surprise_by_hand():
    scores = drawn(2.0, count=3000)
    found = calibrated(scores, replicas=20)
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
    one, four = (calibrated(each, replicas=50).reliability["score"] for each in (scores, copied))
    np.testing.assert_allclose(four.effective, one.effective, rtol=0.02)
    np.testing.assert_allclose(four.error, one.error, rtol=0.05)


@pytest.mark.parametrize("kind", ["process", "binary"])
def test_judgement_tells_the_calibration(kind):
    found = judge(make_scores(make_events(800), kind=kind), Evaluation(bootstrap=20))["calibration"]
    json.dumps(found, allow_nan=False)
    assert set(found) == {"surprise", "score", "classes"}
    assert len(found["classes"]) == (5 if kind == "process" else 0)
    assert found["score"]["ece"]["error"] > 0
    assert found["score"]["bins"][0]["low"] == 0


def test_scores_all_the_same_and_scores_without_probabilities():
    scores = drawn(count=300)
    bare = Scores(**{**vars(scores), "probabilities": {}, "score": np.full(300, 0.5, np.float32)})
    found = calibrated(bare, replicas=10)
    assert found.surprise is None
    each = found.reliability["score"]
    assert len(each.stated) == 1
    assert each.observed[0] == pytest.approx(0.5)
    assert each.gap[0] == pytest.approx(0, abs=1e-12)
