"""Registry of models: one record per registered model."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

import torch
from pydantic import BaseModel
from torch import nn

from femtobarn.inputs.feature_batch import Sizes
from femtobarn.models.settings_schema import describe_type, settings_schema

Depth = Literal["objects", "latent", "outputs"]

#: Depths of a network (`femtobarn.models.depths`).
DEPTHS: tuple[Depth, ...] = get_args(Depth)

T = TypeVar("T")


@dataclass(frozen=True)
class ModelSpec:
    """A registered model, or a published size of it: class, settings and declared properties.

    Args:
        name: name in configurations and on the command line.
        architecture: name of the registered model; differs from `name` for a published size.
        cls: class of the model.
        family: architectures that work alike, in words: `graphs`, `attention`, `trees`.
        preset: settings of a published size that differ from the defaults; empty for the model itself.
        small: settings that make it tiny, for tests; far too small for physics.
        ordered: True if the outputs may depend on the order of the particles.
        takes_pairs: False if interactions in an experiment are an error.
        needs_pairs: True if an experiment without interactions is an error.
        by_kind: True if it has slots for each type of particle of an event, so that constituents of jets are an error.
        lorentz: settings with which its outputs are the same in every frame; None if they never are.
        double: True if it needs momenta in float64 for other reasons: masses of pairs.
        published: published sizes by name, with the settings that differ from the defaults.
    """

    name: str
    architecture: str
    cls: type[Any]
    family: str
    preset: Mapping[str, Any]
    small: Mapping[str, Any]
    ordered: bool
    takes_pairs: bool
    needs_pairs: bool
    by_kind: bool
    lorentz: Mapping[str, Any] | None
    double: bool
    published: Mapping[str, Mapping[str, Any]]

    @property
    def is_network(self) -> bool:
        """True for a neural network, trained by the training loop; other models have a `fit` of their own."""
        return issubclass(self.cls, nn.Module)

    @property
    def depths(self) -> tuple[Depth, ...]:
        """Depths that the class has a method for, and `outputs`, which every model has."""
        return tuple(depth for depth in DEPTHS if depth == "outputs" or hasattr(self.cls, depth))

    @property
    def has_vectors(self) -> bool:
        """True if it computes four-vectors of each particle (`Network.vectors`) beside `objects`."""
        return hasattr(self.cls, "vectors")

    @property
    def is_equivariant(self) -> bool:
        """True if it keeps Lorentz symmetry with some of its settings."""
        return self.lorentz is not None

    @property
    def momenta_dtype(self) -> torch.dtype:
        """Precision of the momenta that it takes.

        Models with Lorentz symmetry take float64: the mass of a fast particle is the small difference of large
        numbers, which float32 does not resolve. For other models, which use logarithms and angles, float32 is enough
        and takes half the memory.
        """
        return torch.float64 if self.is_equivariant or self.double else torch.float32

    def build(self, sizes: Sizes, **settings: Any) -> Any:
        """Build the model, a published size with its settings.

        Args:
            sizes: numbers of features and outputs, from `Inputs.sizes`.
            settings: keyword settings; default: the defaults of the model or of the published size.

        Example:
            >>> from femtobarn.inputs import Inputs
            >>> model_spec("particlenet-lite").build(Inputs().sizes(5)).k
            7
        """
        return self.cls(sizes, **{**self.preset, **settings})

    @property
    def schema(self) -> type[BaseModel]:
        """Keyword settings as a strict pydantic model, for configuration files and help.

        Example:
            >>> model_spec("particlenet-lite").schema().k
            7
        """
        return settings_schema(self.name, self.cls, self.preset)

    @property
    def setting_table(self) -> tuple[tuple[str, str, str, str], ...]:
        """Name, type, default and meaning of each setting, as text in the notation of a configuration.

        Example:
            >>> model_spec("part").setting_table[0]
            ('width', 'int > 0', '128', 'Features per particle inside the network.')
        """
        return tuple(
            (
                key,
                describe_type(field.annotation, field.metadata),
                json.dumps(field.default, default=str),
                field.description or "",
            )
            for key, field in self.schema.model_fields.items()
        )

    @property
    def title(self) -> str:
        """First line of the docstring of the model's file."""
        return self._docstring.partition("\n")[0].strip()

    @property
    def paper(self) -> str:
        """Citation: the rest of the docstring of the model's file."""
        return " ".join(self._docstring.partition("\n")[2].split())

    @property
    def _docstring(self) -> str:
        return inspect.getdoc(inspect.getmodule(self.cls)) or ""


