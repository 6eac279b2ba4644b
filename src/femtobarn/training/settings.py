"""Training: how a network learns, the `training` part of an experiment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from femtobarn.training.devices import Precision
from femtobarn.training.optimizers import OPTIMIZER_ARGUMENTS, OptimizerName
from femtobarn.training.schedules import ScheduleName

#: Learning rate of pretrained weights, in units of the learning rate of new ones (arXiv:2202.03772, section 5.3).
BACKBONE_LR_FACTOR = 0.02

#: Settings that may change between a kill and the resumption without changing the numbers.
RUNTIME_SETTINGS = {"device", "threads", "compile", "num_workers", "cache", "save_minutes"}

#: Former spellings of keys, by their present one; files with them are still read.
FORMER_KEYS = {"num_workers": "readers", "backbone_lr": "body_lr"}

#: Most epochs of a training, including the trainings of a study on fewer events.
MAX_EPOCHS = 1_000_000

#: Decay rate of a running average.
Beta = Annotated[float, Field(ge=0, lt=1)]


def _former(key: str) -> AliasChoices:
    return AliasChoices(key, FORMER_KEYS[key])


class TrainingConfig(BaseModel):
    """How a network is trained: how long, how fast, where.

    Boosted trees use `threads` alone.

    Example:
        >>> TrainingConfig(epochs=3, lr=1e-3).schedule
        'flat_then_decay'
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: Annotated[int, Field(gt=0, le=MAX_EPOCHS)] = Field(
        default=20, description="Maximum number of passes over the training events."
    )
    batch_size: Annotated[int, Field(gt=0, le=10_000_000)] = Field(default=512, description="Events per step.")
    optimizer: OptimizerName = Field(
        default="adamw",
        description="Optimizer. `ranger` is RAdam with Lookahead, as used for ParT; `sgd` uses Nesterov momentum.",
    )
    lr: PositiveFloat = Field(default=1e-3, description="Peak learning rate.")
    backbone_lr: PositiveFloat | None = Field(
        default=None,
        description="Peak learning rate of the pretrained weights (`model.init_from`). Default: `lr` / 50.",
        validation_alias=_former("backbone_lr"),
    )
    weight_decay: NonNegativeFloat = Field(
        default=0.01, description="Weight decay of matrices. Biases, norms and scales have none."
    )
    betas: tuple[Beta, Beta] | None = Field(
        default=None,
        description="Decay rates of the averages of gradient and squared gradient. Not for `sgd`. Default: (0.9, "
        "0.999); (0.95, 0.999) for `ranger`, (0.9, 0.99) for `lion`.",
    )
    eps: PositiveFloat | None = Field(
        default=None,
        description="Term added to the denominator of a step. Not for `lion` and `sgd`. Default: 1e-8; 1e-5 for "
        "`ranger`.",
    )
    momentum: Beta | None = Field(
        default=None, description="Momentum of `sgd`; 0 is plain gradient descent. Default: 0.9."
    )
    schedule: ScheduleName = Field(
        default="flat_then_decay",
        description="Learning-rate schedule. `flat_then_decay` keeps `lr` for 70 % of the steps and then decays "
        "exponentially to 1 % of it.",
    )
    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        default=0, description="Steps over which the learning rate rises from 0."
    )
    patience: Annotated[int, Field(gt=0, le=MAX_EPOCHS)] | None = Field(
        default=None,
        description="Epochs without a lower validation loss after which the training stops. Default: no early "
        "stopping.",
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Decay per step of an exponential moving average of the weights, which is validated and kept. "
        "Default: no average.",
    )
    clip: PositiveFloat | None = Field(
        default=1.0, description="Maximum norm of the gradient. `null` does not clip gradients."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="Device to train on. `auto` uses a GPU if there is one."
    )
    threads: Annotated[int, Field(gt=0, le=1024)] | None = Field(
        default=None, description="Number of processor threads. Default: chosen by PyTorch, 1 in a study."
    )
    precision: Precision = Field(
        default="fp32",
        description="Precision of matrix products. `bf16` uses factors of 8 significant bits and sums in float32: "
        "autocast on GPUs, AMX or AVX512-BF16 on processors.",
    )
    compile: bool = Field(
        default=False,
        description="Compile the network with PyTorch first, which takes minutes. Where this fails, a warning gives "
        "the reason, and the network trains without it.",
    )
    num_workers: Annotated[int, Field(ge=0, le=256)] = Field(
        default=1,
        description="Processes that read prepared events ahead. 0 reads in the training process.",
        validation_alias=_former("num_workers"),
    )
    cache: bool | str = Field(
        default=True,
        description="Cache of padded prepared events for later epochs: `true` in the folder of the events, a path for "
        "another folder, `false` for none.",
    )
    save_minutes: NonNegativeFloat = Field(default=10.0, description="Minutes between checkpoints within an epoch.")

    @model_validator(mode="after")
    def _optimizer_has_its_arguments(self) -> TrainingConfig:
        for argument, optimizers in OPTIMIZER_ARGUMENTS.items():
            if getattr(self, argument) is not None and self.optimizer not in optimizers:
                raise ValueError(
                    f"training.{argument} does not apply to training.optimizer: {self.optimizer}; leave it out, or use "
                    f"{' or '.join(optimizers)}"
                )
        return self

    @property
    def backbone_lr_factor(self) -> float:
        """Learning rate of pretrained weights, in units of the learning rate of new ones."""
        return BACKBONE_LR_FACTOR if self.backbone_lr is None else self.backbone_lr / self.lr

    @property
    def optimizer_arguments(self) -> dict[str, Any]:
        """Arguments of the optimizer that differ from its defaults."""
        given = {name: getattr(self, name) for name in OPTIMIZER_ARGUMENTS}
        return {name: value for name, value in given.items() if value is not None}
