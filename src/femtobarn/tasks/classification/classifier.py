"""Classification: which process an event comes from, and how signal-like it is.

The settings name the processes (`ClassificationConfig`); met with training events they become a `Classifier`,
which knows the labels, the weights, the loss and how outputs turn into a score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from femtobarn.evaluation.predictions import Predictions
from femtobarn.events import Events
from femtobarn.inputs.batch import Batch
from femtobarn.inputs.event_columns import EventColumns
from femtobarn.tasks.classification.calibration import fit_temperature
from femtobarn.tasks.classification.config import BACKGROUND, SIGNAL, ClassificationConfig
from femtobarn.tasks.classification.losses import cross_entropy, focal, unfocal
from femtobarn.tasks.classification.scores import PREFIX, Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig


class Classifier(nn.Module):
    """A classification with its classes settled: labels, training weights, loss and score.

    The relative expected yields of the processes and the temperature are buffers, so that outputs -> score can be
    exported as one function with the network.

    Args:
        settings: loss and kind of classes.
        signal, background: names of the processes.
        yields: expected number of events of each process, in any common unit.
        temperature: what the log-probabilities are divided by: above 1 for a model that is too sure of itself; see
            `femtobarn.tasks.calibrate`.
    """

    #: Numeric columns of the events from which targets are made, besides process and weight.
    columns: tuple[str, ...] = ()

    priors: Tensor
    alpha: Tensor
    temperature: Tensor

    def __init__(
        self,
        settings: ClassificationConfig,
        signal: Sequence[str],
        background: Sequence[str],
        yields: dict[str, float],
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"the temperature of a classifier is {temperature}; it must be a positive number")
        self.settings = settings
        self.signal = tuple(signal)
        self.background = tuple(background)
        self.yields = {name: float(yields[name]) for name in (*signal, *background)}
        binary = settings.classes == "binary"
        self.names = (SIGNAL, BACKGROUND) if binary else (*self.signal, *self.background)
        self.signals = 1 if binary else len(self.signal)  # the first outputs
        expected = [1.0, 1.0] if binary else [self.yields[name] for name in self.names]
        priors = torch.tensor(expected, dtype=torch.float64)
        for side in (slice(None, self.signals), slice(self.signals, None)):
            priors[side] = priors[side] / priors[side].sum()
        self.register_buffer("priors", priors)
        alpha = 0.5 if settings.alpha is None else settings.alpha
        shares = [alpha] * self.signals + [1 - alpha] * (len(self.names) - self.signals)
        self.register_buffer("alpha", torch.tensor(shares))
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float64))

    @property
    def outputs(self) -> int:
        """Number of network outputs: one a class."""
        return len(self.names)

    @property
    def classes(self) -> dict[str, int]:
        """Index of the class of each process in `names`."""
        if self.settings.classes == "binary":
            return dict.fromkeys(self.signal, 0) | dict.fromkeys(self.background, 1)
        return {name: number for number, name in enumerate(self.names)}

    def known(self, events: Events) -> NDArray[np.bool_]:
        """True for events of a signal or background process; the others take no part."""
        return np.isin(events.process, [*self.signal, *self.background])

    def labels(self, events: Events) -> NDArray[np.int64]:
        """Index of the class of each event in `names`.

        Raises:
            ValueError: an event of a process that is neither signal nor background.
        """
        index = self.classes
        strangers = sorted(set(events.processes) - set(index))
        if strangers:
            raise ValueError(f"neither signal nor background: {', '.join(strangers)}; classes are {', '.join(index)}")
        return np.array([index[str(name)] for name in events.process], dtype=np.int64)

    def weights(self, events: Events) -> NDArray[np.float64]:
        """Training weight of each event: every class has the same total, the mean is 1.

        Inside a class the event weights keep the composition, so `binary` background is the expected mixture.
        Negative weights, as next-to-leading-order generators give them, enter by their absolute value: a loss with
        negative terms has no lower bound. Yields and metrics always use the signed weights.

        Raises:
            ValueError: a class has no event with a weight.
        """
        labels, weights = self.labels(events), np.abs(events.weight).astype(np.float64)
        totals: NDArray[np.float64] = np.bincount(labels, weights, self.outputs).astype(np.float64)
        balanced: NDArray[np.float64] = weights * (len(events) * self._factors(totals))[labels]
        return balanced

    def weight_factors(self, absolute_weights: Mapping[str, float]) -> dict[str, float]:
        """Factor of the absolute event weights of each process: all classes have the same total, together 1.

        Args:
            absolute_weights: sum of the absolute weights of each process.

        Raises:
            ValueError: a class has no event with a weight.
        """
        totals = np.zeros(self.outputs)
        for name, number in self.classes.items():
            totals[number] += absolute_weights.get(name, 0.0)
        factors = self._factors(totals)
        return {name: float(factors[number]) for name, number in self.classes.items()}

    def _factors(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        for name, total in zip(self.names, totals, strict=True):
            if not (total > 0 and np.isfinite(total)):
                raise ValueError(f"class {name!r} has no events with weight among those given")
        return 1 / self.outputs / totals

    def losses(self, logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Loss of each event, unweighted."""
        if self.settings.loss == "cross_entropy":
            return cross_entropy(logits, labels)
        alpha = None if self.settings.alpha is None else self.alpha.to(logits)
        return focal(logits, labels, self.settings.gamma or 0.0, alpha)

    def targets(self, columns: EventColumns) -> tuple[Tensor, Tensor]:
        """Index of the class of each event in `names`, and its weight of the loss.

        Raises:
            ValueError: an event of a process that is neither signal nor background.
        """
        index = self.classes
        labels = np.array([index.get(name, -1) for name in columns.processes], dtype=np.int64)[columns.process]
        if len(labels) and labels.min() < 0:
            unknown = sorted({columns.processes[code] for code in np.unique(columns.process[labels < 0]).tolist()})
            raise ValueError(f"neither signal nor background: {', '.join(unknown)}; classes are {', '.join(index)}")
        return torch.from_numpy(labels), torch.from_numpy(columns.weight).float()

    def loss(self, network: Callable[[Batch], Tensor], batch: Batch, targets: tuple[Tensor, ...]) -> Float[Tensor, ""]:
        """Weighted mean of the loss over a batch.

        The sum is divided by the number of events, not by the sum of weights of this batch: as the mean weight of
        the sample is 1, the mean over all batches is then exactly the weighted mean over the sample.
        """
        labels, weights = targets
        return (weights * self.losses(network(batch), labels)).mean()

    def log_posterior(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Logarithm of the probability of each class if all had the same yield, whatever the loss; calibrated."""
        temperature = self.temperature.to(logits)
        if self.settings.loss == "cross_entropy":
            return nn.functional.log_softmax(logits / temperature, dim=-1)
        alpha = None if self.settings.alpha is None else self.alpha.to(logits)
        return unfocal(logits, self.settings.gamma or 0.0, alpha, temperature)

    def forward(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
        r"""Signal score of each event in [0, 1]: the best test of signal against the expected mixture of backgrounds.

        .. math:: \frac{\sum_s \pi_s p_s}{\sum_s \pi_s p_s + \sum_b \pi_b p_b}

        where :math:`p` are the class probabilities at equal yields (proportional to the likelihoods) and
        :math:`\pi` the expected yields, shared out to 1 among signals and to 1 among backgrounds. By Neyman and
        Pearson any cut on it is the most powerful one, if the probabilities are right.
        """
        return torch.sigmoid(self.log_odds(logits))

    def log_odds(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
        """Logarithm of score / (1 - score): a rising function of the score that does not flatten at its ends."""
        joint = self.log_posterior(logits) + self.priors.to(logits).log()
        return joint[:, : self.signals].logsumexp(-1) - joint[:, self.signals :].logsumexp(-1)

    def state(self) -> dict[str, Any]:
        """What `meta.json` stores of the task: the other arguments of `Classifier`."""
        return {
            "signal": list(self.signal),
            "background": list(self.background),
            "yields": self.yields,
            "temperature": float(self.temperature),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Tensors to store with the weights of the network: none."""
        return {}

    @torch.no_grad()
    def predict(self, outputs: Float[Tensor, "batch classes"]) -> dict[str, NDArray[np.float32]]:
        """Columns `score` and `probability_<class>` (at equal yields), as stored in predictions.parquet."""
        exact = outputs.detach().cpu().double()  # float32 would tie events close to a score of 1
        columns = {"score": self(exact)}
        posterior = self.log_posterior(exact).exp()
        columns |= {f"{PREFIX}{name}": posterior[:, number] for number, name in enumerate(self.names)}
        return {name: column.float().numpy() for name, column in columns.items()}

    def context_columns(self, settings: ClassificationEvaluationConfig) -> tuple[str, ...]:
        """No column besides the ones of every event."""
        return ()

    def predictions(
        self,
        events: Events,
        columns: Mapping[str, NDArray[Any]],
        settings: ClassificationEvaluationConfig,
        yields: Mapping[str, float] | None = None,
    ) -> Predictions:
        """Scores with weights at the luminosity of the evaluation.

        Args:
            events: the events.
            columns: from `predict`.
            settings: of the evaluation.
            yields: expected events of each process before the split, at the luminosity of the events; the weights of
                each process then sum to its full yield.

        Raises:
            ValueError: a process of which the events have no weight, or scores that are no scores of a classifier.
        """
        weight = events.expected(settings.luminosity)
        for name, total in (yields or {}).items():
            members = events.process == name
            held_out = float(events.weight[members].sum())
            if not held_out > 0:
                raise ValueError(
                    f"the {int(members.sum())} held-out events of {name} have no weight; more events are needed"
                )
            weight[members] *= total / held_out
        return Scores(
            process=events.process,
            number=events.number,
            hard=events.hard,
            weight=weight,
            score=columns["score"],
            signal=self.signal,
            probabilities={name: columns[f"{PREFIX}{name}"] for name in self.names},
            luminosity=settings.luminosity,
        ).to_predictions()

    def calibrate(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> tuple[Classifier, dict[str, Any]]:
        """Fit the temperature to validation events; see `femtobarn.tasks.classification.calibration`.

        Args:
            outputs: of the trained model for validation events.
            targets: labels and weights of the same events.

        Returns:
            the calibrated classifier; and the temperature, the loss without and with it, and the priors.
        """
        labels, weights = targets
        fitted = fit_temperature(self, outputs, labels, weights)
        calibrated = Classifier(self.settings, **self.state() | {"temperature": fitted.temperature})
        priors = dict(zip(self.names, self.priors.tolist(), strict=True))
        return calibrated, {"calibration": fitted._asdict(), "classes": priors}


def fit_classifier(config: ClassificationConfig, yields: Mapping[str, float]) -> Classifier:
    """The task with its classes, and priors from the expected yields of training events.

    Args:
        config: the settings.
        yields: expected events of each process, in any common unit.

    Raises:
        ValueError: a process is not in the data or has no positive yield.
    """
    signal, background = config.roles(tuple(yields))
    chosen = {name: yields[name] for name in (*signal, *background)}
    for name, total in chosen.items():
        if not total > 0:
            raise ValueError(f"the weights of process {name!r} sum to {total:.4g}; a yield must be positive")
    return Classifier(config, signal, background, chosen)


def classifier_of(config: ClassificationConfig, events: Events) -> Classifier:
    """The task on these training events; see `fit_classifier`."""
    sums = {name: float(events.weight[events.process == name].sum()) for name in events.processes}
    return fit_classifier(config, sums)
