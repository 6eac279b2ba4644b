"""Regressions side by side: comparison, tables and terms."""

from __future__ import annotations

from collections.abc import Sequence

from femtobarn.evaluation.comparison import Comparison, compare_runs
from femtobarn.evaluation.cost_table import cost_table
from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.runs import Run
from femtobarn.evaluation.table import Table
from femtobarn.evaluation.tables import Column, Section, growth_tables, section_table
from femtobarn.tasks.regression.config import RegressionEvaluationConfig
from femtobarn.tasks.regression.metrics import (
    LOWER_IS_BETTER,
    METRICS,
    UNRANKED,
    bins_of,
    largest_events,
    largest_label,
    metric_replicas,
)
from femtobarn.tasks.regression.regressor import OBSERVABLES, SCALES, TARGETS

#: Headings of the metrics.
HEADINGS = {
    "bias": "bias",
    "resolution": "resolution (68 %)",
    "resolution_95": "resolution (95 %)",
    "tails": "tails > 3 σ",
    "mse": "MSE",
    "r2": "R²",
}

AnyComparison = Comparison[Run]

#: Meaning of the metrics, below the tables.
NOTE = "r: relative error (predicted - true) / |true|; " + "; ".join(
    f"{HEADINGS[name]}: {meaning}" for name, meaning in METRICS.items()
)


def compare(runs: Sequence[Run], *, baseline: str | None = None) -> AnyComparison:
    """Put regressions side by side; the resolution of the first target ranks the models.

    Raises:
        ValueError: as `femtobarn.evaluation.comparison.compare_runs`, or runs with different targets.
    """
    for run in runs[1:]:
        first, other = (compared.predictions.metadata.get(TARGETS) for compared in (runs[0], run))
        if first != other:
            raise ValueError(f"the targets are {first} in {runs[0].path}, {other} in {run.path}; compare the same ones")
    return compare_runs(
        runs,
        lambda run, settings: metric_replicas(run.predictions, settings),
        RegressionEvaluationConfig,
        headline=Metric("resolution", runs[0].predictions.metadata[TARGETS][0]) if runs else None,
        baseline=baseline,
        lower_is_better=LOWER_IS_BETTER,
        unranked=UNRANKED,
    )


def targets_of(comparison: AnyComparison) -> tuple[str, ...]:
    """Names of the targets."""
    return tuple(comparison.rows[0].runs[0].predictions.metadata[TARGETS])


def variables_of(comparison: AnyComparison) -> tuple[str, ...]:
    """Names of the targets and of the observables whose bins are evaluated."""
    return (*targets_of(comparison), *comparison.rows[0].runs[0].predictions.metadata[OBSERVABLES])


def processes_of(comparison: AnyComparison) -> tuple[str, ...]:
    """Names of the processes."""
    return tuple(sorted({str(name) for name in comparison.rows[0].runs[0].predictions.process}))


def main_sections(comparison: AnyComparison) -> list[Section]:
    """Metrics of each target over all events, and over the events with its largest values."""
    predictions = comparison.rows[0].runs[0].predictions
    headings = {name: heading for name, heading in HEADINGS.items() if name != "mse" or SCALES in predictions.metadata}
    sections = []
    for target in targets_of(comparison):
        parts: dict[str, str | None] = {target: None}
        if largest_events(predictions, target) is not None:
            parts[f"{target}: {largest_label(target)}"] = largest_label(target)
        sections += [
            Section(title, tuple(Column(Metric(name, target, at=at), heading) for name, heading in headings.items()))
            for title, at in parts.items()
        ]
    return sections


def process_sections(comparison: AnyComparison) -> list[Section]:
    """Bias and resolution of each target in each process; empty with a single process."""
    names = processes_of(comparison)
    if len(names) == 1:
        return []
    return [
        Section(
            f"{target} by process",
            tuple(
                Column(Metric(metric, target, at=name), f"{HEADINGS[metric]}, {name}")
                for name in names
                for metric in ("bias", "resolution")
            ),
        )
        for target in targets_of(comparison)
    ]


def bin_sections(comparison: AnyComparison) -> list[Section]:
    """Resolution of each target in bins of the targets and the observables."""
    predictions = comparison.rows[0].runs[0].predictions
    return [
        Section(
            f"Resolution (68 %) of {target} in bins of {variable}",
            tuple(
                Column(Metric("resolution", target, at=bin_.label), f"{bin_.low:.4g} to {bin_.high:.4g}")
                for bin_ in bins_of(predictions, variable, comparison.settings.bins)
            ),
        )
        for target in targets_of(comparison)
        for variable in variables_of(comparison)
    ]


def tables(comparison: AnyComparison, *, detailed: bool = False) -> list[Table]:
    """Tables of a comparison; `detailed` adds single processes and bins."""
    largest = comparison.largest
    shown = main_sections(largest)
    shown += [*process_sections(largest), *bin_sections(largest)] if detailed else []
    return [
        *(section_table(largest, section) for section in shown),
        *growth_tables(comparison, growth_columns(comparison)),
        cost_table(largest),
    ]


def growth_columns(comparison: AnyComparison) -> list[Column]:
    """Resolution of each target, against the size of the training set."""
    return [Column(Metric("resolution", target), f"resolution (68 %) of {target}") for target in targets_of(comparison)]


def summary(comparison: AnyComparison) -> list[str]:
    """The result in a few sentences."""
    from femtobarn.report.text import deviations, listing

    n_models, n_events = len(comparison.rows), len(comparison.rows[0].runs[0].predictions)
    models = "One model was" if n_models == 1 else f"{n_models} models were"
    sentences = [
        f"{models} trained to predict {listing(targets_of(comparison))}, and evaluated on the same {n_events:,} events "
        "that no training used.".replace(",", "\u202f", 0)
    ]
    for target in targets_of(comparison):
        metric = Metric("resolution", target)
        best = comparison.best(metric)
        if best is None:
            continue
        resolution, bias = best.measurements[metric], best.measurements[Metric("bias", target)]
        text = (
            f"{best.label} has the best resolution of {target}: {resolution.scaled(100.0).format()} %, "
            f"with a bias of {bias.scaled(100.0).format()} %"
        )
        rivals = [row for row in comparison.rows if row is not best]
        equal = comparison.ties(metric)
        if equal:
            text += f"; {listing(equal)} differ{'s' if len(equal) == 1 else ''} by less than two standard deviations"
        elif rivals:
            second = min(rivals, key=lambda row: row.measurements[metric].value or float("inf"))
            text += f"; it is {deviations(comparison.deviation(best, second, metric))} better than {second.label}"
        sentences.append(f"{text}.")
    return sentences
