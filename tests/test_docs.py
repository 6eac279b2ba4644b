"""Pages in docs/ and the JSON schema agree with the settings that they describe."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from femtobarn.experiments import yaml_loader
from femtobarn.experiments.experiment import build
from femtobarn.experiments.json_schema import json_schema
from femtobarn.experiments.reference import section_settings, sections
from femtobarn.experiments.search_space import load as load_spaces
from femtobarn.inputs import INTERACTIONS
from femtobarn.models import MODELS
from femtobarn.studies.study import StudyConfig, load

ROOT = Path(__file__).parents[1]
SCRIPT = spec_from_file_location("docs_configuration", ROOT / "docs" / "configuration.py")
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLES = [*(ROOT / "examples").glob("*.yaml"), *(ROOT / "src" / "femtobarn" / "data").glob("*.yaml")]


def configuration_script() -> Any:
    assert SCRIPT is not None
    assert SCRIPT.loader is not None
    module = module_from_spec(SCRIPT)
    SCRIPT.loader.exec_module(module)
    return module


def schema_mistakes(tree: Any) -> list[str]:
    """Mistakes in a document by the JSON schema."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema(StudyConfig)
    jsonschema.Draft202012Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(tree)]


def test_tables_of_the_configuration_page_are_made_from_the_settings():
    assert configuration_script().render(PAGE) == PAGE, "run: python docs/configuration.py --write"


@pytest.mark.parametrize("section", ["experiment", *sections()])
def test_every_setting_has_a_description(section):
    for setting in section_settings(section):
        assert setting.description.endswith("."), setting.path
        assert setting.type
        assert "annotation=" not in setting.type


def test_page_names_every_model_and_interaction():
    assert all(f"`{name}`" in PAGE for name in (*MODELS, *INTERACTIONS))


def test_the_examples_are_valid(tmp_path):
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)]
    assert len(blocks) == 5
    for block in blocks:
        if "part" in block:
            file = tmp_path / "space.yaml"
            file.write_text(yaml.safe_dump(block))
            assert {"training.lr", "model.heads"} <= set(load_spaces(file)["part"])
        elif "models" in block:
            assert set(load(block).models) == {"ParT", "ParT_int"}
        else:
            build({"model": {"name": "part"}, "task": {"signal": "tttt"}} | block, "docs", tmp_path)


def test_links_of_pages_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_json_schema_accepts_the_examples_and_a_run_folder_with_former_keys():
    former = ROOT / "tests" / "data" / "former-run" / "config.yaml"
    for path in (*EXAMPLES, former):
        assert schema_mistakes(yaml_loader.load(path.read_text(encoding="utf-8"))) == [], path.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"name": "part", "widht": 3}}, "'widht' was unexpected"),
        ({"model": {"name": "bdt", "width": 3}}, "'width' was unexpected"),
        ({"model": {"name": "prt"}}, "'prt' is not one of"),
        ({"training": {"epohs": 3}}, "'epohs' was unexpected"),
        ({"training": {"lr": "fast"}}, "'fast' is not"),
        ({"data": {"split": {"train": 2}}}, "2 is greater than or equal to the maximum of 1"),
        ({"task": {}}, "'signal' is a required property"),
    ],
)
def test_json_schema_marks_mistakes_in_experiments_and_in_studies(change, message):
    plain = {"data": {"sample": "four-top"}, "model": {"name": "part"}, "task": {"signal": "tttt"}}
    assert schema_mistakes(plain) == []
    assert any(message in mistake for mistake in schema_mistakes(plain | change))
    if change != {"task": {}}:  # parts of an experiment may lack a key
        study = {"base": plain, "models": {"A": change}}
        assert any(message in mistake for mistake in schema_mistakes(study))
