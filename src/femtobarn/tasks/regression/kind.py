"""Regression as a task; see `femtobarn.tasks.base.TaskKind`."""

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
from femtobarn.inputs.datasets import Dataset
from femtobarn.inputs.event_columns import event_columns
from femtobarn.tasks.regression.comparison import NOTE, AnyComparison, compare, tables
from femtobarn.tasks.regression.config import RegressionConfig, RegressionEvaluationConfig
from femtobarn.tasks.regression.metrics import evaluate
from femtobarn.tasks.regression.regressor import Regressor, fit_regressor, weight_factors

if TYPE_CHECKING:
    from femtobarn.report.content import PageContent  # matplotlib


class RegressionTask:
    """Values of numeric columns of the events."""

    name = "regression"
    config = RegressionConfig
    evaluation = RegressionEvaluationConfig

    def complete(self, tree: Mapping[str, Any]) -> Mapping[str, Any]:
        """No default of a regression depends on other sections."""
        return tree

    def fit(self, config: RegressionConfig, train: Dataset, yields: Mapping[str, float]) -> Regressor:
        """The task with the scale of the targets in the training events."""
        head = train.head()
        totals = head.totals.absolute_weights if head.totals else {}
        sums = totals or {name: float(abs(head.events.weight[head.events.process == name]).sum()) for name in yields}
        factors = weight_factors({name: sums.get(name, 0.0) for name in yields}, balance=config.balance)
        return fit_regressor(config, tuple(yields), event_columns(head.events, config.targets, factors))

    def restore(
        self, config: RegressionConfig, state: Mapping[str, Any], tensors: Mapping[str, Tensor] | None
    ) -> Regressor:
        """The task of a finished training, from its names of processes and the scale of its targets."""
        if tensors is None:
            return Regressor(config, state["processes"], [0.0] * len(config.targets), [1.0] * len(config.targets))
        return Regressor(config, state["processes"], tensors["mean"].tolist(), tensors["std"].tolist())

    def evaluate(self, predictions: Predictions, settings: RegressionEvaluationConfig) -> Evaluated:
        """Metrics of one training, with their statistical errors."""
        return evaluate(predictions, settings)

    def compare(self, runs: Sequence[Run], *, baseline: str | None = None) -> AnyComparison:
        """Regressions side by side."""
        return compare(runs, baseline=baseline)

    def tables(self, comparison: AnyComparison, *, detailed: bool = False) -> list[Table]:
        """Tables of a comparison; `detailed` adds single processes and bins."""
        return tables(comparison, detailed=detailed)

    def notes(self, comparison: AnyComparison, *, detailed: bool = False) -> list[str]:
        """Sentences below the tables."""
        return [legend(comparison), NOTE]

    def page(self, comparison: AnyComparison, events: Events | None, progress: Callable[[str], None]) -> PageContent:
        """Content of the HTML page."""
        from femtobarn.tasks.regression.page import page_content  # matplotlib

        return page_content(comparison, events, progress)


TASK = RegressionTask()
