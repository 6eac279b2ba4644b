"""Former names of YAML keys: files, overrides and run folders that have them are still read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from femtobarn.evaluation.runs import load_run
from femtobarn.events import write_parquet
from femtobarn.experiments import experiment
from femtobarn.experiments import search_space as space
from femtobarn.experiments.document import ConfigError
from femtobarn.runs import run
from femtobarn.runs.predictor import Predictor
from femtobarn.studies import study
from tests.support.sample import make_events

#: Run folder that was written when keys had their former names.
FORMER_RUN = Path(__file__).parents[1] / "data" / "former-run"

NETWORK: dict[str, Any] = {
    "data": {"prepared": "events", "rates": {"tttt": 0.5}},
    "model": {"name": "part", "start": "weights.pt"},
    "task": {"signal": ["tttt"]},
    "training": {"readers": 2, "body_lr": 1e-4},
}
FORMER_KEYS = {"rates", "start", "readers", "body_lr", "trees", "leaves", "smallest_leaf", "rows", "columns", "l2"}

TREES: dict[str, Any] = {
    "data": {"sample": "four-top"},
    "model": {"name": "bdt", "trees": 3, "leaves": 4, "smallest_leaf": 0.1, "rows": 0.9, "columns": 0.8, "l2": 2.0},
    "task": {"signal": ["tttt"]},
}


def test_document_with_former_keys_is_read_and_written_with_present_ones(tmp_path):
    network, trees = experiment.load(NETWORK), experiment.load(TREES)
    assert network.data.sampling_rates == {"tttt": 0.5}
    assert network.model.init_from == str(Path.cwd() / "weights.pt")
    assert (network.training.num_workers, network.training.backbone_lr) == (2, 1e-4)
    assert trees.model.settings == {
        "n_estimators": 3,
        "learning_rate": 0.05,
        "num_leaves": 4,
        "min_leaf_fraction": 0.1,
        "subsample": 0.9,
        "colsample": 0.8,
        "reg_lambda": 2.0,
        "patience": 30,
    }
    for config in (network, trees):
        text = experiment.dump(config)
        assert experiment.load(yaml.safe_load(text)) == config
        former = {"rates", "start", "readers", "body_lr", "trees", "leaves", "smallest_leaf", "rows", "columns", "l2"}
        assert not former & {
            key for section in yaml.safe_load(text).values() if isinstance(section, dict) for key in section
        }


@pytest.mark.parametrize(
    ("tree", "override", "path", "value"),
    [
        (NETWORK, "training.readers=3", "num_workers", 3),
        (NETWORK, "training.num_workers=3", "num_workers", 3),
        (NETWORK, "training={readers: 3}", "num_workers", 3),
        (experiment.load(NETWORK).model_dump(mode="json"), "training.readers=3", "num_workers", 3),
    ],
)
def test_override_replaces_a_value_under_the_other_name(tree, override, path, value):
    assert getattr(experiment.load(tree, [override]).training, path) == value


def test_override_of_a_model_setting_takes_its_former_name():
    assert experiment.load(TREES, ["model.leaves=9"]).model.settings["num_leaves"] == 9
    changed = experiment.load(NETWORK, ["model.name=bdt", "model.trees=7", "data.rates={}"])
    assert changed.model.settings["n_estimators"] == 7


@pytest.mark.parametrize(("former", "present"), [("ca", "cambridge_aachen"), ("anti-kt", "antikt"), ("kt", "kt")])
def test_former_name_of_a_clustering_algorithm_is_read_and_written_as_the_present_one(former, present):
    recursive = TREES | {"model": {"name": "recnn", "tree": former}}
    for config in (experiment.load(recursive), experiment.load(TREES, ["model.name=recnn", f"model.tree={former}"])):
        assert config.model.settings["tree"] == present
        assert yaml.safe_load(experiment.dump(config))["model"]["tree"] == present


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"training": {"readers": 1, "num_workers": 1}}, "training.num_workers: is set as num_workers and as readers"),
        ({"model": {"name": "bdt", "trees": 1, "n_estimators": 1}}, "model.n_estimators: .* and as trees, its former"),
        ({"model": {"name": "part", "start": "a", "init_from": "a"}}, "model.init_from: is set as init_from and as"),
        ({"data": {"rates": {}, "sampling_rates": {}}}, "data.sampling_rates: .*; keep sampling_rates only"),
    ],
)
def test_both_names_at_once_are_an_error_with_both(section, message):
    with pytest.raises(ConfigError, match=message):
        experiment.load(TREES | section)


def test_overrides_under_both_names_are_an_error_with_both():
    with pytest.raises(ConfigError, match=r"training\.readers and training\.num_workers are two names of one setting"):
        experiment.load(NETWORK, ["training.readers=1", "training.num_workers=2"])


def test_misspelt_former_key_is_answered_with_the_present_one():
    with pytest.raises(ConfigError, match=r"training\.reader: no such key \(did you mean num_workers\?\)"):
        experiment.load(NETWORK, ["training.reader=2"])


def test_study_merges_former_and_present_keys():
    models: dict[str, Any] = {
        "A": {},
        "B": {"training": {"num_workers": 5}, "model": {"start": "b.pt"}},
        "C": {"model": {"name": "bdt", "leaves": 9}, "data": {"sampling_rates": {}}},
    }
    plan = study.load({"base": NETWORK, "models": models}, ["training.body_lr=1e-3"])
    configs = {planned.label: planned.experiment for planned in study.plan(plan, "runs")}
    assert [configs[label].training.num_workers for label in "ABC"] == [2, 5, 2]
    assert [configs[label].training.backbone_lr for label in "ABC"] == [1e-3] * 3
    assert Path(configs["B"].model.init_from or "").name == "b.pt"
    assert configs["C"].model.settings["num_leaves"] == 9


def test_search_space_with_former_keys_is_read(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("bdt: {model.leaves: [3, 4], model.l2: null}")
    found = space.load(path)["bdt"]
    assert found["model.num_leaves"] == space.Choices(values=(3, 4))
    assert not {"model.leaves", "model.l2", "model.reg_lambda"} & set(found)
    path.write_text("bdt: {model.leaves: [3, 4], model.num_leaves: [3]}")
    with pytest.raises(ConfigError, match=r"model\.leaves and model\.num_leaves are two names"):
        space.load(path)


def test_run_folder_with_former_keys_is_finished_and_evaluated_again(tmp_path):
    write_parquet(make_events(300, seed=2), tmp_path / "events.parquet")
    folder = tmp_path / "run"
    shutil.copytree(FORMER_RUN, folder)
    before = load_run(folder)
    config = experiment.load(folder / "config.yaml")
    assert config.training.backbone_lr == 1e-4
    assert config.model.settings["min_leaf_fraction"] == 0.05
    assert run.differences(config, folder) == {}
    assert Predictor.load(folder).experiment == config

    assert run.train(config, folder) == folder
    assert run.is_finished(folder)
    again = experiment.load(folder / "config.yaml", ["evaluation.luminosity=200"])
    run.train(again, folder)
    metrics = run.evaluate(folder)
    assert metrics["settings"]["luminosity"] == 200
    assert metrics["auc"] == before.metrics["auc"]
    assert load_run(folder).config["model"]["smallest_leaf"] == 0.05  # the file keeps what its checksum is of
    with pytest.raises(ValueError, match=r"(?s)holds another experiment.*model\.num_leaves: 4 before, 5 now"):
        run.train(experiment.load(folder / "config.yaml", ["model.leaves=5"]), folder)
