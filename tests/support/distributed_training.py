"""Small trainings in float64 of every network, for tests of several processes; as a script under torchrun."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from femtobarn.events.shards.sharded_split import ShardedSplit
from femtobarn.events.shards.writing import write_shards
from femtobarn.inputs.datasets import InMemoryDataset, ShardedDataset
from femtobarn.training import Task, TrainingConfig, distributed, fit
from tests.models.test_contract import CASES, INTERACTIONS, OUTPUTS, build, emptied, events
from tests.support.sample import make_events
from tests.support.training_sample import Classify, Regress, dataset_of

#: 49 events: the last batch is a single one, which leaves one of two processes without any.
SETTINGS = TrainingConfig(epochs=2, batch_size=16, lr=1e-3, ema=0.9, clip=0.1, threads=1, num_workers=0, cache=False)

#: Processes of the events in memory, and of the shards, where the last one takes no part.
IN_MEMORY = {str(number): number for number in range(OUTPUTS)}
SHARDED = {"ttH": 0, "ttW": 1, "ttWW": 1, "ttZ": 2}

#: Number of times each event of a process is drawn per epoch.
SAMPLING_RATES = {"ttH": 0.6, "ttWW": 2.3}

#: Cases that train on shards, and on a task that draws noise and takes latent vectors.
STREAMED = [case for case in CASES if case[0] == "particlenet"][:1]
NOISY = [case for case in CASES if case[0] == "pfn"][:1]


def data(seed: int, count: int = 49) -> InMemoryDataset:
    """The first third of the events has next to no objects, the weights are far from equal."""
    random = torch.Generator().manual_seed(seed)
    batch = events(count, seed)
    is_sparse = (torch.arange(count) < count // 3)[:, None]
    batch = batch.replace(mask=torch.where(is_sparse, emptied(batch).mask, batch.mask))
    weights = torch.rand(count, generator=random, dtype=torch.float64) ** 4
    context = {"MET": 1 + np.arange(count) / count, "height": np.sin(np.arange(count))}
    return dataset_of(batch, [str(number % OUTPUTS) for number in range(count)], weights.numpy(), **context)


def fresh(case: tuple[str, str]) -> nn.Module:
    """Without dropout, which is another for each process."""
    network = build(case[0], INTERACTIONS[case[1]])
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def trained(
    network: nn.Module,
    task: Task,
    train: InMemoryDataset | ShardedDataset,
    valid: InMemoryDataset | ShardedDataset,
    batch_size: int = 16,
) -> dict[str, Tensor]:
    """Losses of all epochs, and weights at the end."""
    settings = SETTINGS.model_copy(update={"batch_size": batch_size})
    history = list(fit(network, task, train, valid, settings, seed=3))
    losses = [number for epoch in history for number in (epoch.train_loss, epoch.valid_loss)]
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return tensors | {"losses": torch.tensor(losses, dtype=torch.float64)}


def in_memory(network: nn.Module) -> dict[str, Tensor]:
    return trained(network, Classify(IN_MEMORY), data(1), data(2))


def noisy(network: nn.Module) -> dict[str, Tensor]:
    return trained(network, Regress(IN_MEMORY), data(1), data(2))


def prepare(folder: Path) -> None:
    """Row groups of no common size, with processes that are thinned, repeated and left out."""
    sample = make_events(700, max_objects=6)
    sample.weight[:] *= np.random.default_rng(0).uniform(0, 1, len(sample)) ** 3
    fractions = {"train": 0.6, "validation": 0.3, "test": 0.1}
    write_shards([sample], folder, fractions, shards=3, max_group_events=23)


class CountedSplit(ShardedSplit):
    """Split that counts the row groups that are read, in a list that copies of it share."""

    def read_group(self, number):
        self.verified[Path(f"read {len(self.verified)}")] = 0, 0
        return super().read_group(number)


def streamed(network: nn.Module, folder: Path) -> dict[str, Tensor]:
    """As `in_memory`, on shards, with the number of row groups that were read."""
    splits = {name: CountedSplit.open(folder, name, 6) for name in ("train", "validation")}
    rates = {"train": SAMPLING_RATES, "validation": {}}
    train, valid = (ShardedDataset(split, tuple(SHARDED), rates[name]) for name, split in splits.items())
    tensors = trained(network, Classify(SHARDED), train, valid, 64)
    n_read = sum(path.name.startswith("read") for path in splits["train"].verified)
    return tensors | {"read": torch.tensor(n_read)}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    prepared = place / "prepared"
    # made by each process alone: their batch norms have statistics of a first batch
    networks = {"-".join(case): fresh(case) for case in (STREAMED if prepared.is_dir() else CASES)}
    noisy_networks = {} if prepared.is_dir() else {"noisy-" + "-".join(case): fresh(case) for case in NOISY}
    with distributed.process_group("cpu"):
        for name, network in (networks | noisy_networks).items():
            work = noisy if name in noisy_networks else in_memory
            tensors = streamed(network, prepared) if prepared.is_dir() else work(network)
            save_file(tensors, place / f"{name}-{distributed.rank()}.safetensors")
