"""Settings of the evaluation of a classifier on the test events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from femtobarn.evaluation.settings import EvaluationConfig

Efficiency = Annotated[float, Field(gt=0, lt=1)]

#: Metrics of jets, without a significance.
TAGGING = "tagging"

#: Working points of taggers where none are given: those of the comparison of top taggers, arXiv:1902.09914, and since.
TAGGING_POINTS = (0.3, 0.5)


class ClassificationEvaluationConfig(EvaluationConfig):
    """Luminosity, working points and statistics of an evaluation; the defaults are those of arXiv:2211.05143."""

    metrics: Literal["significance", "tagging"] = Field(
        default="significance",
        description="Metrics to quote. `significance`: AUC, background efficiencies and significances at a luminosity. "
        "`tagging`: accuracy, AUC and background rejections. Default for jets: `tagging`.",
    )
    luminosity: float = Field(default=100.0, gt=0, description="Integrated luminosity of the yields, in 1/fb.")
    efficiencies: tuple[Efficiency, ...] = Field(
        default=(0.3, 0.7),
        min_length=1,
        max_length=100,
        description="Signal efficiencies of the working points, in rising order. Default for `tagging`: [0.3, 0.5].",
    )
    class_efficiencies: dict[str, Efficiency] = Field(
        default={},
        description="Signal efficiencies of single classes, for `tagging`. Default: 0.99 for `Hqql`, 0.995 for `Tbl`, "
        "0.5 for all others (JetClass, arXiv:2202.03772).",
    )
    published: Literal["top-tagging"] | None = Field(
        default=None,
        description="Published results to show beside the results of this study. `top-tagging`: on the public "
        "top-tagging data.",
    )
    systematic: float = Field(
        default=0.2, ge=0, description="Relative uncertainty of the background yield, for the second significance."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_efficiencies(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping) and tree.get("metrics") == TAGGING and "efficiencies" not in tree:
            return {**tree, "efficiencies": TAGGING_POINTS}
        return tree

    @field_validator("efficiencies")
    @classmethod
    def _are_increasing(cls, efficiencies: tuple[float, ...]) -> tuple[float, ...]:
        if list(efficiencies) != sorted(set(efficiencies)):
            raise ValueError(f"signal efficiencies must be in rising order, without repeats; got {list(efficiencies)}")
        return efficiencies

    @property
    def tagging(self) -> bool:
        """True for the metrics of jet taggers."""
        return self.metrics == TAGGING
