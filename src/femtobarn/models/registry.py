"""The zoo: architectures by name, and their settings as a strict schema."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, create_model, field_validator
from torch import nn

MODELS: dict[str, type[Any]] = {}

#: Settings that make a model tiny, by name: enough for the contract tests, far too small for physics.
SMALL: dict[str, Mapping[str, Any]] = {}

#: Models whose answer depends on the order of the objects, by declaration.
ORDERED: set[str] = set()

#: Models that look at objects only, by declaration: interactions in their experiment are a mistake.
PAIRLESS: set[str] = set()

#: Models that attend by pairwise features alone, by declaration: an experiment without interactions is a mistake.
PAIRED: set[str] = set()

#: Models with slots for each kind of object of an event, by declaration: jets have no such objects.
BY_KIND: set[str] = set()

#: Settings with which a model is invariant under every Lorentz transformation, by declaration.
LORENTZ: dict[str, Mapping[str, Any]] = {}

#: Published sizes with names of their own: the model that each is of, and the settings that are not its defaults.
PUBLISHED: dict[str, tuple[str, Mapping[str, Any]]] = {}

#: Largest value of the whole numbers among settings, by name: layers take time to build, numbers in a list are widths.
LARGEST: Mapping[str, int] = {
    **dict.fromkeys(("blocks", "class_blocks", "interaction_blocks", "iterations", "vectors"), 256),
    "trees": 1_000_000,
    "patience": 1_000_000,
    "leaves": 131_072,  # LightGBM's own bound
    "pixels": 1024,
    "k": 4096,
    "kernel": 1024,
}

#: Largest value of all other whole numbers: widths, heads, ratios.
LARGEST_WIDTH = 16_384

#: Most numbers in a list, and in the lists of a list together: each is a layer.
MOST_LAYERS = 256

T = TypeVar("T")


def model(
    name: str,
    *,
    small: Mapping[str, Any] | None = None,
    ordered: bool = False,
    pairs: bool | Literal["needed"] = True,
    by_kind: bool = False,
    lorentz: Mapping[str, Any] | None = None,
    published: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[type[T]], type[T]]:
    """Register an architecture under the name that configs and the command line use; that is enough to be tested.

    Args:
        name: lower case.
        small: settings with which it trains in a moment; None means the defaults.
        ordered: the answer may depend on the order of the objects.
        pairs: it takes pairwise features; False makes interactions in its experiment an error, `needed` says that it
            raises a ValueError without any.
        by_kind: it picks objects of an event by their kind, which makes the constituents of jets an error.
        lorentz: settings with which its answer is the same in every frame; None means that it never is.
        published: sizes with names of their own, by the settings in which they differ from the defaults.

    Raises:
        ValueError: the name is taken.
    """

    def register(cls: type[T]) -> type[T]:
        for one in (name, *(published or {})):
            if one in MODELS or one in PUBLISHED:
                raise ValueError(f"{one!r} is already the model {MODELS[architecture(one)].__qualname__}")
        MODELS[name] = cls
        SMALL[name] = dict(small or {})
        if ordered:
            ORDERED.add(name)
        if not pairs:
            PAIRLESS.add(name)
        if pairs == "needed":
            PAIRED.add(name)
        if by_kind:
            BY_KIND.add(name)
        if lorentz is not None:
            LORENTZ[name] = dict(lorentz)
        for size, own in (published or {}).items():
            PUBLISHED[size] = (name, dict(own))
        return cls

    return register


def architecture(name: str) -> str:
    """The model that a published size is of; any other name as it is."""
    return PUBLISHED.get(name, (name,))[0]


def find(name: str) -> type[Any]:
    """The class registered under a name.

    Raises:
        ValueError: no such model; the message lists the names there are. A published size is no model of its own.
    """
    if name in PUBLISHED:
        raise ValueError(
            f"{name!r} is a size of the model {architecture(name)!r}, with the settings that settings({name!r}) has"
        )
    if name not in MODELS:
        raise ValueError(
            f"no model is called {name!r}; there are {', '.join(sorted(MODELS))}; sizes: {', '.join(sorted(PUBLISHED))}"
        )
    return MODELS[name]


def settings(name: str) -> type[BaseModel]:
    """The keyword arguments of a model, or of a published size, as a strict pydantic model, for config files and help.

    Example:
        >>> settings("particlenet-lite")().k
        7
    """
    base, own = PUBLISHED.get(name, (name, {}))
    init = find(base).__init__
    hints = get_type_hints(init, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (
            hints[parameter.name],
            own.get(parameter.name, ... if parameter.default is parameter.empty else parameter.default),
        )
        for parameter in inspect.signature(init).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    return create_model(name, __config__=config, __validators__={"bounded": field_validator("*")(_bounded)}, **fields)


def _bounded(value: Any, info: Any) -> Any:
    """A setting as it is, if a model with it can be built in a moment.

    Raises:
        ValueError: a number is too large or a list too long; the message has the bound.
    """
    largest = LARGEST.get(str(info.field_name), LARGEST_WIDTH)
    if isinstance(value, int) and value > largest:
        raise ValueError(f"should be at most {largest}; got {value}")
    numbers = list(_numbers(value)) if isinstance(value, tuple) else []
    if max(numbers, default=0) > LARGEST_WIDTH:
        raise ValueError(f"numbers should be at most {LARGEST_WIDTH}; got {max(numbers)}")
    if isinstance(value, tuple) and max(len(numbers), len(value)) > MOST_LAYERS:
        raise ValueError(f"should have at most {MOST_LAYERS} entries; got {max(len(numbers), len(value))}")
    return value


def _numbers(value: Any) -> Iterator[int]:
    for entry in value if isinstance(value, tuple) else (value,):
        if isinstance(entry, tuple):
            yield from _numbers(entry)
        elif isinstance(entry, int):
            yield entry


def momenta(name: str) -> torch.dtype:
    """The precision in which a model, or a published size, is given momenta.

    Those that keep Lorentz symmetry get float64: the mass of a fast particle is the small difference of large numbers,
    and float32 has lost it. To the others, which see logarithms and angles, float32 is the same at half the memory.

    Raises:
        ValueError: no such model.
    """
    find(architecture(name))
    return torch.float64 if architecture(name) in LORENTZ else torch.float32


def networks() -> tuple[str, ...]:
    """Names of the models that are neural networks, trained by the loop (the others train themselves)."""
    return tuple(sorted(name for name, cls in MODELS.items() if issubclass(cls, nn.Module)))


@dataclass(frozen=True)
class Description:
    """A model for a reader: what it is, where it comes from, what can be set."""

    name: str
    title: str  # one line
    paper: str  # citation
    settings: tuple[tuple[str, str, str], ...]  # name, type, default, as they are written in a config


def describe(name: str) -> Description:
    """What `femtobarn models NAME` shows, of a model or a published size.

    Raises:
        ValueError: no such model.

    Example:
        >>> describe("part").settings[0]
        ('width', 'int > 0', '128')
    """
    title, _, paper = (inspect.getdoc(inspect.getmodule(find(architecture(name)))) or "").partition("\n")
    fields = settings(name).model_fields
    return Description(
        name=name,
        title=title.strip(),
        paper=" ".join(paper.split()),
        settings=tuple(
            (key, _written(field.annotation, field.metadata), json.dumps(field.default, default=str))
            for key, field in fields.items()
        ),
    )


def _written(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A type as a physicist would say it: `int > 0`, `list of int > 0`, `0 <= float < 1`."""
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
    inside = [item for entry in metadata for item in getattr(entry, "metadata", [entry])]
    low = next((f"{bound} {sign} " for item in inside for sign, bound in _bounds(item, ("ge", "<="), ("gt", "<"))), "")
    high = next((f" {sign} {bound}" for item in inside for sign, bound in _bounds(item, ("le", "<="), ("lt", "<"))), "")
    if low and not high:
        bound, sign, _ = low.split(" ")
        low, high = "", f" {sign.replace('<', '>')} {bound}"
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    if get_origin(annotation) in (tuple, list):
        return "list of " + " or ".join(_written(argument) for argument in arguments)
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, arguments))
    if arguments:
        return " | ".join("null" if argument is type(None) else _written(argument) for argument in arguments)
    return f"{low}{getattr(annotation, '__name__', annotation)}{high}"


def _bounds(item: Any, *names: tuple[str, str]) -> list[tuple[str, Any]]:
    return [(sign, getattr(item, key)) for key, sign in names if getattr(item, key, None) is not None]
