"""Reference of settings: key, type, default and meaning of every key of a YAML, from the fields that define them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from femtobarn.events.formats.mapping import Columns
from femtobarn.events.formats.mapping import Mapping as ColumnMapping
from femtobarn.experiments.experiment import Experiment, experiment_schema
from femtobarn.experiments.spelling import nested_schemas
from femtobarn.models import model_spec
from femtobarn.models.settings_schema import describe_type
from femtobarn.tasks.registry import DEFAULT_TASK, TASKS

#: Upper limits from here on only stop typing errors; types are described without them.
GENEROUS_LIMIT = 100_000


class Setting(NamedTuple):
    """One key of a YAML file, in words."""

    path: str
    type: str
    default: str  # as in YAML; empty for a required key
    description: str


def sections() -> dict[str, type[BaseModel]]:
    """Schema of each section of an experiment. `task:KIND` and `evaluation:KIND` are sections of other tasks."""
    schemas: dict[str, type[BaseModel]] = {}
    for kind in (DEFAULT_TASK, *(name for name in sorted(TASKS) if name != DEFAULT_TASK)):
        schema = experiment_schema(kind)
        for key in schema.model_fields:
            name = key if kind == DEFAULT_TASK or key not in ("task", "evaluation") else f"{key}:{kind}"
            if nested := nested_schemas([schema], key):
                schemas[name] = nested[0]
    return schemas | {"data.mapping": ColumnMapping, "data.mapping.objects": Columns}


def section_settings(section: str) -> list[Setting]:
    """Settings of one section, or the top-level settings of `experiment`.

    Raises:
        ValueError: no such section; the message lists the sections.
    """
    if section == "experiment":
        return [_setting(key, field) for key, field in Experiment.model_fields.items() if key not in sections()]
    if section not in sections():
        raise ValueError(f"no section is called {section!r}; sections: experiment, {', '.join(sections())}")
    # keys of data.mapping.objects stand below each type of object
    prefix = "" if section == "data.mapping.objects" else f"{section.partition(':')[0]}."
    return settings_of(sections()[section], prefix)


def settings_of(schema: type[BaseModel], prefix: str = "") -> list[Setting]:
    """Settings of a schema, including nested schemas that are no section of their own."""
    return list(_walk(schema, prefix))


def model_settings(name: str) -> list[Setting]:
    """Settings of a model or of a published size.

    Raises:
        ValueError: no such model.
    """
    return settings_of(model_spec(name).schema)


def settings_table(settings: Sequence[Setting]) -> str:
    """Settings as a Markdown table."""
    rows = [
        f"| `{path}` | {type_.replace(' | ', ', ')} | {default} | {description} |"
        for path, type_, default, description in settings
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def _walk(schema: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for key, field in schema.model_fields.items():
        nested = nested_schemas([schema], key)
        if nested and f"{prefix}{key}" not in sections():
            for inner in nested:
                yield from _walk(inner, f"{prefix}{key}.")
        else:
            yield _setting(f"{prefix}{key}", field)


def _setting(path: str, field: FieldInfo) -> Setting:
    default = "" if field.is_required() else json.dumps(field.default, ensure_ascii=False).replace('"', "")
    return Setting(path, _type(field.annotation, field.metadata), default, field.description or "")


def _type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Type in the notation of `describe_type`, without generous limits."""
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
    members = [member for member in get_args(annotation) if member not in (type(None), Ellipsis)]
    if get_origin(annotation) in (dict, Mapping):
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys and values"
    if get_origin(annotation) in (tuple, list):
        return "list of " + " or ".join(dict.fromkeys(map(_type, members)))
    if members and get_origin(annotation) is not Literal:
        return " | ".join(dict.fromkeys(_type(member, metadata) for member in members))
    limits = [item for entry in metadata for item in getattr(entry, "metadata", [entry])]
    tight = [item for item in limits if max(getattr(item, "lt", 0), getattr(item, "le", 0)) < GENEROUS_LIMIT]
    text = describe_type(annotation, tight).replace("<=", "≤").replace(">=", "≥")
    return "text" if text == "str" else text
