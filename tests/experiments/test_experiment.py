"""One YAML describes an experiment; mistakes are answered with their path and the right names, before data are read."""

from __future__ import annotations

import pickle
from typing import Any, cast

import pytest

from femtobarn.experiments import document, experiment
from femtobarn.experiments.document import ConfigError

PLAIN = {"data": {"sample": "four-top"}, "model": {"name": "part"}, "task": {"signal": ["tttt"]}}


def test_defaults_are_filled_in():
    one = experiment.load(PLAIN)
    assert one.label == "part"
    assert one.inputs.slots == 18
    assert one.model.settings["blocks"] == 8
    assert cast(Any, one.evaluation).luminosity == 100


def test_keys_stand_in_data_flow_order():
    keys = list(document.parse(experiment.dump(experiment.load(PLAIN))))
    assert keys == ["label", "data", "inputs", "model", "task", "training", "evaluation", "seed"]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["inputs.interactions=[mass, delta_r, sm_running]", "model.blocks=2", "training.lr=1e-3"],
        ["model.name=particlenet", "model.blocks=[[8, 8], [16]]"],
        ["model.name=bdt", "model.n_estimators=10"],
        ["task.loss=focal", "task.gamma=3", "task.alpha=0.75", "data.selection=n_jet >= 6"],
        ["data.sample=null", "data.files={tttt: a/*.parquet, ttH: [b.parquet, c.parquet]}"],
    ],
)
def test_dump_and_load_give_the_same_experiment(tmp_path, overrides):
    one = experiment.load(PLAIN, overrides)
    path = tmp_path / "config.yaml"
    path.write_text(experiment.dump(one))
    assert experiment.load(path) == one


def test_overrides_are_typed_as_yaml_and_mended():
    one = experiment.load(
        PLAIN,
        [
            "training.lr=1e-3",
            "training.epochs=7",
            "inputs.interactions=[mass,delta_r]",
            "training.patience=null",
            "label=A",
        ],
    )
    assert one.training.lr == 1e-3
    assert one.training.epochs == 7
    assert one.training.patience is None
    assert one.inputs.interactions == ("mass", "delta_r")
    assert one.label == "A"


