"""The training loop: it knows nothing about particles, yields after each epoch, and the caller decides."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from femtobarn.inputs.batch import Batch
from femtobarn.inputs.loader import batches
from femtobarn.training import checkpoint as files
from femtobarn.training import parallel
from femtobarn.training.complaint import not_finite
from femtobarn.training.devices import arithmetic, choose, on, use_threads
from femtobarn.training.ema import Average
from femtobarn.training.history import Epoch, stalled
from femtobarn.training.optimizers import optimizer
from femtobarn.training.schedules import factor
from femtobarn.training.settings import INCIDENTAL, Training

Data = tuple[Batch, tuple[Tensor, ...]]


def fit(
    network: nn.Module,
    loss: Callable[..., Tensor],
    train: Data,
    valid: Data,
    settings: Training,
    *,
    seed: int,
    checkpoint: Path | None = None,
) -> Iterator[Epoch]:
    """Train a network in place, epoch by epoch; when it ends, or the caller breaks, the network holds the best weights.

    With a checkpoint, a training that was killed goes on where it stood: the finished epochs are yielded again from the
    file, then new ones follow, and losses and weights are those of the unbroken training. Shuffling and dropout are
    functions of (seed, epoch), so the file needs no state of random numbers.

    Args:
        network: maps a batch to outputs; comes back on the device it came on.
        loss: `loss(outputs, *targets)`, the mean over a batch with whatever weights are among the targets.
        train, valid: (batch, targets), kept on the device; the validation loss is one call of `loss` on all events.
        settings: see `Training`.
        seed: of shuffling and dropout; the weights the network starts from are the caller's.
        checkpoint: file for the state after each epoch; None keeps none.

    Raises:
        ValueError: no events, or a checkpoint of another training.
        FloatingPointError: a loss that is not finite; names epoch, batch and remedies.

    Example:
        >>> for epoch in fit(network, task.loss, train, valid, Training(epochs=20), seed=1):  # doctest: +SKIP
        ...     print(epoch.number, epoch.valid_loss)
    """
    for name, data in (("training", train), ("validation", valid)):
        if not len(data[0]):
            raise ValueError(f"no {name} events")
    use_threads(settings.threads)
    device = choose(settings.device)
    home = next(network.parameters()).device
    training = _Run(network.to(device), loss, on(device, train), on(device, valid), settings, seed)
    if checkpoint is not None and checkpoint.exists():
        training.restore(checkpoint)
    parallel.same(nn.ModuleList([network, training.judged]), training.facts())
    try:
        yield from tuple(training.history)
        while not training.finished:
            with arithmetic(settings.precision, device):
                epoch = training.next_epoch()
            if checkpoint is not None and parallel.rank() == 0:
                training.save(checkpoint)
            yield epoch
    finally:
        if training.best is not None:
            network.load_state_dict(training.best)
        network.to(home).eval()


@torch.no_grad()
def outputs(network: nn.Module, batch: Batch, size: int = 512, *, shared: bool = False) -> Tensor:
    """What a network in evaluation mode says about all events, computed in batches of `size`.

    With `shared` the processes that train together share out each batch; all of them must call.
    """
    network.eval()
    # events of like multiplicity together: padding costs pairs, and slots that no event of a batch fills are cut
    order = batch.mask.sum(1).argsort(stable=True)
    parts = (part for part, _ in batches(Batch(*(column[order] for column in batch)), (), size))
    said = torch.cat([parallel.outputs(network, part) if shared else network(part) for part in parts])
    return torch.empty_like(said).index_copy_(0, order, said)


class _Run:
    """The state of one training between two epochs."""

    def __init__(
        self, network: nn.Module, loss: Callable[..., Tensor], train: Data, valid: Data, settings: Training, seed: int
    ) -> None:
        self.network, self.loss, self.train, self.valid = network, loss, train, valid
        self.settings, self.seed = settings, seed
        self.optimizer = optimizer(settings.optimizer, network, settings.lr, settings.weight_decay)
        self.average = Average(network, settings.ema) if settings.ema else None
        self.forward: Any = torch.compile(network) if settings.compile else network
        self.steps = math.ceil(len(train[0]) / settings.batch_size)  # in an epoch
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] | None = None

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.network if self.average is None else self.average.network

    @property
    def finished(self) -> bool:
        return len(self.history) >= self.settings.epochs or stalled(self.history, self.settings.patience)

    def next_epoch(self) -> Epoch:
        started = time.perf_counter()
        number = len(self.history) + 1
        train_loss = self.learn(number)
        batch, targets = self.valid
        said = outputs(self.judged, batch, self.settings.batch_size, shared=True)
        valid_loss = parallel.of_first(float(self.loss(said, *targets)))
        if not math.isfinite(valid_loss):
            where = f"epoch {number}"
            raise FloatingPointError(not_finite("validation loss", valid_loss, where, self.network, self.settings))
        best = valid_loss < min((epoch.valid_loss for epoch in self.history), default=math.inf)
        if best:
            self.best = files.copied(self.judged)
        lr = float(self.optimizer.param_groups[0]["lr"])
        self.history.append(Epoch(number, train_loss, valid_loss, lr, time.perf_counter() - started, best))
        return self.history[-1]

    def learn(self, number: int) -> float:
        """One pass over the training events; the mean loss."""
        self.network.train()
        entropy = (self.seed, number, *((parallel.rank(),) if parallel.rank() else ()))  # each its own dropout
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        batch, targets = self.train
        total = 0.0
        dealt = batches(batch, targets, self.settings.batch_size, seed=self.seed, epoch=number)
        for index, (events, answers) in enumerate(dealt):
            step = (number - 1) * self.steps + index
            share = factor(self.settings.schedule, step, self.steps * self.settings.epochs, self.settings.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.lr * share
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(parallel.outputs(self.forward, events), *answers)
            value = float(loss.detach())
            if not math.isfinite(value):
                where = f"epoch {number}, batch {index + 1} of {self.steps}"
                raise FloatingPointError(not_finite("training loss", value, where, self.network, self.settings))
            loss.backward()  # type: ignore[no-untyped-call]
            parallel.sum_gradients(parameters)
            if self.settings.clip is not None:
                nn.utils.clip_grad_norm_(parameters, self.settings.clip)
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.network, step)
            total += value * len(events)
        return total / len(batch)

    def facts(self) -> str:
        """What all processes must agree on before they train together."""
        return json.dumps([self.identity(), [(e.train_loss, e.valid_loss, e.best) for e in self.history]])

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with this training to continue it."""
        return {
            **self.settings.model_dump(mode="json", exclude=INCIDENTAL),
            "seed": self.seed,
            "training events": len(self.train[0]),
            "validation events": len(self.valid[0]),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
        }

    def save(self, path: Path) -> None:
        tensors, plain = files.optimizer_state(self.optimizer)
        facts = {"identity": self.identity(), "history": [asdict(e) for e in self.history], "optimizer": plain}
        files.save(
            path,
            facts,
            network=self.network.state_dict(),
            average={} if self.average is None else self.average.network.state_dict(),
            best=self.best or {},
            optimizer=tensors,
        )

    def restore(self, path: Path) -> None:
        facts, groups = files.load(path)
        for key, mine in self.identity().items():
            if mine != (theirs := facts["identity"].get(key)):
                where = f"{path} is of another training: {key} was {theirs} there and is {mine} here"
                raise ValueError(f"{where}; delete it to start anew")
        self.history = [Epoch(**entry) for entry in facts["history"]]
        self.network.load_state_dict(groups["network"])
        if self.average is not None:
            self.average.network.load_state_dict(groups["average"])
        self.best = groups["best"]
        files.restore_optimizer(self.optimizer, groups.get("optimizer", {}), facts["optimizer"])
