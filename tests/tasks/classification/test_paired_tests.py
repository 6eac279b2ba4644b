"""PairedTest tests of two models against brute force, the bootstrap, and toys."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from femtobarn.evaluation.bootstrap import bootstrap_std
from femtobarn.tasks.classification.comparison import compare
from femtobarn.tasks.classification.efficiency_curves import efficiency_curves
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.paired_tests import against_baseline, best_against_others, delong, paired_test
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.tables import tables
from femtobarn.tasks.results import markdown
from tests.support.fake_runs import make_runs, make_scores
from tests.support.sample import make_events


def two(rng: np.random.Generator, count: int = 150, lead: float = 0.0, digits: int = 6) -> list[Scores]:
    """Two models of correlated scores for one signal and one background, each event standing for itself."""
    truth = np.arange(count) < count // 3
    common = rng.normal(truth, 1)
    made = []
    for better in (lead, 0.0):
        score = common + better * truth + 0.5 * rng.normal(size=count)
        made.append(
            Scores(
                process=np.where(truth, "s", "b"),
                number=np.arange(count),
                hard=np.arange(count),
                weight=np.ones(count),
                score=np.round(score, digits).astype(np.float32),
                signal=("s",),
            )
        )
    return made


@pytest.mark.parametrize("digits", [6, 0], ids=["distinct", "ties"])
def test_unweighted_it_is_delong_by_brute_force(digits):
    first, second = two(np.random.default_rng(4), digits=digits)

    def wins(scores: Scores) -> Any:
        signal, background = scores.score[scores.is_signal], scores.score[~scores.is_signal]
        return (np.sign(signal[:, None] - background[None]).astype(float) + 1) / 2

    kernel = wins(first) - wins(second)
    m, n = kernel.shape
    variance = kernel.mean(axis=1).var(ddof=1) / m + kernel.mean(axis=0).var(ddof=1) / n
    difference, error = delong([first], [second])
    assert difference == pytest.approx(kernel.mean(), abs=1e-12)
    assert error == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert delong([second], [first]) == pytest.approx((-difference, error))
    assert delong([first], [first]) == (0, 0)


def test_weights_yields_and_copies_as_in_the_bootstrap():
    events = make_events(2000)
    first, second = (make_scores(events, sharpness, seed) for sharpness, seed in ((0.5, 1), (0.55, 2)))
    errors = []
    for one, other in ((first, second), (copied(first), copied(second))):
        vectors = [efficiency_curves(scores, [0.5], replicas=1500).auc["total"] for scores in (one, other)]
        difference, error = delong([one], [other])
        assert difference == pytest.approx(vectors[0][0] - vectors[1][0], abs=1e-9)
        assert error == pytest.approx(float(bootstrap_std(vectors[0] - vectors[1])), rel=0.08)
        errors.append(error)
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)  # copies tell nothing new


def copied(scores: Scores) -> Scores:
    """Every event three times, of the same hard event."""
    names = ("process", "hard", "weight", "score")
    columns: dict[str, Any] = {name: np.tile(getattr(scores, name), 3) for name in names}
    return Scores(number=np.arange(3 * len(scores)), signal=scores.signal, **columns)


def test_means_over_trainings_and_any_order_of_events():
    events = make_events(600)
    first = [make_scores(events, 0.5, seed) for seed in (1, 2)]
    second = [make_scores(events, 0.6, seed) for seed in (3, 4, 5)]
    difference, error = delong(first, second)
    areas = [[float(efficiency_curves(scores, [0.5]).auc["total"][0]) for scores in group] for group in (first, second)]
    assert difference == pytest.approx(np.mean(areas[0]) - np.mean(areas[1]), abs=1e-9)
    order = np.random.default_rng(1).permutation(600)
    mixed = Scores(
        **{name: getattr(first[0], name)[order] for name in ("process", "number", "hard", "weight", "score")},
        signal=first[0].signal,
    )
    assert delong([mixed, first[1]], second) == pytest.approx((difference, error))


def test_equal_models_are_told_apart_as_often_as_promised():
    rng = np.random.default_rng(11)
    formula, replicas = [], []
    for toy in range(300):
        first, second = two(rng)
        difference, error = delong([first], [second])
        vectors = [efficiency_curves(scores, [0.5], replicas=60, seed=toy).auc["total"] for scores in (first, second)]
        formula.append(difference / error)
        replicas.append(difference / float(bootstrap_std(vectors[0] - vectors[1])))
    for pulls in (formula, replicas):
        # 95 % within 1.96; 300 toys know it to 1.3 %
        assert np.mean(np.abs(pulls) < 1.96) == pytest.approx(0.95, abs=0.04)
        assert np.mean(pulls) == pytest.approx(0, abs=0.2)
    better = [abs(np.divide(*delong(*([scores] for scores in two(rng, lead=0.5))))) > 1.96 for _ in range(50)]
    assert np.mean(better) > 0.5


def test_the_tables_of_a_comparison(tmp_path):
    comparison = compare(make_runs(tmp_path, make_events(1500), models={"a": 0.5, "b": 0.51, "c": 0.9}))
    assert [(pair.first, pair.second) for pair in against_baseline(comparison)] == [("b", "a"), ("c", "a")]
    assert [(pair.first, pair.second) for pair in best_against_others(comparison)] == [("c", "a"), ("c", "b")]
    found = paired_test(comparison, comparison["c"], comparison["a"])
    assert found.deviation == comparison.deviation(comparison["c"], comparison["a"], AUC) > 3
    assert found.p == pytest.approx(math.erfc(found.deviation / math.sqrt(2)))
    assert found.training is not None
    assert found.difference / found.deviation == pytest.approx(math.hypot(found.statistical, found.training))
    assert found.delong == pytest.approx(found.statistical, rel=0.4)  # of 50 replicas
    console = Console(width=160, record=True, force_terminal=False, file=io.StringIO())
    for table in tables(comparison, detailed=True):
        console.print(table.terminal())
    said = console.export_text()
    assert "Every model against a" in said
    assert "c, which has the largest AUC, against the others" in said
    assert "| z | p |" in markdown(comparison)
    single = compare(make_runs(tmp_path / "single", make_events(300), models={"a": 0.5, "b": 0.9}, seeds=1))
    assert paired_test(single, single["a"], single["b"]).training is None
    assert "–" in markdown(single).split("Every model")[1]
