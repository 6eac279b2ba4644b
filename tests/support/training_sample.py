"""A network with batch norm and dropout on toy events, for tests of the loop; as a script it trains until killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from femtobarn.inputs import Batch
from femtobarn.training import PretrainedParameters, TrainingConfig, fit

Data = tuple[Batch, tuple[Tensor, ...]]

NEW = PretrainedParameters()

SETTINGS = TrainingConfig(epochs=6, batch_size=32, lr=3e-3, ema=0.9, warmup=3, threads=1)


class Toy(nn.Module):
    """Everything that makes a resumption hard: running statistics, dropout, an integer buffer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))

    def forward(self, batch: Batch) -> Tensor:
        outputs: Tensor = self.layers(batch.momenta.sum(1))
        return outputs


def data(count: int = 200, seed: int = 0) -> Data:
    random = torch.Generator().manual_seed(seed)
    momenta = torch.randn(count, 2, 4, generator=random)
    labels = (momenta.sum(1)[:, 0] + 0.5 * torch.randn(count, generator=random) > 0).long()
    batch = Batch(
        momenta,
        torch.ones(count, 2, dtype=torch.long),
        torch.ones(count, 2, dtype=torch.bool),
        momenta[:, 0, :2],
        momenta[..., :0],
    )
    return batch, (labels, torch.rand(count, generator=random))


def weighted(outputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return (cross_entropy(outputs, labels, reduction="none") * weights).sum() / weights.sum()


def train(
    network: nn.Module, checkpoint: Path | None = None, pretrained: PretrainedParameters = NEW, **changes: Any
) -> Any:
    settings = TrainingConfig(**(SETTINGS.model_dump() | changes))
    return fit(network, weighted, data(), data(100, 1), settings, seed=5, checkpoint=checkpoint, pretrained=pretrained)


if __name__ == "__main__":
    for epoch in train(Toy(), Path(sys.argv[1])):
        print(epoch.number, flush=True)
