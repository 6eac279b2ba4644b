"""Experiment: everything one run is made of, in one YAML file whose keys follow the data.

    data:       {sample: four-top}
    inputs:     {interactions: [mass, delta_r]}
    model:      {name: part, blocks: 4}
    task:       {signal: [tttt]}
    training:   {epochs: 20}
    evaluation: {luminosity: 100}

It is checked as a whole before any file of events is opened; every mistake is answered with its path and the right
names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import nn

from femtobarn.evaluation import EvaluationConfig
from femtobarn.evaluation.settings import TAGGING
from femtobarn.events.names import check_folder_name
from femtobarn.events.samples import JET_SAMPLES
from femtobarn.experiments import document
from femtobarn.experiments.data import DataConfig, SplitConfig, StrictConfig
from femtobarn.experiments.document import Tree
from femtobarn.inputs import INTERACTIONS, OBJECTS, Inputs
from femtobarn.inputs.interactions import check
from femtobarn.models import ModelSpec, check_depth, model_spec
from femtobarn.tasks import ClassificationConfig
from femtobarn.training import TrainingConfig

Label = Annotated[
    str, Field(min_length=1, max_length=80, pattern=r"^[^/\\\s.][^/\\\s]*$"), AfterValidator(check_folder_name)
]

#: Most objects of an event that a network may be given.
MAX_SLOTS = 4096

#: Most parameters of a network.
MAX_PARAMETERS = 2_000_000_000


class InputsConfig(StrictConfig):
    """What of an event the model gets to see.

    Args:
        interactions: pairwise features by name; none by default.
        slots: objects an event may have; softer ones are dropped.
        features: of each object: those of the objects of an event, or one of three sets for the constituents of jets.
    """

    interactions: tuple[str, ...] = ()
    slots: Annotated[int, Field(gt=0, le=MAX_SLOTS)] = 18
    features: Literal["objects", "kin", "kinpid", "full"] = "objects"

    @field_validator("interactions")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in names if name not in INTERACTIONS]
        close = get_close_matches(wrong[0], INTERACTIONS, n=1) if wrong else []
        try:
            return check(names)
        except ValueError as error:
            raise ValueError(f"{error}; did you mean {close[0]}?" if close else str(error)) from None


class ModelConfig(BaseModel):
    """An architecture by name, with its own settings beside the name (`femtobarn models NAME` lists them).

    The name of a published size becomes that of its model with the settings of the size written out.

    Args:
        name: of the architecture.
        start: weights to begin with, relative to the YAML file: a run folder, or a checkpoint of weaver-core
            (`femtobarn.runs.pretrained`); null begins with random ones.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    start: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            return given  # pydantic says what is wrong
        own = {key: value for key, value in given.items() if key not in cls.model_fields}
        # the error of an unknown name or setting keeps its path
        spec = model_spec(given["name"])
        return {"name": spec.architecture, "start": given.get("start"), **spec.schema(**own).model_dump()}

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


