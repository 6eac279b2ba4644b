"""Models of a run: networks and boosted trees behind the same methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from femtobarn.evaluation.runs import TRAIN_AGAIN, TREES, WEIGHTS
from femtobarn.events import Events
from femtobarn.events.storage.atomic import unchecked
from femtobarn.events.storage.checksums import CheckedJson, compare_checksums
from femtobarn.experiments.experiment import Experiment
from femtobarn.explain import Tally, explain_network, explain_trees
from femtobarn.inputs import Batch, Inputs
from femtobarn.inputs.columns import columns
from femtobarn.inputs.datasets import Dataset
from femtobarn.models import BDT, Network
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.operations import mean_operations
from femtobarn.runs.pretrained import PretrainedWeights, apply_pretrained
from femtobarn.runs.splits import DataSplits
from femtobarn.runs.weights import read_weights, set_weights, write_weights
from femtobarn.tasks.base import FittedTask
from femtobarn.training import EpochResult, PretrainedParameters, fit, resolve_device, use_threads
from femtobarn.training.inference import predict_outputs

#: Called after each epoch or iteration with its history entry.
Watch = Callable[[dict[str, Any]], None]


@runtime_checkable
class TrainedModel(Protocol):
    """A model of any family, in training and in use."""

    @property
    def file(self) -> str:
        """Name of its file in the run folder."""

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters; 0 for trees."""

    @property
    def n_epochs(self) -> int:
        """Most epochs, or iterations, of a training."""

    @property
    def device(self) -> str:
        """Device of the training: `cpu`, `cuda` or `mps`."""

    def fit(
        self,
        splits: DataSplits,
        pretrained: PretrainedWeights | None,
        cache: EventCache,
        *,
        checkpoint: Path,
        watch: Watch,
        check: Callable[[], object] = unchecked,
    ) -> list[dict[str, Any]]:
        """Train on the training events; returns one entry per epoch or iteration."""

    def save(self, folder: Path, task: FittedTask, *, check: Callable[[], object] = unchecked) -> None:
        """Write the file of the model."""

    def load(self, folder: Path, meta: CheckedJson) -> dict[str, Tensor]:
        """Read the file of the model; returns the tensors of the task.

        Raises:
            ValueError: no such file, or it was changed, damaged or written by another model.
        """

    def outputs(self, batch: Batch) -> Tensor:
        """Outputs of each event, shape (events, outputs): logits of a classifier."""

    def predict_dataset(
        self, dataset: Dataset, cache: EventCache, columns: Sequence[str] = ()
    ) -> tuple[Events, Tensor]:
        """Events of a dataset, without their objects if they are on disk, and their outputs.

        Args:
            dataset: the events.
            cache: for what was computed from them.
            columns: numeric columns of the events that are needed, if they are on disk.
        """

    def costs(self, batches: Sequence[Batch]) -> dict[str, float | None]:
        """Operations per event (`flops`, `elementwise`), and `leaves` of trees; None for what it does not have."""

    def explain(
        self, log_odds: Callable[[Tensor], Tensor], batch: Batch, tally: Tally, watch: Callable[[str, int], None]
    ) -> dict[str, Any]:
        """Attributions of the log odds; see `femtobarn.explain`."""


class NetworkModel:
    """A network of a run.

    Args:
        experiment: the configuration.
        outputs: number of outputs; the initial weights depend on the seed of the experiment alone.
    """

    file = WEIGHTS

    def __init__(self, experiment: Experiment, outputs: int) -> None:
        self.experiment = experiment
        self.network = build(experiment, outputs)

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def n_epochs(self) -> int:
        """Most epochs of the training."""
        return self.experiment.training.epochs

    @property
    def device(self) -> str:
        """Device of the training."""
        return resolve_device(self.experiment.training.device).type

    def fit(
        self,
        splits: DataSplits,
        pretrained: PretrainedWeights | None,
        cache: EventCache,
        *,
        checkpoint: Path,
        watch: Watch,
        check: Callable[[], object] = unchecked,
    ) -> list[dict[str, Any]]:
        """Train from pretrained weights, or from random ones and features standardised to the training events."""
        history: list[dict[str, Any]] = []
        for epoch in self._epochs(splits, pretrained, checkpoint, check):
            losses = {name: getattr(epoch, name) for name in ("train_loss", "valid_loss", "lr", "seconds")}
            history.append({"epoch": epoch.number, **losses})
            watch(history[-1])
        return history

    def _epochs(
        self,
        splits: DataSplits,
        pretrained: PretrainedWeights | None,
        checkpoint: Path,
        check: Callable[[], object],
    ) -> Iterator[EpochResult]:
        learned = PretrainedParameters()
        if pretrained is not None:
            learned = apply_pretrained(self.network, pretrained, tuple(splits.task.names))
        else:
            head = splits.train.head()
            self.network.inputs.fit(head.batch, torch.from_numpy(head.columns(splits.task).weight))
        return fit(
            self.network,
            splits.task,
            splits.train,
            splits.validation,
            self.experiment.training,
            seed=self.experiment.seed,
            checkpoint=checkpoint,
            pretrained=learned,
            check=check,
        )

    def save(self, folder: Path, task: FittedTask, *, check: Callable[[], object] = unchecked) -> None:
        """Write the weights, with the tensors of the task."""
        write_weights(folder / self.file, self.network, task.tensors(), check=check)

    def load(self, folder: Path, meta: CheckedJson) -> dict[str, Tensor]:
        """Read the weights; returns the tensors of the task.

        Raises:
            ValueError: no such file, or it was changed, damaged or written by another network.
        """
        weights, tensors = read_weights(folder / self.file, meta)
        set_weights(self.network, weights, folder / self.file)
        self.network.eval()
        return tensors

    def outputs(self, batch: Batch) -> Tensor:
        """Outputs of each event, by the device and threads of the training."""
        settings = self.experiment.training
        use_threads(settings.threads)
        device = resolve_device(settings.device)
        return predict_outputs(self.network.to(device), batch.to(device)).cpu()

    def predict_dataset(
        self, dataset: Dataset, cache: EventCache, columns: Sequence[str] = ()
    ) -> tuple[Events, Tensor]:
        """Events of a dataset and their outputs; events on disk are read in pieces."""
        return dataset.predict(self.outputs, columns)

    def costs(self, batches: Sequence[Batch]) -> dict[str, float | None]:
        """Operations per event."""
        flops, elementwise = mean_operations(self.network, batches)
        return {"flops": flops, "elementwise": elementwise, "leaves": None}

    def explain(
        self, log_odds: Callable[[Tensor], Tensor], batch: Batch, tally: Tally, watch: Callable[[str, int], None]
    ) -> dict[str, Any]:
        """Attributions by gradients, attention and relevance."""
        use_threads(self.experiment.training.threads)
        return explain_network(self.network, log_odds, batch, tally, watch)


