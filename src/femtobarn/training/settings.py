"""Training: how a network learns, the `training` part of an experiment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat

from femtobarn.training.devices import Precision
from femtobarn.training.optimizers import OptimizerName
from femtobarn.training.schedules import ScheduleName

#: Learning rate of weights that are not new, in units of that of new ones (arXiv:2202.03772, section 5.3).
SLOWER = 0.02

#: What may change between a kill and the resumption without changing the numbers that are asked for.
INCIDENTAL = {"device", "threads", "compile", "readers", "cache", "save_minutes"}


#: Most epochs of a training, those of a smaller training set in a study included.
MAX_EPOCHS = 1_000_000


class TrainingConfig(BaseModel):
    """How a network is trained: how long, how fast, where.

    Args:
        epochs: most passes over the training events.
        batch_size: events a step.
        optimizer: adamw, adam, nadam, radam, ranger (RAdam with Lookahead, ParT's), lion or sgd (Nesterov).
        lr: largest learning rate.
        body_lr: the same of the weights that a training with `model.start` takes over; null is a fiftieth of `lr`.
        weight_decay: pulls matrices, never biases, norms and scales, towards 0.
        schedule: `flat_then_decay` (70 % of the steps at `lr`, then exponentially to 1 % of it), `cosine` or
            `constant`.
        warmup: steps over which the learning rate rises from 0.
        patience: stop after so many epochs without a lower validation loss; null trains all epochs.
        ema: validate and keep a running average of the weights with this decay a step; null keeps the weights.
        clip: largest norm of the gradient; null leaves it alone.
        device: auto takes a GPU if there is one.
        threads: of the processor; null leaves torch's choice.
        precision: fp32, or bf16 for matrix products of numbers of 8 bits, summed in float32, if the device has units
            for them.
        compile: let torch compile the network first (minutes, worth it on long trainings only); where it cannot, a
            warning says why, and the network trains as it is.
        readers: processes that read prepared events ahead; 0 reads them when they are due.
        cache: keep prepared events as the network takes them, so that later epochs need not decode them: true does so
            in the folder of the events, a path elsewhere, false nowhere.
        save_minutes: how often a training is saved within an epoch.

    Example:
        >>> TrainingConfig(epochs=3, lr=1e-3).schedule
        'flat_then_decay'
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: Annotated[int, Field(gt=0, le=MAX_EPOCHS)] = 20
    batch_size: Annotated[int, Field(gt=0, le=10_000_000)] = 512
    optimizer: OptimizerName = "adamw"
    lr: PositiveFloat = 1e-3
    body_lr: PositiveFloat | None = None
    weight_decay: NonNegativeFloat = 0.01
    schedule: ScheduleName = "flat_then_decay"
    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    patience: Annotated[int, Field(gt=0, le=MAX_EPOCHS)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    clip: PositiveFloat | None = 1.0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    precision: Precision = "fp32"
    compile: bool = False
    readers: Annotated[int, Field(ge=0, le=256)] = 1
    cache: bool | str = True
    save_minutes: NonNegativeFloat = 10.0

    @property
    def body_share(self) -> float:
        """Learning rate of weights that are not new, in units of that of new ones."""
        return SLOWER if self.body_lr is None else self.body_lr / self.lr
