"""Base class of the sections of a configuration, and types that they share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from femtobarn.events.selection.cuts import check as check_selection


def _valid_selection(selection: str) -> str:
    check_selection(selection)
    return selection


#: Selection of events, which is understood before a file is opened.
Selection = Annotated[str, AfterValidator(_valid_selection)]


class StrictConfig(BaseModel):
    """Settings that cannot be changed and have no other keys than their fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
