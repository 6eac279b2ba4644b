"""What a task is to the rest of the toolkit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from femtobarn.evaluation.bootstrap import Evaluated
from femtobarn.evaluation.comparison import Comparison
from femtobarn.evaluation.predictions import Predictions
from femtobarn.evaluation.runs import Run
from femtobarn.evaluation.settings import EvaluationConfig
from femtobarn.evaluation.table import Table
from femtobarn.events import Events
from femtobarn.report.content import PageContent


@runtime_checkable
class TaskKind(Protocol):
    """A question that models can be trained for: how its predictions are evaluated, compared and shown."""

    @property
    def name(self) -> str:
        """Name in `task.kind` of the YAML."""

    @property
    def evaluation(self) -> type[EvaluationConfig]:
        """Schema of the `evaluation` section."""

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
