"""What a task is to the rest of the toolkit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from numpy.typing import NDArray
from torch import Tensor

from femtobarn.evaluation.bootstrap import Evaluated
from femtobarn.evaluation.comparison import Comparison
from femtobarn.evaluation.predictions import Predictions
from femtobarn.evaluation.runs import Run
from femtobarn.evaluation.settings import EvaluationConfig
from femtobarn.evaluation.table import Table
from femtobarn.events import Events
from femtobarn.inputs.datasets import Dataset
from femtobarn.tasks.config import TaskConfig
from femtobarn.training.task import Task

if TYPE_CHECKING:
    from femtobarn.report.content import PageContent  # matplotlib


@runtime_checkable
class FittedTask(Task, Protocol):
    """A task that has seen its training events: it makes targets, computes the loss and gives predictions.

    It is an `nn.Module`: its buffers with a persistent state are stored with the weights of the network.
    """

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""

    @property
    def names(self) -> Sequence[str]:
        """Name of each output."""

    def state(self) -> dict[str, Any]:
        """What `meta.json` stores, for `TaskKind.restore`; JSON types."""

    def tensors(self) -> dict[str, Tensor]:
        """Tensors to store with the weights of the network, for `TaskKind.restore`."""

    def calibrate(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> tuple[FittedTask, dict[str, Any]]:
        """Fit to validation events what is fitted after the training.

        Args:
            outputs: of the trained model for validation events.
            targets: of the same events.

        Returns:
            the calibrated task, and facts for `meta.json`; the task itself and nothing where nothing is fitted.
        """

    def predict(self, outputs: Tensor) -> dict[str, NDArray[Any]]:
        """Columns of predictions, one value per event."""

    def predictions(
        self,
        events: Events,
        columns: Mapping[str, NDArray[Any]],
        settings: Any,
        yields: Mapping[str, float] | None = None,
    ) -> Predictions:
        """Predictions with what their metrics need.

        Args:
            events: the events.
            columns: from `predict`.
            settings: of the evaluation.
            yields: expected events of each process before the split; None for events that are no held-out part.
        """

    def context_columns(self, settings: Any) -> Sequence[str]:
        """Columns of the events, besides those of every event, that `predictions` needs."""


@runtime_checkable
class TaskKind(Protocol):
    """A question that models can be trained for: its settings, and how its predictions are evaluated and shown."""

    @property
    def name(self) -> str:
        """Name in `task.kind` of the YAML."""

    @property
    def config(self) -> type[TaskConfig]:
        """Schema of the `task` section."""

    @property
    def evaluation(self) -> type[EvaluationConfig]:
        """Schema of the `evaluation` section."""

    def complete(self, tree: Mapping[str, Any]) -> Mapping[str, Any]:
        """The mapping of an experiment with defaults that depend on other sections."""

    def fit(self, config: Any, train: Dataset, yields: Mapping[str, float]) -> FittedTask:
        """The task with what it takes from training events.

        Args:
            config: settings of the task.
            train: training events.
            yields: expected training events of each process that takes part.
        """

    def restore(self, config: Any, state: Mapping[str, Any], tensors: Mapping[str, Tensor] | None) -> FittedTask:
        """The task of a finished training.

        Args:
            config: settings of the task.
            state: from `FittedTask.state`.
            tensors: from `FittedTask.tensors`; None for a task of which only the number of outputs is needed.
        """

    def evaluate(self, predictions: Predictions, settings: Any) -> Evaluated:
        """Metrics of one training, with their statistical errors."""

    def compare(self, runs: Sequence[Run], *, baseline: str | None = None) -> Comparison[Any]:
        """Trainings grouped by model, with errors of their differences."""

    def tables(self, comparison: Any, *, detailed: bool = False) -> list[Table]:
        """Tables of a comparison; `detailed` gives all of them."""

    def notes(self, comparison: Any, *, detailed: bool = False) -> list[str]:
        """Sentences below the tables."""

    def page(self, comparison: Any, events: Events | None, progress: Callable[[str], None]) -> PageContent:
        """Content of the HTML page."""
