"""Evaluation: how a set of scores is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Efficiency = Annotated[float, Field(gt=0, lt=1)]

#: The metrics of jets, where no one asks for a significance.
TAGGING = "tagging"

#: Working points of taggers where none are given: those of the comparison of top taggers, arXiv:1902.09914, and since.
TAGGING_POINTS = (0.3, 0.5)


class EvaluationConfig(BaseModel):
    """Luminosity, working points and statistics of the judgement; the defaults are those of arXiv:2211.05143.

    Args:
        metrics: `significance` at a luminosity for collision events; `tagging` for jets: accuracy, AUC, background
            rejections and, with a class for each process, those of each class.
        luminosity: integrated luminosity in 1/fb that the yields stand for.
        efficiencies: signal efficiencies of the working points; for `tagging` 0.3 and 0.5 if not given.
        class_efficiencies: `tagging`: signal efficiency by class in the rejections of single classes; where none is
            given those of JetClass (arXiv:2202.03772): 0.99 for Hqql, 0.995 for Tbl, 0.5 for all others.
        published: results of others to show beside one's own, marked as published; `top-tagging` are those on the
            public reference data.
        systematic: relative uncertainty on the background yield, for the second significance.
        bootstrap: replicas of the test events, for the statistical errors.
        seed: of the bootstrap; two runs with the same seed and test events get the same replicas, so that their
            difference has an error of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metrics: Literal["significance", "tagging"] = "significance"
    luminosity: float = Field(default=100.0, gt=0)
    efficiencies: tuple[Efficiency, ...] = Field(default=(0.3, 0.7), min_length=1, max_length=100)
    class_efficiencies: dict[str, Efficiency] = {}
    published: Literal["top-tagging"] | None = None
    systematic: float = Field(default=0.2, ge=0)
    bootstrap: int = Field(default=200, ge=10, le=10_000)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="before")
    @classmethod
    def _points(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("metrics") == TAGGING and "efficiencies" not in given:
            return {**given, "efficiencies": TAGGING_POINTS}
        return given

    @field_validator("efficiencies")
    @classmethod
    def _rising(cls, efficiencies: tuple[float, ...]) -> tuple[float, ...]:
        if list(efficiencies) != sorted(set(efficiencies)):
            raise ValueError(f"signal efficiencies must rise, without repeats; got {list(efficiencies)}")
        return efficiencies

    @property
    def tagging(self) -> bool:
        """True where jets are tagged and nobody asks for a significance."""
        return self.metrics == TAGGING