#: Registered models by name, without their published sizes.
MODELS: dict[str, ModelSpec] = {}


def model(
    name: str,
    *,
    family: str = "",
    small: Mapping[str, Any] | None = None,
    ordered: bool = False,
    pairs: bool | Literal["needed"] = True,
    by_kind: bool = False,
    lorentz: Mapping[str, Any] | None = None,
    double: bool = False,
    published: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[type[T]], type[T]]:
    """Register a model under its name in configurations and on the command line; this is enough to test it, too.

    Args:
        name: lower case.
        family: architectures that work alike, for figures of many models; default: the name.
        small: settings with which it trains in a moment; default: its defaults.
        ordered: the outputs may depend on the order of the particles.
        pairs: it takes pairwise features. False makes interactions in an experiment an error; `needed` makes an
            experiment without interactions an error, which the model raises as ValueError.
        by_kind: it selects the particles of an event by type, so that the constituents of jets are an error.
        lorentz: settings with which its outputs are the same in every frame; None if they never are.
        double: it needs momenta in float64, though it is not the same in every frame.
        published: published sizes by name, with the settings that differ from the defaults.

    Raises:
        ValueError: the name is already registered.
    """
    sizes = {size: dict(changes) for size, changes in (published or {}).items()}

    def register(cls: type[T]) -> type[T]:
        for new_name in (name, *sizes):
            if new_name in MODELS or new_name in published_sizes():
                raise ValueError(f"{new_name!r} is already the model {model_spec(new_name).cls.__qualname__}")
        MODELS[name] = ModelSpec(
            name=name,
            architecture=name,
            cls=cls,
            family=family or name,
            preset={},
            small=dict(small or {}),
            ordered=ordered,
            takes_pairs=bool(pairs),
            needs_pairs=pairs == "needed",
            by_kind=by_kind,
            lorentz=None if lorentz is None else dict(lorentz),
            double=double,
            published=sizes,
        )
        return cls

    return register


def model_spec(name: str) -> ModelSpec:
    """Record of a model or of a published size.

    Raises:
        ValueError: no such model; the message lists the names.

    Example:
        >>> spec = model_spec("particlenet-lite")
        >>> spec.architecture, spec.preset["k"]
        ('particlenet', 7)
    """
    sizes = {} if name in MODELS else published_sizes()
    if name not in MODELS and name not in sizes:
        raise ValueError(
            f"no model is called {name!r}; there are {', '.join(sorted(MODELS))}; sizes: {', '.join(sorted(sizes))}"
        )
    return MODELS[name] if name in MODELS else sizes[name]


def published_sizes() -> dict[str, ModelSpec]:
    """Record of each published size, by its name."""
    return {
        size: replace(spec, name=size, preset=preset)
        for spec in MODELS.values()
        for size, preset in spec.published.items()
    }


def list_models(depth: Depth | None = None) -> list[str]:
    """Names of all models, in alphabetical order.

    Args:
        depth: only models with this depth: `objects`, `latent` or `outputs`; default: all.

    Example:
        >>> "part" in list_models(depth="objects")
        True
    """
    return sorted(name for name, spec in MODELS.items() if depth is None or depth in spec.depths)


def networks() -> tuple[str, ...]:
    """Names of the models that are neural networks, trained by the training loop."""
    return tuple(sorted(name for name, spec in MODELS.items() if spec.is_network))
