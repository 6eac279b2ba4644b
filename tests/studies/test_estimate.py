"""The estimate of a study's time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from femtobarn.cli import app
from femtobarn.events import write_parquet
from femtobarn.experiments.experiment import Experiment
from femtobarn.runs.run import Step
from femtobarn.studies import study
from femtobarn.studies.estimate import Estimate, Pace, estimate, pace
from femtobarn.studies.progress import Display
from tests.studies.test_study import SMALL, Clock
from tests.support.sample import make_events

TREES = {"name": "bdt", "n_estimators": 8, "num_leaves": 4, "min_leaf_fraction": 0.01}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    file = tmp_path_factory.mktemp("events") / "events.parquet"
    write_parquet(make_events(300, seed=2), file)
    return {
        "base": {
            "data": {"files": [str(file)]},
            "task": {"signal": ["tttt"]},
            "training": {"epochs": 2, "batch_size": 64},
            "evaluation": {"bootstrap": 10},
        },
        "models": {"BDT": {"model": TREES}, "ParT": {"model": SMALL}},
        "seeds": [1, 2],
    }


def imagined(experiment: Experiment) -> Pace:
    """A machine that does 1000 events a second, whatever the model, and validates in 0.7 s."""
    return Pace(0.001, 0.7, 5000)


def test_time_grows_with_epochs_and_training_events_and_finished_runs_take_none(tree, tmp_path):
    planned = study.plan(study.load({**tree, "sizes": [0.1, 1.0]}), tmp_path)
    found = estimate(planned, 1, imagined)
    assert found.seconds["ParT seed 1"] == pytest.approx((0.001 * 5000 + 0.7) * 2)
    assert found.seconds["ParT seed 2 size 0.1"] == pytest.approx((0.001 * 500 + 0.07) * 20)  # as many steps
    assert found.seconds["BDT seed 1"] == pytest.approx((0.001 * 5000 + 0.7) * 8)
    assert found.seconds["BDT seed 1 size 0.1"] == pytest.approx((0.001 * 500 + 0.07) * 8)  # trees are trees
    longer = estimate(study.plan(study.load(tree, ["training.epochs=6"]), tmp_path), 1, imagined)
    assert longer.seconds["ParT seed 1"] == pytest.approx(3 * found.seconds["ParT seed 1"])
    for one in planned:
        if one.label == "BDT":
            one.folder.mkdir(parents=True)
            (one.folder / "meta.json").write_text("{}")
    later = estimate(planned, 1, imagined)
    assert later.total == pytest.approx(sum(t for name, t in found.seconds.items() if name.startswith("ParT")))
    assert all(later.seconds[one.name] == 0 for one in planned if one.label == "BDT")


def test_each_kind_of_model_is_measured_once(tree, tmp_path):
    seen = []

    def measure(experiment: Experiment) -> Pace:
        seen.append(experiment.model.name)
        return imagined(experiment)

    pairs = {"model": SMALL, "inputs": {"interactions": ["mass"]}}
    twins = {**tree["models"], "ParT_too": {"model": SMALL}, "ParT_int": pairs}
    found = estimate(study.plan(study.load({**tree, "models": twins, "sizes": [0.5, 1.0]}), tmp_path), 1, measure)
    assert sorted(seen) == ["bdt", "part", "part"]
    assert len(found.seconds) == 16
    assert set(found.paces) == set(twins)


def test_workers_take_the_next_run_when_they_are_free():
    runs = {"a": 5.0, "b": 3.0, "c": 1.0, "d": 4.0}
    assert Estimate(runs, {}, 1).wall == pytest.approx(13)
    assert Estimate(runs, {}, 2).wall == pytest.approx(8)  # a until 5, b and c until 4, then d until 8
    assert Estimate(runs, {}, 9).wall == pytest.approx(5)


def test_real_steps_are_measured_and_a_mistake_is_left_to_the_run(tree, tmp_path):
    planned = study.plan(study.load(tree), tmp_path)
    for one in planned[:2]:
        found = pace(one.experiment)
        assert found.events > 100
        assert 0 < found.seconds < math.inf
    wrong = study.plan(study.load(tree, ["task.signal=tttq"]), tmp_path)
    assert estimate(wrong, 1).seconds == {}


def test_the_time_left_is_that_of_the_estimate_set_right_by_what_runs_took(tree, tmp_path):
    planned = study.plan(study.load({**tree, "seeds": [1]}), tmp_path)
    clock = Clock()
    shown = Display(planned, workers=1, expected={"BDT seed 1": 10.0, "ParT seed 1": 100.0}, clock=clock)
    assert shown.time_left() == pytest.approx(110)
    shown.started(planned[0])
    clock.now = 10.0
    shown.stepped(planned[0], Step("training", 4, 8))
    assert shown.run_time_left(shown.runs["ParT seed 1"]) == pytest.approx(200)  # the trees take twice their estimate


def test_a_study_tells_its_time_before_and_after(tree, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**tree, "seeds": [1]}))

    def call(*more: str) -> str:
        said = CliRunner().invoke(app, ["study", str(path), "-o", str(tmp_path / "runs"), "--workers", "1", *more])
        assert said.exit_code == 0, said.output
        return said.output

    assert "events at" in call("--dry-run")
    assert not Path(tmp_path / "runs").exists()
    assert "(estimated: " in call("--no-report")
    told = json.loads((tmp_path / "runs" / "estimate.json").read_text())
    assert told["runs"] == told["trained"] == 2
    assert told["training_seconds"]["actual"] > 0
    assert told["wall_seconds"]["actual"] > told["training_seconds"]["actual"]
    assert "(estimated: " not in call("--no-report")  # nothing is due, nothing is told
