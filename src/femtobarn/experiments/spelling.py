"""Spelling: former names of YAML keys, which are still read, and their present names.

A field states its former name itself: `Field(1, validation_alias=AliasChoices("num_workers", "readers"))`. Documents
are renamed before they are merged, so that an override under one name replaces a value under the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import AliasChoices, BaseModel

from femtobarn.experiments.document import Mistake, Tree

#: Schemas that describe one mapping together.
Schemas = Sequence[type[BaseModel]]


def former_keys(schema: type[BaseModel]) -> dict[str, str]:
    """Present key of a schema by its former name.

    Example:
        >>> from femtobarn.training import TrainingConfig
        >>> former_keys(TrainingConfig)["readers"]
        'num_workers'
    """
    return {
        former: key
        for key, field in schema.model_fields.items()
        if isinstance(field.validation_alias, AliasChoices)
        for former in field.validation_alias.choices
        if isinstance(former, str) and former != key
    }


def spellings(schemas: Schemas) -> dict[str, str]:
    """Present key by every name that is read: the present ones first, then the former ones."""
    present = {key: key for schema in schemas for key in schema.model_fields}
    return present | {former: key for schema in schemas for former, key in former_keys(schema).items()}


def nested_schemas(schemas: Schemas, key: str) -> list[type[BaseModel]]:
    """Schemas of the mapping behind a key; empty where it is a value, a list or free."""
    annotations = [schema.model_fields[key].annotation for schema in schemas if key in schema.model_fields]
    return [member for annotation in annotations for member in _members(annotation)]


def rename(tree: Tree, schemas: Schemas) -> dict[str, Any]:
    """Copy of a mapping under present keys. Where both names of a key are set, both stay, for `conflicts` to report."""
    names = spellings(schemas)
    renamed: dict[str, Any] = {}
    for key, value in tree.items():
        present = names.get(key, key)
        inner = nested_schemas(schemas, present)
        renamed[key if present in tree else present] = (
            rename(value, inner) if inner and isinstance(value, Mapping) else value
        )
    return renamed


def conflicts(tree: Tree, schemas: Schemas, prefix: str = "") -> Iterator[Mistake]:
    """Keys that are set under both of their names."""
    names = spellings(schemas)
    for key, value in tree.items():
        present = names.get(key, key)
        if present != key and present in tree:
            yield Mistake(
                f"{prefix}{present}", f"is set as {present} and as {key}, its former name; keep {present} only"
            )
        elif isinstance(value, Mapping):
            yield from conflicts(value, nested_schemas(schemas, present), f"{prefix}{present}.")


def _members(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [
        member for argument in get_args(annotation) if not _is_container(annotation) for member in _members(argument)
    ]


def _is_container(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) in (dict, list, tuple)