class TreeModel:
    """Boosted trees of a run, trained on columns that are computed from the events.

    Args:
        experiment: the configuration.
        outputs: number of outputs.
    """

    file = TREES
    n_parameters = 0
    device = "cpu"

    def __init__(self, experiment: Experiment, outputs: int) -> None:
        self.experiment = experiment
        sizes = Inputs(experiment.inputs.interactions, experiment.inputs.features).sizes(outputs)
        self.trees = BDT(sizes, **experiment.model.settings)

    @property
    def n_epochs(self) -> int:
        """Most iterations of the training."""
        return self.trees.n_estimators

    def fit(
        self,
        splits: DataSplits,
        pretrained: PretrainedWeights | None,
        cache: EventCache,
        *,
        checkpoint: Path,
        watch: Watch,
        check: Callable[[], object] = unchecked,
    ) -> list[dict[str, Any]]:
        """Grow trees on the columns of the training events."""
        return self.fit_datasets(splits.train, splits.validation, splits.task, cache, watch)

    def fit_datasets(
        self,
        train: Dataset,
        validation: Dataset,
        task: FittedTask,
        cache: EventCache,
        watch: Watch | None = None,
    ) -> list[dict[str, Any]]:
        """Grow trees on the columns of one dataset until the validation loss on another one no longer falls."""
        parts = []
        for dataset in (train, validation):
            names, table = self._table(dataset, cache)
            columns_of_task = dataset.columns(task)
            labels, _ = task.targets(columns_of_task)
            parts.append((table, labels.numpy(), columns_of_task.weight))
        return self.trees.fit(
            *parts[0], *parts[1], names, self.experiment.seed, self.experiment.training.threads, watch
        )

    def _table(self, dataset: Dataset, cache: EventCache) -> tuple[list[str], np.ndarray]:
        inputs = self.experiment.inputs
        key = (dataset, inputs.interactions, inputs.features)
        return cache.get("tables", key, lambda: columns(dataset.batch, *key[1:]), max_entries=12)

    def save(self, folder: Path, task: FittedTask, *, check: Callable[[], object] = unchecked) -> None:
        """Write the trees."""
        self.trees.save(folder / self.file, check=check)

    def load(self, folder: Path, meta: CheckedJson) -> dict[str, Tensor]:
        """Read the trees.

        Raises:
            ValueError: no such file, or it was changed or damaged.
        """
        compare_checksums(folder, meta.files, [self.file], TRAIN_AGAIN)
        self.trees.load(folder / self.file)
        return {}

    def outputs(self, batch: Batch) -> Tensor:
        """Logarithm of the probability of each class."""
        return self._outputs(columns(batch, self.experiment.inputs.interactions, self.experiment.inputs.features)[1])

    def _outputs(self, table: np.ndarray) -> Tensor:
        return torch.from_numpy(self.trees.predict(table)).clamp_min(1e-300).log()

    def predict_dataset(
        self, dataset: Dataset, cache: EventCache, columns: Sequence[str] = ()
    ) -> tuple[Events, Tensor]:
        """Events of a dataset, in memory, and their outputs."""
        return dataset.events, self._outputs(self._table(dataset, cache)[1])

    def costs(self, batches: Sequence[Batch]) -> dict[str, float | None]:
        """Leaves of all trees."""
        return {"flops": None, "elementwise": None, "leaves": self.trees.leaves}

    def explain(
        self, log_odds: Callable[[Tensor], Tensor], batch: Batch, tally: Tally, watch: Callable[[str, int], None]
    ) -> dict[str, Any]:
        """Contributions of the columns."""
        watch("contributions of the columns", 0)
        names, table = columns(batch, self.experiment.inputs.interactions)
        return explain_trees(self.trees, log_odds, names, table, tally)


def new_model(experiment: Experiment, outputs: int) -> TrainedModel:
    """Untrained model of an experiment."""
    return (NetworkModel if experiment.model.is_network else TreeModel)(experiment, outputs)


def build(experiment: Experiment, outputs: int) -> Network:
    """Untrained network of an experiment; the same seed gives the same initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(experiment.seed)
        section, settings = experiment.inputs, experiment.model.settings
        inputs = Inputs(
            section.interactions,
            section.features,
            slots=section.slots,
            self_pairs=settings.get("self_pairs", False),
            augmentation=section.augmentation,
        )
        architecture: nn.Module = experiment.model.spec.build(inputs.sizes(outputs), **settings)
    return Network(inputs, architecture)
