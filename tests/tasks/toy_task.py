"""A task in sixty lines: predict the scalar sum of the momenta of an event from its objects."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from femtobarn.evaluation.bootstrap import Evaluated, Replicas, draw_replicas
from femtobarn.evaluation.comparison import compare_runs
from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.predictions import Predictions
from femtobarn.evaluation.settings import EvaluationConfig
from femtobarn.evaluation.tables import Column, Section, legend, section_table
from femtobarn.report.content import PageContent, PageSection
from femtobarn.tasks.config import TaskConfig

ERROR = Metric("error")


class SumConfig(TaskConfig):
    kind: Literal["sum"] = "sum"

    def select_processes(self, available: Any) -> tuple[str, ...]:
        return tuple(available)


class SumOfMomenta(torch.nn.Module):
    outputs, names, columns = 1, ("ht",), ("sum_pt",)

    def weight_factors(self, absolute_weights: Any) -> dict[str, float]:
        return dict.fromkeys(absolute_weights, 1 / sum(absolute_weights.values()))

    def targets(self, columns: Any) -> tuple[torch.Tensor, ...]:
        return torch.from_numpy(columns.values["sum_pt"] / 1000).float(), torch.from_numpy(columns.weight).float()

    def loss(self, network: Any, batch: Any, targets: Any) -> Any:
        return (targets[1] * (network(batch)[:, 0] - targets[0]).abs()).mean()

    def state(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def calibrate(self, outputs: Any, targets: Any) -> Any:
        return self, {}

    def predict(self, outputs: Any) -> dict[str, Any]:
        return {"predicted": 1000 * outputs[:, 0].double().numpy()}

    def context_columns(self, settings: Any) -> tuple[str, ...]:
        return self.columns

    def predictions(self, events: Any, columns: Any, settings: Any, yields: Any = None) -> Predictions:
        true = np.asarray(events.context["sum_pt"], dtype=np.float64)
        return Predictions(**{name: getattr(events, name) for name in ("process", "number", "hard", "weight")},
                           columns={**columns, "true": true}, metadata={})  # fmt: skip


class SumTask:
    name, config, evaluation = "sum", SumConfig, EvaluationConfig

    def complete(self, tree: Any) -> Any:
        return tree

    def fit(self, config: Any, train: Any, yields: Any) -> SumOfMomenta:
        return SumOfMomenta()

    def restore(self, config: Any, state: Any, tensors: Any) -> SumOfMomenta:
        return SumOfMomenta()

    def replicas(self, predictions: Predictions, settings: Any) -> Replicas:
        error = np.abs(predictions.columns["predicted"] - predictions.columns["true"])
        weights = np.concatenate(list(draw_replicas(predictions, settings.bootstrap, settings.seed)))
        return Replicas({ERROR: weights @ error / weights.sum(axis=1)})

    def evaluate(self, predictions: Predictions, settings: Any) -> Evaluated:
        replicas = self.replicas(predictions, settings)
        value = {"value": float(replicas.values[ERROR][0])}
        return Evaluated({"settings": settings.model_dump(mode="json"), "error": value}, replicas)

    def compare(self, runs: Any, *, baseline: Any = None) -> Any:
        lower = frozenset({"error"})
        return compare_runs(runs, lambda run, settings: self.replicas(run.predictions, settings), EvaluationConfig,
                            baseline=baseline, lower_is_better=lower)  # fmt: skip

    def tables(self, comparison: Any, *, detailed: bool = False) -> Any:
        return [section_table(comparison, Section("Sum of momenta", (Column(ERROR, "mean error [GeV]"),)))]

    def notes(self, comparison: Any, *, detailed: bool = False) -> list[str]:
        return [legend(comparison)]

    def page(self, comparison: Any, events: Any, progress: Any) -> PageContent:
        return PageContent("Sums", ["Sums were predicted."], [PageSection("r", "Result", self.tables(comparison))], [])


TASK = SumTask()
