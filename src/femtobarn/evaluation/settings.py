"""Settings that the evaluation of every task has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EvaluationConfig(BaseModel):
    """Statistics of an evaluation; each task adds settings of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    bootstrap: int = Field(
        default=200, ge=10, le=10_000, description="Bootstrap replicas of the test events, for the statistical errors."
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="Random seed of the bootstrap. Runs with the same seed and test events share their replicas, so "
        "that the error of their difference is known.",
    )
