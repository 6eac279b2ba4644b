"""Search: one model whose settings are sought, and what a trial of it is trained with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from femtobarn.experiments import document
from femtobarn.experiments import search_space as space
from femtobarn.experiments.experiment import Experiment, build, load
from femtobarn.experiments.search_space import Choices, Range
from femtobarn.inputs import INTERACTIONS
from femtobarn.studies import study


@dataclass(frozen=True, eq=False)
class Search:
    """One model whose settings are sought.

    Args:
        label: of the entry that is trained.
        experiment: its settings before, those of trial 0.
        space: what may be changed, by path.
        shared: labels of all entries that take over the result.
    """

    label: str
    experiment: Experiment
    space: Mapping[str, Range | Choices]
    shared: tuple[str, ...]


def searches(
    source: Path, overrides: Sequence[str] = (), *, spaces: Path | None = None, every: bool = False
) -> list[Search]:
    """The searches for an experiment, or for the architectures of a study.

    Entries of a study with the same architecture, model settings and training share one search, so that afterwards they
    still differ in their interactions (or loss) alone. It is made with the entry that has most interactions,
    cross-entropy before other losses, and the last of `femtobarn.inputs.INTERACTIONS` where that is even; with the
    study's first seed and its largest training set.

    Args:
        source: YAML file of an experiment or of a study.
        overrides: as for `femtobarn train` and `femtobarn study`.
        spaces: YAML file of changes to the default spaces; see `femtobarn.experiments.search_space`.
        every: a search of its own for every entry of a study.

    Raises:
        ConfigError: lists every mistake by its path.
    """
    known = space.load(spaces)
    entries = _entries(source, overrides)
    groups: dict[str, list[Experiment]] = {}
    for one in entries:
        key = [one.model.model_dump(mode="json"), one.training.model_dump(mode="json"), one.label if every else ""]
        groups.setdefault(json.dumps(key), []).append(one)
    found = []
    for group in groups.values():
        chosen = max(group, key=_richness)
        shared = tuple(one.label for one in group)
        found.append(Search(chosen.label, chosen, space.fitted(known[chosen.model.name], chosen), shared))
    return found


def before(search: Search) -> dict[str, Any]:
    """The settings of trial 0 as Optuna's parameters; those that lie outside what a range can hold are left out."""
    own = document.flatten(search.experiment.model_dump(mode="json"))
    found = {}
    for path, one in search.space.items():
        if own.get(path) in one:
            found[path] = one.values.index(own[path]) if isinstance(one, Choices) else own[path]
    return found


def suggest(search: Search, trial: Any) -> None:
    fixed = before(search)
    for path, one in search.space.items():
        if trial.number == 0 and path not in fixed:
            continue
        if isinstance(one, Choices):
            trial.suggest_categorical(path, list(range(len(one.values))))
        elif one.is_integer:
            trial.suggest_int(path, one.low, one.high, log=one.log)
        else:
            trial.suggest_float(path, one.low, one.high, log=one.log)


def settings(search: Search, number: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial was trained with, by path; numbers have three digits, which is all that matters."""
    if number == 0:
        own = document.flatten(search.experiment.model_dump(mode="json"))
        return {path: own[path] for path in search.space}
    found = {}
    for path, one in search.space.items():
        if path not in parameters:
            continue  # not chosen yet
        value = parameters[path]
        if isinstance(one, Choices):
            found[path] = one.values[value]
        else:
            found[path] = value if one.is_integer else min(max(float(f"{value:.3g}"), one.low), one.high)
    return found


def changed(experiment: Experiment, settings: Mapping[str, Any]) -> Experiment:
    tree: dict[str, Any] = experiment.model_dump(mode="json")
    for path, value in settings.items():
        tree = document.put(tree, path.split("."), value)
    return build(tree, f"trial of {experiment.label}", Path.cwd())


def _entries(source: Path, overrides: Sequence[str]) -> list[Experiment]:
    tree, *_ = document.read(source)
    if "models" in tree:
        found = study.load(source, overrides)
        largest, first = max(found.sizes), found.seeds[0]
        planned = study.plan(found, Path())
        return [one.experiment for one in planned if one.seed == first and one.size == largest]
    one = load(source, overrides)
    return [one.model_copy(update={"training": one.training.model_copy(update={"threads": one.training.threads or 1})})]


def _richness(one: Experiment) -> tuple[Any, ...]:
    order = list(INTERACTIONS)
    names = one.inputs.interactions
    is_plain = getattr(one.task, "loss", None) == "cross_entropy"
    return len(names), is_plain, sorted(map(order.index, names), reverse=True)
