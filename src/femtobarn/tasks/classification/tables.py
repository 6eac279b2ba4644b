"""Tables of a comparison of models."""

from __future__ import annotations

from dataclasses import replace

from femtobarn.evaluation.cost_table import cost_table
from femtobarn.evaluation.rounding import NOTHING, common_decimals, fixed
from femtobarn.evaluation.table import Table
from femtobarn.evaluation.tables import growth_tables, section_table
from femtobarn.tasks.classification.comparison import Comparison
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.paired_tests import PairedTest, against_baseline, best_against_others
from femtobarn.tasks.classification.published import published_table
from femtobarn.tasks.classification.sections import growth_columns, main_sections, sections

#: Headings of the paired tests.
PAIRED_HEADINGS = ("ΔAUC", "± test", "(DeLong)", "± training", "z", "p")

#: What they mean.
PAIRED_NOTE = (
    "ΔAUC: first minus second; ± test: statistical error of the difference, the events being the same for both (beside "
    "it by DeLong's formula, as a check); ± training: from the spread over seeds; z: in standard deviations of both; "
    "p: of a z as large by chance, not corrected for the number of comparisons"
)


def pair_tables(comparison: Comparison) -> list[Table]:
    """PairedTest tests: every model against the baseline, and the best one against the others."""
    if len(comparison.rows) == 1:
        return []
    title = f"Every model against {comparison.baseline}"
    tables = [_pair_table(title, [(pair.first, pair) for pair in against_baseline(comparison)])]
    best = comparison.best(AUC)
    if best is not None and best.label != comparison.baseline:
        title = f"{best.label}, which has the largest AUC, against the others"
        tables.append(_pair_table(title, [(pair.second, pair) for pair in best_against_others(comparison)]))
    return tables


def _pair_table(title: str, pairs: list[tuple[str, PairedTest]]) -> Table:
    return Table.of_texts(title, PAIRED_HEADINGS, [(label, _pair_texts(pair)) for label, pair in pairs])


def _pair_texts(pair: PairedTest) -> list[str]:
    errors = [pair.statistical, pair.delong, pair.training]
    digits = common_decimals([errors], default=4) + 1
    texts = [fixed(error, digits) if error is not None else NOTHING for error in errors]
    p = "< 1e-15" if pair.p < 1e-15 else f"{pair.p:.2g}"
    return [f"{pair.difference:+.{max(digits, 0)}f}", *texts, f"{pair.deviation:+.1f}", p]


def tables(comparison: Comparison, *, detailed: bool = False) -> list[Table]:
    """Tables of a comparison; `detailed` adds single backgrounds, the fit, notes and paired tests."""
    largest = comparison.largest
    shown = sections(largest) if detailed else main_sections(largest)
    costs = cost_table(largest)
    return [
        *(replace(section_table(largest, section), note="") for section in shown),
        *growth_tables(comparison, growth_columns(comparison)),
        costs if detailed else replace(costs, note=""),
        *published_table(largest),
        *(pair_tables(largest) if detailed else ()),
    ]
