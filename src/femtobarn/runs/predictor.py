"""Trained: a run read back, ready to score any events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from femtobarn.evaluation.runs import (
    CONFIG,
    META,
    TRAIN_AGAIN,
    TREES,
    WEIGHTS,
    read_config,
    read_meta,
)
from femtobarn.events import Events
from femtobarn.events.storage.checksums import CheckedJson, compare_checksums
from femtobarn.experiments import experiment as experiments
from femtobarn.experiments.experiment import Experiment
from femtobarn.inputs import Batch, Inputs, make_batch
from femtobarn.inputs.columns import columns
from femtobarn.inputs.constituents import suits
from femtobarn.inputs.datasets import Dataset
from femtobarn.models import BDT, Network
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.splits import DataSplits, load_splits
from femtobarn.tasks.classification.classifier import Classifier
from femtobarn.tasks.classification.scores import Scores
from femtobarn.training import resolve_device, use_threads
from femtobarn.training.inference import predict_outputs
from femtobarn.training.tensorfile import load_tensors


def is_trained(folder: Path) -> bool:
    """True for a folder in which the training is complete."""
    return (folder / META).is_file()


def load_network(folder: str | Path) -> Network:
    """The trained network of a run, ready to score: raw objects in, logits out.

    `Trained.load(folder).batch(events)` makes what it takes; networks that keep Lorentz symmetry take momenta in
    float64.

    Raises:
        ValueError: no trained run in the folder, or one of boosted trees.
    """
    trained = Trained.load(folder)
    if not isinstance(trained.model, Network):
        raise ValueError(f"{folder} holds boosted trees, no network")
    return trained.model


def score(folder: str | Path, events: Events) -> Scores:
    """Scores of other events of the same processes by the model of a run; their weights are kept.

    Raises:
        ValueError: no trained run in the folder, or an event of a process that the task does not know.
    """
    trained = Trained.load(folder)
    trained.task.labels(events)
    columns = trained.score(events)
    return as_scores(trained.task, events, columns, trained.experiment.evaluation.luminosity, None)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained run, read back: any events can be scored with it.

    Args:
        experiment: the configuration.
        meta: what `meta.json` holds.
        model: network or boosted trees.
        task: classes, priors and score.
    """

    experiment: Experiment
    meta: Mapping[str, Any]
    model: Network | BDT
    task: Classifier

    @classmethod
    def load(cls, folder: str | Path) -> Trained:
        """The trained run in a folder; its files are compared with the checksums in `meta.json`.

        Raises:
            ValueError: no trained run in the folder, or a file is missing, was changed or damaged.
        """
        folder = Path(folder)
        require_trained(folder)
        experiment = experiments.load(folder / CONFIG)
        meta = read_meta(folder)
        read_config(folder, meta)
        task = _task(experiment, meta, folder)
        if experiment.model.is_network:
            network = build(experiment, task.outputs)
            set_weights(network, read_weights(folder / WEIGHTS, meta), folder / WEIGHTS)
            return cls(experiment, meta.content, network.eval(), task)
        compare_checksums(folder, meta.files, [TREES], TRAIN_AGAIN)
        sizes = Inputs(experiment.inputs.interactions, experiment.inputs.features).sizes(task.outputs)
        trees = BDT(sizes, **experiment.model.settings).load(folder / TREES)
        return cls(experiment, meta.content, trees, task)

    def splits(self, folder: Path, cache: EventCache | None = None) -> DataSplits:
        """Events of the run in this folder, split as for its training.

        Raises:
            ValueError: they have changed since.
        """
        recorded = self.meta.get("inputs")
        if not isinstance(recorded, Mapping) or "fingerprint" not in recorded:
            raise ValueError(f"{folder / META} lacks the fingerprint of the events; {TRAIN_AGAIN}")
        found = load_splits(self.experiment, cache)
        if found.fingerprint != recorded["fingerprint"]:
            raise ValueError(f"{folder}: the events have changed since the training; train in another folder")
        return found

    def score(self, events: Events) -> dict[str, NDArray[np.float32]]:
        """Columns `score` and `probability_<class>` for any events, of whatever process.

        Raises:
            ValueError: the events lack what the features of this model are made of.
        """
        suits(events, self.experiment.inputs.features)
        return self.task.scores(self.outputs(self.batch(events)))

    def batch(self, events: Events) -> Batch:
        """Any events as this model sees them: its number of slots, momenta in its precision."""
        return make_batch(events, self.experiment.inputs.slots, self.experiment.model.momenta)

    def judged(self, dataset: Dataset, table: NDArray[np.float32] | None = None) -> tuple[Events, Tensor]:
        """Events of a dataset, without their objects if they are on disk, and their logits."""
        if isinstance(self.model, BDT):
            return dataset.events, self.outputs(dataset.batch, table)
        return dataset.predict(self.outputs)

    def outputs(self, batch: Batch, table: NDArray[np.float32] | None = None) -> Tensor:
        """Logits of each event; `table` are its columns, if they are known already."""
        if isinstance(self.model, BDT):
            seen = self.experiment.inputs
            table = columns(batch, seen.interactions, seen.features)[1] if table is None else table
            return torch.from_numpy(self.model.predict(table)).clamp_min(1e-300).log()
        settings = self.experiment.training
        use_threads(settings.threads)
        device = resolve_device(settings.device)
        return predict_outputs(self.model.to(device), batch.to(device)).cpu()


