"""Space: which settings a search for better ones may try, for each architecture, in one place.

In YAML, for `femtobarn scan --space FILE`, a range from low to high or a list of choices by the path of a setting:

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
from femtobarn.experiments.experiment import Experiment, build
from femtobarn.models import MODELS, model_spec

#: A setting's value in YAML.
Value = bool | int | float | str | list[Any] | None

#: Parts of an experiment that may be searched; the others say what is measured, not how well it is learned.
SEARCHED = ("training", "model")


class Range(BaseModel):
    """Numbers from low to high, both included; whole numbers if both are.

    Args:
        low, high: the ends.
        log: the search takes the logarithm for evenly distributed, as for learning rates.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low: {self.low} must be below high: {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true needs low above 0, not {self.low}")
        return self

    @property
    def whole(self) -> bool:
        """True if only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that show whether a model takes this range."""
        return self.low, self.high

    def including(self, value: Any) -> Range:
        """The range, widened to a value where that is possible."""
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.log and value <= 0):
            return self
        return self.model_copy(update={"low": min(self.low, value), "high": max(self.high, value)})

    def __contains__(self, value: Any) -> bool:
        return not isinstance(value, bool) and isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        kind = (" whole" if self.whole else "") + (" logarithmic" if self.log else "")
        return f"{self.low:g} to {self.high:g}" + (f",{kind}" if kind else "")


class Choices(BaseModel):
    """A few values, whatever they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: tuple[Value, ...] = Field(min_length=1)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that show whether a model takes these choices: all of them."""
        return self.values

    def including(self, value: Any) -> Choices:
        """The choices with a value among them."""
        return self if value in self else Choices(values=(*self.values, value))

    def __contains__(self, value: Any) -> bool:
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.values)

    def __str__(self) -> str:
        return ", ".join("null" if value is None else str(value) for value in self.values)


Space = Mapping[str, Range | Choices]

#: Every network; dropout, where it has that.
COMMON: Space = {
    "training.lr": Range(low=2e-4, high=1e-2, log=True),
    "training.weight_decay": Range(low=1e-3, high=0.3, log=True),
    "model.dropout": Range(low=0.0, high=0.3),
}

#: What each architecture has beside it. All stay within a factor of two of the study's number of parameters, so that
#: a search finds better settings and not a bigger model.
SPACES: dict[str, Space] = {
    "bdt": {
        "model.learning_rate": Range(low=0.02, high=0.3, log=True),
        "model.leaves": Range(low=7, high=63, log=True),
        "model.smallest_leaf": Range(low=0.0002, high=0.01, log=True),
        "model.rows": Range(low=0.5, high=1.0),
        "model.columns": Range(low=0.2, high=1.0),
        "model.l2": Range(low=0.1, high=30.0, log=True),
    },
    "fcn": {"model.norm": Choices(values=("batch", "layer"))},
    "cnn": {"model.kernel": Choices(values=(3, 5))},
    "mipart": {"model.heads": Choices(values=(2, 4, 8)), "model.ratio": Choices(values=(2, 3, 4))},
    "part": {"model.heads": Choices(values=(2, 4, 8)), "model.ratio": Choices(values=(2, 3, 4))},
    "sett": {"model.heads": Choices(values=(2, 4, 8)), "model.ratio": Choices(values=(2, 3, 4))},
    "transformer": {"model.heads": Choices(values=(4, 8, 16)), "model.ratio": Choices(values=(2, 3, 4))},
    "particlenet": {"model.k": Range(low=3, high=15)},
}


def default(name: str) -> dict[str, Range | Choices]:
    """What is searched for a model where nobody says otherwise.

    Raises:
        ValueError: no such model.
    """
    spec = model_spec(name)
    keys = [f"model.{key}" for key in spec.schema.model_fields]
    common = COMMON if spec.is_network else {}
    space = {path: axis for path, axis in common.items() if not path.startswith("model.") or path in keys}
    return space | dict(SPACES.get(name, {}))


def load(path: Path | None) -> dict[str, dict[str, Range | Choices]]:
    """The space of every model: the default ones, with the changes of a YAML file.

    Raises:
        ConfigError: lists what is wrong in the file by its path.
        FileNotFoundError: no such file.
    """
    spaces = {name: default(name) for name in MODELS}
    tree, origin, _ = document.read(path) if path is not None else ({}, "", Path())
    found: list[Mistake] = []
    for name, changes in tree.items():
        if name not in MODELS:
            found.append(Mistake(str(name), f"no model is called {name!r}; there are {', '.join(sorted(MODELS))}"))
        elif not isinstance(changes, Mapping):
            found.append(Mistake(str(name), "should hold settings with a range or choices, such as training.lr"))
        else:
            for setting, value in changes.items():
                try:
                    one = _read(str(setting), value)
                except ValueError as error:
                    found.append(Mistake(f"{name}.{setting}", str(error)))
                    continue
                if one is None:
                    spaces[name].pop(str(setting), None)
                else:
                    spaces[name][str(setting)] = one
    if found:
        raise ConfigError(origin, found)
    return spaces


def fitted(space: Space, experiment: Experiment) -> dict[str, Range | Choices]:
    """The space around an experiment: its own settings are in it, and its model takes every end and choice.

    Raises:
        ConfigError: a setting that the model or the training does not have, or a value that it refuses.
    """
    tree = experiment.model_dump(mode="json")
    own = document.flatten(tree)
    around = {path: one.including(own.get(path)) for path, one in space.items()}
    found: list[Mistake] = []
    for path, one in around.items():
        for value in one.ends:
            try:
                build(document.put(tree, path.split("."), value), f"search of {experiment.label}", Path.cwd())
            except ConfigError as error:
                found += [Mistake(path, f"{value}: {mistake.message}") for mistake in error.mistakes]
    if found:
        raise ConfigError(f"search of {experiment.label}", list(dict.fromkeys(found)))
    if not around:
        raise ConfigError(f"search of {experiment.label}", [Mistake("", "there is nothing to search in its space")])
    return around


def _read(path: str, value: Any) -> Range | Choices | None:
    section, dot, key = path.partition(".")
    if section not in SEARCHED or not dot or path in ("model.name", "model.start") or not key:
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
        told = document.mistakes(error, lambda _: list(Range.model_fields))
        raise ValueError("; ".join(f"{one.path}: {one.message}" if one.path else one.message for one in told)) from None
