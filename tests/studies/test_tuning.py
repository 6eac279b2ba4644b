"""Searches for better settings: spaces, trials shared by processes, the validation events alone, the record."""

from __future__ import annotations

import csv
import io
import json
import math
import multiprocessing
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from femtobarn.cli import app
from femtobarn.events import write_parquet
from femtobarn.events.split import split
from femtobarn.experiments import search_space as space
from femtobarn.experiments.data import SplitConfig
from femtobarn.experiments.document import ConfigError
from femtobarn.experiments.experiment import load
from femtobarn.experiments.search_space import Choices, Range
from femtobarn.inputs import Inputs
from femtobarn.models import MODELS, model_spec, networks
from femtobarn.runs.predictor import Predictor, require_classifier
from femtobarn.runs.splits import load_splits
from femtobarn.studies import study
from femtobarn.studies import tuning_report as tuning_report
from femtobarn.studies import tuning_task as search
from femtobarn.studies.tuning import TrialResult, Tuning, best, objective
from femtobarn.studies.workers import run_in_processes
from tests.studies.test_study import SMALL as PART
from tests.studies.test_study import Silent
from tests.support.sample import make_events

pytest.importorskip("optuna")

TREES = {"name": "bdt", "n_estimators": 5, "num_leaves": 4, "min_leaf_fraction": 0.01}


@pytest.fixture(scope="module")
def events():
    return make_events(400, seed=2)


