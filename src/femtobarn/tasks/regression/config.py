"""Settings of a regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, field_validator, model_validator

from femtobarn.evaluation.settings import EvaluationConfig
from femtobarn.events.names import check_name
from femtobarn.tasks.config import TaskConfig

Transform = Literal["none", "log"]


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(check_name)]
Names = Annotated[
    tuple[Name, ...],
    BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...]),
    Field(min_length=1, max_length=1000),
]


class RegressionConfig(TaskConfig):
    """Numeric columns to predict, and the loss.

    Example:
        >>> RegressionConfig(kind="regression", target="gen_jet_pt", transform="log").transforms
        {'gen_jet_pt': 'log'}
    """

    kind: Literal["regression"] = Field(description="Name of the task.")
    targets: Names = Field(
        validation_alias=AliasChoices("targets", "target"),
        description="Numeric columns of the events to predict; one name or a list.",
    )
    transform: Transform | dict[str, Transform] = Field(
        default="none",
        description="Transformation of the targets before they are standardised: `none` or `log`; one for all targets "
        "or a mapping by target. The loss is computed after it, so `log` makes the loss one of relative errors.",
    )
    loss: Literal["mse", "l1"] = Field(
        default="mse",
        description="`mse`: mean squared error, which estimates the mean. `l1`: mean absolute error, which estimates "
        "the median.",
    )
    processes: Names | None = Field(
        default=None, description="Processes to train and evaluate on. Default: all processes in the data."
    )
    balance: bool = Field(
        default=True,
        description="Give all processes the same total weight in training and metrics; otherwise they have their "
        "expected yields.",
    )

    @field_validator("targets")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"names {', '.join(repeated)} twice")
        return names

    @model_validator(mode="after")
    def _transforms_of_targets(self) -> RegressionConfig:
        unknown = sorted(set(self.transform) - set(self.targets)) if isinstance(self.transform, Mapping) else []
        if unknown:
            raise ValueError(f"transform names {unknown[0]}, which is no target; targets are {', '.join(self.targets)}")
        return self

    @property
    def transforms(self) -> dict[str, Transform]:
        """Transformation of each target."""
        if isinstance(self.transform, Mapping):
            return {name: self.transform.get(name, "none") for name in self.targets}
        return dict.fromkeys(self.targets, self.transform)

    def select_processes(self, available: Sequence[str]) -> tuple[str, ...]:
        """Names of the processes that take part, given the ones in the data.

        Raises:
            ValueError: a process is not in the data.
        """
        present = tuple(sorted(set(available)))
        for name in self.processes or ():
            if name not in present:
                close = get_close_matches(name, present, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                raise ValueError(
                    f"task.processes: no process is called {name!r} in the data{hint}; there are {', '.join(present)}"
                )
        return self.processes or present

    def named_processes(self) -> dict[str, tuple[str, ...]]:
        """Names of the processes that the settings list, by key."""
        return {"processes": self.processes or ()}

    def check_model(self, model: str, *, is_network: bool) -> None:
        """Check that a model can be trained for a regression.

        Raises:
            ValueError: boosted trees.
        """
        if not is_network:
            raise ValueError(f"model {model} is trained for classification only; take a network for task regression")


class RegressionEvaluationConfig(EvaluationConfig):
    """Bins and statistics of the evaluation of a regression."""

    bins: Annotated[int, Field(ge=1, le=100)] = Field(
        default=6, description="Number of bins with equal weight, in each target and in each of the `observables`."
    )
    observables: tuple[str, ...] = Field(
        default=(), description="Numeric columns of the events in whose bins the metrics are measured as well."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping) and isinstance(tree.get("observables"), str):
            return {**tree, "observables": (tree["observables"],)}
        return tree
