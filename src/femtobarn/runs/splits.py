"""Events of an experiment: read, selected, split and padded. Events that were prepared stay on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from femtobarn.events import Events, concatenate, split, subset
from femtobarn.events.numbers import check_numbers
from femtobarn.events.read import find, read_paths
from femtobarn.events.reader_settings import ReaderSettings
from femtobarn.events.samples import load_sample
from femtobarn.events.shards.index import INDEX, Index
from femtobarn.events.shards.sharded_split import ShardedSplit
from femtobarn.events.split import SPLITS
from femtobarn.experiments.data import DataConfig, SplitConfig
from femtobarn.experiments.experiment import Experiment
from femtobarn.inputs import make_batch
from femtobarn.inputs.datasets import Dataset, InMemoryDataset, ShardedDataset
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.noise import add_noise
from femtobarn.runs.split_checks import Flow, check_splits, missing_process, origin
from femtobarn.simulate.amplitudes import draw_amplitudes
from femtobarn.tasks.base import FittedTask
from femtobarn.tasks.config import TaskConfig
from femtobarn.tasks.registry import task_kind

#: Luminosity in 1/fb of weights in files that do not say, where the configuration does not either.
LUMINOSITY = 100.0

#: Path, size and modification time of every file.
FileState = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, eq=False)
class DataSplits:
    """Training, validation and test events of an experiment.

    Args:
        task: the task, fitted to the training events.
        train, validation: events with a weight; others have no effect on a training.
        test: all held-out events.
        yields: expected events of each process before the split, at the luminosity of the weights.
        fingerprint: SHA-256 over all events: the same events give the same one from any file.
        provenance: origin of the events.
    """

    task: FittedTask
    train: Dataset
    validation: Dataset
    test: Dataset
    yields: dict[str, float]
    fingerprint: str
    provenance: dict[str, Any]


def load_splits(experiment: Experiment, cache: EventCache | None = None) -> DataSplits:
    """Events of an experiment: read, selected, split and padded; events that were prepared stay on disk.

    Args:
        experiment: the data, the task and the inputs.
        cache: events of earlier calls, and those of this one for later calls.

    Raises:
        ValueError: no file matches, a process is not in the data, a split has no events of a class, or the events
            lack columns from which the features are made.
    """
    cache = EventCache() if cache is None else cache
    data, task = experiment.data, experiment.task
    slots, dtype, state = experiment.inputs.slots, experiment.model.momenta, _file_state(data)

    def make() -> DataSplits:
        if data.prepared is not None:
            return _sharded_splits(data, task, slots, dtype)
        records = cache.get("records", (data, task, state), lambda: _split_events(data, task, state, cache))
        train, validation, test = (InMemoryDataset(part, make_batch(part, slots, dtype)) for part in records.splits)
        fitted = task_kind(task.kind).fit(task, train, records.train_yields)
        return DataSplits(fitted, train, validation, test, records.yields, records.fingerprint, records.provenance)

    splits = cache.get("splits", (data, task, slots, dtype, state), make)
    splits.train.check_features(experiment.inputs.features)
    return splits


def load_events(data: DataConfig, cache: EventCache | None = None) -> Events:
    """All events of the data section of an experiment, before they are split.

    Raises:
        FileNotFoundError: a path or glob that no file matches.
        EventError: events that cannot be right.
    """
    return _read_all(data, _file_state(data), EventCache() if cache is None else cache).events


def fingerprint(events: Events) -> str:
    """SHA-256 over what models see and what they are weighed by, whatever file it came from and on whichever machine.

    Numbers count to a part in a million: processors differ in the last bits of energies that are computed from masses.
    """
    digest = hashlib.sha256("\n".join(events.process.tolist()).encode())
    objects = events.padded()
    for column in (
        *objects,
        *((events.padded_tracks(),) if events.tracks else ()),
        events.context["MET"],
        events.context["phi_MET"],
        events.weight,
        events.number,
        events.hard,
    ):
        array = np.ascontiguousarray(column)
        if array.dtype.kind == "f":
            mantissa, exponent = np.frexp(array.astype(np.float64))
            array = np.ldexp(np.rint(mantissa * (1 << 20)), exponent)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def resolve(data: DataConfig) -> dict[str | None, list[Path]]:
    """The files behind the globs, by process (None where the files say it themselves).

    Raises:
        FileNotFoundError: a path or glob that no file matches.
    """
    if data.prepared is not None:
        return {None: [Path(data.prepared) / INDEX]}
    if isinstance(data.files, dict):
        return {process: find(patterns) for process, patterns in data.files.items()}
    return {None: find(data.files)} if data.files else {}


def _file_state(data: DataConfig) -> FileState:
    """Size and modification time of every file, so that events in memory are not taken for those of a changed file."""
    states: list[tuple[str, int, int]] = []
    for paths in resolve(data).values():
        for path in paths:
            if data.prepared is not None and not path.is_file():
                Index.read(data.prepared)  # raises an error that says what is wrong
            stat = path.stat()
            states.append((str(path), stat.st_size, stat.st_mtime_ns))
    return tuple(states)


class _SelectedEvents(NamedTuple):
    """Selected events of the files, and the number of events of each process before the selection."""

    events: Events
    fingerprint: str
    before: dict[str, int]


def _read_all(data: DataConfig, state: FileState, cache: EventCache) -> _SelectedEvents:
    # neither the fraction nor the split changes what is read
    everything = data.model_copy(update={"fraction": 1.0, "split": SplitConfig(), "noise": None})
    return cache.get("files", (everything, state), lambda: _read(everything), max_entries=1)


def _read(data: DataConfig) -> _SelectedEvents:
    if data.prepared is not None:
        index = Index.read(data.prepared)
        datasets = [
            ShardedDataset(ShardedSplit.open(data.prepared, name, 1, index=index), tuple(index.processes), {})
            for name in SPLITS
        ]
        events = concatenate([dataset.events for dataset in datasets])
    elif data.sample is not None:
        events = load_sample(data.sample)
    elif data.amplitudes is not None:
        events = draw_amplitudes(data.amplitudes.plan())
    else:
        parts = [read_paths(paths, reader_settings(data, process)) for process, paths in resolve(data).items()]
        events = concatenate(parts, data.combine)
    flow = Flow(data.selection)
    selected = events if data.selection is None else events.select(data.selection)
    flow.add(events, selected)
    if not len(selected):
        raise ValueError(flow.nothing_left(_origin(data)))
    return _SelectedEvents(selected, fingerprint(selected), flow.before)


def _origin(data: DataConfig) -> str:
    """Origin of the events, for messages."""
    if data.amplitudes is not None:
        return f"the points of {data.amplitudes.process}"
    if data.prepared is not None or data.sample is not None:
        return str(data.prepared or data.sample)
    return origin([path for paths in resolve(data).values() for path in paths])


def reader_settings(data: DataConfig, process: str | None) -> ReaderSettings:
    """Settings with which the files of a process are read."""
    return ReaderSettings(
        format=data.format,
        mapping=data.mapping,
        process=process,
        luminosity=data.luminosity or LUMINOSITY,
        unit=data.unit,
        tolerant=data.tolerant,
        combine=data.combine,
        renumber=data.renumber,
    )


class _Records(NamedTuple):
    """Splits without the tensors: experiments with different slots and precisions share them."""

    train_yields: dict[str, float]
    splits: tuple[Events, Events, Events]
    yields: dict[str, float]
    fingerprint: str
    provenance: dict[str, Any]


def _split_events(data: DataConfig, settings: TaskConfig, state: FileState, cache: EventCache) -> _Records:
    events, digest, before = _read_all(data, state, cache)
    missing_process(settings, events.processes, before, data.selection or "")
    processes = settings.select_processes(events.processes)
    events = events[np.isin(events.process, processes)]
    check_numbers(events)
    parts = split(events, data.split)
    train, validation = (
        weighted(add_noise(subset(part, data.fraction), data.noise)) for part in (parts.train, parts.validation)
    )
    by_name = dict(zip(SPLITS, (train, validation, parts.test), strict=True))
    check_splits(
        settings,
        {name: _by_process(part, events.processes, part.weight != 0) for name, part in by_name.items()},
        {name: _by_process(part, events.processes, part.weight) for name, part in by_name.items()},
        data.fraction,
    )
    return _Records(
        train_yields=_by_process(parts.train, processes, parts.train.weight),
        splits=(train, validation, parts.test),
        yields=_by_process(events, processes, events.weight),
        fingerprint=digest,
        provenance=dict(events.provenance),
    )


def _by_process(events: Events, names: Sequence[str], values: NDArray[Any]) -> dict[str, Any]:
    """Sum of a column over the events of each process."""
    return {name: values[events.process == name].sum().item() for name in names}


def _sharded_splits(data: DataConfig, settings: TaskConfig, slots: int, dtype: torch.dtype) -> DataSplits:
    """Splits of events that stay on disk."""
    assert data.prepared is not None
    folder, index = data.prepared, Index.read(data.prepared)
    yields = {name: index.weights(name) for name in SPLITS}
    before = index.provenance.get("before_selection", {})
    missing_process(settings, index.processes, before, index.selection or "")
    processes = settings.select_processes(index.processes)
    unknown = sorted(set(data.sampling_rates) - set(index.processes))
    if unknown:
        problem = f"data.sampling_rates: no process is called {unknown[0]!r} in {folder}"
        raise ValueError(f"{problem}; there are {', '.join(index.processes)}")
    datasets: dict[str, ShardedDataset] = {}
    for name in SPLITS:
        fraction = 1.0 if name == "test" else data.fraction
        double = dtype == torch.float64
        part = ShardedSplit.open(folder, name, slots, index=index, double=double, fraction=fraction)
        datasets[name] = ShardedDataset(part, processes, data.sampling_rates if name == "train" else {})
    counts = {name: dataset.split.counts.sum(0).tolist() for name, dataset in datasets.items()}
    check_splits(
        settings,
        {name: dict(zip(index.processes, numbers, strict=True)) for name, numbers in counts.items()},
        yields,
        data.fraction,
    )
    return DataSplits(
        task=task_kind(settings.kind).fit(
            settings, datasets["train"], {name: yields["train"][name] for name in processes}
        ),
        train=datasets["train"],
        validation=datasets["validation"],
        test=datasets["test"],
        yields={name: sum(totals[name] for totals in yields.values()) for name in processes},
        fingerprint=index.fingerprint,
        provenance=index.provenance,
    )


def weighted(events: Events) -> Events:
    """Events with a weight; the others would only dilute a batch."""
    return events[events.weight != 0]
