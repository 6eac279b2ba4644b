"""Evaluation: how a set of scores is judged."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

Efficiency = Annotated[float, Field(gt=0, lt=1)]


class Evaluation(BaseModel):
    """Luminosity, working points and statistics of the judgement; the defaults are those of arXiv:2211.05143.

    Args:
        luminosity: integrated luminosity in 1/fb that the yields stand for.
        efficiencies: signal efficiencies of the working points.
        systematic: relative uncertainty on the background yield, for the second significance.
        bootstrap: replicas of the test events, for the statistical errors.
        seed: of the bootstrap; two runs with the same seed and test events get the same replicas, so that their
            difference has an error of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    luminosity: float = Field(default=100.0, gt=0)
    efficiencies: tuple[Efficiency, ...] = Field(default=(0.3, 0.7), min_length=1)
    systematic: float = Field(default=0.2, ge=0)
    bootstrap: int = Field(default=200, ge=10)
    seed: int = Field(default=0, ge=0)

    @field_validator("efficiencies")
    @classmethod
    def _rising(cls, efficiencies: tuple[float, ...]) -> tuple[float, ...]:
        if list(efficiencies) != sorted(set(efficiencies)):
            raise ValueError(f"signal efficiencies must rise, without repeats; got {list(efficiencies)}")
        return efficiencies
