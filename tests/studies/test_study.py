"""Studies: expansion, parallel runs, failures, resumption."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from femtobarn.events import write_parquet
from femtobarn.experiments import document
from femtobarn.experiments.document import ConfigError
from femtobarn.runs import run
from femtobarn.runs.run import Step
from femtobarn.studies import study, workers
from femtobarn.studies.progress import Display, describe, duration
from femtobarn.studies.study import PlannedRun
from femtobarn.tasks.classification.comparison import compare
from tests.support.sample import make_events

SMALL = {
    "name": "part",
    "width": 8,
    "heads": 2,
    "blocks": 1,
    "class_blocks": 1,
    "embedding": [8],
    "pair_embedding": [8],
}
MODELS = {
    "BDT": {"model": {"name": "bdt", "n_estimators": 8, "num_leaves": 4, "min_leaf_fraction": 0.01}},
    "ParT": {"model": SMALL},
    "ParT_int": {"model": SMALL, "inputs": {"interactions": ["mass", "delta_r"]}},
}


class Silent:
    """A watcher that only counts."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def started(self, planned: PlannedRun) -> None:
        self.seen.append(("started", planned.name))

    def stepped(self, planned: PlannedRun, step: Step) -> None:
        self.seen.append((step.stage, planned.name))

    def finished(self, planned: PlannedRun) -> None:
        self.seen.append(("finished", planned.name))

    def failed(self, planned: PlannedRun, reason: str) -> None:
        self.seen.append(("failed", planned.name))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "events.parquet"
    write_parquet(make_events(400, seed=2), path)
    return path


@pytest.fixture
def tree(file):
    return {
        "name": "tiny",
        "base": {
            "data": {"files": [str(file)]},
            "task": {"signal": ["tttt"]},
            "training": {"epochs": 2, "batch_size": 64},
            "evaluation": {"bootstrap": 10},
        },
        "models": MODELS,
        "seeds": [1, 2],
    }


def test_a_study_is_models_times_seeds_times_sizes(tree, tmp_path):
    planned = study.plan(study.load({**tree, "sizes": [0.5, 1.0]}), tmp_path)
    assert len(planned) == 12
    assert {one.folder.relative_to(tmp_path).as_posix() for one in planned if one.label == "BDT"} == {
        "BDT/seed-1",
        "BDT/seed-1-size-0.5",
        "BDT/seed-2",
        "BDT/seed-2-size-0.5",
    }
    assert {one.experiment.seed for one in planned[:6]} == {1}
    assert all(one.experiment.label == one.label for one in planned)
    assert all(one.experiment.data.fraction == one.size for one in planned)
    assert all(one.experiment.training.epochs == 2 / one.size for one in planned)  # as many steps with fewer events
    assert planned[2].experiment.inputs.interactions == ("mass", "delta_r")
    assert "12 runs, 0 finished" in study.listing(planned)


def test_overrides_change_the_study_or_every_experiment(tree, tmp_path):
    planned = study.plan(study.load(tree, ["seeds=[3]", "training.epochs=7", "evaluation.luminosity=300"]), tmp_path)
    assert [one.seed for one in planned] == [3, 3, 3]
    assert {one.experiment.training.epochs for one in planned} == {7}
    assert {cast(Any, one.experiment.evaluation).luminosity for one in planned} == {300}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedes": [1]}, r"sedes: no such key \(did you mean seeds\?\)"),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [1, 1]}, "seeds: a value stands twice"),
        ({"sizes": [0.5, 1.5]}, r"sizes\[1\]: should be less than or equal to 1; got 1.5"),
        ({"models": {}}, "models: "),
        ({"models": {"a/b": {}}}, "models.a/b"),
        ({"models": {"A": {"model": {"name": "prt"}}}}, r"models.A.model: no model is called 'prt'"),
        ({"models": {"A": {"model": {"name": "part", "widht": 3}}}}, r"models.A.model.widht: no such key"),
        ({"base": {"task": {"sginal": ["tttt"]}}}, r"base.task.sginal: no such key \(did you mean signal\?\)"),
        ({"base": {"seed": 3}}, "base.seed: is given by seeds"),
    ],
)
def test_mistakes_in_a_study_name_path_and_remedy(tree, change, message):
    with pytest.raises(ConfigError, match=message):
        study.load({**tree, **change})


def test_a_mistake_of_the_base_is_told_once(tree):
    base = {**tree["base"], "training": {"epoch": 3}}
    with pytest.raises(ConfigError) as caught:
        study.load({**tree, "base": base})
    assert [mistake.path for mistake in caught.value.mistakes] == ["base.training.epoch"]


