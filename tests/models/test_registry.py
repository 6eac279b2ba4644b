"""The registry: names, strict settings, descriptions."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from femtobarn.experiments.experiment import dump, load
from femtobarn.models import MODELS, model, model_spec, networks, published_sizes


def test_networks_are_those_the_loop_trains():
    assert {"fcn", "part", "particlenet"} <= set(networks())
    assert "bdt" in MODELS
    assert "bdt" not in networks()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_small_settings_are_settings(name):
    model_spec(name).schema(**model_spec(name).small)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_descriptions_cite_a_paper(name):
    described = model_spec(name)
    assert described.title.endswith(".")
    assert "arXiv:" in described.paper or "NeurIPS" in described.paper


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_setting_of_a_model_has_a_description(name):
    spec = model_spec(name)
    assert [key for key, *_ in spec.setting_table] == list(spec.schema.model_fields)
    for key, _, _, meaning in spec.setting_table:
        assert meaning[:1].isupper() or meaning[:1] in "`", key
        assert meaning.endswith("."), key


def test_networks_on_local_frames_describe_inherited_settings_as_the_backbone():
    described = {key: meaning for key, *_, meaning in model_spec("lloca-part").setting_table}
    assert ("heads", described["heads"]) in [(key, meaning) for key, *_, meaning in model_spec("part").setting_table]
    assert described["vectors"] == "Number of four-vectors among the channels of each head."


def test_types_as_one_writes_them():
    written = {key: (kind, default) for key, kind, default, _ in model_spec("particlenet").setting_table}
    assert written == {
        "k": ("int > 0", "16"),
        "blocks": ("list of list of int > 0", "[[64, 64, 64], [128, 128, 128], [256, 256, 256]]"),
        "fc": ("list of int > 0", "[256]"),
        "dropout": ("0 <= float < 1", "0.1"),
        "fill": ("bool", "false"),
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"widht": 64}, "widht\n  Extra inputs are not permitted"),
        ({"width": 0}, "greater than 0"),
        ({"dropout": 1.0}, "less than 1"),
        ({"embedding": [64, -1]}, "greater than 0"),
    ],
)
def test_settings_are_strict(wrong, message):
    with pytest.raises(ValidationError, match=message):
        model_spec("part").schema(**wrong)


def test_lists_of_a_config_become_what_a_model_takes():
    chosen = model_spec("particlenet").schema(blocks=[[8, 8], [16]], k=3)
    assert chosen.model_dump()["blocks"] == ((8, 8), (16,))


def test_names_are_taken_once():
    with pytest.raises(ValueError, match="'part' is already the model ParT"):
        model("part")(object)


@pytest.mark.parametrize("name", sorted(published_sizes()))
def test_published_sizes_are_settings_of_their_models(name):
    spec = model_spec(name)
    base, own = spec.architecture, spec.preset
    defaults = model_spec(base).schema().model_dump()
    assert model_spec(name).schema().model_dump() == {**defaults, **own}
    assert all(defaults[key] != value for key, value in own.items())
    assert model_spec(name).paper == model_spec(base).paper
    assert spec.cls is MODELS[base].cls
    with pytest.raises(ValueError, match=f"{name!r} is already the model"):
        model(name)(object)


def test_an_experiment_writes_the_numbers_of_a_size_out():
    tree = {"data": {"sample": "four-top"}, "task": {"signal": ["tttt"]}, "model": {"name": "particlenet-lite", "k": 5}}
    found = load(tree)
    assert found.label == "particlenet-lite"
    assert found.model.name == "particlenet"
    assert found.model.settings == model_spec("particlenet").schema().model_dump() | {
        "k": 5,
        "blocks": ((32,) * 3, (64,) * 3),
        "fc": (128,),
    }
    assert "particlenet-lite" not in dump(found).replace("label: particlenet-lite", "")
    assert load(found.model_dump(mode="json")) == found
    assert load({**tree, "model": {"name": "part"}}, ["model.name=particlenet-lite"]).model.settings["k"] == 7


def test_unknown_name_is_answered_with_the_known():
    with pytest.raises(ValueError, match=f"no model is called 'prt'; there are {', '.join(sorted(MODELS))}"):
        model_spec("prt")
