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
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from torch import nn

from femtobarn.evaluation.settings import EvaluationConfig
from femtobarn.events.names import check_folder_name
from femtobarn.experiments import document
from femtobarn.experiments.data import DataConfig
from femtobarn.experiments.document import Tree
from femtobarn.experiments.sections import InputsConfig, ModelConfig
from femtobarn.experiments.spelling import conflicts, nested_schemas, rename, spellings
from femtobarn.experiments.strict import StrictConfig
from femtobarn.inputs import EVENTS, JETS, Inputs
from femtobarn.models import check_depth, model_spec
from femtobarn.tasks.config import TaskConfig
from femtobarn.tasks.registry import DEFAULT_TASK, TASKS, task_kind
from femtobarn.training import TrainingConfig

Label = Annotated[
    str, Field(min_length=1, max_length=80, pattern=r"^[^/\\\s.][^/\\\s]*$"), AfterValidator(check_folder_name)
]

#: Maximum number of parameters of a network.
MAX_PARAMETERS = 2_000_000_000


class Experiment(StrictConfig):
    """One run: data, inputs, model, task, training, evaluation, in the order of the data flow."""

    label: Label = Field(
        default="", description="Name of the model in tables, figures and folders. Default: `model.name`."
    )
    data: DataConfig = Field(description="Events.")
    inputs: InputsConfig = Field(default=InputsConfig(), description="Inputs of the model.")
    model: ModelConfig = Field(description="Architecture and its settings.")
    task: TaskConfig = Field(description="Task; its settings depend on `kind`.")
    training: TrainingConfig = Field(default=TrainingConfig(), description="Training.")
    evaluation: EvaluationConfig = Field(
        default=EvaluationConfig(), description="Evaluation on the test events; its settings depend on the task."
    )
    seed: int = Field(
        default=1,
        ge=0,
        lt=2**31,
        description="Random seed of initial weights, shuffling and dropout. The split does not depend on it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_label(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping) and not tree.get("label") and isinstance(tree.get("model"), Mapping):
            return {**tree, "label": tree["model"].get("name")}
        return tree

    @model_validator(mode="after")
    def _model_takes_the_inputs(self) -> Experiment:
        name, inputs = self.model.name, self.inputs
        check_depth(name, self.task.depth)
        if not self.model.spec.takes_pairs and inputs.interactions:
            raise ValueError(
                f"model {name} takes no interactions, but inputs.interactions is [{', '.join(inputs.interactions)}]; "
                "leave it empty"
            )
        if inputs.domain is not EVENTS and self.model.spec.by_kind:
            raise ValueError(
                f"model {name} has slots for the objects of an event, and inputs.features is {inputs.features}, for "
                f"{inputs.domain.members}; use another model"
            )
        if inputs.domain is JETS and inputs.interactions and not self.model.is_network:
            raise ValueError(
                f"model {name} uses observables of a jet, not pairs of constituents; leave inputs.interactions empty "
                f"with inputs.features: {inputs.features}"
            )
        return self

    @model_validator(mode="after")
    def _model_can_be_built(self) -> Experiment:
        name = self.model.name
        with torch.device("meta"):  # neither memory nor time: only the sizes of the weights are computed
            try:
                sizes = Inputs(self.inputs.interactions, self.inputs.features, slots=self.inputs.slots).sizes(2)
            except ValueError as error:
                raise ValueError(f"inputs: {error}") from None
            try:
                model = self.model.spec.build(sizes, **self.model.settings)
            except ValueError as error:
                raise ValueError(f"model {name}: {error}") from None
            except RuntimeError:  # a size of the weights exceeds 64 bits
                raise ValueError(f"model {name}: these settings make it too large") from None
        n_parameters = sum(weights.numel() for weights in model.parameters()) if isinstance(model, nn.Module) else 0
        if n_parameters > MAX_PARAMETERS:
            raise ValueError(
                f"model {name}: it would have {n_parameters:.3g} parameters; at most {MAX_PARAMETERS:.0e} are allowed"
            )
        return self

    @model_validator(mode="after")
    def _trees_train_themselves(self) -> Experiment:
        if not self.model.is_network and self.model.init_from is not None:
            raise ValueError(f"model {self.model.name} takes no pretrained weights; leave out model.init_from")
        self.task.check_model(self.model.name, is_network=self.model.is_network)
        return self


def experiment_schema(kind: str = DEFAULT_TASK) -> type[Experiment]:
    """Schema of an experiment with the settings of a task.

    Args:
        kind: name of the task.

    Raises:
        ValueError: no such task.
    """
    task = task_kind(kind)
    return _schema(task.config, task.evaluation)


@cache  # one class for each task: experiments of different classes are never equal
def _schema(config: type[TaskConfig], evaluation: type[EvaluationConfig]) -> type[Experiment]:
    fields = Experiment.model_fields
    return create_model(
        "Experiment",
        __base__=Experiment,
        task=(config, Field(description=fields["task"].description)),
        evaluation=(evaluation, Field(default=evaluation(), description=fields["evaluation"].description)),
    )


def kind_of(tree: Tree) -> str:
    """Name of the task of an experiment's mapping; the default where it has none or an unknown one."""
    task = tree.get("task")
    kind = task.get("kind", DEFAULT_TASK) if isinstance(task, Mapping) else DEFAULT_TASK
    return kind if isinstance(kind, str) and kind in TASKS else DEFAULT_TASK


#: Where paths of files stand.
PATHS = (("data", "files"), ("data", "prepared"), ("model", "init_from"))


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
    tree = present_keys(tree)
    if twice := list(conflicts(tree, [experiment_schema(kind_of(tree))])) + list(
        conflicts(_model(tree), _model_schemas(tree), "model.")
    ):
        raise document.ConfigError(origin, list(dict.fromkeys(twice)))
    try:
        _check_kind(tree, origin)
        kind = kind_of(tree)
        experiment = experiment_schema(kind).model_validate(task_kind(kind).complete(_anchored(tree, folder)))
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


def _check_kind(tree: Tree, origin: str) -> None:
    """Check the name of the task.

    Raises:
        document.ConfigError: no such task.
    """
    task = tree.get("task")
    if isinstance(task, Mapping) and "kind" in task and task["kind"] not in TASKS:
        close = get_close_matches(str(task["kind"]), TASKS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        message = f"unknown task {task['kind']!r}{hint}; available: {', '.join(sorted(TASKS))}"
        raise document.ConfigError(origin, [document.Mistake("task.kind", message)])


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
        raise document.ConfigError(origin, [document.Mistake("data", "is missing; it selects the events")])
    tree = present_keys({"data": given})
    if twice := list(conflicts(tree, [experiment_schema(kind_of(tree))])):
        raise document.ConfigError(origin, twice)
    try:
        return DataConfig.model_validate(_anchored(tree, folder)["data"])
    except ValidationError as error:
        mistakes = document.mistakes(error, lambda place: _keys(("data", *place), {}))
        raise document.ConfigError(
            origin, [document.Mistake(f"data.{mistake.path}", mistake.message) for mistake in mistakes]
        ) from None


def dump(experiment: Experiment) -> str:
    """The experiment as YAML with every default written out; `load` gives the same experiment back."""
    return document.write(experiment.model_dump(mode="json"))


def combine(base: Tree, change: Tree) -> Tree:
    """`base` with the keys of `change` put in, deeply; a model of another name keeps none of its settings."""
    old, new = _model(base), _model(change)
    name = new.get("name", old.get("name"))
    base, change = present_keys(base, name), present_keys(change, name)
    if isinstance(change.get("model"), Mapping) and name != old.get("name", name):
        base = {**base, "model": {}}
    return document.merge(base, change)


def override(tree: Tree, overrides: Sequence[str]) -> Tree:
    """The mapping with changes such as `training.lr=1e-3` made; another `model.name` drops the old model's settings.

    Raises:
        document.ConfigError: an override that is not of the form section.key=value, or one key under both its names.
    """
    tree = present_keys(tree)
    given: dict[tuple[str, ...], tuple[str, ...]] = {}
    # the name first: settings given beside it belong to the new model
    for keys, value in sorted(map(document.assignment, overrides), key=lambda change: change[0] != ("model", "name")):
        if keys == ("model", "name"):
            tree = combine(tree, {"model": {"name": value}})
            continue
        present, value = _present_change(keys, value, _model(tree).get("name"))
        if given.setdefault(present, keys) != keys:
            both = " and ".join(".".join(path) for path in (given[present], keys))
            remedy = f"{both} are two names of one setting; give {'.'.join(present)} only"
            raise document.ConfigError("override", [document.Mistake("", remedy)])
        tree = document.put(tree, present, value)
    return tree


def present_path(keys: Sequence[str], model: str) -> tuple[str, ...]:
    """Path of a setting under its present keys, for an architecture of this name."""
    return _present_change(keys, None, model)[0]


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

    anchored = dict(tree)
    for section, key in PATHS:
        own = tree.get(section)
        if isinstance(own, Mapping) and own.get(key):
            anchored[section] = {**anchored[section], key: anchor(own[key])}
    return anchored


def _keys(place: tuple[str, ...], tree: Tree) -> Mapping[str, str]:
    """Present keys of a mapping by every name that is read."""
    if place == ("model",):
        return spellings(_model_schemas(tree))
    schemas: list[type[BaseModel]] = [experiment_schema(kind_of(tree))]
    for key in place:
        schemas = nested_schemas(schemas, key)
    return spellings(schemas)


def _model(tree: Tree) -> Tree:
    """The section `model`; empty where there is none."""
    model = tree.get("model")
    return model if isinstance(model, Mapping) else {}


def _model_schemas(tree: Tree, name: Any = None) -> list[type[BaseModel]]:
    """Schemas of the section `model`: the common keys, and the settings of the architecture where its name is valid."""
    name = _model(tree).get("name", name)
    with suppress(ValueError):
        return [ModelConfig, *([model_spec(name).schema] if isinstance(name, str) else [])]
    return [ModelConfig]


def present_keys(tree: Tree, model: Any = None) -> Tree:
    """The tree with former keys replaced by their present names.

    Args:
        tree: an experiment, or a part of one.
        model: name of the architecture, where the tree does not have it.
    """
    renamed = rename(tree, [experiment_schema(kind_of(tree))])
    if isinstance(renamed.get("model"), Mapping):
        renamed["model"] = rename(renamed["model"], _model_schemas(renamed, model))
    return renamed


def _present_change(keys: Sequence[str], value: Any, model: Any) -> tuple[tuple[str, ...], Any]:
    """Path and value of an override under present keys."""
    tree: Any = present_keys(document.put({}, keys, value), model)
    path = []
    for _ in keys:
        ((key, tree),) = tree.items()
        path.append(key)
    return tuple(path), tree