def test_another_model_does_not_inherit_settings():
    base = {**PLAIN, "model": {"name": "part", "blocks": 2}}
    assert experiment.load(base, ["model.name=particlenet"]).model.settings["k"] == 16
    assert experiment.combine(base, {"model": {"name": "bdt"}})["model"] == {"name": "bdt"}
    assert experiment.combine(base, {"model": {"heads": 4}})["model"] == {"name": "part", "blocks": 2, "heads": 4}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("modle.name=part", r"modle: no such key \(did you mean model\?\); allowed keys are label, data, inputs"),
        (
            "model.widht=64",
            r"model.widht: no such key \(did you mean width\?\); allowed keys are name, init_from, wid",
        ),
        ("model.name=prt", r"model: no model is called 'prt'.*there are bdt, .*part, particlenet"),
        ("model.heads=eight", r"model.heads: should be a valid integer.*got 'eight'"),
        ("model.heads=7", "width 128 is not divisible among 7 heads"),
        ("inputs.interactions=[mas]", r"inputs.interactions: no interaction is called 'mas'.*did you mean mass\?"),
        ("training.optimizer=adamv", "training.optimizer: should be 'adamw', 'adam'"),
        ("training.learning_rate=1", r"training.learning_rate: no such key; allowed keys are epochs"),
        ("evaluation.luminosity=-1", "evaluation.luminosity: should be greater than 0; got -1"),
        ("data.split.train=0.9", "data.split: train, validation and test sum to 1.3"),
        ("data.split.trian=0.9", r"data.split.trian: no such key \(did you mean train\?\)"),
        ("data.sample=five-top", "data.sample: should be 'four-top', 'top-tagging' or 'quark-gluon'; got 'five-top'"),
        (
            "data.files=[a.parquet]",
            "data: set exactly one of prepared, sample .*files and amplitudes; got sample and files",
        ),
        ("data.sample=null", "data: set exactly one of prepared, sample .*files and amplitudes; got none of them"),
        ("task.sginal=ttH", r"task.sginal: no such key \(did you mean signal\?\)"),
        ("task.gamma=2", "task: alpha and gamma belong to loss: focal"),
        ("label=a/b", "label: "),
        ("seed=-1", "seed: should be greater than or equal to 0; got -1"),
    ],
)
def test_mistakes_name_path_and_remedy(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        experiment.load(PLAIN, [override])
    assert "pydantic" not in str(caught.value)
    assert "http" not in str(caught.value)


@pytest.mark.parametrize("override", ["training.epochs=true", "training.lr=yes", "model.blocks=true", "seed=true"])
def test_true_is_no_number(override):
    with pytest.raises(ConfigError, match=rf"{override.split('=')[0]}: should be a number; got True"):
        experiment.load(PLAIN, [override])


def test_all_mistakes_are_told_at_once(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(
        "data: {smple: four-top}\nmodel: {name: part, widht: 3}\ntask: {signal: tttt}\ntraining: {epochs: 0}\n"
    )
    with pytest.raises(ConfigError) as caught:
        experiment.load(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 3 mistakes"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["data.smple", "model.widht", "training.epochs"]


def test_missing_sections_are_named():
    with pytest.raises(ConfigError, match=r"task: is missing"):
        experiment.load({"data": {"sample": "four-top"}, "model": {"name": "part"}})
    with pytest.raises(ConfigError, match=r"model\.name: is missing"):
        experiment.load({**PLAIN, "model": {"width": 64}})
    with pytest.raises(ConfigError, match=r"model: should hold keys and values \(name, init_from\); got 'part'"):
        experiment.load({**PLAIN, "model": "part"})


def test_trees_refuse_a_loss_they_would_ignore():
    with pytest.raises(ConfigError, match=r"bdt trains with task\.loss: cross_entropy only"):
        experiment.load(PLAIN, ["model.name=bdt", "task.loss=focal", "task.gamma=3"])


def test_relative_paths_belong_to_the_folder_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "one.yaml"
    path.parent.mkdir()
    path.write_text(
        "data: {files: [../events/*.parquet, /absolute.parquet]}\nmodel: {name: part}\ntask: {signal: tttt}\n"
    )
    monkeypatch.chdir("/")
    assert experiment.load(path).data.files == (f"{path.parent}/../events/*.parquet", "/absolute.parquet")


def test_yaml_mistakes_have_line_and_column(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("data: {sample: four-top\nmodel: {name: part}\n")
    with pytest.raises(ConfigError, match=r"broken.yaml.*\n.*line 2, column"):
        experiment.load(path)
    path.write_text("data: {sample: four-top}\nseed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match=r"line 3, column 1: the key 'seed' occurs twice"):
        experiment.load(path)
    path.write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="must hold keys and values, but there is a list"):
        experiment.load(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.yaml"):
        experiment.load(tmp_path / "absent.yaml")


def test_malformed_overrides_are_refused():
    for text in ("training.lr", "=3", "training..lr=1"):
        with pytest.raises(ConfigError, match="not of the form"):
            experiment.load(PLAIN, [text])
    with pytest.raises(ConfigError, match=r"override training\.lr"):
        experiment.load(PLAIN, ["training.lr=[1"])


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("1E5", 1e5), ("-2.5e-04", -2.5e-4), ("1e", "1e"), ("3", 3), ("0.5", 0.5)]
)
def test_scientific_notation_is_a_number(text, value):
    assert document.parse(text) == value


def test_differences_name_what_changed():
    old, new = experiment.load(PLAIN), experiment.load(PLAIN, ["training.lr=2e-3", "model.name=particlenet"])
    changed = experiment.differences(old, new)
    assert changed["training.lr"] == "0.001 before, 0.002 now"
    assert changed["model.heads"] == "8 before, not set now"


def test_experiments_are_frozen_and_errors_travel():
    with pytest.raises(ValueError, match="frozen"):
        experiment.load(PLAIN).seed = 2
    error = ConfigError("a.yaml", [document.Mistake("seed", "wrong")])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
