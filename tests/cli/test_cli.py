"""Every verb of the command line on tiny data, as a user would type it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from femtobarn.cli import app
from femtobarn.cli.common import FORMER_OPTIONS, Verbs
from femtobarn.events import read, write
from tests.support.sample import make_events

TINY_BDT = {"name": "bdt", "n_estimators": 5}
TINY_PART = {"name": "part", "width": 16, "blocks": 1, "class_blocks": 1, "heads": 2, "embedding": [16]}


def call(*arguments: object, code: int = 0) -> str:
    """What a command says; it must end with this exit code."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    said = result.stdout + result.stderr
    assert result.exit_code == code, said
    return said


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "events.parquet"
    write(make_events(600, seed=3), file)
    return file


def experiment(data: Path, model: dict[str, Any], interactions: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "data": {"files": [str(data)]},
        "inputs": {"interactions": list(interactions)},
        "model": model,
        "task": {"signal": ["tttt"]},
        "training": {"epochs": 1, "batch_size": 64},
        "evaluation": {"bootstrap": 20},
    }


@pytest.fixture(scope="module")
def study(data, tmp_path_factory):
    """A finished study of two models."""
    folder = tmp_path_factory.mktemp("study")
    base = experiment(data, TINY_BDT)
    models = {"BDT": {"model": TINY_BDT}, "ParT_int": {"model": TINY_PART, "inputs": {"interactions": ["mass"]}}}
    file = folder / "two.yaml"
    file.write_text(yaml.safe_dump({"name": "two models", "base": base, "models": models, "seeds": [1, 2]}))
    said = call("study", file, "--output", folder / "runs", "--workers", "1")
    return folder / "runs", said, file


@pytest.mark.parametrize(
    "verb", [verb.name or verb.callback.__name__ for verb in app.registered_commands if verb.callback]
)
def test_every_verb_explains_itself(verb):
    said = call(verb, "--help")
    assert "Usage" in said
    assert verb in call("--help")


def test_inspect_tells_what_is_in_a_file(data):
    said = call("inspect", data, "--select", "n_jet >= 4")
    assert all(name in said for name in ("tttt", "ttZ", "b-jet", "no problems found"))
    assert re.search(r"\d+ events .* n_jet >= 4", said)
    told = json.loads(call("inspect", data, "--json"))
    assert told


def test_inspect_reads_the_data_that_an_experiment_names(data, tmp_path):
    """Mapping, selection and processes are in the YAML already, and need not be told again."""
    file = tmp_path / "experiment.yaml"
    config = experiment(data, TINY_BDT)
    config["data"]["selection"] = "n_jet >= 4"
    file.write_text(yaml.safe_dump(config))
    found = json.loads(call("inspect", file, "--json"))["processes"]
    assert sum(one["events"] for one in found.values()) == len(read(data).select("n_jet >= 4"))
    file.write_text(yaml.safe_dump({"models": {"A": {}}, "base": config}))
    assert json.loads(call("inspect", file, "--json"))["processes"] == found
    assert "cannot be combined with other files" in call("inspect", file, data, code=2)
    file.write_text(yaml.safe_dump({"data": {"filez": "x"}}))
    assert "did you mean files?" in call("inspect", file, code=2)
    file.write_text(yaml.safe_dump({"model": {"name": "bdt"}}))
    assert "data: is missing" in call("inspect", file, code=2)


def test_inspect_scales_yields_to_a_luminosity(data):
    total = read(data).weight.sum()
    said = call("inspect", data, "--luminosity", "200", "--select", "n_jet >= 0")
    assert f"{2 * total:.4g}" in said


def test_a_study_trains_compares_and_reports(study):
    folder, said, file = study
    assert "BDT" in said
    assert "ParT_int" in said
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "ParT_int" in page
    assert "<html" in page
    # finished runs are kept
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.json")}
    assert len(before) == 4
    call("study", file, "--output", folder, "--no-report", "--workers", "1")
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.json")}
    assert "4 finished" in call("study", file, "--output", folder, "--dry-run")


