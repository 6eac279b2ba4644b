"""Small trainings in float64 of every network, for tests of several processes; as a script under torchrun."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from femtobarn.events.shards.decode import Arrays
from femtobarn.events.shards.index import write_shards
from femtobarn.events.shards.source import Source
from femtobarn.inputs import Batch
from femtobarn.inputs.stream import Stream
from femtobarn.training import TrainingConfig, fit, parallel
from tests.models.test_contract import CASES, INTERACTIONS, OUTPUTS, build, emptied, events
from tests.support.sample import make_events
from tests.support.training_sample import weighted

#: 49 events: the last batch is a single one, which leaves one of two processes without any.
SETTINGS = TrainingConfig(epochs=2, batch_size=16, lr=1e-3, ema=0.9, clip=0.1, threads=1)


def data(seed: int, count: int = 49) -> tuple[Batch, tuple[Tensor, ...]]:
    """The first third of the events has next to no objects, the weights are far from equal."""
    random = torch.Generator().manual_seed(seed)
    batch = events(count, seed)
    few = emptied(batch).mask & (torch.arange(count) < count // 3)[:, None]
    batch = batch.replace(mask=torch.where((torch.arange(count) < count // 3)[:, None], few, batch.mask))
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


def prepare(folder: Path) -> None:
    """Row groups of no common size, with processes that are thinned, repeated and left out."""
    made = make_events(700, max_objects=6)
    made.weight[:] *= np.random.default_rng(0).uniform(0, 1, len(made)) ** 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("femtobarn.events.shards.index.MOST", 23)
        write_shards([made], folder, {"train": 0.6, "validation": 0.3, "test": 0.1}, shards=3)


def streamed(network: nn.Module, folder: Path) -> dict[str, Tensor]:
    """As `trained`, on prepared events, with the number of row groups that were read."""
    streams: dict[str, Stream] = {}
    for side in ("train", "validation"):
        source = Source.open(folder, side, 6)
        rates = [0.6, 1.0, 2.3, 1.0, 1.0] if side == "train" else None
        streams[side] = Stream(source, [0, 1, 1, 2, -1], [1 / source.magnitude.sum()] * 5, rates)
    read = 0
    group = Source.group

    def counted(source: Source, number: int) -> tuple[Arrays, NDArray[np.int64]]:
        nonlocal read
        read += source.side == "train"
        return group(source, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "group", counted)
        settings = SETTINGS.model_copy(update={"batch_size": 64})
        history = list(fit(network, mean, streams["train"], streams["validation"], settings, seed=3))
    losses = [number for epoch in history for number in (epoch.train_loss, epoch.valid_loss)]
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return tensors | {"losses": torch.tensor(losses, dtype=torch.float64), "read": torch.tensor(read)}


def mean(outputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return (nn.functional.cross_entropy(outputs, labels, reduction="none") * weights).mean()


#: Of those that train on prepared events.
STREAMED = [case for case in CASES if case[0] == "particlenet"][:1]

if __name__ == "__main__":
    place = Path(sys.argv[1])
    prepared = place / "prepared"
    cases = STREAMED if prepared.is_dir() else CASES
    networks = {"-".join(case): fresh(case) for case in cases}
    with parallel.joined("cpu"):
        for name, network in networks.items():
            found = streamed(network, prepared) if prepared.is_dir() else trained(network)
            save_file(found, place / f"{name}-{parallel.rank()}.safetensors")
