"""JSON schema of experiments and studies, for editors that complete and check YAML files.

First line of the YAML file: `# yaml-language-server: $schema=femtobarn.schema.json`. The schema has all keys and types;
`femtobarn` alone checks what depends on several keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from femtobarn.experiments.experiment import experiment_schema
from femtobarn.experiments.sections import ModelConfig
from femtobarn.experiments.spelling import former_keys, nested_schemas
from femtobarn.models import MODELS, model_spec
from femtobarn.models.registry import published_sizes
from femtobarn.tasks.registry import DEFAULT_TASK, TASKS, task_kind

#: Version of JSON schema.
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(study: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a file that holds an experiment, or a study: a file with `models`.

    Args:
        study: schema of a study, whose `base` and `models` hold parts of an experiment.
    """
    definitions: dict[str, Any] = {}
    experiment = _definition(experiment_schema(), definitions)
    _add_tasks(definitions, definitions[experiment]["properties"])
    study_schema = _definition(study, definitions)
    definitions["ModelConfig"] = _model_schema()
    definitions["PartOfExperiment"] = _optional(definitions[experiment])
    part = {"$ref": "#/$defs/PartOfExperiment"}
    study_properties = definitions[study_schema]["properties"]
    study_properties["base"] = study_properties["base"] | part
    labels = {key: value for key, value in study_properties["models"].items() if key != "patternProperties"}
    study_properties["models"] = labels | {"additionalProperties": part}
    for name in list(definitions):
        if name not in ("ModelConfig", experiment, study_schema, "PartOfExperiment"):
            definitions[f"Part{name}"] = _optional(definitions[name])
    return {
        "$schema": DIALECT,
        "title": "femtobarn experiment or study",
        "if": {"type": "object", "required": ["models"]},
        "then": {"$ref": f"#/$defs/{study_schema}"},
        "else": {"$ref": f"#/$defs/{experiment}"},
        "$defs": definitions,
    }


def _definition(schema: type[BaseModel], definitions: dict[str, Any]) -> str:
    """Add the schema and all schemas in it to the definitions; the name of its definition."""
    tree = schema.model_json_schema()
    definitions.update(tree.pop("$defs", {}))
    definitions[schema.__name__] = tree
    for nested in _all_schemas(schema):
        _add_former_keys(definitions[nested.__name__], nested)
    return schema.__name__


def _add_tasks(definitions: dict[str, Any], properties: dict[str, Any]) -> None:
    """Choose the schema of `task` by its kind; `evaluation` has the keys of any task."""
    evaluations = [properties["evaluation"]]
    for kind in sorted(TASKS):
        if kind != DEFAULT_TASK:
            task = task_kind(kind)
            name, evaluation = (_definition(schema, definitions) for schema in (task.config, task.evaluation))
            properties["task"] = {
                "if": {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{name}"},
                "else": properties["task"],
            }
            evaluations.append({"$ref": f"#/$defs/{evaluation}"})
    properties["evaluation"] = {"anyOf": evaluations}


def _all_schemas(schema: type[BaseModel]) -> list[type[BaseModel]]:
    nested = [inner for key in schema.model_fields for inner in nested_schemas([schema], key)]
    return [schema, *(deeper for inner in nested for deeper in _all_schemas(inner))]


def _add_former_keys(tree: dict[str, Any], schema: type[BaseModel]) -> None:
    for former, key in former_keys(schema).items():
        note = {"deprecated": True, "description": f"Former name of `{key}`."}
        tree["properties"][former] = tree["properties"][key] | note


def _optional(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without required keys, of which all nested schemas are optional too."""

    def part(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                key: f"#/$defs/Part{str(inner).removeprefix('#/$defs/')}"
                if key == "$ref" and inner != "#/$defs/ModelConfig"
                else part(inner)
                for key, inner in value.items()
            }
        return [part(inner) for inner in value] if isinstance(value, list) else value

    return {key: part(value) for key, value in tree.items() if key != "required"}


def _model_schema() -> dict[str, Any]:
    """Schema of `model`: the common keys, and the settings of the architecture by its name."""
    common = ModelConfig.model_json_schema()
    _add_former_keys(common, ModelConfig)
    names = [*sorted(MODELS), *sorted(published_sizes())]
    common["properties"]["name"] |= {"enum": names}
    branches = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {
                "properties": dict.fromkeys(common["properties"], True) | _settings_schema(name),
                "additionalProperties": False,
            },
        }
        for name in names
    ]
    # a study may leave the name to its base
    return {key: value for key, value in common.items() if key not in ("required", "additionalProperties")} | {
        "allOf": branches
    }


def _settings_schema(name: str) -> dict[str, Any]:
    schema = model_spec(name).schema
    tree = schema.model_json_schema()
    _add_former_keys(tree, schema)
    return dict(tree["properties"])
