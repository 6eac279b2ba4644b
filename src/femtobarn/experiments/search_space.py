"""Search space: settings that `femtobarn tune` varies, for each architecture.

In YAML, for `femtobarn tune --space FILE`, a range from low to high or a list of choices by the path of a setting:

    part:
      training.lr: {low: 1e-4, high: 1e-2, log: true}
      model.dropout: {low: 0.0, high: 0.3}
      model.heads: [2, 4, 8]
      model.ratio: null                       # leave it as it is
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from femtobarn.experiments import document
from femtobarn.experiments.document import ConfigError, Mistake
from femtobarn.experiments.experiment import Experiment, build, present_path
from femtobarn.models import MODELS, model_spec

#: A setting's value in YAML.
Value = bool | int | float | str | list[Any] | None

#: Sections of an experiment that may be searched; the others define what is measured.
SEARCHED_SECTIONS = ("training", "model")


class Range(BaseModel):
    """Numbers from low to high, both included; integers if both are."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    low: int | float = Field(description="Smallest value.")
    high: int | float = Field(description="Largest value.")
    log: bool = Field(default=False, description="Search on a logarithmic scale, as for learning rates.")

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low: {self.low} must be below high: {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true needs low above 0, not {self.low}")
        return self

    @property
    def is_integer(self) -> bool:
        """True if only integers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that show whether a model accepts this range."""
        return self.low, self.high

    def including(self, value: Any) -> Range:
        """The range, widened to include a value where that is possible."""
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.log and value <= 0):
            return self
        return self.model_copy(update={"low": min(self.low, value), "high": max(self.high, value)})

    def __contains__(self, value: Any) -> bool:
        return not isinstance(value, bool) and isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        scale = (" whole" if self.is_integer else "") + (" logarithmic" if self.log else "")
        return f"{self.low:g} to {self.high:g}" + (f",{scale}" if scale else "")


class Choices(BaseModel):
    """A few values of any type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: tuple[Value, ...] = Field(min_length=1, description="Values to try.")

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that show whether a model accepts these choices: all of them."""
        return self.values

    def including(self, value: Any) -> Choices:
        """The choices with a value among them."""
        return self if value in self else Choices(values=(*self.values, value))

    def __contains__(self, value: Any) -> bool:
        return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in self.values)

    def __str__(self) -> str:
        return ", ".join("null" if value is None else str(value) for value in self.values)


#: Values to try, by the path of the setting.
SearchSpace = Mapping[str, Range | Choices]

#: Space of every network; dropout only where the network has it.
NETWORK_SPACE: SearchSpace = {
    "training.lr": Range(low=2e-4, high=1e-2, log=True),
    "training.weight_decay": Range(low=1e-3, high=0.3, log=True),
    "model.dropout": Range(low=0.0, high=0.3),
}

#: Additional space of each architecture. All stay within a factor of two of the study's number of parameters, so that
#: a search finds better settings and not a bigger model.
MODEL_SPACES: dict[str, SearchSpace] = {
    "bdt": {
        "model.learning_rate": Range(low=0.02, high=0.3, log=True),
        "model.num_leaves": Range(low=7, high=63, log=True),
        "model.min_leaf_fraction": Range(low=0.0002, high=0.01, log=True),
        "model.subsample": Range(low=0.5, high=1.0),
        "model.colsample": Range(low=0.2, high=1.0),
        "model.reg_lambda": Range(low=0.1, high=30.0, log=True),
    },
    "fcn": {"model.norm": Choices(values=("batch", "layer"))},
    "cnn": {"model.kernel": Choices(values=(3, 5))},
    "mipart": {"model.heads": Choices(values=(2, 4, 8)), "model.ratio": Choices(values=(2, 3, 4))},
    "part": {"model.heads": Choices(values=(2, 4, 8)), "model.ratio": Choices(values=(2, 3, 4))},
    "sett": {"model.heads": Choices(values=(2, 4, 8)), "model.ratio": Choices(values=(2, 3, 4))},
    "transformer": {"model.heads": Choices(values=(4, 8, 16)), "model.ratio": Choices(values=(2, 3, 4))},
    "particlenet": {"model.k": Range(low=3, high=15)},
}


