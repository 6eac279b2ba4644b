"""Sections: inputs and model of an experiment, as in its YAML."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import torch
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from femtobarn.experiments.spelling import spellings
from femtobarn.experiments.strict import StrictConfig
from femtobarn.inputs import INTERACTIONS, POINTS, Domain, feature_set
from femtobarn.inputs.features import Augmentation
from femtobarn.inputs.interactions import check
from femtobarn.models import ModelSpec, model_spec

#: Maximum number of objects per event.
MAX_SLOTS = 4096


class InputsConfig(StrictConfig):
    """Inputs of the model: objects of an event, and features of objects and pairs."""

    interactions: tuple[str, ...] = Field(default=(), description="Pairwise features, by name.")
    slots: Annotated[int, Field(gt=0, le=MAX_SLOTS)] = Field(
        default=18, description="Maximum number of objects per event. Softer objects are dropped."
    )
    features: Literal["objects", "kin", "kinpid", "full", "momenta"] = Field(
        default="objects",
        description="Features of each object: `objects` for the objects of an event; `kin`, `kinpid` or `full` for the "
        "constituents of jets; `momenta` for the legs of a hard process (phase-space points of amplitudes).",
    )
    augmentation: Augmentation = Field(
        default="none",
        description="Random transformation of each event in training: `lorentz` for a rotation and a boost (rapidity "
        "with a standard deviation of 0.1 in each direction), with `features: momenta`. Evaluation is not augmented.",
    )

    @property
    def domain(self) -> Domain:
        """Kind of event that the features are for."""
        return feature_set(self.features).domain

    @model_validator(mode="after")
    def _augments_momenta(self) -> InputsConfig:
        if self.augmentation != "none" and self.domain is not POINTS:
            raise ValueError(
                f"augmentation: {self.augmentation} is for features: momenta, not {self.features}: a detector has a "
                "beam axis"
            )
        return self

    @field_validator("interactions")
    @classmethod
    def _valid_interactions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in names if name not in INTERACTIONS]
        close = get_close_matches(wrong[0], INTERACTIONS, n=1) if wrong else []
        try:
            return check(names)
        except ValueError as error:
            raise ValueError(f"{error}; did you mean {close[0]}?" if close else str(error)) from None


class ModelConfig(BaseModel):
    """An architecture by name, with its own settings beside the name (`femtobarn models NAME` lists them).

    The name of a published size is replaced by the name of its model, with the settings of the size written out.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="Architecture, or a published size of one. Its settings stand beside the name.")
    init_from: str | None = Field(
        default=None,
        description="Pretrained weights, relative to the YAML file: a run folder, its `weights.safetensors`, or a "
        "checkpoint of weaver-core. Default: random weights.",
        validation_alias=AliasChoices("init_from", "start"),
    )

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, tree: Any) -> Any:
        if not isinstance(tree, Mapping) or not isinstance(tree.get("name"), str):
            return tree  # pydantic reports the mistake
        common = {key: value for key, value in tree.items() if key in spellings([cls])}
        own = {key: value for key, value in tree.items() if key not in common}
        # the error of an unknown name or setting keeps its path
        spec = model_spec(tree["name"])
        return {**common, "name": spec.architecture, **spec.schema(**own).model_dump()}

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of the architecture, defaults filled in."""
        return dict(self.model_extra or {})

    @property
    def spec(self) -> ModelSpec:
        """Record of the model in the registry."""
        return model_spec(self.name)

    @property
    def is_network(self) -> bool:
        """True for torch networks, False for the boosted trees that train on a table of columns."""
        return self.spec.is_network

    @property
    def momenta(self) -> torch.dtype:
        """Precision of the momenta that it takes, in training and in use."""
        return self.spec.momenta_dtype
