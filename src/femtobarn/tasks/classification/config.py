"""Settings of a classification."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeFloat, model_validator

from femtobarn.events.names import check_name
from femtobarn.tasks.config import TaskConfig

#: Names of the two classes of `classes: binary`.
BACKGROUND, SIGNAL = "background", "signal"


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(check_name)]
Names = Annotated[
    tuple[Name, ...],
    BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...]),
    Field(min_length=1, max_length=1000),
]


class ClassificationConfig(TaskConfig):
    """Processes to separate, and the loss.

    Example:
        >>> ClassificationConfig(signal=("tttt",), loss="focal", alpha=0.75, gamma=3).classes
        'process'
    """

    kind: Literal["classification"] = Field(default="classification", description="Name of the task.")
    signal: Names = Field(description="Signal processes; one name or a list.")
    background: Names | None = Field(
        default=None,
        description="Background processes. Default: all other processes in the data. Events of other processes take "
        "no part in training and evaluation.",
    )
    classes: Literal["process", "binary"] = Field(
        default="process",
        description="`process`: one output per process. `binary`: one output for signal and one for background.",
    )
    loss: Literal["cross_entropy", "focal"] = Field(
        default="cross_entropy",
        description="Loss function. `focal` (arXiv:1708.02002) gives less weight to well-classified events.",
    )
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Focal loss: weight of true signal events; background events have 1 - alpha. Default: equal "
        "weights.",
    )
    gamma: NonNegativeFloat | None = Field(
        default=None,
        description="Focal loss: exponent that reduces the weight of well-classified events; 0 is the cross-entropy.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ClassificationConfig:
        both = set(self.signal) & set(self.background or ())
        if both:
            raise ValueError(f"signal and background at once: {', '.join(sorted(both))}")
        for side, names in ((SIGNAL, self.signal), (BACKGROUND, self.background or ())):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{side} names {', '.join(twice)} twice")
        if self.loss == "cross_entropy" and (self.alpha is not None or self.gamma is not None):
            raise ValueError("alpha and gamma belong to loss: focal, not to cross_entropy")
        if self.loss == "focal" and self.gamma is None:
            raise ValueError("loss: focal needs gamma (the reference study uses alpha: 0.75, gamma: 3)")
        return self

    def roles(self, processes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The signal and the background processes, given the ones in the data.

        Raises:
            ValueError: a process is not in the data, or no background is left; the message names those there are.
        """
        present = sorted(set(processes))
        for key, names in (("signal", self.signal), ("background", self.background or ())):
            for name in names:
                if name not in present:
                    close = get_close_matches(name, present, n=1)
                    hint = f" (did you mean {close[0]}?)" if close else ""
                    raise ValueError(
                        f"task.{key}: no process is called {name!r} in the data{hint}; there are {', '.join(present)}"
                    )
        background = self.background or tuple(name for name in present if name not in self.signal)
        if not background:
            raise ValueError(
                f"task.background: the data hold no process besides the signal {', '.join(self.signal)}; "
                "a classifier needs something to tell it from"
            )
        return self.signal, background

    def select_processes(self, available: Sequence[str]) -> tuple[str, ...]:
        """Names of the processes that take part, signal first; see `roles`."""
        signal, background = self.roles(available)
        return (*signal, *background)

    def named_processes(self) -> dict[str, tuple[str, ...]]:
        """Names of the processes that the settings list, by key."""
        return {"signal": self.signal, "background": self.background or ()}

    def process_groups(self, processes: Sequence[str], split: str) -> dict[str, tuple[str, ...]]:
        """Each process, or with `classes: binary` signal and background outside of the training events."""
        signal, background = self.roles(processes)
        if self.classes == "binary" and split != "train":
            return {f"class {SIGNAL}": signal, f"class {BACKGROUND}": background}
        return {name: (name,) for name in (*signal, *background)}

    def check_model(self, model: str, *, is_network: bool) -> None:
        """Check that a model can be trained with the loss.

        Raises:
            ValueError: boosted trees with the focal loss.
        """
        if not is_network and self.loss != "cross_entropy":
            raise ValueError(f"model {model} trains with task.loss: cross_entropy only, not {self.loss}")
