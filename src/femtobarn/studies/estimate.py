"""Estimate: how long a study will take, from a few real steps of each model."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from femtobarn.evaluation.runs import META, read_meta
from femtobarn.experiments.experiment import Experiment
from femtobarn.inputs.datasets import InMemoryDataset
from femtobarn.runs import provenance
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.splits import load_splits
from femtobarn.runs.trained_model import NetworkModel, TreeModel
from femtobarn.studies.progress import duration
from femtobarn.studies.study import PlannedRun
from femtobarn.tasks.base import FittedTask
from femtobarn.tasks.registry import task_kind
from femtobarn.training import fit

#: Estimate and outcome, in the folder of the study.
ESTIMATE = "estimate.json"

#: Seconds of steps that are enough to know the pace of a model.
ENOUGH = 0.3

#: Trees that are grown to know their pace, and training events they are grown on at most.
TREES, ROWS = 4, 20_000


@dataclass(frozen=True)
class Pace:
    """What a model takes, as measured.

    Args:
        seconds: for a training event in one epoch (or tree).
        validation: seconds for the validation events after each.
        events: training events; these and the seconds of a validation are those of the full size.
    """

    seconds: float
    validation: float
    events: int

    def training(self, size: float, epochs: int) -> float:
        """Seconds of so many epochs (or trees) with this part of the events."""
        return epochs * size * (self.seconds * self.events + self.validation)


#: Measures the pace of an experiment.
Measure = Callable[[Experiment], Pace]


@dataclass(frozen=True)
class Estimate:
    """Time that the trainings of a study will take, without evaluation, reading and starting.

    Args:
        seconds: by name of the run, 0 for what is trained already; runs whose pace could not be measured are absent.
        paces: by label of the model.
        workers: runs at a time.
    """

    seconds: Mapping[str, float]
    paces: Mapping[str, Pace]
    workers: int

    @property
    def total(self) -> float:
        """Seconds of all runs together."""
        return float(sum(self.seconds.values()))

    @property
    def wall(self) -> float:
        """Seconds until the last run ends, if each worker takes the next run as soon as it is free."""
        free = [0.0] * self.workers
        for seconds in self.seconds.values():
            heapq.heapreplace(free, free[0] + seconds)
        return max(free)

    def __str__(self) -> str:
        lines = []
        for label, pace in self.paces.items():
            durations = [seconds for name, seconds in self.seconds.items() if name.partition(" seed ")[0] == label]
            speed = f"{pace.events} events at {pace.events / pace.training(1.0, 1):.0f} events/s"
            lines.append(
                f"  {label}: {sum(value > 0 for value in durations)} runs, {speed}, {duration(sum(durations))}"
            )
        with_workers = f"with {self.workers} workers" if self.workers > 1 else "with one worker"
        text = f"about {duration(self.total)} of training, {duration(self.wall)} {with_workers}; "
        lines.append(text + "early stopping makes it less, reading and evaluation are not included")
        return "\n".join(lines)


def estimate(planned: Sequence[PlannedRun], workers: int, measure: Measure | None = None) -> Estimate:
    """What the runs of a study that are still to be trained will take.

    A run takes epochs x (training events x the seconds of one event + the seconds of a validation), as measured for
    each distinct model and inputs with nothing else going on. Runs that were begun are counted in full.

    Args:
        planned: from `femtobarn.studies.study.plan`.
        workers: runs at a time.
        measure: of the pace; by default a few real steps of the training loop, or a few trees.
    """
    measure = measure or partial(pace, cache=EventCache())
    measurements: dict[str, Pace | None] = {}
    seconds: dict[str, float] = {}
    paces: dict[str, Pace] = {}
    for run in planned:
        if run.state in ("finished", "changed", "trained"):
            seconds[run.name] = 0.0
            continue
        data = run.experiment.data.model_copy(update={"fraction": 1.0})
        training = run.experiment.training.model_copy(update={"epochs": 1})
        change = {"data": data, "training": training, "seed": 1, "label": "any"}
        full = run.experiment.model_copy(update=change)
        key = full.model_dump_json()
        if key not in measurements:
            try:
                measurements[key] = measure(full)
            except (ValueError, OSError, FloatingPointError):
                measurements[key] = None  # the run itself will say what is wrong
        measured = measurements[key]
        if measured is not None:
            seconds[run.name] = measured.training(run.size, _epochs(run.experiment))
            paces[run.label] = measured
    return Estimate(seconds, paces, workers)


def pace(experiment: Experiment, cache: EventCache | None = None) -> Pace:
    """Seconds an event takes in a training, from a few steps on a batch of the real events.

    Raises:
        ValueError: the data lack a process or column.
    """
    splits = load_splits(experiment, cache)
    trees = not experiment.model.is_network
    size = ROWS if trees else experiment.training.batch_size
    train = _sample_events(splits.train.head(), size)
    share = min(1.0, len(train) / len(splits.train))
    valid = _sample_events(splits.validation.head(), max(1, round(share * len(splits.validation))))
    step, check = _trees(experiment, train, valid) if trees else _network(experiment, train, valid)
    every = check * len(splits.validation) / len(valid)
    return Pace(step / len(train), every, len(splits.train))


def record(folder: Path, forecast: Estimate, planned: Sequence[PlannedRun], wall: float) -> str:
    """Writes what was estimated and what it took into the study's folder, and says it in one line.

    Args:
        folder: of the study.
        forecast: the estimate made before.
        planned: the runs of the study.
        wall: seconds from the start of the first to the end of the last run.
    """
    due = [run for run in planned if forecast.seconds.get(run.name, 0.0) > 0]
    metas = [read_meta(run.folder).content for run in due if (run.folder / META).is_file()]
    took = sum(meta["seconds"] for meta in metas)
    content: dict[str, Any] = {
        "runs": len(due),
        "trained": len(metas),
        "workers": forecast.workers,
        "training_seconds": {"estimated": forecast.total, "actual": took},
        "wall_seconds": {"estimated": forecast.wall, "actual": wall},
    }
    provenance.atomic_write_json(folder / ESTIMATE, content)
    return (
        f"training took {duration(took)} (estimated: {duration(forecast.total)}), "
        f"{duration(wall)} from start to end (estimated without evaluation: {duration(forecast.wall)})"
    )


def _network(experiment: Experiment, train: InMemoryDataset, valid: InMemoryDataset) -> tuple[float, float]:
    """Seconds of one step of the training loop, and of validating on some events."""
    task = _task(experiment, train)
    model = NetworkModel(experiment, task.outputs)
    model.network.inputs.fit(train.batch, torch.from_numpy(train.columns(task).weight))
    # compiling is no part of the pace, and checks that stop a training are none of an estimate
    settings = experiment.training.model_copy(update={"epochs": 1000, "compile": False, "patience": None})
    spent: list[float] = []
    for epoch in fit(model.network, task, train, valid, settings, seed=experiment.seed):
        spent.append(epoch.seconds)
        if sum(spent[1:]) > ENOUGH:  # the first step allocates
            break
    start = time.perf_counter()
    model.outputs(valid.batch)
    check = time.perf_counter() - start
    return max(fmean(spent[1:]) - check, 0.0), check


def _trees(experiment: Experiment, train: InMemoryDataset, valid: InMemoryDataset) -> tuple[float, float]:
    """Seconds of one iteration of the trees, all in proportion to the events; small training sets take a bit more."""
    task = _task(experiment, train)
    settings = experiment.model.model_copy(update={"n_estimators": TREES})
    model = TreeModel(experiment.model_copy(update={"model": settings}), task.outputs)
    history = model.fit_datasets(train, valid, task, EventCache())
    return fmean(entry["seconds"] for entry in history[1:]), 0.0  # the first one bins the columns


def _task(experiment: Experiment, train: InMemoryDataset) -> FittedTask:
    processes = experiment.task.select_processes(train.events.processes)
    yields = {name: float(train.events.weight[train.events.process == name].sum()) for name in processes}
    return task_kind(experiment.task.kind).fit(experiment.task, train, yields)


def _epochs(experiment: Experiment) -> int:
    """Most epochs of a network, most trees of a forest."""
    return experiment.training.epochs if experiment.model.is_network else int(experiment.model.settings["n_estimators"])


def _sample_events(dataset: InMemoryDataset, count: int) -> InMemoryDataset:
    """At most `count` events from all over a dataset, so that every process is among them."""
    chosen = np.unique(
        np.linspace(0, len(dataset.events) - 1, min(count, len(dataset.events))).round().astype(np.int64)
    )
    return InMemoryDataset(dataset.events[chosen], dataset.batch[torch.from_numpy(chosen)])