def default_space(name: str) -> dict[str, Range | Choices]:
    """Search space of a model without a file of changes.

    Raises:
        ValueError: no such model.
    """
    spec = model_spec(name)
    own_paths = [f"model.{key}" for key in spec.schema.model_fields]
    common = NETWORK_SPACE if spec.is_network else {}
    space = {path: values for path, values in common.items() if not path.startswith("model.") or path in own_paths}
    return space | dict(MODEL_SPACES.get(name, {}))


def load(path: Path | None) -> dict[str, dict[str, Range | Choices]]:
    """Search space of every model: the default spaces, with the changes of a YAML file.

    Raises:
        ConfigError: lists the mistakes in the file by their paths.
        FileNotFoundError: no such file.
    """
    spaces = {name: default_space(name) for name in MODELS}
    tree, origin, _ = document.read(path) if path is not None else ({}, "", Path())
    mistakes: list[Mistake] = []
    for name, changes in tree.items():
        if name not in MODELS:
            mistakes.append(Mistake(str(name), f"no model is called {name!r}; models: {', '.join(sorted(MODELS))}"))
        elif not isinstance(changes, Mapping):
            mistakes.append(Mistake(str(name), "should hold settings with a range or choices, such as training.lr"))
        else:
            mistakes += _change(spaces[name], name, changes)
    if mistakes:
        raise ConfigError(origin, mistakes)
    return spaces


def _change(space: dict[str, Range | Choices], name: str, changes: Mapping[str, Any]) -> list[Mistake]:
    """Make the changes of a file to the space of one model, and return the mistakes in them."""
    mistakes: list[Mistake] = []
    spelled: dict[str, str] = {}
    for path, value in changes.items():
        present = ".".join(present_path(path.split("."), name))
        if present in spelled:
            both = f"{spelled[present]} and {path} are two names of one setting; keep {present} only"
            mistakes.append(Mistake(f"{name}.{present}", both))
            continue
        spelled[present] = path
        try:
            values = _parse(present, value)
        except ValueError as error:
            mistakes.append(Mistake(f"{name}.{path}", str(error)))
            continue
        if values is None:
            space.pop(present, None)
        else:
            space[present] = values
    return mistakes


def fitted(space: SearchSpace, experiment: Experiment) -> dict[str, Range | Choices]:
    """Space around an experiment: it includes the present settings, and the model accepts every end and choice.

    Raises:
        ConfigError: a setting that the model or the training does not have, or a value that it refuses.
    """
    tree = experiment.model_dump(mode="json")
    own = document.flatten(tree)
    origin = f"search space of {experiment.label}"
    around = {path: values.including(own.get(path)) for path, values in space.items()}
    mistakes: list[Mistake] = []
    for path, values in around.items():
        for value in values.ends:
            try:
                build(document.put(tree, path.split("."), value), origin, Path.cwd())
            except ConfigError as error:
                mistakes += [Mistake(path, f"{value}: {mistake.message}") for mistake in error.mistakes]
    if mistakes:
        raise ConfigError(origin, list(dict.fromkeys(mistakes)))
    if not around:
        raise ConfigError(origin, [Mistake("", "is empty; give at least one setting with a range or choices")])
    return around


def _parse(path: str, value: Any) -> Range | Choices | None:
    section, dot, key = path.partition(".")
    if section not in SEARCHED_SECTIONS or not dot or path in ("model.name", "model.init_from") or not key:
        raise ValueError("only settings of training and model can be searched, such as training.lr or model.dropout")
    if value is None:
        return None
    if isinstance(value, list):
        return Choices(values=tuple(value))
    if not isinstance(value, Mapping):
        raise ValueError(
            f"should be a range, {{low: ..., high: ...}}, or a list of choices; got {document.shown(value)}"
        )
    try:
        return TypeAdapter(Range).validate_python(dict(value))
    except ValidationError as error:
        mistakes = document.mistakes(error, lambda _: list(Range.model_fields))
        raise ValueError("; ".join(": ".join(filter(None, mistake)) for mistake in mistakes)) from None