def test_overrides_of_what_the_study_sets_are_refused(tree):
    with pytest.raises(ConfigError, match="override seed: is given by seeds"):
        study.load(tree, ["seed=3"])


def test_shipped_study_is_found_by_name_and_right(tmp_path):
    planned = study.plan(study.load("four-top-small"), tmp_path)
    assert [one.label for one in planned[:7]] == [
        "BDT",
        "BDT_int",
        "ParticleNet",
        "ParticleNet_int_SM",
        "ParT",
        "ParT_int",
        "ParT_int_SM",
    ]
    assert {one.seed for one in planned} == {1, 2}
    with pytest.raises(
        FileNotFoundError, match=r"no study file five-top; the package brings amplitudes-small, four-top-small"
    ):
        study.load("five-top")


def test_numbers_do_not_depend_on_the_number_of_workers(tree, tmp_path):
    watcher = Silent()
    alone = study.plan(study.load(tree), tmp_path / "one")
    first = workers.run_all(alone, watcher, workers=1)
    many = study.plan(study.load(tree), tmp_path / "two")
    second = workers.run_all(many, Silent(), workers=2)
    assert not first.failures
    assert not second.failures
    assert len(first.computed) == len(second.computed) == 6
    assert first.finished == tuple(one.folder for one in alone)
    for mine, other in zip(alone, many, strict=True):
        for name in ("metrics.json", "predictions.parquet"):
            assert (mine.folder / name).read_bytes() == (other.folder / name).read_bytes()
    assert watcher.seen.count(("finished", "ParT seed 2")) == 1
    table = compare(first.finished)
    assert [row.label for row in table.rows] == ["BDT", "ParT", "ParT_int"]
    assert table.rows[1].seeds == (1, 2)

    times = {one.folder: (one.folder / "metrics.json").stat().st_mtime_ns for one in alone}
    again = workers.run_all(alone, Silent(), workers=1)
    assert again.computed == ()
    assert again.finished == first.finished
    assert times == {one.folder: (one.folder / "metrics.json").stat().st_mtime_ns for one in alone}
    assert "6 finished, 0 to do" in study.listing(alone)


def test_changing_the_judgement_alone_does_not_train_again(tree, tmp_path):
    one = study.plan(study.load(tree, ["seeds=[1]"]), tmp_path)[1:2]
    workers.run_all(one, Silent(), workers=1)
    weights = (one[0].folder / "weights.safetensors").stat().st_mtime_ns
    before = json.loads((one[0].folder / "metrics.json").read_text())
    more = study.plan(study.load(tree, ["seeds=[1]", "evaluation.luminosity=400"]), tmp_path)[1:2]
    assert [planned[0].state for planned in (one, more)] == ["finished", "changed"]
    outcome = workers.run_all(more, Silent(), workers=1)
    assert outcome.computed == ("ParT seed 1",)
    assert (one[0].folder / "weights.safetensors").stat().st_mtime_ns == weights
    after = json.loads((one[0].folder / "metrics.json").read_text())
    ratio = after["significance"]["0.7"]["plain"]["value"] / before["significance"]["0.7"]["plain"]["value"]
    assert ratio == pytest.approx(2)  # s/sqrt(b) grows with the root of the luminosity


def test_one_failure_is_told_and_does_not_stop_the_others(tree, tmp_path):
    changed = {**tree, "seeds": [1], "models": {**MODELS, "Wrong": {"model": SMALL, "task": {"signal": ["tttq"]}}}}
    planned = study.plan(study.load(changed), tmp_path)
    watcher = Silent()
    outcome = workers.run_all([planned[3], *planned[:3]], watcher, workers=1)
    assert set(outcome.computed) == {"BDT seed 1", "ParT seed 1", "ParT_int seed 1"}
    assert "no process is called 'tttq' in the data (did you mean tttt?)" in outcome.failures["Wrong seed 1"]
    assert ("failed", "Wrong seed 1") in watcher.seen
    assert "Traceback" in (planned[3].folder / "error.txt").read_text()
    assert planned[3].folder not in outcome.finished
    assert planned[3].state == "started"


