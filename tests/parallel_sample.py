"""Small trainings in float64 of every network, for tests of several processes; as a script under torchrun."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from femtobarn.inputs import Batch
from femtobarn.training import Training, fit, parallel
from tests.test_models_contract import CASES, INTERACTIONS, OUTPUTS, build, emptied, events
from tests.training_sample import weighted

#: 49 events: the last batch is a single one, which leaves one of two processes without any.
SETTINGS = Training(epochs=2, batch_size=16, lr=1e-3, ema=0.9, clip=0.1, threads=1)


def data(seed: int, count: int = 49) -> tuple[Batch, tuple[Tensor, ...]]:
    """The first third of the events has next to no objects, the weights are far from equal."""
    random = torch.Generator().manual_seed(seed)
    batch = events(count, seed)
    few = emptied(batch).mask & (torch.arange(count) < count // 3)[:, None]
    batch = batch._replace(mask=torch.where((torch.arange(count) < count // 3)[:, None], few, batch.mask))
    weights = torch.rand(count, generator=random, dtype=torch.float64) ** 4
    return batch, (torch.arange(count) % OUTPUTS, weights)


def fresh(case: tuple[str, str]) -> nn.Module:
    """Without dropout, which is another for each process."""
    network = build(case[0], INTERACTIONS[case[1]])
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def trained(network: nn.Module) -> dict[str, Tensor]:
    """Losses of all epochs, and weights at the end."""
    history = list(fit(network, weighted, data(1), data(2), SETTINGS, seed=3))
    losses = [number for epoch in history for number in (epoch.train_loss, epoch.valid_loss)]
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return tensors | {"losses": torch.tensor(losses, dtype=torch.float64)}


if __name__ == "__main__":
    networks = {"-".join(case): fresh(case) for case in CASES}
    with parallel.joined("cpu"):
        for name, network in networks.items():
            save_file(trained(network), Path(sys.argv[1]) / f"{name}-{parallel.rank()}.safetensors")
