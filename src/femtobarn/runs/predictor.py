"""Predictor: a trained run, ready to predict for any events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from femtobarn.evaluation.predictions import Predictions
from femtobarn.evaluation.runs import CONFIG, META, TRAIN_AGAIN, read_config, read_meta
from femtobarn.events import Events
from femtobarn.events.storage.checksums import CheckedJson
from femtobarn.experiments import experiment as experiments
from femtobarn.experiments.experiment import Experiment
from femtobarn.inputs import Batch, make_batch
from femtobarn.inputs.feature_sets import check_features
from femtobarn.models import Network
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.splits import DataSplits, load_splits
from femtobarn.runs.trained_model import NetworkModel, TrainedModel, new_model
from femtobarn.tasks.base import FittedTask
from femtobarn.tasks.classification.classifier import Classifier
from femtobarn.tasks.registry import task_kind


def is_trained(folder: Path) -> bool:
    """True for a folder in which the training is complete."""
    return (folder / META).is_file()


def require_trained(folder: Path) -> None:
    """Check that there is a trained run in a folder.

    Raises:
        ValueError: there is none, or its training is not finished.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} is no run folder: there is no {CONFIG} in it")
    if not is_trained(folder):
        raise ValueError(f"the training in {folder} is not finished; resume it with `femtobarn train`")


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained model with its task: predictions for any events.

    Networks and boosted trees have the same methods.

    Args:
        experiment: the configuration.
        task: the task, fitted to the training events.
        model: the network or the trees.
        metadata: content of `meta.json`; empty for a model that is not stored.

    Example:
        >>> predictor = Predictor.load("runs/four-top-small/ParT/seed-1")  # doctest: +SKIP
        >>> predictor.predict(femtobarn.four_top())["score"]  # doctest: +SKIP
    """

    experiment: Experiment
    task: FittedTask
    model: TrainedModel
    metadata: Mapping[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> Predictor:
        """Predictor of a run folder; its files are compared with the checksums in `meta.json`.

        Raises:
            ValueError: no trained run in the folder, or a file is missing, was changed or damaged.
        """
        folder = Path(folder)
        require_trained(folder)
        experiment = experiments.load(folder / CONFIG)
        meta = read_meta(folder)
        read_config(folder, meta)
        n_outputs = _restore(experiment, meta, folder, None).outputs
        model = new_model(experiment, n_outputs)
        tensors = model.load(folder, meta)
        return cls(experiment, _restore(experiment, meta, folder, tensors), model, meta.content)

    @property
    def network(self) -> Network:
        """The network: an `nn.Module` from a batch to outputs.

        Raises:
            ValueError: the model is no network.
        """
        if not isinstance(self.model, NetworkModel):
            raise ValueError(f"model {self.experiment.model.name} is no network, but boosted trees")
        return self.model.network

    def batch(self, events: Events) -> Batch:
        """Tensors of any events as this model takes them: its number of slots, momenta in its precision."""
        return make_batch(events, self.experiment.inputs.slots, self.experiment.model.momenta)

    def predict_logits(self, events: Events) -> Tensor:
        """Outputs of the model for any events, shape (events, outputs).

        Raises:
            ValueError: the events lack columns from which the features are made.
        """
        check_features(events, self.experiment.inputs.features)
        return self.model.outputs(self.batch(events))

    def predict(self, events: Events) -> dict[str, NDArray[Any]]:
        """Columns of predictions for any events: `score` and `probability_<class>` of a classifier.

        Raises:
            ValueError: the events lack columns from which the features are made.
        """
        return self.task.predict(self.predict_logits(events))

    def predict_proba(self, events: Events) -> NDArray[np.float64]:
        """Probability of each class at equal yields, shape (events, classes), in the order of `task.names`.

        Raises:
            ValueError: the task has no probabilities, or the events lack columns.
        """
        columns = self.predict(events)
        missing = [name for name in self.task.names if f"probability_{name}" not in columns]
        if missing:
            raise ValueError(f"task {self.experiment.task.kind} predicts {', '.join(columns)}, no probabilities")
        return np.stack([columns[f"probability_{name}"] for name in self.task.names], axis=-1).astype(np.float64)

    def predictions(self, events: Events) -> Predictions:
        """Predictions for other events, with what their metrics need; the weights of the events are kept.

        Raises:
            ValueError: the events lack columns from which features or targets are made.
        """
        return self.task.predictions(events, self.predict(events), self.experiment.evaluation)

    def splits(self, folder: Path, cache: EventCache | None = None) -> DataSplits:
        """Events of the run in this folder, split as for its training.

        Raises:
            ValueError: they have changed since.
        """
        recorded = self.metadata.get("inputs")
        if not isinstance(recorded, Mapping) or "fingerprint" not in recorded:
            raise ValueError(f"{folder / META} lacks the fingerprint of the events; {TRAIN_AGAIN}")
        splits = load_splits(self.experiment, cache)
        if splits.fingerprint != recorded["fingerprint"]:
            raise ValueError(f"{folder}: the events have changed since the training; train in another folder")
        return splits


def _restore(
    experiment: Experiment, meta: CheckedJson, folder: Path, tensors: Mapping[str, Tensor] | None
) -> FittedTask:
    """The task of a run; without tensors, one that only knows its number of outputs."""
    kind = task_kind(experiment.task.kind)
    try:
        return kind.restore(experiment.task, meta.content["task"], tensors)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"{folder / META} lacks a valid description of the task ({error}); {TRAIN_AGAIN}") from None


def require_classifier(predictor: Predictor, folder: Path) -> Classifier:
    """The task of a run, for what is made for classifiers only.

    Raises:
        ValueError: a run of another task.
    """
    if not isinstance(predictor.task, Classifier):
        kind = predictor.experiment.task.kind
        raise ValueError(f"{folder} is a run of task {kind}; this needs a run of task classification")
    return predictor.task


def load_network(folder: str | Path) -> Network:
    """The trained network of a run: an `nn.Module` from a batch of raw objects to logits.

    `Predictor.load(folder).batch(events)` makes its input; networks that keep Lorentz symmetry take momenta in float64.

    Raises:
        ValueError: no trained run in the folder, or one of boosted trees.
    """
    return Predictor.load(folder).network


def predict(folder: str | Path, events: Events) -> Predictions:
    """Predictions of a run for other events of the same processes; their weights are kept.

    Raises:
        ValueError: no trained run in the folder, or events that the task cannot evaluate.
    """
    return Predictor.load(folder).predictions(events)
