"""Judging against scikit-learn, closed formulas, and the published table."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from femtobarn.evaluation.bootstrap import bootstrap_std, draw_replicas
from femtobarn.tasks.classification.confusion import confusion
from femtobarn.tasks.classification.efficiency_curves import efficiency_curves
from femtobarn.tasks.classification.metrics import evaluate
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.significance import luminosity_gain, significance
from tests.support.fake_runs import YIELDS, make_scores
from tests.support.sample import make_events

# arXiv:2211.05143, significances at 100/fb: s/√b and with δ = 0.2, at signal efficiencies of 0.3 and 0.7
PUBLISHED = {
    "BDT": (20.77, 6.79, 16.82, 2.01),
    "BDT_int": (21.93, 7.53, 17.51, 2.17),
    "FCN": (20.31, 6.51, 16.67, 1.97),
    "CNN": (20.88, 6.86, 16.73, 1.98),
    "PN": (23.09, 8.29, 17.68, 2.21),
    "PN_int": (25.30, 9.83, 20.51, 2.97),
    "PN_int_SM": (25.65, 10.09, 20.50, 2.97),
    "ParT": (22.37, 7.82, 17.72, 2.23),
    "ParT_int": (24.54, 9.29, 20.21, 2.89),
    "ParT_int_SM": (25.36, 9.88, 20.53, 2.98),
    "ParT_int_SM(FL)": (26.19, 10.48, 20.28, 2.91),
    "SetT_int_SM": (25.58, 10.03, 20.18, 2.88),
}


def simple(
    background: np.ndarray, signal: np.ndarray, *, weight: np.ndarray | None = None, hard: np.ndarray | None = None
) -> Scores:
    count = len(background) + len(signal)
    return Scores(
        process=np.array(["b"] * len(background) + ["s"] * len(signal)),
        number=np.arange(count, dtype=np.int64),
        hard=np.arange(count, dtype=np.int64) if hard is None else hard.astype(np.int64),
        weight=np.ones(count) if weight is None else weight,
        score=np.concatenate([background, signal]).astype(np.float32),
        signal=("s",),
    )


def random_scores(seed: int = 0, count: int = 800, digits: int = 6) -> Scores:
    rng = np.random.default_rng(seed)
    background, signal = rng.normal(0, 1, count), rng.normal(1, 1, count // 2)
    weight = rng.uniform(0.1, 3, len(background) + len(signal))
    return simple(np.round(background, digits), np.round(signal, digits), weight=weight)


@pytest.mark.parametrize("digits", [6, 1, 0])
def test_auc_and_curve_agree_with_scikit_learn(digits):
    scores = random_scores(digits=digits)
    grid = np.linspace(0.01, 1, 100)
    measured = efficiency_curves(scores, grid.tolist())
    truth = scores.is_signal
    expected = roc_auc_score(truth, scores.score, sample_weight=scores.weight)
    assert measured.auc["total"][0] == pytest.approx(expected, rel=1e-12)
    false, true, _ = roc_curve(truth, scores.score, sample_weight=scores.weight, drop_intermediate=False)
    # the tightest cut that reaches the efficiency; inside a tie, the same fraction of signal and background
    first = np.array([np.argmax(true >= target * (1 - 1e-12)) for target in grid])
    part = (grid - true[first - 1]) / (true[first] - true[first - 1])
    curve = false[first - 1] + part * (false[first] - false[first - 1])
    np.testing.assert_allclose(measured.background["b"][0], curve, rtol=1e-9, atol=1e-12)


def test_every_score_the_same_means_chance():
    measured = efficiency_curves(simple(np.zeros(50), np.zeros(30)), [0.3, 0.7], replicas=5)
    np.testing.assert_allclose(measured.auc["total"], 0.5)
    np.testing.assert_allclose(measured.background["total"], [[0.3, 0.7]] * 6)


def test_working_point_by_hand():
    scores = simple(np.array([0.05, 0.15, 0.25, 0.95]), np.arange(1, 11) / 10)
    measured = efficiency_curves(scores, [0.1, 0.3, 1.0])
    # background accepted: score ≥ 1.0, ≥ 0.8 and ≥ 0.1
    np.testing.assert_allclose(measured.background["b"][0], [0.0, 0.25, 0.75])
    np.testing.assert_allclose(measured.thresholds, [1.0, 0.8, 0.1], rtol=1e-6)


def test_negative_weights_enter_the_area_linearly():
    scores = random_scores()
    weight = scores.weight.copy()
    weight[::7] *= -0.5
    truth = scores.is_signal
    pairs = np.sign(scores.score[truth][:, None] - scores.score[~truth][None])
    each = weight[truth][:, None] * weight[~truth][None]
    expected = (each * (pairs + 1) / 2).sum() / each.sum()
    found = efficiency_curves(simple(scores.score[~truth], scores.score[truth], weight=weight), [0.5]).auc["total"][0]
    assert found == pytest.approx(expected, rel=1e-9)


def test_total_is_the_mixture_of_the_backgrounds():
    scores = make_scores(make_events(1000))
    measured = efficiency_curves(scores, [0.3, 0.7])
    pooled = roc_auc_score(scores.is_signal, scores.score, sample_weight=scores.weight)
    assert measured.auc["total"][0] == pytest.approx(pooled, rel=1e-9)
    for name in scores.backgrounds:
        some = scores.is_signal | (scores.process == name)
        expected = roc_auc_score(scores.is_signal[some], scores.score[some], sample_weight=scores.weight[some])
        assert measured.auc[name][0] == pytest.approx(expected, rel=1e-9)


def test_error_of_the_area_agrees_with_delong():
    rng = np.random.default_rng(3)
    background, signal = rng.normal(0, 1, 1500), rng.normal(1, 1, 500)
    wins = (np.sign(signal[:, None] - background[None]) + 1) / 2
    # DeLong, DeLong and Clarke-Pearson, Biometrics 44, 837 (1988)
    expected = math.sqrt(wins.mean(1).var(ddof=1) / len(signal) + wins.mean(0).var(ddof=1) / len(background))
    found = bootstrap_std(efficiency_curves(simple(background, signal), [0.5], replicas=2000).auc["total"])
    assert float(found) == pytest.approx(expected, rel=0.07)


def test_error_of_the_background_efficiency_agrees_with_the_formula():
    rng = np.random.default_rng(4)
    background, signal = rng.normal(0, 1, 4000), rng.normal(1, 1, 2000)
    measured = efficiency_curves(simple(background, signal), [0.3, 0.7], replicas=1000)
    for index, efficiency in enumerate((0.3, 0.7)):
        cut = norm.isf(efficiency, loc=1)
        passing = norm.sf(cut)
        slope = norm.pdf(cut) / norm.pdf(cut, loc=1)  # the cut moves with the signal
        variance = passing * (1 - passing) / 4000 + slope**2 * efficiency * (1 - efficiency) / 2000
        assert float(bootstrap_std(measured.background["b"][:, index])) == pytest.approx(math.sqrt(variance), rel=0.1)


def test_copies_of_a_hard_event_move_together():
    scores = random_scores(count=400)
    copies = 4

    def copied(together: bool) -> Scores:
        truth = np.tile(scores.is_signal, copies)
        order = np.argsort(truth, kind="stable")
        hard = np.tile(scores.hard, copies) if together else np.arange(len(truth))
        score, weight = np.tile(scores.score, copies), np.tile(scores.weight, copies)
        return simple(score[~truth], score[truth], weight=weight[order], hard=hard[order])

    single = bootstrap_std(efficiency_curves(scores, [0.3], replicas=400).auc["total"])
    together = bootstrap_std(efficiency_curves(copied(True), [0.3], replicas=400).auc["total"])
    apart = bootstrap_std(efficiency_curves(copied(False), [0.3], replicas=400).auc["total"])
    assert float(together) == pytest.approx(float(single), rel=1e-6)
    assert float(apart) == pytest.approx(float(single) / math.sqrt(copies), rel=0.15)


def test_replicas_belong_to_the_events_and_not_to_their_order():
    scores = random_scores()
    shuffled = np.random.default_rng(9).permutation(len(scores))
    other = Scores(
        **{name: getattr(scores, name)[shuffled] for name in ("process", "number", "hard", "weight", "score")},
        signal=scores.signal,
    )
    first, second = (efficiency_curves(each, [0.3, 0.7], replicas=20, seed=5) for each in (scores, other))
    np.testing.assert_allclose(first.auc["total"], second.auc["total"], rtol=1e-9)
    np.testing.assert_allclose(first.background["b"], second.background["b"], rtol=1e-9)
    third = efficiency_curves(scores, [0.3, 0.7], replicas=20, seed=6)
    assert not np.allclose(first.auc["total"][1:], third.auc["total"][1:])


def test_replicas_do_not_depend_on_the_size_of_blocks():
    scores = random_scores()
    whole, parts = (
        np.concatenate(list(draw_replicas(scores, 20, 0, block_weights=size * len(scores)))) for size in (100, 3)
    )
    np.testing.assert_array_equal(whole, parts)


def test_published_significances_follow_from_signal_and_background():
    for model, (plain3, with3, plain7, with7) in PUBLISHED.items():
        signals = []
        for efficiency, plain, systematic in ((0.3, plain3, with3), (0.7, plain7, with7)):
            # s/√b and s/√(b + (bδ)²) are two equations for s and b
            background = ((plain / systematic) ** 2 - 1) / 0.2**2
            signal = plain * math.sqrt(background)
            signals.append(signal / efficiency)
            assert significance(signal, background) == pytest.approx(plain, rel=1e-12), model
            assert significance(signal, background, 0.2) == pytest.approx(systematic, rel=1e-12), model
        # all models and both working points must speak of the same expected signal; the last digit allows 0.3 %
        np.testing.assert_allclose(signals, 1000, rtol=4e-3, err_msg=model)
    for model, (plain3, with3, plain7, with7) in PUBLISHED.items():
        for efficiency, plain, systematic in ((0.3, plain3, with3), (0.7, plain7, with7)):
            background = (efficiency * 1000 / plain) ** 2
            assert significance(efficiency * 1000, background, 0.2) == pytest.approx(systematic, abs=0.012), model


@pytest.mark.parametrize(
    ("better", "column", "percent"), [("ParT_int_SM", 3, 82), ("ParT_int_SM", 1, 42), ("ParT_int_SM(FL)", 1, 60)]
)
def test_published_luminosities(better, column, percent):
    gain = luminosity_gain(PUBLISHED[better][column], PUBLISHED["PN"][column])
    assert round(100 * (gain - 1)) == percent


def test_significance_in_its_limits():
    assert significance(10.0, 4.0) == 5.0
    assert significance(10.0, 1e8, 0.1) == pytest.approx(10 / 1e7, rel=1e-6)
    assert math.isnan(significance(10.0, 0.0))
    np.testing.assert_allclose(significance(np.array([10.0, 20.0]), np.array([4.0, 4.0])), [5.0, 10.0])


def test_judge_adds_up():
    scores = make_scores(make_events(1000), sharpness=0.5)
    settings = ClassificationEvaluationConfig(bootstrap=30)
    found = evaluate(scores, settings).metrics
    json.dumps(found, allow_nan=False)
    assert found["settings"] == json.loads(settings.model_dump_json())
    assert {name: entry["yield"] for name, entry in found["events"].items()} == pytest.approx(YIELDS)
    for point in ("0.3", "0.7"):
        entry = found["significance"][point]
        assert entry["signal"] == pytest.approx(float(point) * YIELDS["tttt"])
        passing = scores.weight[~scores.is_signal & (scores.score >= entry["threshold"])].sum()
        assert entry["background"] == pytest.approx(passing, rel=1e-6)
        assert entry["plain"]["value"] == pytest.approx(entry["signal"] / math.sqrt(passing))
        assert entry["systematic"]["value"] < entry["plain"]["value"]
        assert 0 < entry["plain"]["error"] < entry["plain"]["value"]
        shares = [
            YIELDS[name] / 670 * found["background_efficiency"][point][name]["value"] for name in scores.backgrounds
        ]
        assert sum(shares) == pytest.approx(found["background_efficiency"][point]["total"]["value"])
    assert evaluate(scores, settings).metrics == found


def test_no_background_left_is_said_and_not_infinite():
    found = evaluate(simple(np.zeros(40), np.ones(40)), ClassificationEvaluationConfig(bootstrap=20)).metrics
    json.dumps(found, allow_nan=False)
    assert found["significance"]["0.3"]["plain"] == {"value": None, "error": None}
    assert found["background_efficiency"]["0.3"]["b"] == {"value": 0.0, "error": pytest.approx(1 / 40)}


def test_scores_survive_the_file(tmp_path):
    scores = make_scores(make_events(50))
    scores.write(tmp_path / "predictions.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]
    back = Scores.read(tmp_path / "predictions.parquet")
    assert (back.signal, back.luminosity, list(back.probabilities)) == (("tttt",), 100.0, list(scores.probabilities))
    for name in ("process", "number", "hard", "weight", "score"):
        np.testing.assert_array_equal(getattr(back, name), getattr(scores, name))
    for name, column in scores.probabilities.items():
        np.testing.assert_array_equal(back.probabilities[name], column)
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1 half a file")
    with pytest.raises(ValueError, match=r"predictions\.parquet is no readable Parquet file"):
        Scores.read(tmp_path / "predictions.parquet")


def test_bad_scores_are_named():
    good = make_scores(make_events(50))
    columns = {name: getattr(good, name) for name in ("process", "number", "hard", "weight", "score")}
    broken = good.score.copy()
    broken[7] = np.nan
    with pytest.raises(ValueError, match="score is nan for event 7 of ttW"):
        Scores(**columns | {"score": broken}, signal=("tttt",))
    with pytest.raises(ValueError, match="no events of the signal ttbar; there are ttH, ttW, ttWW, ttZ, tttt"):
        Scores(**columns, signal=("ttbar",))
    with pytest.raises(ValueError, match="needs a background"):
        Scores(**columns, signal=good.processes)
    with pytest.raises(ValueError, match="columns of different lengths"):
        Scores(**columns | {"weight": good.weight[1:]}, signal=("tttt",))
    with pytest.raises(ValueError, match="weights of ttH sum to 0"):
        Scores(**columns | {"weight": np.where(good.process == "ttH", 0, good.weight)}, signal=("tttt",))
    with pytest.raises(ValueError, match="more than one score"):
        Scores(**columns | {"number": np.zeros_like(good.number)}, signal=("tttt",))
    with pytest.raises(ValueError, match="stand for 100 1/fb, the evaluation asks for 300 1/fb"):
        evaluate(good, ClassificationEvaluationConfig(luminosity=300))


@pytest.mark.parametrize(
    "wrong", [{"efficiencies": [0.7, 0.3]}, {"efficiencies": [1.5]}, {"luminosity": 0}, {"lumi": 1}, {"bootstrap": 1}]
)
def test_settings_are_strict(wrong):
    with pytest.raises(ValidationError):
        ClassificationEvaluationConfig.model_validate(wrong)


def test_confusion_of_processes():
    scores = make_scores(make_events(500))
    found = confusion(scores)
    assert found.processes == found.categories == ("tttt", "ttH", "ttW", "ttWW", "ttZ")
    np.testing.assert_allclose(found.fractions.sum(axis=1), 1)
    mine = scores.process == "ttZ"
    best = np.array(list(scores.probabilities))[np.argmax(np.stack(list(scores.probabilities.values())), axis=0)]
    expected = scores.weight[mine & (best == "ttH")].sum() / scores.weight[mine].sum()
    assert found.fractions[4, 1] == pytest.approx(expected)


def test_confusion_of_a_binary_classifier_is_what_passes():
    scores = make_scores(make_events(500), kind="binary")
    found = confusion(scores, (0.3, 0.7))
    assert found.categories == ("passes 30%", "passes 70%")
    assert not found.exclusive
    np.testing.assert_allclose(found.fractions[0], [0.3, 0.7], atol=0.02)