@pytest.fixture(scope="module")
def file(events, tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "events.parquet"
    write_parquet(events, path)
    return path


def tree(file: Path, **changes: Any) -> dict[str, Any]:
    return {
        "data": {"files": [str(file)]},
        "task": {"signal": ["tttt"]},
        "model": TREES,
        "training": {"epochs": 1, "batch_size": 128},
        "evaluation": {"bootstrap": 10},
    } | changes


@pytest.fixture
def source(file, tmp_path):
    path = tmp_path / "trees.yaml"
    path.write_text(yaml.safe_dump(tree(file)))
    return path


def carry(
    source: Path,
    folder: Path,
    *,
    trials: int = 4,
    seed: int = 1,
    stop: int | None = None,
    watcher: Silent | None = None,
) -> list[TrialResult]:
    """A scan in this process, or the first few trainings of one."""
    done = 0
    with Tuning(search.tuning_tasks(source), folder, trials=trials, seed=seed) as scan:
        for trial, failure in run_in_processes(scan.ask(), watcher or Silent(), 1, evaluate=False):
            scan.tell(trial, failure)
            done += 1
            if done == stop:
                break
        return scan.results(scan.tasks[0])


def told(results: list[TrialResult]) -> list[tuple[int, dict[str, Any], float | None]]:
    return [(one.number, dict(one.settings), one.loss) for one in results]


@pytest.mark.parametrize("name", MODELS)
def test_each_default_space_fits_its_model_and_keeps_its_size(name, file):
    pairs = ("mass",) if model_spec(name).needs_pairs else ()
    one = load(tree(file, model={"name": name}, inputs={"interactions": pairs}))
    around = space.fitted(space.default_space(name), one)
    assert around
    if name not in networks():
        assert not any(path.startswith("training.") for path in around)
        return
    assert "training.lr" in around

    def parameters(**changes: Any) -> int:
        with torch.device("meta"):
            network = model_spec(name).build(Inputs(pairs).sizes(5), **{**one.model.settings, **changes})
        return sum(parameter.numel() for parameter in network.parameters())

    for path, each in around.items():
        if path.startswith("model."):
            sizes = [parameters(**{path.removeprefix("model."): value}) / parameters() for value in each.ends]
            assert 0.5 <= min(sizes) <= max(sizes) <= 2, path


def test_a_space_holds_the_settings_as_they_are():
    assert Range(low=0.1, high=0.3).including(0.5).high == 0.5
    assert Range(low=0.1, high=0.3, log=True).including(0.0).low == 0.1
    assert Range(low=2, high=8).is_integer
    assert not Range(low=2, high=8.0).is_integer
    assert Choices(values=(2, 4)).including(6).values == (2, 4, 6)
    assert 3 not in Range(low=4, high=5)
    assert True not in Choices(values=(1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partt: {}", "no model is called 'partt'; models: bdt"),
        ("bdt: {model.num_leaves: {low: 5, hihg: 6}}", "did you mean high"),
        ("bdt: {model.num_leaves: {low: 6, high: 5}}", "bdt.model.num_leaves: low: 6 must be below high: 5"),
        ("bdt: {model.num_leaves: {low: 0, high: 5, log: true}}", "needs low above 0"),
        ("bdt: {model.num_leaves: 3}", r"should be a range, \{low: ..., high: ...\}, or a list of choices; got 3"),
        ("bdt: {data.fraction: [0.1, 1]}", "only settings of training and model"),
        ("bdt: {model.name: [bdt, part]}", "only settings of training and model"),
        ("bdt: 3", "should hold settings"),
    ],
)
def test_mistakes_in_a_space_are_named(tmp_path, text, message):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        space.load(path)


def test_a_space_of_one_s_own_takes_the_place_of_the_default(tmp_path, source):
    path = tmp_path / "space.yaml"
    path.write_text(
        "bdt: {model.num_leaves: [3, 4], model.subsample: null, training.lr: {low: 1e-4, high: 1e-2, log: true}}"
    )
    (found,) = search.tuning_tasks(source, spaces=path)
    assert found.space["model.num_leaves"] == Choices(values=(3, 4))
    assert "model.subsample" not in found.space
    assert found.space["training.lr"] == Range(low=1e-4, high=1e-2, log=True)
    path.write_text("bdt: {model.num_leaves: [1, 4], model.leafs: [3]}")
    with pytest.raises(
        ConfigError, match=r"(?s)model.num_leaves: 1: .*leafs: 3: no such key \(did you mean num_leaves"
    ):
        search.tuning_tasks(source, spaces=path)


def test_variants_of_an_architecture_share_the_search_with_the_richest_interactions(file, tmp_path):
    path = tmp_path / "study.yaml"
    pairs = ["mass", "delta_r"]
    models = {
        "BDT": {"model": TREES},
        "ParT": {"model": PART},
        "ParT_SM": {"model": PART, "inputs": {"interactions": [*pairs, "sm_running"]}},
        "ParT_ids": {"model": PART, "inputs": {"interactions": [*pairs, "sm_ids"]}},
        "ParT_FL": {
            "model": PART,
            "inputs": {"interactions": [*pairs, "sm_running"]},
            "task": {"loss": "focal", "gamma": 3},
        },
        "wide": {"model": {**PART, "width": 16}},
    }
    base = {key: value for key, value in tree(file).items() if key != "model"}
    whole = {"base": base, "models": models, "seeds": [3, 4], "sizes": [0.1, 0.5]}
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    found = {one.label: one for one in search.tuning_tasks(path)}
    assert {label: one.shared for label, one in found.items()} == {
        "BDT": ("BDT",),
        "ParT_SM": ("ParT", "ParT_SM", "ParT_ids", "ParT_FL"),
        "wide": ("wide",),
    }
    assert found["ParT_SM"].experiment.seed == 3
    assert found["ParT_SM"].experiment.data.fraction == 0.5
    assert [one.label for one in search.tuning_tasks(path, per_entry=True)] == list(models)


def test_the_first_trial_has_the_settings_as_they_were_and_others_stay_inside(source, tmp_path):
    results = carry(source, tmp_path / "scan", trials=5)
    assert [one.number for one in results] == [0, 1, 2, 3, 4]
    (found,) = search.tuning_tasks(source)
    assert results[0].settings["model.num_leaves"] == 4
    assert results[0].settings["model.learning_rate"] == 0.05
    for one in results:
        assert all(one.settings[path] in each for path, each in found.space.items())
        history = json.loads((tmp_path / "scan" / "bdt" / f"trial-{one.number:03d}" / "history.json").read_text())
        assert one.loss == pytest.approx(min(entry["valid_loss"] for entry in history), rel=1e-6)
    winner = best(results)
    assert winner is not None
    assert winner.loss == min(one.loss for one in results if one.loss is not None)
    assert len({json.dumps(one.settings) for one in results}) == 5


def test_a_scan_is_a_function_of_its_seed_stopped_or_not(source, tmp_path):
    whole = carry(source, tmp_path / "whole")
    assert told(carry(source, tmp_path / "other", seed=2))[1:] != told(whole)[1:]
    part = carry(source, tmp_path / "part", stop=2)
    assert told(part) == told(whole)[:2]
    watcher = Silent()
    assert told(carry(source, tmp_path / "part", watcher=watcher)) == told(whole)
    assert watcher.seen.count(("finished", "bdt trial 1")) == 0
    assert watcher.seen.count(("finished", "bdt trial 3")) == 1
    # and more trials are more of the same scan
    assert told(carry(source, tmp_path / "part", trials=5))[:4] == told(whole)


def test_the_test_events_have_no_part_in_it(source, file, events, tmp_path):
    before = carry(source, tmp_path / "before", trials=3)
    assert not list((tmp_path / "before").rglob("predictions.parquet"))
    assert not list((tmp_path / "before").rglob("metrics.json"))
    held_out = split(events, SplitConfig()).test
    keys = set(zip(held_out.process.tolist(), held_out.number.tolist(), strict=True))
    mine = np.array([(p, n) in keys for p, n in zip(events.process.tolist(), events.number.tolist(), strict=True)])
    assert 0 < mine.sum() < len(events)
    particles = events.particles
    scale = np.where(mine, 3.0, 1.0)
    for name in ("pt", "E"):
        particles = ak.with_field(particles, particles[name] * scale, name)
    other = replace(events, particles=ak.with_name(particles, "Momentum4D"))
    changed = tmp_path / "changed.parquet"
    write_parquet(other, changed)
    copy = tmp_path / "changed.yaml"
    copy.write_text(yaml.safe_dump(tree(changed)))
    assert load_splits(load(source)).fingerprint != load_splits(load(copy)).fingerprint
    assert told(carry(copy, tmp_path / "after", trials=3)) == told(before)


def test_two_processes_share_the_trials_of_a_folder(source, tmp_path):
    folder = tmp_path / "scan"
    other = multiprocessing.get_context("spawn").Process(target=carry, args=(source, folder), kwargs={"trials": 20})
    other.start()
    while not (folder / "bdt").exists() and other.is_alive():
        time.sleep(0.01)
    watcher = Silent()
    carry(source, folder, trials=20, watcher=watcher)
    other.join()
    mine = [name for what, name in watcher.seen if what == "started"]
    assert len(mine) < 20
    results = carry(source, folder, trials=20)
    assert [one.number for one in results] == list(range(20))
    assert all(one.loss is not None and math.isfinite(one.loss) for one in results)
    assert not list((folder / "processes").iterdir())


def test_trials_of_a_dead_process_are_taken_over_those_of_a_living_one_are_not(source, tmp_path):
    found = search.tuning_tasks(source)
    with Tuning(found, tmp_path / "scan", trials=2) as alive:
        handed = next(alive.ask())
        with Tuning(found, tmp_path / "scan", trials=2) as other:
            assert [one.name for one in other.ask()] == ["bdt trial 1"]
    # both are gone without a word
    with Tuning(found, tmp_path / "scan", trials=2) as later:
        again = list(later.ask())
    assert [one.name for one in again] == ["bdt trial 0", "bdt trial 1"]
    assert again[0].experiment == handed.experiment


def test_a_folder_belongs_to_one_scan(source, tmp_path):
    carry(source, tmp_path / "scan", trials=1)
    with pytest.raises(ValueError, match=r"(?s)holds another search.*seed: 1 before, 2 now"):
        carry(source, tmp_path / "scan", seed=2)
    with pytest.raises(ValueError, match="0 trials"):
        carry(source, tmp_path / "none", trials=0)


def test_settings_that_diverge_or_do_not_go_together_are_told_and_counted(file, tmp_path):
    source, spaces = tmp_path / "part.yaml", tmp_path / "space.yaml"
    source.write_text(yaml.safe_dump(tree(file, model=PART)))
    # 12 goes with the 2 heads there are and 8 heads with the width 8 there is, but not 12 with 8
    nothing = "model.ratio: null, model.dropout: null, training.lr: null, training.weight_decay: null"
    spaces.write_text(f"part: {{model.width: [8, 12], model.heads: [2, 8], {nothing}}}")
    (found,) = search.tuning_tasks(source, spaces=spaces)
    with Tuning([found], tmp_path / "scan", trials=12) as scan:
        handed = []
        for trial in scan.ask():
            handed.append(trial.number)
            scan.tell(trial, "FloatingPointError: training loss is nan")
        results = scan.results(found)
        page = tuning_report.write(scan, source)
    assert [one.number for one in results] == list(range(12))
    assert all(one.loss == math.inf for one in results)
    impossible = [one for one in results if "not divisible" in one.reason]
    assert [one.number for one in results if one not in impossible] == handed
    assert impossible
    assert all(one.settings == {"model.width": 12, "model.heads": 8} for one in impossible)
    assert best(results) is None
    assert page == {"part": None}
    assert "training loss is nan" in (tmp_path / "scan" / "scan.md").read_text()


def test_another_failure_stops_the_search_and_is_tried_again(source, tmp_path):
    found = search.tuning_tasks(source)
    with Tuning(found, tmp_path / "scan", trials=3) as scan:
        handed = []
        for trial in scan.ask():
            handed.append(trial.name)
            scan.tell(trial, "no space left on device")
        assert handed == ["bdt trial 0"]
        assert scan.failures == {"bdt trial 0": "no space left on device"}
    assert [one.number for one in carry(source, tmp_path / "scan", trials=3)] == [0, 1, 2]


def test_a_focal_training_is_measured_by_the_cross_entropy_of_its_probabilities(file, tmp_path):
    from femtobarn.runs import run

    task = {"signal": ["tttt"], "loss": "focal", "gamma": 2.0}
    one = load(tree(file, model=PART, task=task))
    folder = run.train(one, tmp_path / "run")
    trained, side = Predictor.load(folder), load_splits(one).validation
    fitted = require_classifier(trained, folder)
    fitted.temperature.fill_(1.0)
    logits = trained.model.outputs(side.batch).double()
    labels = torch.from_numpy(fitted.labels(side.events))
    weights = torch.from_numpy(fitted.weights(side.events))
    surprise = -fitted.log_posterior(logits).gather(1, labels[:, None])[:, 0]
    assert objective(folder) == pytest.approx(float((weights * surprise).sum() / weights.sum()), rel=1e-5)


def test_the_verb_writes_what_a_study_takes(file, tmp_path):
    path = tmp_path / "study.yaml"
    base = {key: value for key, value in tree(file).items() if key != "model"}
    models = {
        "BDT": {"model": TREES},
        "BDT_int": {"model": TREES, "inputs": {"interactions": ["mass"]}},
    }
    path.write_text(yaml.safe_dump({"base": base, "models": models}, sort_keys=False))
    folder = tmp_path / "scan"
    arguments = ["scan", str(path), "--trials", "3", "--workers", "1", "-o", str(folder)]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    assert "BDT_int: trial" in said.output
    found = yaml.safe_load((folder / "best.yaml").read_text())
    better = study.load({"base": base, **found})
    planned = {one.label: one.experiment for one in study.plan(better, tmp_path)}
    assert planned["BDT"].model == planned["BDT_int"].model
    assert planned["BDT_int"].inputs.interactions == ("mass",)
    lines = list(csv.DictReader(io.StringIO((folder / "scan.csv").read_text())))
    assert {line["trial"] for line in lines} == {"0", "1", "2"}
    losses = {line["trial"]: float(line["loss"]) for line in lines}
    winner = min(losses, key=lambda trial: (losses[trial], trial))
    rate = next(
        float(line["value"]) for line in lines if line["trial"] == winner and line["setting"] == "model.num_leaves"
    )
    assert planned["BDT"].model.settings["num_leaves"] == rate
    page = (folder / "scan.md").read_text()
    for word in ("model.learning_rate", "0.02 to 0.3, logarithmic", "BDT, BDT_int", "SHA-256"):
        assert word in page, page


def test_the_page_of_the_configuration_tells_the_default_spaces():
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name, one in (("every network", space.NETWORK_SPACE), *space.MODEL_SPACES.items()):
        for path, each in one.items():
            row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
            assert re.search(rf"`{path}` {re.escape(str(each))}[ ;]", row), path


def test_search_begun_with_former_names_goes_on_to_the_same_settings(source, tmp_path):
    expected = carry(source, tmp_path / "present", trials=4)
    folder = tmp_path / "former"
    carry(source, folder, trials=2)
    names = {"num_leaves": "leaves", "min_leaf_fraction": "smallest_leaf", "subsample": "rows", "colsample": "columns"}
    names |= {"reg_lambda": "l2", "n_estimators": "trees", "num_workers": "readers", "sampling_rates": "rates"}
    for file in (folder / "scan.yaml", folder / "trials.journal"):
        text = file.read_text()
        for present, former in names.items():
            text = re.sub(rf"(model\.)?\b{present}\b(?=[\":])", rf"\g<1>{former}", text)
        file.write_text(re.sub(r" (betas|eps|momentum): null,", "", text))
    assert "model.leaves" in (folder / "trials.journal").read_text()
    assert "num_leaves" not in (folder / "scan.yaml").read_text()
    results = carry(source, folder, trials=4)
    assert told(results) == told(expected)
    assert set(results[-1].settings) >= {"model.num_leaves", "model.reg_lambda"}


def test_without_optuna_the_remedy_is_told(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RuntimeError, match=r"pip install 'femtobarn\[scan\]'"):
        Tuning(search.tuning_tasks(source), tmp_path / "scan", trials=1)
    assert tuning_report.BEST == "best.yaml"
