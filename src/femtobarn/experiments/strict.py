"""Base class of the sections of a configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictConfig(BaseModel):
    """Settings that cannot be changed and have no other keys than their fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
