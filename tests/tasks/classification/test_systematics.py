"""Systematics: closed formulas on hand-made scores, and the verb on tiny runs."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import femtobarn
from femtobarn.cli import app
from femtobarn.evaluation.measurement import Measurement
from femtobarn.events import concatenate, write
from femtobarn.events.record import Events
from femtobarn.experiments import experiment
from femtobarn.runs import run, systematics
from femtobarn.tasks.classification.efficiency_curves import efficiency_curves
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.significance import significance
from femtobarn.tasks.classification.systematics import effect, evaluate_systematics, read_systematics
from femtobarn.tasks.classification.systematics_table import systematics_table
from tests.support.fake_runs import make_scores
from tests.support.sample import make_events

SETTINGS = ClassificationEvaluationConfig(bootstrap=40, efficiencies=(0.5,))


@pytest.fixture(scope="module")
def scores():
    return make_scores(make_events(800))


def test_unvaried_scores_change_nothing(scores):
    told = evaluate_systematics(scores, {"none": replace(scores)}, SETTINGS)["shifts"]["none"]
    for quantity in ("mean_score", "yield", "signal", "background", "auc"):
        for entry in told[quantity].values():
            assert entry["change"] == pytest.approx(0, abs=1e-12)
            assert entry["error"] == pytest.approx(0, abs=1e-12)


def test_more_background_by_weight_is_known_exactly(scores):
    """All weights of one background up by a tenth: its area and scores stay, and the yields follow in each replica."""
    factor = np.where(scores.process == "ttW", 1.1, 1.0)
    found = evaluate_systematics(scores, {"more": replace(scores, weight=scores.weight * factor)}, SETTINGS)
    told, point = found["shifts"]["more"], found["points"]["0.5"]
    for name, entry in told["yield"].items():
        assert entry["change"] == pytest.approx(0.1 if name == "ttW" else 0)
        assert entry["error"] == pytest.approx(0, abs=1e-12)
        assert told["mean_score"][name]["change"] == pytest.approx(0, abs=1e-12)
        assert told["lost"][name] == 0
    assert told["auc"]["ttW"]["change"] == pytest.approx(0, abs=1e-12)
    passed = scores.score >= point["threshold"]
    kept = {name: scores.weight[passed & (scores.process == name)].sum() for name in scores.processes}
    background = sum(kept[name] for name in scores.backgrounds)
    assert point["background"] == pytest.approx(background)
    assert told["background"]["0.5"]["change"] == pytest.approx(0.1 * kept["ttW"] / background)
    assert told["signal"]["0.5"]["change"] == pytest.approx(0)
    for kind, delta in (("plain", 0.0), ("systematic", 0.2)):
        entry = told["significance"]["0.5"][kind]
        assert entry["nominal"] == pytest.approx(significance(kept["tttt"], background, delta))
        assert entry["shifted"] == pytest.approx(significance(kept["tttt"], background + 0.1 * kept["ttW"], delta))
        assert entry["change"] == pytest.approx(entry["shifted"] - entry["nominal"])


def test_varied_auc_is_the_auc_of_the_varied_scores(scores):
    moved = replace(scores, score=scores.score**2 * np.where(scores.number % 3, 1, 0.9).astype(np.float32))
    told = evaluate_systematics(scores, {"moved": moved}, SETTINGS)["shifts"]["moved"]
    before, after = efficiency_curves(scores, (0.5,)), efficiency_curves(moved, (0.5,))
    for name, entry in told["auc"].items():
        assert entry["nominal"] == pytest.approx(before.auc[name][0])
        assert entry["shifted"] == pytest.approx(after.auc[name][0])


def test_lost_events_are_counted_and_paired_errors_are_small(scores):
    gone = (scores.score < 0.05) & (scores.process == "ttZ")
    cut = replace(scores, weight=np.where(gone, 0, scores.weight))
    told = evaluate_systematics(scores, {"cut": cut}, SETTINGS)["shifts"]["cut"]
    part = scores.weight[gone].sum() / scores.weight[scores.process == "ttZ"].sum()
    assert 0 < part < 1
    assert told["lost"] == pytest.approx(dict.fromkeys(scores.processes, 0.0) | {"ttZ": part})
    assert told["yield"]["ttZ"]["change"] == pytest.approx(-part)
    # binomial, with hard events of two copies
    assert told["yield"]["ttZ"]["error"] == pytest.approx(np.sqrt(2 * part * (1 - part) / 160), rel=0.5)
    assert told["yield"]["ttH"]["error"] == pytest.approx(0, abs=1e-12)
    assert told["background"]["0.5"]["change"] == pytest.approx(0)  # all were below the cut


def test_scores_of_other_events_are_refused(scores):
    other = replace(scores, number=scores.number + 1)
    with pytest.raises(ValueError, match="varied by up are of other events"):
        evaluate_systematics(scores, {"up": other}, SETTINGS)


def test_trainings_are_averaged():
    runs = [{"shifts": {"up": {"auc": {"total": {"change": value, "error": 0.2}}}}} for value in (1.0, 3.0)]
    found = effect(runs, "up", AUC)
    assert [found.value, *found.errors] == pytest.approx([2, 0.2, np.sqrt(2)])
    assert [change.format(1, signed=True) for change in (found, Measurement(-0.01), Measurement(-1.0, 0.5))] == [
        "+2.0 ± 0.2 ± 1.4",
        "0.0",
        "−1.0 ± 0.5",
    ]


def test_the_tables_fit_a_terminal_of_80_columns(scores):
    shifted = {"mistag_down": replace(scores, weight=scores.weight * np.where(scores.process == "ttW", 1.1, 1.0))}
    settings = {"settings": SETTINGS.model_dump(mode="json")}
    trainings = [evaluate_systematics(scores, shifted, SETTINGS) | settings for _ in range(2)]
    console = Console(width=80, file=StringIO(), record=True)
    console.print(systematics_table({"ParT_int_SM(FL)": trainings}))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    found = sum(line.split()[:2] == ["ParT_int_SM(FL)", "mistag_down"] for line in lines)
    assert found == 2  # the area, and one working point
    told = 1000 * trainings[0]["shifts"]["mistag_down"]["auc"]["total"]["change"]
    assert told > 1
    assert any(f"+{told:.2f}" in line for line in lines)


@pytest.fixture(scope="module")
def shipped():
    events = femtobarn.four_top()
    return events[events.hard % 60 == 0]


def trained(events: Events, folder: Path, model: str, selection: str | None = None) -> Path:
    write(events, folder / "events.parquet")
    settings = {
        "bdt": {"name": "bdt", "n_estimators": 5},
        "part": {"name": "part", "width": 8, "blocks": 1, "class_blocks": 1, "heads": 2},
    }
    plain = {
        "data": {"files": [str(folder / "events.parquet")], "selection": selection},
        "model": settings[model],
        "task": {"signal": ["tttt"]},
        "training": {"epochs": 1, "threads": 1},
        "evaluation": {"bootstrap": 10},
    }
    run.train(experiment.load(plain), folder / model)
    run.evaluate(folder / model)
    return folder / model


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "220"})
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("model", ["bdt", "part"])
def test_the_verb_writes_what_it_prints(shipped, tmp_path, model):
    folder = trained(shipped, tmp_path, model)
    assert read_systematics(folder) is None
    said = call("shifts", tmp_path, "--only", "jes_down", "--only", "btag_up")
    assert all(text in said for text in ("jes_down", "btag_up", "ΔAUC", "statistical error of the difference"))
    told = read_systematics(folder)
    assert told is not None
    assert told["cuts"]["ttH"][0] == "n_jet >= 6"
    assert 0.01 < told["shifts"]["jes_down"]["lost"]["ttH"] < 0.2
    assert told["shifts"]["btag_up"]["yield"]["ttH"]["change"] == pytest.approx(0.025, abs=0.01)
    nominal, shifted = Scores.read(folder / "predictions.parquet"), Scores.read(folder / "shifts" / "jes_down.parquet")
    np.testing.assert_array_equal(shifted.number, nominal.number)
    gone = shifted.weight == 0
    np.testing.assert_array_equal(shifted.weight[~gone], nominal.weight[~gone])
    assert 0 < gone.mean() < 0.2
    assert not np.array_equal(shifted.score, nominal.score)
    tagged = Scores.read(folder / "shifts" / "btag_up.parquet")
    np.testing.assert_array_equal(tagged.score, nominal.score)
    written = (folder / "shifts.json").stat().st_mtime_ns
    call("systematics", folder, "--only", "jes_down")
    assert (folder / "shifts.json").stat().st_mtime_ns == written  # there already
    nominal = replace(nominal, score=nominal.score**2)
    nominal.write(folder / "predictions.parquet")
    assert read_systematics(folder) is None  # of other scores


def test_selections_of_the_experiment_are_made_again(shipped, tmp_path):
    folder = trained(shipped, tmp_path, "bdt", "jet.pt[0] > 100")
    told = systematics.vary_run(folder, ["jes_down", "jes_up"])
    assert told["cuts"]["tttt"][-1] == "jet.pt[0] > 100"
    plain = trained(shipped, tmp_path / "plain", "bdt")
    less = systematics.vary_run(plain, ["jes_down"])["shifts"]["jes_down"]["lost"]
    assert told["shifts"]["jes_down"]["lost"]["ttH"] > less["ttH"]
    assert told["shifts"]["jes_up"]["lost"]["ttH"] == 0


def test_missing_truth_and_changed_events_are_told(shipped, tmp_path):
    bare = replace(shipped, particles=shipped.particles[["pt", "eta", "phi", "E", "kind"]])
    folder = trained(bare, tmp_path, "bdt")
    assert "truth column 'truth_id'" in call("systematics", folder, code=2)
    assert not (folder / "shifts.json").exists()
    assert json.loads(json.dumps(systematics.vary_run(folder, ["met_up"])))["shifts"].keys() == {"met_up"}
    assert "no variation is called 'jer_up'" in call("systematics", folder, "--only", "jer_up", code=2)
    write(concatenate([bare[:-5]]), tmp_path / "events.parquet")
    assert "events have changed" in call("systematics", folder, "--only", "jes_up", code=2)
    (folder / "metrics.json").unlink()
    assert "unfinished run" in call("systematics", folder, code=2)
