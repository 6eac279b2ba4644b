"""The zoo: architectures by name, and their settings as a strict schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

MODELS: dict[str, type[Any]] = {}

T = TypeVar("T")


def model(name: str) -> Callable[[type[T]], type[T]]:
    """Register an architecture under the name that configs and the command line use.

    Raises:
        ValueError: the name is taken.
    """

    def register(cls: type[T]) -> type[T]:
        if name in MODELS:
            raise ValueError(f"{name!r} is already the model {MODELS[name].__qualname__}")
        MODELS[name] = cls
        return cls

    return register


def find(name: str) -> type[Any]:
    """The class registered under a name.

    Raises:
        ValueError: no such model; the message lists the names there are.
    """
    if name not in MODELS:
        raise ValueError(f"no model is called {name!r}; there are {', '.join(sorted(MODELS))}")
    return MODELS[name]


def settings(name: str) -> type[BaseModel]:
    """The keyword arguments of a model as a strict pydantic model, for config files and help."""
    init = find(name).__init__
    hints = get_type_hints(init, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], ... if parameter.default is parameter.empty else parameter.default)
        for parameter in inspect.signature(init).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", frozen=True), **fields)
