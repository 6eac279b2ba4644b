"""The metrics of jet tagging against scikit-learn, formulas by hand, and what they say of a run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score, roc_curve

from femtobarn.evaluation.bootstrap import bootstrap_std, draw_replicas
from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.tables import cells, csv_table, growth_tables
from femtobarn.experiments.experiment import load
from femtobarn.tasks.classification.comparison import compare
from femtobarn.tasks.classification.efficiency_curves import efficiency_curves
from femtobarn.tasks.classification.metrics import evaluate
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.sections import fit_section, growth_columns, main_sections, sections
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.tagging import (
    accuracy,
    class_efficiency,
    inverses,
    pair_area,
    rejection,
    tagging_metrics,
)
from femtobarn.tasks.results import markdown
from tests.support.fake_runs import make_run

SETTINGS = ClassificationEvaluationConfig(metrics="tagging", bootstrap=60)
CLASSES = ("Hbb", "Hqql", "Tbl", "QCD")


def two_classes(count: int = 3000, seed: int = 0, apart: float = 1.8, weights: bool = True) -> Scores:
    """Scores with a probability interpretation at equal class sizes, and event weights that have none."""
    rng = np.random.default_rng(seed)
    signal = np.arange(count) % 3 == 0
    score = 1 / (1 + np.exp(-apart * rng.normal(np.where(signal, apart / 2, -apart / 2), 1)))
    numbers = np.arange(count, dtype=np.int64)
    return Scores(
        process=np.where(signal, "top", "QCD"),
        number=numbers,
        hard=numbers // 2 * 2 + signal,  # some pairs of jets of one collision
        weight=rng.uniform(0.2, 2, count) * np.where(signal, 1, 50) if weights else np.ones(count),
        score=score.astype(np.float32),
        signal=("top",),
        probabilities={"top": score.astype(np.float32), "QCD": (1 - score).astype(np.float32)},
    )


def several(count: int = 2400, seed: int = 0, weights: bool = True, sharpness: float = 2.0) -> Scores:
    """Four classes, each with its probability."""
    rng = np.random.default_rng(seed)
    true = np.arange(count) % len(CLASSES)
    logits = rng.normal(size=(count, len(CLASSES))) + sharpness * np.eye(len(CLASSES))[true]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    numbers = np.arange(count, dtype=np.int64)
    return Scores(
        process=np.array(CLASSES)[true],
        number=numbers,
        hard=numbers,
        weight=rng.uniform(0.5, 2, count) if weights else np.ones(count),
        score=(1 - probability[:, 3]).astype(np.float32),
        signal=CLASSES[:3],
        probabilities={name: probability[:, place].astype(np.float32) for place, name in enumerate(CLASSES)},
    )


def test_rejections_are_those_of_the_weighted_curve_of_scikit_learn():
    scores = two_classes()
    found = evaluate(scores, SETTINGS).metrics
    false, true, _ = roc_curve(scores.is_signal, scores.score, sample_weight=scores.weight, drop_intermediate=False)
    for point in (0.3, 0.5):
        expected = 1 / np.interp(point, true, false)
        number = found["rejection"][f"{point:g}"]
        assert number["total"]["value"] == pytest.approx(expected, rel=1e-6)
        assert number["QCD"] == number["total"]  # a single background
        assert 0 < number["total"]["error"] < 0.5 * expected
    area = roc_auc_score(scores.is_signal, scores.score, sample_weight=scores.weight)
    assert found["auc"]["total"]["value"] == pytest.approx(area, rel=1e-9)
    assert "significance" not in found
    assert "best" not in found
    assert list(found["background_efficiency"]) == ["0.3", "0.5"]
    json.dumps(found, allow_nan=False)


def test_accuracy_is_that_of_classes_of_equal_size():
    scores = two_classes()
    said = np.where(scores.score >= 0.5, "top", "QCD")
    found = accuracy(scores, SETTINGS)
    expected = balanced_accuracy_score(scores.process, said, sample_weight=scores.weight)
    assert found[0] == pytest.approx(expected, rel=1e-9)
    # each replica is judged with its own weights
    replicas = np.concatenate(list(draw_replicas(scores, SETTINGS.bootstrap, SETTINGS.seed)))
    again = balanced_accuracy_score(scores.process, said, sample_weight=replicas[7])
    assert found[7] == pytest.approx(again, rel=1e-9)
    jets = several(weights=False)
    names = np.array(list(jets.probabilities))
    most = names[np.argmax(np.stack(list(jets.probabilities.values())), axis=0)]
    assert accuracy(jets, SETTINGS)[0] == pytest.approx(accuracy_score(jets.process, most), rel=1e-9)


def test_mean_area_over_pairs_is_that_of_scikit_learn():
    jets = several(weights=False)
    order = sorted(CLASSES)
    table = np.stack([jets.probabilities[name] for name in order], axis=1).astype(np.float64)
    table /= table.sum(axis=1, keepdims=True)
    expected = roc_auc_score(jets.process, table, multi_class="ovo", average="macro", labels=order)
    assert pair_area(jets, SETTINGS)[0] == pytest.approx(expected, abs=1e-6)
    jets, areas = several(), []  # scikit-learn takes no weights here: pair by pair
    for name in CLASSES:
        for other in CLASSES:
            if other != name:
                two = np.isin(jets.process, [name, other])
                one = (jets.process[two] == name, jets.probabilities[name][two])
                areas.append(roc_auc_score(*one, sample_weight=jets.weight[two]))
    assert pair_area(jets, SETTINGS)[0] == pytest.approx(np.mean(areas), rel=1e-9)


def test_class_rejections_of_jetclass_by_hand():
    jets = several(4000)
    found = evaluate(jets, SETTINGS).metrics
    assert found["class_point"] == {"Hbb": 0.5, "Hqql": 0.99, "Tbl": 0.995}
    qcd = jets.process == "QCD"
    for name, point in found["class_point"].items():
        wanted = jets.probabilities[name].astype(np.float64)
        test = wanted / (wanted + jets.probabilities["QCD"])
        mine = jets.process == name
        order = np.argsort(-test[mine])
        kept = np.cumsum(jets.weight[mine][order]) / jets.weight[mine].sum()
        cut = test[mine][order][np.searchsorted(kept, point)]
        assert np.isclose(kept, point, atol=1e-3).any()
        passing = jets.weight[qcd & (test >= cut)].sum() / jets.weight[qcd].sum()
        inverse = found["class_rejection"][name]["QCD"]["value"]
        # the cut lies inside of one jet's weight
        assert inverse == pytest.approx(1 / passing, rel=0.02), name
        assert found["class_efficiency"][name]["QCD"]["value"] == pytest.approx(1 / inverse)
    own = evaluate(jets, SETTINGS.model_copy(update={"class_efficiencies": {"Tbl": 0.5, "Hbb": 0.8}})).metrics
    assert own["class_point"] == {"Hbb": 0.8, "Hqql": 0.99, "Tbl": 0.5}
    assert own["class_rejection"]["Tbl"]["QCD"]["value"] > found["class_rejection"]["Tbl"]["QCD"]["value"]


def test_the_surest_jets_are_told_apart_below_the_rounding_of_a_ratio():
    """P/(P + B) is 1 in float32 for B < 6e-8, where the best taggers are judged."""
    count = 4000
    signal = np.arange(count) % 2 == 0
    other = (10.0 ** np.where(signal, -12.0 + np.arange(count) / count, -9.0)).astype(np.float32)
    third = np.full(count, 1e-3, dtype=np.float32)
    numbers = np.arange(count, dtype=np.int64)
    jets = Scores(
        process=np.where(np.arange(count) % 10 == 9, "W", np.where(signal, "top", "QCD")),
        number=numbers,
        hard=numbers,
        weight=np.ones(count),
        score=np.ones(count, dtype=np.float32),
        signal=("top",),
        probabilities={"top": np.ones(count, dtype=np.float32), "QCD": other, "W": third},
    )
    assert class_efficiency(jets, "top", "QCD", SETTINGS)[0] == 0.0


def test_error_of_a_rejection_is_that_of_the_efficiency():
    scores = two_classes()
    measured = efficiency_curves(scores, [0.3, 0.5], replicas=200)
    passing = measured.background["QCD"][:, 1]
    inverse = rejection(passing)
    assert inverse[0] == pytest.approx(1 / passing[0])
    assert float(bootstrap_std(inverse)) == pytest.approx(float(bootstrap_std(passing)) / passing[0] ** 2)
    close = passing[np.abs(passing / passing[0] - 1) < 0.02]
    np.testing.assert_allclose(rejection(np.concatenate([passing[:1], close])[0:])[1:], 1 / close, rtol=5e-4)
    assert np.isnan(rejection(np.array([0.0, 0.0]))).all()
    # a handful of events behind an efficiency: inverses of replicas would have no variance to speak of
    few = np.concatenate([[1e-3], np.random.default_rng(0).exponential(1e-3, 100_000)])
    assert float(bootstrap_std(rejection(few))) == pytest.approx(1000, rel=0.02)


def test_no_background_left_is_a_limit():
    count = 200
    perfect = two_classes(count)
    score = np.where(perfect.is_signal, 0.9, 0.1).astype(np.float32)
    scores = Scores(
        **{name: getattr(perfect, name) for name in ("process", "number", "hard")},
        weight=np.ones(count),
        score=score,
        signal=("top",),
    )
    number = evaluate(scores, SETTINGS).metrics["rejection"]["0.5"]["total"]
    effective = efficiency_curves(scores, [0.5]).effective["QCD"]
    assert number == {"value": None, "error": None, "above": pytest.approx(effective / -math.log(0.05))}
    assert accuracy(scores, SETTINGS)[0] == 1.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taggers")
    apart = {"weak": 1.6, "strong": 2.4}
    return [
        make_run(
            folder / label / f"seed-{seed}",
            label,
            two_classes(1500, 0, each + 0.02 * seed),
            seed=seed,
            settings=SETTINGS,
        )
        for label, each in apart.items()
        for seed in (0, 1)
    ]


def test_rejections_of_several_trainings_are_those_of_their_mean_efficiency(runs):
    found = compare(runs)
    row = found["strong"]
    for point in found.points:
        passing, inverse = (
            row.measurements[Metric(name, "total", at=point)] for name in ("background_efficiency", "rejection")
        )
        assert passing.value is not None
        assert passing.statistical is not None
        assert passing.seeds is not None
        assert inverse.value == pytest.approx(1 / passing.value)
        assert inverse.statistical == pytest.approx(passing.statistical / passing.value**2)
        assert inverse.seeds == pytest.approx(passing.seeds / passing.value**2)
    assert found.best(Metric("rejection", "total", at="0.5")) is row
    assert found.best(Metric("accuracy", "total")) is row
    assert not any(metric.name in ("significance", "gain") for metric in row.measurements)


def test_tables_of_taggers_hold_the_metrics_of_the_field_alone(runs):
    found = compare(runs)
    assert [section.title for section in sections(found)] == ["top against QCD"]
    (section,) = main_sections(found)
    headings = ["accuracy", "AUC", "1/ε_B at ε_S = 30 %", "1/ε_B at ε_S = 50 %"]
    assert [column.heading for column in section.columns] == headings
    text = markdown(found)
    assert "s/√b" not in text
    assert f"{found['strong'].measurements[Metric('accuracy', 'total')].value:.2f}" in text
    assert growth_tables(found, growth_columns(found)) == []
    assert "strong,2,rejection,0.5,total," in csv_table(found)


def test_a_limit_is_printed_as_one(tmp_path):
    scores = two_classes(300, weights=False)
    perfect = Scores(
        **{name: getattr(scores, name) for name in ("process", "number", "hard", "weight", "signal")},
        score=np.where(scores.is_signal, 0.9, 0.1).astype(np.float32),
    )
    runs = [
        make_run(tmp_path / name, name, each, settings=SETTINGS)
        for name, each in (("usual", scores), ("perfect", perfect))
    ]
    found = compare(runs)
    column = main_sections(found)[0].columns[-1]
    assert [cell.text.startswith("> ") for cell in cells(found, column)] == [False, True]
    assert "limit at 95 % confidence" in markdown(found)


def test_tables_of_several_classes(tmp_path):
    names = ("one", "two")
    runs = [
        make_run(tmp_path / name, name, several(800, sharpness=2.0 + place), settings=SETTINGS)
        for place, name in enumerate(names)
    ]
    found = compare(runs, baseline="one")
    titles = [section.title for section in main_sections(found)]
    assert titles[0] == "Hbb + Hqql + Tbl against QCD"
    assert titles[1:] == ["All classes", "1/ε_B of QCD for each class X, by P_X/(P_X + P_QCD)"]
    headings = [column.heading for column in main_sections(found)[2].columns]
    assert headings == ["Hbb, ε_S = 50 %", "Hqql, ε_S = 99 %", "Tbl, ε_S = 99.5 %"]
    assert found.best(Metric("class_rejection", "QCD", at="Tbl")) is found["two"]
    assert found.best(Metric("pair_auc", "mean")) is found["two"]


def test_rejections_stand_for_every_efficiency():
    found = tagging_metrics(several(400), SETTINGS)
    efficiencies = {metric for metric in found if metric.name == "class_efficiency"}
    assert {replace(metric, name="class_efficiency") for metric in inverses(found)} == efficiencies


@pytest.mark.parametrize(
    ("change", "metrics", "points"),
    [
        ({"data": {"sample": "top-tagging"}, "inputs": {"features": "kin"}}, "tagging", (0.3, 0.5)),
        ({"data": {"files": "jets.h5"}, "inputs": {"features": "full"}}, "tagging", (0.3, 0.5)),
        ({"data": {"sample": "quark-gluon"}}, "tagging", (0.3, 0.5)),
        ({"data": {"sample": "four-top"}}, "significance", (0.3, 0.7)),
        ({"data": {"sample": "top-tagging"}, "evaluation": {"metrics": "significance"}}, "significance", (0.3, 0.7)),
        ({"data": {"sample": "top-tagging"}, "evaluation": {"efficiencies": [0.2]}}, "tagging", (0.2,)),
    ],
)
def test_default_metrics_of_jets_are_those_of_taggers(change, metrics, points):
    signal = "tttt" if change["data"].get("sample") == "four-top" else "top"
    found = load({"model": {"name": "pfn"}, "task": {"signal": signal}, **change}).evaluation
    evaluation = cast(Any, found)
    assert (evaluation.metrics, evaluation.efficiencies) == (metrics, points)


def test_taggers_have_no_fit_to_a_significance(runs):
    fits = pytest.importorskip("femtobarn.runs.fit")
    pytest.importorskip("pyhf")
    with pytest.raises(ValueError, match="was evaluated as a tagger of jets"):
        fits.fit_run(runs[0])
    assert not compare(runs).fitted
    assert fit_section is not None
