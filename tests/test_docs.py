"""The pages in docs/ keep in step with what they describe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from femtobarn.events.formats.mapping import Columns, Mapping
from femtobarn.experiments.experiment import build, experiment_schema
from femtobarn.experiments.search_space import load as load_spaces
from femtobarn.inputs import INTERACTIONS
from femtobarn.models import MODELS
from femtobarn.studies.study import StudyConfig, load
from femtobarn.tasks.registry import TASKS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = {
    key: cells[2].strip()
    for line in PAGE.splitlines()
    if line.startswith("| `") and line.count("|") == 5
    for cells in [line.split("|")[1:-1]]
    for key in re.findall(r"`([^`]+)`", cells[0])
}


def paths(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in schema.model_fields.items():
        kind = field.annotation
        choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)  # `Mapping | None`
        inner = [one for one in choices if isinstance(one, type) and issubclass(one, BaseModel)]
        if inner:
            yield from paths(inner[0], f"{prefix}{name}.")
        else:
            yield prefix + name, field


SCHEMAS = [experiment_schema(task) for task in TASKS]
FIELDS = {path: field for schema in (*SCHEMAS[::-1], StudyConfig, Columns) for path, field in paths(schema)}


def test_nested_schemas_are_walked():
    assert {"data.split.train", "data.mapping.phi_MET", "model.name", "seeds", "btag_above"} <= FIELDS.keys()
    assert {f"data.mapping.{name}" for name in Mapping.model_fields} <= FIELDS.keys()


@pytest.mark.parametrize("path", FIELDS)
def test_every_key_has_a_row_with_its_default(path):
    assert path in ROWS, f"docs/configuration.md has no row for {path}"
    told, field = ROWS[path], FIELDS[path]
    if path == "label":
        return
    if field.is_required():
        assert told == ""
        return
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    assert yaml.safe_load(told.split(":")[0]) == default


def test_no_row_is_of_a_key_that_is_gone():
    assert set(ROWS) - {"data.mapping"} == set(FIELDS)  # which has rows of its own below


def test_every_choice_is_named():
    for path, field in FIELDS.items():
        row = next(line for line in PAGE.splitlines() if line.startswith("| `") and f"`{path}`" in line)
        for choice in re.findall(r"'([^']+)'", str(field.annotation)) if "Literal" in str(field.annotation) else ():
            assert choice in row or "objects" in path, f"{path}: {choice}"
    for name in (*MODELS, *INTERACTIONS):
        assert f"`{name}`" in PAGE


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
