"""Classification as a task: the functions that evaluate, compare and show classifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from femtobarn.evaluation.bootstrap import Evaluated
from femtobarn.evaluation.predictions import Predictions
from femtobarn.evaluation.runs import Run
from femtobarn.evaluation.table import Table
from femtobarn.evaluation.tables import legend
from femtobarn.events import Events
from femtobarn.report.content import PageContent
from femtobarn.tasks.classification.comparison import Comparison, compare
from femtobarn.tasks.classification.metrics import evaluate
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.tables import PAIRED_NOTE, tables


class ClassificationTask:
    """Which process an event comes from; see `femtobarn.tasks.base.TaskKind`."""

    name = "classification"
    evaluation = ClassificationEvaluationConfig

    def evaluate(self, predictions: Predictions, settings: ClassificationEvaluationConfig) -> Evaluated:
        """Metrics of one classifier, with their statistical errors."""
        return evaluate(Scores.from_predictions(predictions), settings)

    def compare(self, runs: Sequence[Run], *, baseline: str | None = None) -> Comparison:
        """Classifiers side by side."""
        return compare(runs, baseline=baseline)

    def tables(self, comparison: Comparison, *, detailed: bool = False) -> list[Table]:
        """Tables of a comparison; `detailed` adds single backgrounds, the fit and paired tests."""
        return tables(comparison, detailed=detailed)

    def notes(self, comparison: Comparison, *, detailed: bool = False) -> list[str]:
        """Sentences below the tables."""
        return [legend(comparison), *([PAIRED_NOTE] if detailed and len(comparison.rows) > 1 else [])]

    def page(self, comparison: Comparison, events: Events | None, progress: Callable[[str], None]) -> PageContent:
        """Content of the HTML page."""
        from femtobarn.tasks.classification.page import page_content  # matplotlib

        return page_content(comparison, events, progress)


TASK = ClassificationTask()
