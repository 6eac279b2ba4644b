"""Asimov significance and the best cut against limits, pyhf and brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from femtobarn.evaluation.bootstrap import bootstrap_std, draw_replicas, effective, hard_events
from femtobarn.evaluation.measurement import Metric
from femtobarn.tasks.classification.comparison import compare
from femtobarn.tasks.classification.metrics import evaluate
from femtobarn.tasks.classification.optimal_cut import FOLDS, MIN_BACKGROUND, optimal_cut
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.significance import asimov, significance
from tests.support.fake_runs import make_runs, make_scores
from tests.support.sample import make_events

PAIRS = [(10.0, 100.0), (3.0, 0.5), (50.0, 20.0), (1.0, 1e4)]


def written_out(s: float, b: float, sigma: float) -> float:
    """The formula as it stands in the source."""
    first = (s + b) * math.log((s + b) * (b + sigma**2) / (b**2 + (s + b) * sigma**2))
    second = b**2 / sigma**2 * math.log(1 + sigma**2 * s / (b * (b + sigma**2)))
    return math.sqrt(2 * (first - second))


@pytest.mark.parametrize(("s", "b"), PAIRS)
def test_asimov_in_its_limits(s, b):
    plain = math.sqrt(2 * ((s + b) * math.log1p(s / b) - s))
    assert asimov(s, b) == pytest.approx(plain, rel=1e-6)
    assert asimov(s, b, 1e-7) == pytest.approx(plain, rel=1e-6)
    assert asimov(s, b, 0.2) == pytest.approx(written_out(s, b, 0.2 * b), rel=1e-5)  # which loses digits
    assert asimov(s, b, 0.2) < asimov(s, b)
    assert asimov(0.0, b, 0.2) == 0


def test_asimov_is_the_usual_formula_where_signals_are_small():
    for delta in (0.0, 0.05, 0.3):
        assert asimov(0.01, 1e3, delta) == pytest.approx(significance(0.01, 1e3, delta), rel=1e-4)
    assert asimov(10.0, 1.0) < significance(10.0, 1.0)  # which promises too much
    assert math.isnan(asimov(10.0, 0.0))
    found = asimov(np.array([10.0, 0.0, 5.0]), np.array([100.0, 10.0, 0.0]), 0.1)
    np.testing.assert_allclose(found, [written_out(10, 100, 10), 0, np.nan])


@pytest.mark.parametrize(("s", "b"), PAIRS[:3])
def test_asimov_is_a_profile_likelihood_ratio(s, b):
    """On-off: n ~ Poisson(μs + b), side band m ~ Poisson(τb), profiled by a minimiser."""
    delta = 0.15
    tau = 1 / (delta**2 * b)
    n, m = s + b, tau * b

    def twice(expected: float, background: float) -> Any:
        side = m * math.log(tau * background) - tau * background
        return -2 * (n * math.log(expected) - expected + side)

    null = minimize_scalar(lambda x: twice(x, x), bounds=(b / 10, 10 * (s + b)), method="bounded")
    assert asimov(s, b, delta) == pytest.approx(math.sqrt(null.fun - twice(s + b, b)), rel=1e-4)


def noise(seed: int = 0, count: int = 400) -> Scores:
    """Signal and background with the same scores: no cut is better than none."""
    rng = np.random.default_rng(seed)
    return Scores(
        process=np.array(["b"] * count + ["s"] * count),
        number=np.arange(2 * count),
        hard=np.arange(2 * count) // 2,
        weight=np.concatenate([np.full(count, 0.25), np.full(count, 0.05)]),
        score=rng.uniform(size=2 * count).astype(np.float32),
        signal=("s",),
    )


def test_a_cut_that_only_follows_fluctuations_is_not_rewarded():
    """Without separation every cut loses on average; the maximum over cuts pretends otherwise, the folds do not."""
    whole = asimov(20.0, 100.0)
    gains, pretended = [], []
    for seed in range(40):
        scores = noise(seed)
        found = optimal_cut(scores, 0.0)
        assert found is not None
        gains.append(found.significance[0] - whole)
        kept = scores.score >= found.threshold
        s, b = (float(scores.weight[kept & side].sum()) for side in (scores.is_signal, ~scores.is_signal))
        pretended.append(asimov(s, b) - whole)
    assert np.mean(pretended) > 0
    assert np.mean(gains) < np.mean(pretended) - 3 * np.std(np.subtract(pretended, gains)) / math.sqrt(40)
    assert np.mean(gains) < 3 * np.std(gains) / math.sqrt(40)


def test_the_best_cut_by_hand():
    scores = make_scores(make_events(3000), sharpness=0.7)
    found = optimal_cut(scores, 0.2, replicas=100)
    assert found is not None
    group = hard_events(scores)

    def leaves(cut: float, among: np.ndarray) -> tuple[float, float, float]:
        kept = among & (scores.score >= cut)
        signal, background = kept & scores.is_signal, kept & ~scores.is_signal
        return (
            float(scores.weight[signal].sum()),
            float(scores.weight[background].sum()),
            effective(scores.weight[background], group[background]),
        )

    everything = np.ones(len(scores), dtype=bool)
    candidates = np.unique(scores.score)[::7]
    allowed = [asimov(s, b, 0.2) for s, b, n in (leaves(cut, everything) for cut in candidates) if n >= MIN_BACKGROUND]
    s, b, n = leaves(found.threshold, everything)
    assert n >= MIN_BACKGROUND
    assert asimov(s, b, 0.2) >= max(allowed)
    assert found.efficiency == pytest.approx(s / scores.weight[scores.is_signal].sum())
    assert found.significance[0] == pytest.approx(asimov(found.signal, found.background, 0.2))
    assert found.significance[0] == pytest.approx(asimov(s, b, 0.2), rel=0.25)
    assert 0 < bootstrap_std(found.significance) < 0.5 * found.significance[0]


def test_more_background_can_be_asked_for_than_there_is():
    scores = make_scores(make_events(600))
    assert optimal_cut(scores, 0.2, least=1e6) is None
    loose = optimal_cut(scores, 0.2, least=150.0)
    tight = optimal_cut(scores, 0.2, least=20.0)
    assert loose is not None
    assert tight is not None
    assert loose.threshold < tight.threshold
    assert loose.effective >= 150 * (1 - 1 / FOLDS)


def test_copies_of_a_hard_event_are_one_effective_event():
    scores = make_scores(make_events(2000))
    copies = Scores(**{**vars(scores), "hard": scores.hard // 8})
    assert optimal_cut(scores, 0.2, least=60.0) is not None
    looser, tighter = optimal_cut(copies, 0.2, least=60.0), optimal_cut(scores, 0.2, least=60.0)
    assert looser is None or (tighter is not None and looser.threshold < tighter.threshold)


def test_replicas_keep_yields_and_copies_together():
    scores = make_scores(make_events(400))
    first, *rest = draw_replicas(scores, 20, 3)
    np.testing.assert_array_equal(first, scores.weight[None])
    drawn = np.concatenate(rest)
    assert drawn.shape == (20, 400)
    for name in scores.processes:
        mine = scores.process == name
        np.testing.assert_allclose(drawn[:, mine].sum(axis=1), scores.weight[mine].sum())
    group = hard_events(scores)
    factor = drawn / scores.weight
    for number in np.unique(group)[::20]:
        assert np.ptp(factor[:, group == number], axis=1).max() < 1e-9


def test_judgement_and_comparison_hold_the_new_numbers(tmp_path):
    events = make_events(1500)
    settings = ClassificationEvaluationConfig(bootstrap=20)
    found = evaluate(make_scores(events, 0.6), settings).metrics
    point = found["significance"]["0.3"]
    assert point["asimov"]["value"] == pytest.approx(asimov(point["signal"], point["background"]))
    assert point["asimov_systematic"]["value"] == pytest.approx(asimov(point["signal"], point["background"], 0.2))
    best = found["best"]
    assert best["effective"] > 0.5 * best["least"]
    assert best["asimov_systematic"]["value"] == pytest.approx(asimov(best["signal"], best["background"], 0.2))
    few = evaluate(make_scores(make_events(30), 0.6), settings).metrics
    assert few["best"] is None
    comparison = compare(make_runs(tmp_path, events, models={"a": 0.4, "b": 0.6}))
    key = Metric("significance", "asimov_systematic", at="best")
    ratio = np.divide(*(comparison[name].replicas[key][0] for name in "ba"))
    assert ratio > 1
    assert comparison["b"].measurements[Metric("gain", "asimov_systematic", at="best")].value == pytest.approx(ratio**2)
