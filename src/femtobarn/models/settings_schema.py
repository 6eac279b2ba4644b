"""Schema of the keyword settings of a model, made from the signature of its class."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

#: Largest value of an integer setting, by name. Layers take time to build; numbers in a list are widths.
MAX_SETTING: Mapping[str, int] = {
    **dict.fromkeys(("blocks", "class_blocks", "interaction_blocks", "iterations", "vectors"), 256),
    "n_estimators": 1_000_000,
    "patience": 1_000_000,
    "num_leaves": 131_072,  # limit of LightGBM
    "pixels": 1024,
    "k": 4096,
    "kernel": 1024,
}

#: Largest value of all other integer settings: widths, heads, ratios.
MAX_WIDTH = 16_384

#: Largest number of entries of a list, and of numbers in nested lists: each is a layer.
MAX_LAYERS = 256


def settings_schema(name: str, cls: type[Any], changes: Mapping[str, Any]) -> type[BaseModel]:
    """Keyword arguments of a class as a strict pydantic model, for configuration files and help.

    A setting is described by the `Args:` section of the docstring of the class, or by a `Field` in the signature.

    Args:
        name: name of the pydantic model, which appears in its errors.
        cls: a registered model.
        changes: defaults that replace the defaults of the signature.
    """
    hints = described_hints(cls)
    fields: dict[str, Any] = {
        parameter.name: (
            hints[parameter.name],
            changes.get(parameter.name, ... if parameter.default is parameter.empty else parameter.default),
        )
        for parameter in inspect.signature(cls.__init__).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    validators: dict[str, Any] = {"bounded": field_validator("*")(_check_bounds)}
    return create_model(name, __config__=config, __validators__=validators, **fields)


def described_hints(cls: type[Any]) -> dict[str, Any]:
    """Types of the arguments of a class, annotated with the descriptions in its docstring.

    Example:
        >>> from femtobarn.models.part import ParT
        >>> described_hints(ParT)["ratio"].__metadata__[-1].description
        'Width of the feed-forward layer in units of `width`.'
    """
    hints = get_type_hints(cls.__init__, include_extras=True)
    descriptions = _docstring_arguments(inspect.getdoc(cls) or "")
    return {
        name: Annotated[hint, Field(description=descriptions[name])] if name in descriptions else hint
        for name, hint in hints.items()
    }


def describe_type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Type of a setting in plain notation, such as `int > 0`, `list of int > 0` or `0 <= float < 1`."""
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
    limits = [item for entry in metadata for item in getattr(entry, "metadata", [entry])]
    low = next((f"{bound} {sign} " for item in limits for sign, bound in _bounds(item, ("ge", "<="), ("gt", "<"))), "")
    high = next((f" {sign} {bound}" for item in limits for sign, bound in _bounds(item, ("le", "<="), ("lt", "<"))), "")
    if low and not high:
        bound, sign, _ = low.split(" ")
        low, high = "", f" {sign.replace('<', '>')} {bound}"
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    if get_origin(annotation) in (tuple, list):
        return "list of " + " or ".join(describe_type(argument) for argument in arguments)
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, arguments))
    if arguments:
        return " | ".join("null" if argument is type(None) else describe_type(argument) for argument in arguments)
    return f"{low}{getattr(annotation, '__name__', annotation)}{high}"


def _docstring_arguments(docstring: str) -> dict[str, str]:
    """Descriptions in the `Args:` section of a docstring, by argument."""
    section = re.search(r"^Args:\n((?: .*\n?|\n)*)", docstring, re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE)
    texts = {name: " ".join(text.split()) for name, text in entries}
    return {name: text[:1].upper() + text[1:] for name, text in texts.items()}


def _check_bounds(value: Any, info: Any) -> Any:
    """Return a setting unchanged if a model with it can be built in a moment.

    Raises:
        ValueError: a number is too large or a list too long; the message has the limit.
    """
    limit = MAX_SETTING.get(str(info.field_name), MAX_WIDTH)
    if isinstance(value, int) and value > limit:
        raise ValueError(f"should be at most {limit}; got {value}")
    numbers = list(_numbers(value)) if isinstance(value, tuple) else []
    if max(numbers, default=0) > MAX_WIDTH:
        raise ValueError(f"numbers should be at most {MAX_WIDTH}; got {max(numbers)}")
    if isinstance(value, tuple) and max(len(numbers), len(value)) > MAX_LAYERS:
        raise ValueError(f"should have at most {MAX_LAYERS} entries; got {max(len(numbers), len(value))}")
    return value


def _numbers(value: Any) -> Iterator[int]:
    for entry in value if isinstance(value, tuple) else (value,):
        if isinstance(entry, tuple):
            yield from _numbers(entry)
        elif isinstance(entry, int):
            yield entry


def _bounds(item: Any, *names: tuple[str, str]) -> list[tuple[str, Any]]:
    return [(sign, getattr(item, key)) for key, sign in names if getattr(item, key, None) is not None]