class Experiment(StrictConfig):
    """One run: data, inputs, model, task, training, evaluation, in the order the data take.

    Args:
        label: name of the model in tables and figures; by default the name of the architecture.
        seed: of the initial weights, of shuffling and of dropout; the split does not depend on it.
    """

    label: Label = ""
    data: DataConfig
    inputs: InputsConfig = InputsConfig()
    model: ModelConfig
    task: ClassificationConfig
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: int = Field(default=1, ge=0, lt=2**31)

    @model_validator(mode="before")
    @classmethod
    def _labelled(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and not given.get("label") and isinstance(given.get("model"), Mapping):
            return {**given, "label": given["model"].get("name")}
        return given

    @model_validator(mode="before")
    @classmethod
    def _judged_as_jets(cls, given: Any) -> Any:
        """Jets are judged as taggers are, where the evaluation does not say how."""
        if not isinstance(given, Mapping):
            return given
        data, inputs, told = (given.get(name) or {} for name in ("data", "inputs", "evaluation"))
        if not all(isinstance(each, Mapping) for each in (data, inputs, told)) or "metrics" in told:
            return given
        if inputs.get("features", OBJECTS) != OBJECTS or data.get("sample") in JET_SAMPLES:
            return {**given, "evaluation": {"metrics": TAGGING, **told}}
        return given

    @model_validator(mode="after")
    def _possible(self) -> Experiment:
        check_depth(self.model.name, self.task.depth)
        if not self.model.spec.takes_pairs and self.inputs.interactions:
            raise ValueError(
                f"model {self.model.name} takes no interactions, but inputs.interactions is "
                f"[{', '.join(self.inputs.interactions)}]; leave it empty"
            )
        if self.inputs.features != OBJECTS and self.model.spec.by_kind:
            raise ValueError(
                f"model {self.model.name} has slots for the objects of an event, and inputs.features is "
                f"{self.inputs.features}, of the constituents of jets; take another model"
            )
        if self.inputs.features != OBJECTS and self.inputs.interactions and not self.model.is_network:
            raise ValueError(
                f"model {self.model.name} sees observables of a jet, no pairs of constituents; leave "
                f"inputs.interactions empty with inputs.features: {self.inputs.features}"
            )
        with torch.device("meta"):  # no memory, no time: only to see that the settings go together
            try:
                sizes = Inputs(self.inputs.interactions, self.inputs.features).sizes(2)
            except ValueError as error:
                raise ValueError(f"inputs: {error}") from None
            try:
                built = self.model.spec.build(sizes, **self.model.settings)
            except ValueError as error:
                raise ValueError(f"model {self.model.name}: {error}") from None
            except RuntimeError:  # even the sizes of its weights are no numbers of 64 bits
                raise ValueError(f"model {self.model.name}: its settings make it too large") from None
        if isinstance(built, nn.Module):
            count = sum(parameter.numel() for parameter in built.parameters())
            if count > MAX_PARAMETERS:
                raise ValueError(
                    f"model {self.model.name}: it would have {count:.3g} parameters; at most {MAX_PARAMETERS:.0e} are "
                    "allowed"
                )
        if not self.model.is_network and self.model.start is not None:
            raise ValueError(f"model {self.model.name} can't begin with trained weights; leave out model.start")
        if not self.model.is_network and self.task.loss != "cross_entropy":
            raise ValueError(f"model {self.model.name} trains with task.loss: cross_entropy only, not {self.task.loss}")
        return self


#: Where paths of files stand.
PATHS = (("data", "files"), ("data", "prepared"), ("model", "start"))

#: The mapping behind each path, for naming the right keys.
SECTIONS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Experiment,
    ("data",): DataConfig,
    ("data", "split"): SplitConfig,
    ("inputs",): InputsConfig,
    ("task",): ClassificationConfig,
    ("training",): TrainingConfig,
    ("evaluation",): EvaluationConfig,
}


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Experiment:
    """An experiment from a YAML file or a mapping, checked; no event is read.

    Args:
        source: path of a YAML file, or what one would hold. Relative paths of data are relative to the file's folder
            (for a mapping, to the working directory).
        overrides: changes such as `training.lr=1e-3`, `model.name=part` or `inputs.interactions=[mass,delta_r]`.

    Raises:
        document.ConfigError: a ValueError that lists every mistake by its path, with the right names.
        FileNotFoundError: no such YAML file.

    Example:
        >>> load({"data": {"sample": "four-top"}, "model": {"name": "part"}, "task": {"signal": "tttt"}}).label
        'part'
    """
    tree, origin, folder = document.read(source)
    if "models" in tree and "model" not in tree:
        raise document.ConfigError(origin, [document.Mistake("", "is a study (it has models); run `femtobarn study`")])
    return build(override(tree, overrides), origin, folder)


def build(tree: Tree, origin: str, folder: Path) -> Experiment:
    """An experiment from a mapping whose relative data paths belong to `folder`; `origin` heads the error message.

    Raises:
        document.ConfigError: lists every mistake by its path, with the right names.
    """
    try:
        experiment = Experiment.model_validate(_anchored(tree, folder))
    except ValidationError as error:
        raise document.ConfigError(origin, document.mistakes(error, lambda place: _keys(place, tree))) from None
    understood = document.flatten(experiment.model_dump(mode="json"))
    wrong = [
        document.Mistake(path, f"should be a number; got {value!r}")
        for path, value in document.flatten(tree).items()
        # pydantic takes true for 1, and would train one epoch
        if isinstance(value, bool) and isinstance(understood.get(path), int | float) and understood[path] is not value
    ]
    if wrong:
        raise document.ConfigError(origin, wrong)
    return experiment