def require_trained(folder: Path) -> None:
    """Makes sure that there is a trained run in a folder.

    Raises:
        ValueError: there is none; the message says how far it is.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} is no run folder: there is no {CONFIG} in it")
    if not is_trained(folder):
        raise ValueError(f"the training in {folder} is not finished; `femtobarn train` goes on with it")


def read_weights(path: Path, meta: CheckedJson) -> dict[str, Tensor]:
    """Weights of a trained network, compared with their checksums.

    Args:
        path: the safetensors file of a run.
        meta: of the run, from `femtobarn.evaluation.runs.read_meta`.

    Raises:
        ValueError: no such file, or it was changed or damaged.
    """
    if path.is_file():  # anything else is named below
        compare_checksums(path.parent, meta.files, [path.name], TRAIN_AGAIN)
    return load_tensors(path, "file of weights", TRAIN_AGAIN)[0]


def set_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Gives a network the weights of a file.

    Raises:
        ValueError: names, shapes or types are not those of the network; the message names the first.
    """
    for name, value in network.state_dict().items():
        right = f"{list(value.shape)} of {value.dtype}"
        if name not in weights:
            raise ValueError(f"{path} lacks {name}, {right}; {TRAIN_AGAIN}")
        if weights[name].shape != value.shape or weights[name].dtype != value.dtype:
            there = f"{list(weights[name].shape)} of {weights[name].dtype}"
            raise ValueError(f"{path} holds {name} as {there}, but the network of the run has {right}; {TRAIN_AGAIN}")
    if more := sorted(set(weights) - set(network.state_dict())):
        raise ValueError(f"{path} holds {more[0]}, which the network of the run lacks; {TRAIN_AGAIN}")
    try:
        network.load_state_dict(dict(weights))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is of another network than the run: {error}; {TRAIN_AGAIN}") from None


def _task(experiment: Experiment, meta: CheckedJson, folder: Path) -> Classifier:
    try:
        return Classifier(experiment.task, **meta.content["task"])
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"{folder / META} does not say what the run classifies ({error}); {TRAIN_AGAIN}") from None


def build(experiment: Experiment, outputs: int) -> Network:
    """The untrained network of an experiment; the same seed gives the same initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(experiment.seed)
        seen, settings = experiment.inputs, experiment.model.settings
        inputs = Inputs(seen.interactions, seen.features, self_pairs=settings.get("self_pairs", False))
        architecture: nn.Module = experiment.model.spec.build(inputs.sizes(outputs), **settings)
    return Network(inputs, architecture)


def as_scores(
    task: Classifier,
    events: Events,
    columns: Mapping[str, NDArray[np.float32]],
    luminosity: float,
    yields: Mapping[str, float] | None,
) -> Scores:
    """Scores with weights at `luminosity`; with `yields` (at the events' own) they sum to each process's full yield."""
    weight = events.expected(luminosity)
    for name, total in (yields or {}).items():
        mine = events.process == name
        held_out = float(events.weight[mine].sum())
        if not held_out > 0:
            raise ValueError(f"the {int(mine.sum())} held-out events of {name} have no weight; more events are needed")
        weight[mine] *= total / held_out
    return Scores(
        process=events.process,
        number=events.number,
        hard=events.hard,
        weight=weight,
        score=columns["score"],
        signal=task.signal,
        probabilities={name: columns[f"probability_{name}"] for name in task.names},
        luminosity=luminosity,
    )