def test_compare_prints_tables_in_three_forms(study):
    folder, _, _ = study
    assert "AUC" in call("compare", folder)
    assert "| model |" in call("compare", folder, "--markdown")
    lines = call("compare", folder, "--csv", "--baseline", "ParT_int").splitlines()
    assert lines[0].startswith("model,trainings,quantity")
    assert any(line.startswith("BDT,2,auc") for line in lines)


def figures_of(page: Path) -> set[str]:
    """Names of the figures of a page."""
    return set(re.findall(r'<figure id="figure-(\w+)"', page.read_text(encoding="utf-8")))


def test_report_writes_page_and_figures_without_the_events(study, tmp_path, monkeypatch):
    def load_splits(experiment):
        raise FileNotFoundError("no file matches 'events.parquet'")

    monkeypatch.setattr("femtobarn.runs.splits.load_splits", load_splits)
    run = next(study[0].rglob("trees.txt")).parent
    page, figures = tmp_path / "page.html", tmp_path / "figures"
    output = call("report", run, "--output", page, "--figures", figures, "--title", "Tiny")
    assert "no event displays: no file matches" in output
    assert "Tiny" in page.read_text(encoding="utf-8")
    assert len(figures_of(page)) > 3
    for suffix in ("png", "pdf"):
        assert {file.stem for file in figures.glob(f"*.{suffix}")} == figures_of(page)


def test_explain_writes_attributions_and_the_report_shows_them(study, tmp_path):
    folder, _, _ = study
    said = call("explain", folder, "--events", 30)
    assert "b-jet" in said
    assert "ParT_int: gradient x input" in said
    assert "BDT: contributions" in said
    files = sorted(folder.rglob("explain.json"))
    assert len(files) == 4
    first = [file.read_bytes() for file in files]
    found = [json.loads(text) for text in first]
    assert all(set(each["events"].values()) <= set(range(1, 31)) for each in found)
    assert {key for each in found for key in each} >= {"gradient", "attention", "bias", "contributions"}
    for file, content in ((files[0], first[0]), (files[-1], first[-1])):  # a run of each model
        file.unlink()
        call("explain", file.parent, "--events", 30)
        assert file.read_bytes() == content
    call("explain", files[0].parent, "--events", 30, "--seed", 2)
    assert files[0].read_bytes() != first[0]
    page = tmp_path / "page.html"
    # a run of each model
    call("report", *(next(folder.rglob(name)).parent for name in ("trees.txt", "weights.safetensors")), "-o", page)
    assert "Attributions: what the scores depend on" in page.read_text(encoding="utf-8")
    drawn = {name for name in figures_of(page) if name.startswith("look_")}
    assert drawn == {"look_features", "look_attention", "look_u", "look_columns"}
    assert "no run" in call("explain", tmp_path, code=2)


def test_train_and_evaluate_one_experiment(data, tmp_path):
    config = tmp_path / "one.yaml"
    config.write_text(yaml.safe_dump(experiment(data, TINY_BDT)))
    run = tmp_path / "BDT(FL)"
    said = call("train", config, "model.n_estimators=3", "--output", run)
    assert f"femtobarn evaluate '{run}'" in said  # brackets are the shell's own
    assert "AUC" in call("evaluate", run)
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["n_estimators"] == 3


def test_models_are_listed_and_described():
    assert all(name in call("models") for name in ("bdt", "fcn", "part", "particlenet-lite"))
    said = call("models", "part")
    assert "2202.03772" in said
    assert "int > 0" in said
    assert "Number of class blocks" in " ".join(said.split())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("inspect", "nowhere.csv"), "no file matches"),
        (("models", "parti"), "there are bdt, "),
        (("study", "nothing"), "four-top-small"),
        (("train", "none.yaml"), "none.yaml"),
        (("compare", "nowhere"), "no folder"),
        (("evaluate", "nowhere"), "nowhere"),
        (("simulate", "-o", "x.parquet"), "give a Les Houches file"),
    ],
)
def test_mistakes_are_answered_in_plain_words(arguments, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = call(*arguments, code=2)
    assert complaint in said
    assert "Traceback" not in said


def test_a_wrong_key_is_named_with_the_right_one(data, tmp_path):
    config = tmp_path / "one.yaml"
    config.write_text(yaml.safe_dump(experiment(data, TINY_PART)))
    said = call("train", config, "training.epoch=3", "--output", tmp_path / "run", code=2)
    assert "training.epoch" in said
    assert "epochs" in said
    assert not (tmp_path / "run").exists()


def test_a_run_that_never_began_leaves_its_folder_free(data, tmp_path):
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump(experiment(data, TINY_BDT)), encoding="utf-8")
    folder = tmp_path / "run"
    assert "no file matches" in call("train", config, "data.files=nowhere.parquet", "-o", folder, code=2)
    call("train", config, "-o", folder)