def test_a_failing_run_and_a_dying_worker_leave_the_other_runs_alone(tree, tmp_path):
    changed = {**tree, "seeds": [1], "models": {"Wrong": {"model": SMALL, "task": {"signal": ["tttq"]}}, **MODELS}}
    wrong, trees, *networks = study.plan(study.load(changed, ["training.epochs=40"]), tmp_path)

    class Killer(Silent):
        def stepped(self, planned: PlannedRun, step: Step) -> None:
            super().stepped(planned, step)
            if planned.name == "ParT seed 1" and step.done == 1:
                for child in multiprocessing.active_children():
                    os.kill(child.pid or 0, signal.SIGKILL)

    outcome = workers.run_all([wrong, networks[0], trees], Killer(), workers=2)
    assert "no process is called 'tttq'" in outcome.failures["Wrong seed 1"]
    assert "exit code -9" in outcome.failures["ParT seed 1"]
    again = workers.run_all([networks[0], trees], Silent(), workers=1)
    assert not again.failures
    assert run.is_finished(trees.folder)
    assert run.is_finished(networks[0].folder)


def test_a_killed_study_goes_on_to_the_same_numbers(tree, tmp_path):
    planned = study.plan(study.load(tree, ["training.epochs=12"]), tmp_path / "killed")[1:2]
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(tree, tmp_path / "killed"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (planned[0].folder / run.CHECKPOINT).exists()
    assert not run.is_finished(planned[0].folder)
    workers.run_all(planned, Silent(), workers=1)
    unbroken = study.plan(study.load(tree, ["training.epochs=12"]), tmp_path / "unbroken")[1:2]
    workers.run_all(unbroken, Silent(), workers=1)
    for name in ("weights.safetensors", "predictions.parquet", "metrics.json"):
        assert (planned[0].folder / name).read_bytes() == (unbroken[0].folder / name).read_bytes()
    losses = [
        [{key: entry[key] for key in ("epoch", "train_loss", "valid_loss", "lr")} for entry in json.loads(text)]
        for text in ((one[0].folder / "history.json").read_text() for one in (planned, unbroken))
    ]
    assert losses[0] == losses[1]
    assert not (planned[0].folder / run.CHECKPOINT).exists()


def _run(tree, out):
    class Killed(Silent):
        def stepped(self, planned: PlannedRun, step: Step) -> None:
            if step.stage == "training" and step.done == 4:
                os.kill(os.getpid(), signal.SIGKILL)

    workers.run_all(study.plan(study.load(tree, ["training.epochs=12"]), out)[1:2], Killed(), workers=1)


def test_no_workers_are_an_error(tree, tmp_path):
    with pytest.raises(ValueError, match="0 workers"):
        workers.run_all(study.plan(study.load(tree), tmp_path), Silent(), workers=0)


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("terminal", [False, True])
def test_display_tells_what_runs_and_how_long_it_takes(tree, tmp_path, terminal):
    planned = study.plan(study.load(tree), tmp_path)
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, force_terminal=terminal, width=160, _environ={})
    with Display(planned, workers=2, console=console, clock=clock) as shown:
        shown.started(planned[1])
        clock.now = 20.0
        shown.stepped(planned[1], Step("training", 1, 4, 1.5, 1.4, 1.4))
        assert shown.run_time_left(shown.runs["ParT seed 1"]) == pytest.approx(60)
        assert shown.run_time_left(shown.runs["ParT seed 2"]) == pytest.approx(80)  # the same model, not begun
        assert shown.time_left() == pytest.approx((60 + 5 * 80) / 2)
        console.print(shown.table())
        clock.now = 80.0
        shown.finished(planned[1])
        shown.failed(planned[0], "no [such] file")
    text = stream.getvalue()
    assert "training 1/4  train 1.5000  valid 1.4000  best 1.4000" in text
    assert "1 min 00 s left" in text
    assert "[1/6] ParT seed 1 finished in 1 min 20 s, validation loss 1.4000" in text
    assert "[2/6] BDT seed 1 FAILED: no [such] file" in text


def test_words_for_steps_and_times():
    assert describe(Step("reading")) == "reading"
    assert [duration(s) for s in (None, 4.2, 61, 7300)] == ["?", "4 s", "1 min 01 s", "2 h 01 min"]


def test_scores_keep_every_test_event_once(tree, tmp_path):
    planned = study.plan(study.load(tree, ["seeds=[1]"]), tmp_path)
    outcome = workers.run_all(planned, Silent(), workers=1)
    first, *others = (compare([folder]).rows[0].runs[0].scores for folder in outcome.finished)
    for other in others:
        np.testing.assert_array_equal(first.number, other.number)
        np.testing.assert_allclose(first.weight, other.weight)
    assert document.flatten(document.parse((planned[0].folder / "config.yaml").read_text()))["training.threads"] == 1
