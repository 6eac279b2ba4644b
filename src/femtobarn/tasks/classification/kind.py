"""Classification as a task: the functions that evaluate, compare and show classifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from femtobarn.evaluation.bootstrap import Evaluated
from femtobarn.evaluation.predictions import Predictions
from femtobarn.evaluation.runs import Run
from femtobarn.evaluation.table import Table
from femtobarn.evaluation.tables import legend
from femtobarn.events import Events
from femtobarn.events.samples import JET_SAMPLES
from femtobarn.inputs import EVENTS, FEATURE_SETS, JETS, OBJECTS
from femtobarn.inputs.datasets import Dataset
from femtobarn.tasks.classification.classifier import Classifier, fit_classifier
from femtobarn.tasks.classification.comparison import Comparison, compare
from femtobarn.tasks.classification.config import ClassificationConfig
from femtobarn.tasks.classification.metrics import evaluate
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.tables import PAIRED_NOTE, tables

if TYPE_CHECKING:
    from femtobarn.report.content import PageContent  # matplotlib


class ClassificationTask:
    """Which process an event comes from; see `femtobarn.tasks.base.TaskKind`."""

    name = "classification"
    config = ClassificationConfig
    evaluation = ClassificationEvaluationConfig

    def complete(self, tree: Mapping[str, Any]) -> Mapping[str, Any]:
        """Default of `evaluation.metrics` for jets: tagging."""
        data, inputs, evaluation = (tree.get(name) or {} for name in ("data", "inputs", "evaluation"))
        sections = (data, inputs, evaluation)
        if not all(isinstance(section, Mapping) for section in sections) or "metrics" in evaluation:
            return tree
        feature_set = FEATURE_SETS.get(str(inputs.get("features", OBJECTS)))
        domain = JETS if data.get("sample") in JET_SAMPLES else feature_set.domain if feature_set else EVENTS
        return tree if domain is EVENTS else {**tree, "evaluation": {"metrics": domain.metrics, **evaluation}}

    def fit(self, config: ClassificationConfig, train: Dataset, yields: Mapping[str, float]) -> Classifier:
        """The task with its classes, and priors from the expected yields."""
        return fit_classifier(config, yields)

    def restore(
        self, config: ClassificationConfig, state: Mapping[str, Any], tensors: Mapping[str, Tensor] | None
    ) -> Classifier:
        """The task of a finished training, from `Classifier.state`."""
        return Classifier(config, **state)

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
