"""Regression fitted to training events: standardised targets, loss and predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from femtobarn.evaluation.predictions import Predictions
from femtobarn.events import Events
from femtobarn.inputs.batch import Batch
from femtobarn.inputs.event_columns import EventColumns, numeric_column
from femtobarn.tasks.regression.config import RegressionConfig, RegressionEvaluationConfig

#: Prefixes of the columns of `predictions.parquet`.
PREDICTED, TRUE = "predicted_", "true_"

#: Metadata of `predictions.parquet`: names of the targets, and of the observables.
TARGETS, OBSERVABLES = "targets", "observables"

#: Metadata of `predictions.parquet`: transformation of each target, and its standard deviation in the training events.
SCALES = "scales"


class Regressor(nn.Module):
    """A regression with the scale of its targets.

    Mean and standard deviation of the transformed targets are buffers, so that the file of the weights has them, and
    outputs become values in the units of the targets.

    Args:
        config: targets, transformations and loss.
        processes: names of the processes that take part.
        mean, std: of each transformed target over the training events, shape (targets,).

    Raises:
        ValueError: a standard deviation that is not positive: a target without variation.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: RegressionConfig, processes: Sequence[str], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.config = config
        self.processes = tuple(processes)
        for name, value in zip(config.targets, std, strict=True):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"target {name} has a standard deviation of {value:g} in the training events")
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float64))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float64))

    @property
    def outputs(self) -> int:
        """Number of network outputs: one per target."""
        return len(self.config.targets)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output."""
        return self.config.targets

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the events from which the targets are made."""
        return self.config.targets

    def state(self) -> dict[str, Any]:
        """What `meta.json` stores of the task; see `RegressionTask.restore`."""
        return {"processes": list(self.processes)}

    def tensors(self) -> dict[str, Tensor]:
        """Mean and standard deviation of the targets, stored with the weights of the network."""
        return {"mean": self.mean, "std": self.std}

    def weight_factors(self, absolute_weights: Mapping[str, float]) -> dict[str, float]:
        """Factor of the absolute event weights of each process, such that the products add up to 1.

        Raises:
            ValueError: no event with a weight.
        """
        sums = {name: absolute_weights.get(name, 0.0) for name in self.processes}
        return weight_factors(sums, balance=self.config.balance)

    def targets(self, columns: EventColumns) -> tuple[Tensor, Tensor]:
        """Standardised targets, shape (events, targets), and weights of the loss.

        Raises:
            ValueError: a target that is not finite, or not positive where its logarithm is taken.
        """
        values = transform_targets(self.config, columns.values)
        standardised = (torch.from_numpy(values) - self.mean.cpu()) / self.std.cpu()
        return standardised.float(), torch.from_numpy(columns.weight).float()

    def loss(self, network: Callable[[Batch], Tensor], batch: Batch, targets: tuple[Tensor, ...]) -> Float[Tensor, ""]:
        """Weighted mean over the events of the squared or absolute error, averaged over the targets."""
        values, weights = targets
        errors = network(batch) - values
        errors = errors.square() if self.config.loss == "mse" else errors.abs()
        loss: Tensor = (weights * errors.mean(-1)).mean()
        return loss

    def forward(self, outputs: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch targets"]:
        """Predicted values in the units of the targets."""
        values = outputs.to(self.mean) * self.std + self.mean
        is_log = torch.tensor([self.config.transforms[name] == "log" for name in self.names], device=values.device)
        return torch.where(is_log, values.exp(), values)

    @torch.no_grad()
    def predict(self, outputs: Float[Tensor, "batch outputs"]) -> dict[str, NDArray[np.float64]]:
        """Columns `predicted_<target>` in the units of the targets."""
        values = self(outputs.detach().cpu().double()).numpy()
        return {PREDICTED + name: values[:, place] for place, name in enumerate(self.names)}

    def calibrate(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> tuple[Regressor, dict[str, Any]]:
        """The same regression, which needs no calibration."""
        return self, {}

    def context_columns(self, settings: RegressionEvaluationConfig) -> tuple[str, ...]:
        """Targets and observables."""
        return tuple(dict.fromkeys((*self.names, *settings.observables)))

    def predictions(
        self,
        events: Events,
        columns: Mapping[str, NDArray[Any]],
        settings: RegressionEvaluationConfig,
        yields: Mapping[str, float] | None = None,
    ) -> Predictions:
        """Record of predicted and true values.

        Args:
            events: the events, with the columns of targets and observables.
            columns: from `predict`.
            settings: of the evaluation.
            yields: expected events of each process before the split; not used.

        Raises:
            ValueError: the events lack a column.
        """
        observables = settings.observables
        values = {TRUE + name: numeric_column(events, name) for name in self.names}
        values |= {name: numeric_column(events, name) for name in observables}
        names, codes = np.unique(events.process, return_inverse=True)
        sums = np.bincount(codes, np.abs(events.weight), len(names))
        factors = weight_factors(dict(zip(map(str, names), sums, strict=True)), balance=self.config.balance)
        factor = np.array([factors[str(name)] for name in names])
        return Predictions(
            process=events.process,
            number=events.number,
            hard=events.hard,
            weight=events.weight * factor[codes] * len(events),
            columns={**columns, **values},
            metadata={
                TARGETS: list(self.names),
                OBSERVABLES: list(observables),
                SCALES: {
                    name: {"transform": self.config.transforms[name], "std": std}
                    for name, std in zip(self.names, self.std.tolist(), strict=True)
                },
            },
        )


def fit_regressor(config: RegressionConfig, processes: Sequence[str], columns: EventColumns) -> Regressor:
    """The regression with the scale of the targets in training events.

    Args:
        config: the settings.
        processes: names of the processes that take part.
        columns: targets and weights of training events.

    Raises:
        ValueError: a target that is not finite, not positive where its logarithm is taken, or without variation.
    """
    values, weights = transform_targets(config, columns.values), columns.weight
    mean = np.average(values, axis=0, weights=weights)
    std = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    return Regressor(config, processes, mean.tolist(), std.tolist())


def weight_factors(absolute_weights: Mapping[str, float], *, balance: bool) -> dict[str, float]:
    """Factor of the absolute weights of each process, such that the products add up to 1."""
    total = sum(absolute_weights.values())
    if not (total > 0 and math.isfinite(total)):
        raise ValueError("no events with weight among those given")
    if not balance:
        return dict.fromkeys(absolute_weights, 1 / total)
    present = [name for name, value in absolute_weights.items() if value > 0]
    return {name: 1 / value / len(present) if value > 0 else 0.0 for name, value in absolute_weights.items()}


def transform_targets(config: RegressionConfig, values: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Transformed targets, shape (events, targets).

    Raises:
        ValueError: a value that is not finite, or not positive where its logarithm is taken.
    """
    columns = []
    for name, transform in config.transforms.items():
        column = values[name]
        wrong = ~np.isfinite(column) if transform == "none" else ~(np.isfinite(column) & (column > 0))
        if wrong.any():
            allowed = "finite" if transform == "none" else "positive, as transform: log takes its logarithm"
            raise ValueError(
                f"target {name} is {column[wrong][0]:g} in {int(wrong.sum())} of {len(column)} events; it must be "
                f"{allowed}. Leave these events out with data.selection, for example `{name} > 0`"
            )
        columns.append(column if transform == "none" else np.log(column))
    return np.stack(columns, axis=-1)