def data(source: str | Path, overrides: Sequence[str] = ()) -> DataConfig:
    """The `data` section of an experiment's or a study's YAML, whatever else the file holds.

    Args:
        source: path of the YAML file.
        overrides: changes such as `data.selection=n_jet >= 8`.

    Raises:
        document.ConfigError: no such section, or mistakes in it.
        FileNotFoundError: no such YAML file.
    """
    tree, origin, folder = document.read(source)
    base = tree.get("base") if "models" in tree else tree
    base = override(base, overrides) if isinstance(base, Mapping) else base
    given = base.get("data") if isinstance(base, Mapping) else None
    if not isinstance(given, Mapping):
        raise document.ConfigError(origin, [document.Mistake("data", "is missing: nothing says which events")])
    try:
        return DataConfig.model_validate(_anchored({"data": given}, folder)["data"])
    except ValidationError as error:
        found = document.mistakes(error, lambda place: _keys(("data", *place), {}))
        raise document.ConfigError(origin, [document.Mistake(f"data.{path}", text) for path, text in found]) from None


def dump(experiment: Experiment) -> str:
    """The experiment as YAML with every default written out; `load` gives the same experiment back."""
    return document.write(experiment.model_dump(mode="json"))


def combine(base: Tree, change: Tree) -> Tree:
    """`base` with the keys of `change` put in, deeply; a model of another name takes over none of its settings."""
    old, new = base.get("model"), change.get("model")
    if isinstance(old, Mapping) and isinstance(new, Mapping) and new.get("name", old.get("name")) != old.get("name"):
        base = {**base, "model": {}}
    return document.merge(base, change)


def override(tree: Tree, overrides: Sequence[str]) -> Tree:
    """The mapping with changes such as `training.lr=1e-3` made; another `model.name` drops the old model's settings.

    Raises:
        document.ConfigError: an override that is not of the form section.key=value.
    """
    # the name first: settings given beside it belong to the new model
    for keys, value in sorted(map(document.assignment, overrides), key=lambda change: change[0] != ("model", "name")):
        tree = (
            combine(tree, {"model": {"name": value}}) if keys == ("model", "name") else document.put(tree, keys, value)
        )
    return tree


def differences(old: Experiment, new: Experiment) -> dict[str, str]:
    """What changed, by path: `training.lr` -> `0.001 before, 0.002 now`."""
    before, now = document.flatten(old.model_dump(mode="json")), document.flatten(new.model_dump(mode="json"))
    return {
        path: f"{before.get(path, 'not set')} before, {now.get(path, 'not set')} now"
        for path in sorted(before.keys() | now.keys())
        if before.get(path) != now.get(path)
    }


def _anchored(tree: Tree, folder: Path) -> Tree:
    """The tree with all paths in it taken from the folder."""

    def anchor(value: Any) -> Any:
        if isinstance(value, str):
            return str(folder / Path(value).expanduser())
        if isinstance(value, Mapping):
            return {key: anchor(inner) for key, inner in value.items()}
        return [anchor(inner) for inner in value] if isinstance(value, list | tuple) else value

    found = dict(tree)
    for section, key in PATHS:
        own = tree.get(section)
        if isinstance(own, Mapping) and own.get(key):
            found[section] = {**found[section], key: anchor(own[key])}
    return found


def _keys(place: tuple[str, ...], tree: Tree) -> list[str]:
    if place == ("model",):
        given = tree.get("model")
        name = given.get("name") if isinstance(given, Mapping) else None
        return [*ModelConfig.model_fields, *(model_spec(name).schema.model_fields if isinstance(name, str) else ())]
    return list(SECTIONS[place].model_fields) if place in SECTIONS else []
