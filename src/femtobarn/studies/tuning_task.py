"""Tuning task: one model whose settings are varied, and the settings of its trials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from femtobarn.experiments import document, search_space
from femtobarn.experiments.experiment import Experiment, build, load
from femtobarn.experiments.search_space import Choices, Range
from femtobarn.inputs import INTERACTIONS
from femtobarn.studies import study


@dataclass(frozen=True, eq=False)
class TuningTask:
    """One model whose settings are varied.

    Args:
        label: of the entry that is trained.
        experiment: its present settings, which are those of trial 0.
        space: values to try, by path.
        shared: labels of all entries that receive the result.
        stored_names: names of settings in a folder that was begun when they had other names, by their present path.
    """

    label: str
    experiment: Experiment
    space: Mapping[str, Range | Choices]
    shared: tuple[str, ...]
    stored_names: Mapping[str, str] = field(default_factory=dict)

    def stored_name(self, path: str) -> str:
        """Name of a setting among the parameters of Optuna's trials."""
        return self.stored_names.get(path, path)


def tuning_tasks(
    source: Path, overrides: Sequence[str] = (), *, spaces: Path | None = None, per_entry: bool = False
) -> list[TuningTask]:
    """Tasks for an experiment, or for the architectures of a study.

    Entries of a study with the same architecture, model settings and training share one task, so that afterwards they
    still differ in their interactions (or loss) alone. The task trains the entry with most interactions, cross-entropy
    before other losses, and the last of `femtobarn.inputs.INTERACTIONS` if these are equal; with the study's first seed
    and its largest training set.

    Args:
        source: YAML file of an experiment or of a study.
        overrides: as for `femtobarn train` and `femtobarn study`.
        spaces: YAML file of changes to the default spaces; see `femtobarn.experiments.search_space`.
        per_entry: one task for every entry of a study.

    Raises:
        ConfigError: lists every mistake by its path.
    """
    model_spaces = search_space.load(spaces)
    groups: dict[str, list[Experiment]] = {}
    for entry in _entries(source, overrides):
        sections = [entry.model.model_dump(mode="json"), entry.training.model_dump(mode="json")]
        groups.setdefault(json.dumps([*sections, entry.label if per_entry else ""]), []).append(entry)
    tasks = []
    for group in groups.values():
        trained = max(group, key=_n_inputs)
        space = search_space.fitted(model_spaces[trained.model.name], trained)
        tasks.append(TuningTask(trained.label, trained, space, tuple(entry.label for entry in group)))
    return tasks


def present_parameters(task: TuningTask) -> dict[str, Any]:
    """Settings of trial 0 as Optuna's parameters, without settings that no range can contain."""
    own = document.flatten(task.experiment.model_dump(mode="json"))
    return {
        task.stored_name(path): values.values.index(own[path]) if isinstance(values, Choices) else own[path]
        for path, values in task.space.items()
        if own.get(path) in values
    }


def suggest(task: TuningTask, trial: Any) -> None:
    """Let Optuna choose a value for every setting of the space."""
    fixed = present_parameters(task)
    for path, values in task.space.items():
        name = task.stored_name(path)
        if trial.number == 0 and name not in fixed:
            continue
        if isinstance(values, Choices):
            trial.suggest_categorical(name, list(range(len(values.values))))
        elif values.is_integer:
            trial.suggest_int(name, values.low, values.high, log=values.log)
        else:
            trial.suggest_float(name, values.low, values.high, log=values.log)


def trial_settings(task: TuningTask, number: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a trial by path; numbers are rounded to three digits, which is enough for a training."""
    if number == 0:
        own = document.flatten(task.experiment.model_dump(mode="json"))
        return {path: own[path] for path in task.space}
    settings = {}
    for path, values in task.space.items():
        if task.stored_name(path) not in parameters:
            continue  # not chosen yet
        value = parameters[task.stored_name(path)]
        if isinstance(values, Choices):
            settings[path] = values.values[value]
        else:
            settings[path] = value if values.is_integer else min(max(float(f"{value:.3g}"), values.low), values.high)
    return settings


def with_settings(experiment: Experiment, settings: Mapping[str, Any]) -> Experiment:
    """Experiment with other settings, by path.

    Raises:
        ConfigError: the settings contradict each other.
    """
    tree: dict[str, Any] = experiment.model_dump(mode="json")
    for path, value in settings.items():
        tree = document.put(tree, path.split("."), value)
    return build(tree, f"trial of {experiment.label}", Path.cwd())


def _entries(source: Path, overrides: Sequence[str]) -> list[Experiment]:
    tree, *_ = document.read(source)
    if "models" in tree:
        config = study.load(source, overrides)
        largest, first = max(config.sizes), config.seeds[0]
        return [run.experiment for run in study.plan(config, Path()) if run.seed == first and run.size == largest]
    experiment = load(source, overrides)
    training = experiment.training.model_copy(update={"threads": experiment.training.threads or 1})
    return [experiment.model_copy(update={"training": training})]


def _n_inputs(experiment: Experiment) -> tuple[Any, ...]:
    order = list(INTERACTIONS)
    names = experiment.inputs.interactions
    is_plain = getattr(experiment.task, "loss", None) == "cross_entropy"
    return len(names), is_plain, sorted(map(order.index, names), reverse=True)
