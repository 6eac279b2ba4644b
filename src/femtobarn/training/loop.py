"""Training loop: it yields after each epoch, the caller decides when to stop, and it depends on no task."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from femtobarn.events.storage.atomic import unchecked
from femtobarn.inputs.datasets import Dataset
from femtobarn.training import checkpoint as files
from femtobarn.training import distributed
from femtobarn.training.dataloader import Loader, make_loader, n_batches
from femtobarn.training.devices import (
    compile_network,
    matmul_precision,
    resolve_device,
    retain_freed_memory,
    use_threads,
)
from femtobarn.training.distributed import DistributedNetwork
from femtobarn.training.ema import exponential_moving_average
from femtobarn.training.errors import nonfinite_loss
from femtobarn.training.history import EpochProgress, EpochResult, early_stop
from femtobarn.training.optimizers import optimizer
from femtobarn.training.pretrained import PretrainedParameters
from femtobarn.training.schedules import factor
from femtobarn.training.settings import FORMER_KEYS, RUNTIME_SETTINGS, TrainingConfig
from femtobarn.training.task import Task

#: Steps after which random numbers are seeded again; a training is saved, and resumes, at these steps.
RESEED_INTERVAL = 64


def fit(
    network: nn.Module,
    task: Task,
    train: Dataset,
    valid: Dataset,
    settings: TrainingConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    pretrained: PretrainedParameters = PretrainedParameters(),  # noqa: B008  # frozen
    check: Callable[[], object] = unchecked,
    reseed_interval: int = RESEED_INTERVAL,
) -> Iterator[EpochResult]:
    """Train a network in place, epoch by epoch; when it ends, or the caller breaks, the network has the best weights.

    With a checkpoint, a training that was killed resumes: the finished epochs are yielded again from the file, then new
    ones follow, with the losses and weights of an uninterrupted training. Shuffling and dropout are functions of (seed,
    epoch, step), so the file needs no state of random numbers.

    Args:
        network: maps a batch to outputs; returned to the device from which it came.
        task: makes the targets and computes the loss of a batch; see `femtobarn.training.task`.
        train, valid: events in memory, which are copied to the device, or in a folder of shards.
        settings: see `TrainingConfig`.
        seed: random seed of shuffling and dropout; the initial weights are those of `network`.
        checkpoint: file for the state after each epoch, and within long ones; None keeps none.
        pretrained: initial weights from an earlier training, if any.
        check: called before the checkpoint is written; see `femtobarn.training.checkpoint.save`.
        reseed_interval: steps after which random numbers are seeded again.

    Raises:
        ValueError: no events, or a checkpoint of another training or of one with other initial weights.
        FloatingPointError: a loss that is not finite; names epoch, batch and remedies.

    Example:
        >>> for epoch in fit(network, task, train, valid, TrainingConfig(epochs=20), seed=1):  # doctest: +SKIP
        ...     print(epoch.number, epoch.valid_loss)
    """
    for name, dataset in (("training", train), ("validation", valid)):
        if not len(dataset):
            raise ValueError(f"no {name} events")
    use_threads(settings.threads)
    device = resolve_device(settings.device)
    home = next(network.parameters()).device
    loaders = make_loader(train, task, settings, device, seed), make_loader(valid, task, settings, device)
    training = _Training(network.to(device), task, *loaders, settings, seed, pretrained, reseed_interval)
    if checkpoint is not None and checkpoint.exists():
        training.restore(checkpoint)
    distributed.broadcast_state(nn.ModuleList([network, training.validated]), training.description())
    try:
        yield from tuple(training.history)
        while not training.is_finished:
            with matmul_precision(settings.precision, device), retain_freed_memory(device):
                epoch = training.run_epoch(lambda progress: training.save(checkpoint, progress, check))
            training.save(checkpoint, EpochProgress(), check)
            yield epoch
    finally:
        for loader in loaders:
            loader.close()
        if training.best is not None:
            network.load_state_dict(training.best)
        network.to(home).eval()


@torch.no_grad()
def validation_loss(network: nn.Module, task: Task, loader: Loader, seed: int = 0) -> float:
    """Mean loss over all events of a loader: the losses of the batches, weighted by their numbers of events.

    Args:
        network: put into evaluation mode.
        task: computes the loss of a batch.
        loader: events in a fixed order.
        seed: random seed of a loss that draws random numbers; every call draws the same.
    """
    network.eval()
    call = DistributedNetwork(network)
    call.seed_random(seed)
    losses, counts = [], []
    for batch, targets in loader.batches(0):
        losses.append(task.loss(call, batch, targets))
        counts.append(batch.n_events)
    total = torch.stack(losses).cpu().double() @ torch.tensor(counts, dtype=torch.float64)
    return float(total) / sum(counts)


class _Training:
    """State of a training: weights, optimizer, average, history and position."""

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        train: Loader,
        valid: Loader,
        settings: TrainingConfig,
        seed: int,
        pretrained: PretrainedParameters,
        reseed_interval: int,
    ) -> None:
        self.network, self.task, self.train, self.valid = network, task, train, valid
        self.settings, self.seed, self.pretrained = settings, seed, pretrained
        self.reseed_interval = reseed_interval
        self.optimizer = optimizer(
            settings.optimizer,
            network,
            settings.lr,
            settings.weight_decay,
            pretrained.names,
            settings.backbone_lr_factor,
            settings.optimizer_arguments,
        )
        self.average = exponential_moving_average(network, settings.ema) if settings.ema else None
        self.call = DistributedNetwork(network, compile_network(network) if settings.compile else None)
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.n_steps = n_batches(train)  # per epoch
        self.history: list[EpochResult] = []
        self.progress = EpochProgress()
        self.saved_at = time.monotonic()
        self.best: dict[str, Tensor] | None = None

    @property
    def validated(self) -> nn.Module:
        """Network that is validated and kept."""
        return self.network if self.average is None else self.average.module

    @property
    def is_finished(self) -> bool:
        return len(self.history) >= self.settings.epochs or early_stop(self.history, self.settings.patience)

    def run_epoch(self, save: Callable[[EpochProgress], None]) -> EpochResult:
        """Train for one epoch and validate; `save` is called within long epochs."""
        started = time.perf_counter()
        number = len(self.history) + 1
        train_loss = self._train_epoch(number, save)
        valid_loss = validation_loss(self.validated, self.task, self.valid, self.seed)
        valid_loss = distributed.broadcast_scalar(valid_loss)
        if not math.isfinite(valid_loss):
            place = f"epoch {number}"
            raise FloatingPointError(nonfinite_loss("validation loss", valid_loss, place, self.network, self.settings))
        best = valid_loss < min((epoch.valid_loss for epoch in self.history), default=math.inf)
        if best:
            self.best = files.clone_state_dict(self.validated)
        seconds = self.progress.seconds + time.perf_counter() - started
        lr = float(self.optimizer.param_groups[0]["lr"])
        self.history.append(EpochResult(number, train_loss, valid_loss, lr, seconds, best))
        self.progress = EpochProgress()
        return self.history[-1]

    def _train_epoch(self, number: int, save: Callable[[EpochProgress], None]) -> float:
        """Train on the events of an epoch, from the saved position; returns the mean loss."""
        self.network.train()
        started = time.perf_counter()
        first, total = self.progress.step, self.progress.loss
        for index, (batch, targets) in enumerate(self.train.batches(number, first), first):
            if index % self.reseed_interval == 0:
                if index > first and time.monotonic() - self.saved_at >= 60 * self.settings.save_minutes:
                    save(EpochProgress(index, total, self.progress.seconds + time.perf_counter() - started))
                interval = index // self.reseed_interval
                self.call.seed_random(self.seed, number, *([interval] if interval else []))
            total += self._step(number, index, batch, targets) * batch.n_events
        return total / self.train.n_events

    def _step(self, number: int, index: int, batch: Any, targets: tuple[Tensor, ...]) -> float:
        """Update the weights on one batch; returns the loss."""
        settings = self.settings
        step = (number - 1) * self.n_steps + index
        fraction = factor(settings.schedule, step, self.n_steps * settings.epochs, settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.lr * fraction * group["share"]
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.task.loss(self.call, batch, targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            place = f"epoch {number}, batch {index + 1} of {self.n_steps}"
            raise FloatingPointError(nonfinite_loss("training loss", value, place, self.network, settings))
        loss.backward()  # type: ignore[no-untyped-call]
        distributed.sum_gradients(self.parameters)
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, settings.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return value

    def description(self) -> str:
        """What all processes must agree on before they train together."""
        losses = [(epoch.train_loss, epoch.valid_loss, epoch.best) for epoch in self.history]
        return json.dumps([self.identity(), losses, self.progress.step])

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with this training to continue it."""
        return {
            **self.settings.model_dump(mode="json", exclude=RUNTIME_SETTINGS),
            "seed": self.seed,
            "training events": self.train.n_events,
            "validation events": self.valid.n_events,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "start": self.pretrained.origin or None,
        }

    def save(self, path: Path | None, progress: EpochProgress, check: Callable[[], object]) -> None:
        """Write the state, at a position within an epoch."""
        self.saved_at = time.monotonic()
        if path is None or distributed.rank():
            return
        tensors, plain = files.optimizer_state(self.optimizer)
        history = [asdict(epoch) for epoch in self.history]
        files.save(
            path,
            {"identity": self.identity(), "history": history, "progress": asdict(progress), "optimizer": plain},
            check=check,
            network=self.network.state_dict(),
            average={} if self.average is None else self.average.state_dict(),
            best=self.best or {},
            optimizer=tensors,
        )

    def restore(self, path: Path) -> None:
        """Read the state that `save` wrote.

        Raises:
            ValueError: the file is damaged, or belongs to another training.
        """
        facts, groups = files.load(path)
        saved = facts["identity"]
        for key, value in self.identity().items():
            if value != (stored := saved.get(key, saved.get(FORMER_KEYS.get(key, "")))):
                difference = f"{path} is of another training: {key} was {stored} there and is {value} here"
                raise ValueError(f"{difference}; {files.REMEDY}")
        if "progress" not in facts:
            raise ValueError(f"{path} was written by an earlier version of femtobarn; {files.REMEDY}")
        self.history = [EpochResult(**entry) for entry in facts["history"]]
        self.network.load_state_dict(groups["network"])
        if self.average is not None:
            self.average.load_state_dict(groups["average"])
        self.best = groups.get("best")
        self.progress = EpochProgress(**facts["progress"])
        files.restore_optimizer(self.optimizer, groups.get("optimizer", {}), facts["optimizer"])
