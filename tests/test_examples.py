"""The example studies: sixteen models under the names of the reference table, each with its pairs and its loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from femtobarn.models import model_spec
from femtobarn.studies import study
from femtobarn.tasks.classification.config import ClassificationConfig
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = [FOLDER / f"{signal}{size}.yaml" for signal in ("four-top", "tth") for size in ("", "-cpu")]

KINEMATIC = ("mass", "delta_r")

#: Architecture and interactions of each model, as in the reference table (slides of 2024 on arXiv:2211.05143).
SIXTEEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "BDT": ("bdt", ()),
    "BDT_int": ("bdt", KINEMATIC),
    "FCN": ("fcn", ()),
    "CNN": ("cnn", ()),
    "PN": ("particlenet", ()),
    "PN_int": ("particlenet", KINEMATIC),
    "PN_int_SMids": ("particlenet", (*KINEMATIC, "sm_ids")),
    "PN_int_SMconst": ("particlenet", (*KINEMATIC, "sm_const")),
    "PN_int_SM": ("particlenet", (*KINEMATIC, "sm_running")),
    "ParT": ("part", ()),
    "ParT_int": ("part", KINEMATIC),
    "ParT_int_SMids": ("part", (*KINEMATIC, "sm_ids")),
    "ParT_int_SMconst": ("part", (*KINEMATIC, "sm_const")),
    "ParT_int_SM": ("part", (*KINEMATIC, "sm_running")),
    "ParT_int_SM(FL)": ("part", (*KINEMATIC, "sm_running")),
    "SetT_int_SM": ("sett", (*KINEMATIC, "sm_running")),
}

SIGNALS = {"four-top": ("tttt", ["ttH", "ttW", "ttWW", "ttZ"]), "tth": ("ttH", ["ttW", "ttWW", "ttZ"])}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_sixteen_models(path, tmp_path):
    planned = [run for run in study.plan(study.load(path), tmp_path) if run.seed == 1 and run.size == 1]
    found = {run.label: (run.experiment.model.name, run.experiment.inputs.interactions) for run in planned}
    assert found == SIXTEEN
    assert list(found) == list(SIXTEEN)
    signal, background = SIGNALS[path.stem.removesuffix("-cpu")]
    for run in planned:
        task: Any = run.experiment.task
        assert task.signal == (signal,)
        assert sorted(task.background or set(SIGNALS["four-top"][1])) == background
        focal = ("focal", 0.75, 3) if run.label.endswith("(FL)") else ("cross_entropy", None, None)
        assert (task.loss, task.alpha, task.gamma) == focal


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_one_architecture_has_one_size(path, tmp_path):
    """Or the pairs would not be what makes the difference."""
    sizes: dict[str, list[object]] = {}
    for run in study.plan(study.load(path), tmp_path):
        settings = sizes.setdefault(run.experiment.model.name, [])
        settings += [run.experiment.model.settings] if run.experiment.model.settings not in settings else []
    assert {name: len(settings) for name, settings in sizes.items()} == dict.fromkeys(sizes, 1)


@pytest.mark.parametrize("name", ["four-top", "tth"])
def test_full_studies_are_of_the_published_size(name, tmp_path):
    full = study.load(next(path for path in EXAMPLES if path.stem == name))
    assert full.seeds == (1, 2, 3)
    assert full.sizes == (0.01, 0.03, 0.1, 0.3, 1.0)
    models = {run.label: run.experiment.model.settings for run in study.plan(full, tmp_path)}
    assert (models["ParT"]["blocks"], models["ParT"]["width"]) == (8, 128)
    assert (models["PN"]["k"], models["PN"]["blocks"]) == (16, ((64,) * 3, (128,) * 3, (256,) * 3))


def test_the_two_signals_differ_in_name_and_task_alone():
    for size in ("", "-cpu"):
        four_top, tth = (
            {key: value for key, value in one.model_dump().items() if key != "name"}
            for one in (study.load(path.with_stem(stem + size)) for path, stem in ((EXAMPLES[0], s) for s in SIGNALS))
        )
        for one in (four_top, tth):
            for model in one["models"].values():
                del model["task"]["signal"], model["task"]["background"]
        assert four_top == tth


def test_binary_and_multi_class_training_differ_in_nothing_else(tmp_path):
    """And are those of the study of all models."""
    found = {run.label: run.experiment for run in study.plan(study.load(FOLDER / "classes-cpu.yaml"), tmp_path)}
    known = {run.label: run.experiment for run in study.plan(study.load(FOLDER / "four-top-cpu.yaml"), tmp_path)}
    assert list(found) == [label + end for label in ("BDT_int", "PN_int", "ParT_int") for end in ("", "_binary")]
    for label, one in found.items():
        other = known[label.removesuffix("_binary")]
        task, other_task = cast(ClassificationConfig, one.task), cast(ClassificationConfig, other.task)
        assert task.classes == ("binary" if label.endswith("_binary") else other_task.classes)
        assert (one.model, one.inputs, one.training) == (other.model, other.inputs, other.training)


TAGGING = [FOLDER / f"top-tagging{size}.yaml" for size in ("", "-full")]


@pytest.mark.parametrize("path", TAGGING, ids=lambda path: path.stem)
def test_taggers_see_the_same_jets_and_are_judged_as_taggers(path, tmp_path):
    planned = study.plan(study.load(path), tmp_path)
    assert len({run.experiment.data.model_copy(update={"fraction": 1.0}).model_dump_json() for run in planned}) == 1
    assert {(run.experiment.inputs.features, run.experiment.inputs.slots) for run in planned} == {
        ("kin", planned[0].experiment.inputs.slots)
    }
    evaluations = [cast(ClassificationEvaluationConfig, run.experiment.evaluation) for run in planned]
    assert {(one.metrics, one.published) for one in evaluations} == {("tagging", "top-tagging")}
    pairs = {run.label: run.experiment.inputs.interactions for run in planned}
    assert pairs["ParT"] == pairs["MIParT"] == ("kt", "z", "delta", "mass2")


def test_the_full_study_of_taggers_is_of_the_published_sizes(tmp_path):
    planned = study.plan(study.load(TAGGING[1]), tmp_path)
    models = {run.label: run.experiment.model for run in planned}
    for label, model in models.items():
        name = {"ParticleNet-Lite": "particlenet-lite", "BDT": None}.get(label, model.name)
        if name is not None:
            published = model_spec(name).schema(**{"frames": "random"} if label == "augmented" else {})
            assert model.settings == published.model_dump(), label
    assert {run.seed for run in planned} == {1, 2, 3}
