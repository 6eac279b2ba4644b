"""A network with batch norm and dropout, and tasks, on toy events, for tests of the loop; as a script it trains."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from femtobarn.events import Events
from femtobarn.inputs import Batch
from femtobarn.inputs.datasets import Dataset, InMemoryDataset
from femtobarn.inputs.event_columns import EventColumns
from femtobarn.training import PretrainedParameters, Task, TrainingConfig, fit, predict_outputs
from femtobarn.training.task import NetworkCall

NOT_PRETRAINED = PretrainedParameters()

SETTINGS = TrainingConfig(epochs=6, batch_size=32, lr=3e-3, ema=0.9, warmup=3, threads=1)


class Toy(nn.Module):
    """Everything that makes a resumption hard: running statistics, dropout, an integer buffer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))

    def latent(self, batch: Batch) -> Tensor:
        latent: Tensor = self.layers[:4](batch.momenta.sum(1))
        return latent

    def forward(self, batch: Batch) -> Tensor:
        outputs: Tensor = self.layers[4](self.latent(batch))
        return outputs


class Classify:
    """Classes are groups of processes; the loss is the mean of the weighted cross-entropies.

    Args:
        classes: class of each process; others take no part.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, classes: Mapping[str, int]) -> None:
        self.classes = classes

    def weight_factors(self, absolute_weights: Mapping[str, float]) -> dict[str, float]:
        return dict.fromkeys(self.classes, 1 / sum(absolute_weights.get(name, 0.0) for name in self.classes))

    def targets(self, columns: EventColumns) -> tuple[Tensor, Tensor]:
        labels = np.array([self.classes.get(name, -1) for name in columns.processes])[columns.process]
        return torch.from_numpy(labels), torch.from_numpy(columns.weight)

    def loss(self, network: NetworkCall, batch: Batch, targets: tuple[Tensor, ...]) -> Tensor:
        labels, weights = targets
        outputs = network(batch)
        return (cross_entropy(outputs, labels, reduction="none") * weights.to(outputs)).mean()


class Regress(Classify):
    """Regression of MET and another column from noisy momenta, with a penalty on the latent vectors."""

    columns = ("MET", "height")

    def targets(self, columns: EventColumns) -> tuple[Tensor, Tensor]:
        values = np.stack([np.log(columns.values["MET"]), columns.values["height"]], axis=-1)
        return torch.from_numpy(values), torch.from_numpy(columns.weight)

    def loss(self, network: NetworkCall, batch: Batch, targets: tuple[Tensor, ...]) -> Tensor:
        values, weights = targets
        noise = torch.randn(batch.n_events, 1, 1, dtype=batch.momenta.dtype)
        noisy = batch.replace(momenta=batch.momenta * (1 + 0.1 * noise))
        outputs = network(noisy)[:, :2]
        residuals = outputs - values.to(outputs) - 0.1 * noise[:, 0]
        penalty = network.latent(batch).square().mean(-1)
        loss: Tensor = ((residuals.square().sum(-1) + 0.01 * penalty) * weights.to(outputs)).mean()
        return loss


TASK = Classify({"a": 0, "b": 1})


def dataset_of(batch: Batch, process: Any, weight: Any, **context: Any) -> InMemoryDataset:
    """Dataset of a batch whose events have no objects as records."""
    n_events = len(weight)
    columns = {"MET": np.ones(n_events), "phi_MET": np.zeros(n_events), **context}
    empty = ak.zip({name: np.zeros(0) for name in ("pt", "eta", "phi", "E", "kind")}, with_name="Momentum4D")
    events = Events(
        particles=ak.unflatten(empty, np.zeros(n_events, np.int64)),
        context=ak.zip(columns),
        weight=np.asarray(weight, dtype=np.float64),
        process=np.asarray(process),
        number=np.arange(n_events),
        hard=np.arange(n_events),
    )
    return InMemoryDataset(events, batch)


def data(count: int = 200, seed: int = 0) -> InMemoryDataset:
    random = torch.Generator().manual_seed(seed)
    momenta = torch.randn(count, 2, 4, generator=random)
    is_b = momenta.sum(1)[:, 0] + 0.5 * torch.randn(count, generator=random) > 0
    batch = Batch(
        momenta,
        torch.ones(count, 2, dtype=torch.long),
        torch.ones(count, 2, dtype=torch.bool),
        momenta[:, 0, :2],
        momenta[..., :0],
    )
    context = {"MET": momenta.sum(1)[:, 1].exp().numpy(), "height": momenta.sum(1)[:, 2].numpy()}
    return dataset_of(batch, np.where(is_b, "b", "a"), torch.rand(count, generator=random).numpy(), **context)


def full_loss(network: nn.Module, dataset: InMemoryDataset, task: Classify = TASK) -> float:
    """Loss of all events in one call."""
    outputs = predict_outputs(network, dataset.batch, 1000)
    return float(task.loss(lambda _: outputs, dataset.batch, dataset.targets(task)))  # type: ignore[arg-type]


def train(
    network: nn.Module,
    checkpoint: Path | None = None,
    pretrained: PretrainedParameters = NOT_PRETRAINED,
    task: Task = TASK,
    train: Dataset | None = None,
    **changes: Any,
) -> Any:
    settings = TrainingConfig(**(SETTINGS.model_dump() | changes))
    return fit(
        network, task, train or data(), data(100, 1), settings, seed=5, checkpoint=checkpoint, pretrained=pretrained
    )


if __name__ == "__main__":
    for epoch in train(Toy(), Path(sys.argv[1])):
        print(epoch.number, flush=True)
