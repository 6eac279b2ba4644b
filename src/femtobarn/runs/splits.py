"""Sample: the events of an experiment, read, selected, shared out and padded, once for all runs that use them.

Events that were prepared (`femtobarn prepare`) stay on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
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
from femtobarn.events.shards.source import Source
from femtobarn.events.split import SIDES
from femtobarn.experiments.data import DataConfig, SplitConfig
from femtobarn.experiments.experiment import Experiment
from femtobarn.experiments.sections import InputsConfig
from femtobarn.inputs import make_batch
from femtobarn.inputs.columns import columns
from femtobarn.runs.datasets import Side, Stored
from femtobarn.runs.split_checks import Flow, check_sides, missing_process, origin
from femtobarn.tasks.classification.classifier import ClassificationConfig, Classifier

#: Luminosity in 1/fb of weights in files that do not say, where the configuration does not either.
LUMINOSITY = 100.0

#: Path, size and time of change of every file.
State = tuple[tuple[str, int, int], ...]


class Table(NamedTuple):
    """Events as rows of columns, on each side of the split."""

    names: list[str]
    train: NDArray[np.float32]
    validation: NDArray[np.float32]
    test: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sample:
    """What an experiment trains, chooses and is judged on.

    Args:
        task: the classification, with the priors of these events.
        train, validation: events with a weight; others can't teach anything.
        test: all held-out events.
        yields: expected events of each process before the split, at the luminosity of the weights.
        fingerprint: SHA-256 over all events: the same events give the same one from any file.
        provenance: where the events come from.
    """

    task: Classifier
    train: Side | Stored
    validation: Side | Stored
    test: Side | Stored
    yields: dict[str, float]
    fingerprint: str
    provenance: dict[str, Any]
    _tables: dict[tuple[tuple[str, ...], str], Table] = field(default_factory=dict)

    def table(self, inputs: InputsConfig) -> Table:
        """The columns that boosted trees see, made once."""
        chosen = (inputs.interactions, inputs.features)
        if chosen not in self._tables:
            names, train = columns(self.train.batch, *chosen)
            validation, test = (columns(side.batch, *chosen)[1] for side in (self.validation, self.test))
            self._tables[chosen] = Table(names, train, validation, test)
        return self._tables[chosen]


def prepare(experiment: Experiment) -> Sample:
    """The events of an experiment; those of the last few experiments stay in memory.

    Raises:
        ValueError: no file matches, a process is not in the data, a side of the split is without a class, or the events
            lack what the features are made of.
    """
    found = _prepared(
        experiment.data.model_dump_json(),
        experiment.task.model_dump_json(),
        experiment.inputs.slots,
        experiment.model.momenta,
        _state(experiment.data),
    )
    found.train.suits(experiment.inputs.features)
    return found


def everything(data: DataConfig) -> Events:
    """All events that the data section of an experiment stands for, before they are shared out.

    Raises:
        FileNotFoundError: a path or glob that no file matches.
        EventError: events that can't be right.
    """
    return _all(data, _state(data))[0]


def forget() -> None:
    """Drops the events kept in memory."""
    _prepared.cache_clear()
    _shared_out.cache_clear()
    _read.cache_clear()


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


def _state(data: DataConfig) -> State:
    """Size and time of every file, so that events in memory are not taken for those of a file that has changed."""
    states: list[tuple[str, int, int]] = []
    for paths in resolve(data).values():
        for path in paths:
            if data.prepared is not None and not path.is_file():
                Index.read(data.prepared)  # says what is wrong
            stat = path.stat()
            states.append((str(path), stat.st_size, stat.st_mtime_ns))
    return tuple(states)


class _Read(NamedTuple):
    """Events of the files, selected, with what is known of those before the selection."""

    events: Events
    fingerprint: str
    before: dict[str, int]  # events of each process before the selection


def _all(data: DataConfig, state: State) -> _Read:
    whole = data.model_copy(update={"fraction": 1.0, "split": SplitConfig()})  # neither changes what is read
    return _read(whole.model_dump_json(), state)


@lru_cache(maxsize=1)
def _read(source: str, state: State) -> _Read:
    data = DataConfig.model_validate_json(source)
    if data.prepared is not None:
        index = Index.read(data.prepared)
        sides = [Stored(Source.open(data.prepared, side, 1, index=index), tuple(index.processes), {}) for side in SIDES]
        events = concatenate([side.events for side in sides])
    elif data.sample is not None:
        events = load_sample(data.sample)
    else:
        parts = [read_paths(paths, reader_settings(data, process)) for process, paths in resolve(data).items()]
        events = concatenate(parts, data.combine)
    flow = Flow(data.selection)
    selected = events if data.selection is None else events.select(data.selection)
    flow.add(events, selected)
    if not len(selected):
        raise ValueError(flow.nothing_left(_origin(data)))
    return _Read(selected, fingerprint(selected), flow.before)


def _origin(data: DataConfig) -> str:
    """Where the events are from, in the words of a message."""
    if data.prepared is not None or data.sample is not None:
        return str(data.prepared or data.sample)
    return origin([path for paths in resolve(data).values() for path in paths])


def reader_settings(data: DataConfig, process: str | None) -> ReaderSettings:
    """How the files of a process are read."""
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


class _Shared(NamedTuple):
    """What a sample is made of but for the tensors: samples of different slots and precisions share it."""

    task: Classifier
    train: Events
    validation: Events
    test: Events
    yields: dict[str, float]
    fingerprint: str
    provenance: dict[str, Any]


@lru_cache(maxsize=4)
def _prepared(data_json: str, task_json: str, slots: int, momenta: torch.dtype, state: State) -> Sample:
    data = DataConfig.model_validate_json(data_json)
    if data.prepared is not None:
        return _stored(data, ClassificationConfig.model_validate_json(task_json), slots, momenta)
    shared = _shared_out(data_json, task_json, state)
    train, validation, test = (
        Side(part, make_batch(part, slots, momenta)) for part in (shared.train, shared.validation, shared.test)
    )
    return Sample(shared.task, train, validation, test, shared.yields, shared.fingerprint, shared.provenance)


@lru_cache(maxsize=4)
def _shared_out(data_json: str, task_json: str, state: State) -> _Shared:
    data, settings = DataConfig.model_validate_json(data_json), ClassificationConfig.model_validate_json(task_json)
    events, digest, before = _all(data, state)
    missing_process(settings, events.processes, before, data.selection or "")
    signal, background = settings.roles(events.processes)
    events = events[np.isin(events.process, [*signal, *background])]
    check_numbers(events)
    sides = split(events, data.split)
    train, validation = (weighted(subset(side, data.fraction)) for side in (sides.train, sides.validation))
    parts = dict(zip(SIDES, (train, validation, sides.test), strict=True))
    check_sides(
        settings,
        {side: _by_process(part, events.processes, part.weight != 0) for side, part in parts.items()},
        {side: _by_process(part, events.processes, part.weight) for side, part in parts.items()},
        data.fraction,
    )
    return _Shared(
        task=settings.classifier(sides.train),
        train=train,
        validation=validation,
        test=sides.test,
        yields={name: float(events.weight[events.process == name].sum()) for name in (*signal, *background)},
        fingerprint=digest,
        provenance=dict(events.provenance),
    )


def _by_process(events: Events, names: Sequence[str], values: NDArray[Any]) -> dict[str, Any]:
    """Sum of a column over the events of each process."""
    return {name: values[events.process == name].sum().item() for name in names}


def _stored(data: DataConfig, settings: ClassificationConfig, slots: int, momenta: torch.dtype) -> Sample:
    """A sample of events that stay on disk."""
    assert data.prepared is not None
    index = Index.read(data.prepared)
    yields = {side: index.weights(side) for side in SIDES}
    before = index.provenance.get("before_selection", {})
    missing_process(settings, index.processes, before, index.selection or "")
    signal, background = settings.roles(index.processes)
    names = (*signal, *background)
    strangers = sorted(set(data.sampling_rates) - set(index.processes))
    if strangers:
        what = f"data.sampling_rates: no process is called {strangers[0]!r} in {data.prepared}"
        raise ValueError(f"{what}; there are {', '.join(index.processes)}")

    def side(name: str, fraction: float = 1.0, rates: Mapping[str, float] = MappingProxyType({})) -> Stored:
        assert data.prepared is not None
        double = momenta == torch.float64
        source = Source.open(data.prepared, name, slots, index=index, double=double, fraction=fraction)
        return Stored(source, names, rates)

    sides = {
        "train": side("train", data.fraction, data.sampling_rates),
        "validation": side("validation", data.fraction),
        "test": side("test"),
    }
    check_sides(
        settings,
        {
            name: dict(zip(index.processes, stored.source.counts.sum(0).tolist(), strict=True))
            for name, stored in sides.items()
        },
        yields,
        data.fraction,
    )
    return Sample(
        task=settings.settled({name: total for name, total in yields["train"].items() if name in names}),
        train=sides["train"],
        validation=sides["validation"],
        test=sides["test"],
        yields={name: sum(totals[name] for totals in yields.values()) for name in names},
        fingerprint=index.fingerprint,
        provenance=index.provenance,
    )


def weighted(events: Events) -> Events:
    """The events with a weight; the others stand for nothing and would only dilute a batch."""
    return events[events.weight != 0]