def test_a_study_with_failures_says_so_once_and_ends_with_1(data, tmp_path):
    config = tmp_path / "study.yaml"
    base = experiment(data, TINY_BDT) | {"task": {"signal": ["tttx"]}}
    config.write_text(yaml.safe_dump({"base": base, "models": {"BDT": {}}}), encoding="utf-8")
    said = call("study", config, "-o", tmp_path / "runs", "--workers", 1, code=1)
    assert said.count("no process is called 'tttx'") == 1
    assert "1 of 1 runs failed" in said


def test_files_that_are_no_configuration_are_named(tmp_path):
    file = tmp_path / "wrong.yaml"
    for content, complaint in {
        b"label: ttH\nname: \xe9\n": "line 2: is no text in UTF-8",
        b"label: \x00\n": "is no YAML text",
        b"": "must hold keys and values, but there is nothing",
        b"models: {}\n": "run `femtobarn study`",
        b"data: 5\nmodel: part\ntask: {signal: a}\n": (
            "data: should hold keys and values (prepared, sampling_rates, sample, files"
        ),
        b"inputs: {interactions: mass}\n": "should be a list, as in [mass]",
    }.items():
        file.write_bytes(content)
        said = call("train", file, code=2)
        assert complaint in said
        assert str(file) in said


def test_the_version_is_told():
    assert call("--version").startswith("femtobarn ")


def test_the_sample_stands_alone():
    assert "four-top cannot be combined with --process" in call("inspect", "four-top", "--process", "ttH", code=2)


def test_simulate_makes_a_file_that_inspect_reads(tmp_path):
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    file = tmp_path / "tt.parquet"
    arguments = ("--process", "ttbar", "--setting", "Top:gg2ttbar = on", "--events", 60, "--select", "n_jet >= 2")
    said = call("simulate", *arguments, "--output", file, "--workers", 1)
    assert "n_jet >= 2" in said
    assert "ttbar" in call("inspect", file)
    assert 20 < len(read(file)) <= 60


def test_the_command_is_installed_and_answers():
    said = subprocess.run(
        [sys.executable, "-m", "femtobarn", "--help"], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert "simulate" in said.stdout


@pytest.mark.parametrize(("former", "present"), FORMER_OPTIONS.items())
def test_former_names_of_verbs_and_options_are_replaced(former, present):
    group = get_command(app)
    assert isinstance(group, Verbs)
    context = group.make_context("femtobarn", ["models"], resilient_parsing=True)
    options = {
        verb: {
            name
            for inner in (command, *getattr(command, "commands", {}).values())
            for p in inner.params
            for name in p.opts
        }
        for verb, command in group.commands.items()
    }
    verb = next(verb for verb, names in options.items() if present in names)
    command = group.commands[verb]
    assert not any(former in names for names in options.values())
    for given, expected in (([former, "3"], [present, "3"]), ([f"{former}=3"], [f"{present}=3"])):
        assert group.resolve_command(context, [verb, *given]) == (verb, command, expected)
    for former, verb in (("scan", "tune"), ("shifts", "systematics"), ("safety", "irc-safety")):
        assert group.resolve_command(context, [former, "a"]) == (verb, group.commands[verb], ["a"])


def test_config_prints_the_keys_of_a_section_and_schema_a_json_schema():
    text = call("config", "training")
    assert "training.num_workers" in text
    assert "training.backbone_lr" in text
    assert "data.split" not in text
    assert "sizes" in call("config", "study")
    assert "sections: experiment, data" in call("config", "trainig", code=2)
    assert json.loads(call("schema"))["$defs"]["TrainingConfig"]["properties"]["readers"]["deprecated"]
