"""The training loop: it knows nothing about particles, yields after each epoch, and the caller decides."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from femtobarn.events.storage.atomic import unchecked
from femtobarn.inputs.stream import Stream
from femtobarn.training import checkpoint as files
from femtobarn.training import parallel
from femtobarn.training.complaint import not_finite
from femtobarn.training.devices import Compiled, arithmetic, choose, memory_kept, use_threads
from femtobarn.training.ema import Average
from femtobarn.training.feeds import Data, Dealer, Held, feed
from femtobarn.training.history import Begun, Epoch, stalled
from femtobarn.training.optimizers import optimizer
from femtobarn.training.pretrained import PretrainedParameters
from femtobarn.training.schedules import factor
from femtobarn.training.settings import FORMER_KEYS, RUNTIME_SETTINGS, TrainingConfig

#: Steps after which random numbers are seeded anew; a training can be saved, and goes on, at these.
SPAN = 64


def fit(
    network: nn.Module,
    loss: Callable[..., Tensor],
    train: Data,
    valid: Data,
    settings: TrainingConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    pretrained: PretrainedParameters = PretrainedParameters(),  # noqa: B008  # frozen
    check: Callable[[], object] = unchecked,
) -> Iterator[Epoch]:
    """Train a network in place, epoch by epoch; when it ends, or the caller breaks, the network holds the best weights.

    With a checkpoint, a training that was killed goes on where it stood: the finished epochs are yielded again from the
    file, then new ones follow, and losses and weights are those of the unbroken training. Shuffling and dropout are
    functions of (seed, epoch, step), so the file needs no state of random numbers.

    Args:
        network: maps a batch to outputs; comes back on the device it came on.
        loss: `loss(outputs, *targets)`, the mean over a batch with whatever weights are among the targets.
        train, valid: (batch, targets), kept on the device, for which the validation loss is one call of `loss` on all
            events; or prepared events that stay on disk, where it is the mean of `loss` over batches.
        settings: see `TrainingConfig`.
        seed: of shuffling and dropout; the weights the network starts from are the caller's.
        checkpoint: file for the state after each epoch, and within long ones; None keeps none.
        pretrained: parameters of those weights that were learned in an earlier training; default: none.
        check: called before the checkpoint is written; see `femtobarn.training.checkpoint.save`.

    Raises:
        ValueError: no events, or a checkpoint of another training or of one that began with other weights.
        FloatingPointError: a loss that is not finite; names epoch, batch and remedies.

    Example:
        >>> for epoch in fit(network, task.loss, train, valid, TrainingConfig(epochs=20), seed=1):  # doctest: +SKIP
        ...     print(epoch.number, epoch.valid_loss)
    """
    for name, data in (("training", train), ("validation", valid)):
        if not len(data if isinstance(data, Stream) else data[0]):
            raise ValueError(f"no {name} events")
    use_threads(settings.threads)
    device = choose(settings.device)
    home = next(network.parameters()).device
    feeds = feed(train, device), feed(valid, device)
    training = _Run(network.to(device), loss, *feeds, settings, seed, checkpoint, pretrained)
    training.check = check
    if checkpoint is not None and checkpoint.exists():
        training.restore(checkpoint)
    parallel.same(nn.ModuleList([network, training.judged]), training.facts())
    try:
        yield from tuple(training.history)
        while not training.finished:
            with arithmetic(settings.precision, device), memory_kept(device):
                epoch = training.next_epoch()
            training.save(Begun())
            yield epoch
    finally:
        for each in feeds:
            each.close()
        if training.best is not None:
            network.load_state_dict(training.best)
        network.to(home).eval()


class _Run:
    """The state of one training between two steps."""

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[..., Tensor],
        train: Held | Dealer,
        valid: Held | Dealer,
        settings: TrainingConfig,
        seed: int,
        checkpoint: Path | None,
        pretrained: PretrainedParameters,
    ) -> None:
        self.network, self.loss, self.train, self.valid = network, loss, train, valid
        self.settings, self.seed, self.checkpoint, self.pretrained = settings, seed, checkpoint, pretrained
        self.optimizer = optimizer(
            settings.optimizer,
            network,
            settings.lr,
            settings.weight_decay,
            pretrained.names,
            settings.backbone_lr_factor,
            settings.optimizer_arguments,
        )
        self.average = Average(network, settings.ema) if settings.ema else None
        self.forward: Any = Compiled(network) if settings.compile else network
        self.steps = math.ceil(len(train) / settings.batch_size)  # in an epoch
        self.history: list[Epoch] = []
        self.begun = Begun()
        self.saved = time.monotonic()
        self.best: dict[str, Tensor] | None = None
        self.check: Callable[[], object] = unchecked

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
        valid_loss = parallel.of_first(self.valid.loss(self.judged, self.loss, self.settings.batch_size))
        if not math.isfinite(valid_loss):
            where = f"epoch {number}"
            raise FloatingPointError(not_finite("validation loss", valid_loss, where, self.network, self.settings))
        best = valid_loss < min((epoch.valid_loss for epoch in self.history), default=math.inf)
        if best:
            self.best = files.copied(self.judged)
        seconds = self.begun.seconds + time.perf_counter() - started
        lr = float(self.optimizer.param_groups[0]["lr"])
        self.history.append(Epoch(number, train_loss, valid_loss, lr, seconds, best))
        self.begun = Begun()
        return self.history[-1]

    def learn(self, number: int) -> float:
        """One pass over the training events; the mean loss."""
        self.network.train()
        started = time.perf_counter()
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        first, total = self.begun.step, self.begun.loss
        dealt = self.train.deal(self.settings.batch_size, self.seed, number, first)
        for index, (events, answers) in enumerate(dealt, first):
            if index % SPAN == 0:
                if index > first and time.monotonic() - self.saved >= 60 * self.settings.save_minutes:
                    self.save(Begun(index, total, self.begun.seconds + time.perf_counter() - started))
                parallel.seed_dropout(self.seed, number, index // SPAN)
            step = (number - 1) * self.steps + index
            part = factor(self.settings.schedule, step, self.steps * self.settings.epochs, self.settings.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.lr * part * group["share"]
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
            total += value * len(answers[0])
        return total / len(self.train)

    def facts(self) -> str:
        """What all processes must agree on before they train together."""
        passed = [(epoch.train_loss, epoch.valid_loss, epoch.best) for epoch in self.history]
        return json.dumps([self.identity(), passed, self.begun.step])

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with this training to continue it."""
        return {
            **self.settings.model_dump(mode="json", exclude=RUNTIME_SETTINGS),
            "seed": self.seed,
            "training events": len(self.train),
            "validation events": len(self.valid),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "start": self.pretrained.origin or None,
        }

    def save(self, begun: Begun) -> None:
        """Keeps the state, within an epoch that has begun."""
        self.saved = time.monotonic()
        if self.checkpoint is None or parallel.rank():
            return
        tensors, plain = files.optimizer_state(self.optimizer)
        history = [asdict(epoch) for epoch in self.history]
        files.save(
            self.checkpoint,
            {"identity": self.identity(), "history": history, "begun": asdict(begun), "optimizer": plain},
            check=self.check,
            network=self.network.state_dict(),
            average={} if self.average is None else self.average.network.state_dict(),
            best=self.best or {},
            optimizer=tensors,
        )

    def restore(self, path: Path) -> None:
        facts, groups = files.load(path)
        for key, mine in self.identity().items():
            saved = facts["identity"]
            if mine != (theirs := saved.get(key, saved.get(FORMER_KEYS.get(key, "")))):
                where = f"{path} is of another training: {key} was {theirs} there and is {mine} here"
                raise ValueError(f"{where}; delete it to start anew")
        self.history = [Epoch(**entry) for entry in facts["history"]]
        self.network.load_state_dict(groups["network"])
        if self.average is not None:
            self.average.network.load_state_dict(groups["average"])
        self.best = groups.get("best")
        self.begun = Begun(**facts.get("begun", {}))
        files.restore_optimizer(self.optimizer, groups.get("optimizer", {}), facts["optimizer"])
