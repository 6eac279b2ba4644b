"""Tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from femtobarn.evaluation import Comparison
from femtobarn.evaluation.best import LEAST
from femtobarn.evaluation.costs import cost_table, mean_of
from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.rounding import NOTHING, shortened, spaced
from femtobarn.evaluation.sections import background_sections, fit_section, main_sections, percent
from femtobarn.evaluation.table import Cell, Row, Table
from femtobarn.evaluation.tables import growth_tables, section_table, trainings
from femtobarn.report.words import duration, leader


def main_tables(comparison: Comparison) -> list[Table]:
    """All backgrounds together: separation, significance and luminosity, or the metrics of taggers."""
    return [section_table(comparison, section) for section in main_sections(comparison)]


def size_tables(comparison: Comparison) -> list[Table]:
    """Metrics of each model against the size of the training set; empty with a single size."""
    note = "The other tables are those of the largest training set. Marks hold for a column: models of equal size."
    return [replace(table, note=note) for table in growth_tables(comparison)]


def fit_table(comparison: Comparison) -> Table | None:
    """Significances of counting experiments beside those of fits, and limits; None for taggers, which have none."""
    if comparison.settings.tagging:
        return None
    note = (
        "Counting: the Asimov significance after a cut, with all background uncertain by δ together. The best cut "
        f"leaves {LEAST:g} effective background events or more; the cuts at fixed ε_S may leave fewer."
    )
    if comparison.fitted:
        systematics = (comparison.rows[0].runs[0].fit or {})["systematics"]
        shapes = f" and shapes from {', '.join(systematics)}" if systematics else ""
        note += (
            " Fit: profile likelihood of the binned score, with a log-normal uncertainty δ for each background on its "
            f"own, the statistical error of the simulation in each bin{shapes}. The limit is that on the signal "
            "strength μ, in units of the expected signal, if there is no signal; lower is better."
        )
    else:
        note += " Run femtobarn fit for the profile likelihood of the binned score."
    return section_table(comparison, fit_section(comparison), note)


def background_tables(comparison: Comparison) -> list[Table]:
    """AUC and efficiencies, or rejections, of each background on its own."""
    return [section_table(comparison, section) for section in background_sections(comparison)]


def costs(comparison: Comparison) -> Table:
    """Costs of each model: operations and time per event, epochs and time per training."""
    table = cost_table(comparison)
    rows = []
    for row, entry in zip(comparison.rows, table.rows, strict=True):
        single, seconds = (mean_of(row, name) for name in ("elementwise", "seconds"))
        more = [
            shortened(single) if single else NOTHING,
            _range([len(run.history) for run in row.runs]),
            duration(seconds) if seconds is not None else NOTHING,
            ", ".join(sorted({str(run.meta.get("device", NOTHING)) for run in row.runs})),
        ]
        rows.append(Row(row.label, [*entry.cells, *map(Cell, more)], trainings(row)))
    more_headings = ["element-wise operations", "epochs (iterations)", "time of a training", "device"]
    note = (
        f"{table.note} Element-wise: one for each number that an addition, a product, an activation or a feature gives."
    )
    return replace(table, headings=[*table.headings, *more_headings], rows=rows, note=note)


def processes(comparison: Comparison) -> Table:
    """How many events each process has, and how many the best model leaves of them."""
    best = leader(comparison)
    metrics = best.runs[0].metrics["events"]
    tagging = comparison.settings.tagging
    rows = []
    for name, entry in metrics.items():
        # jets are counted, not expected at a luminosity
        total = entry["number"] if tagging else entry["yield"]
        kept = []
        for point in comparison.points:
            if name in comparison.signal:
                kept.append(float(point) * total)
            else:
                value = best.measurements[Metric("background_efficiency", name, at=point)].value
                kept.append((value or 0.0) * total)
        role = "signal" if name in comparison.signal else "background"
        numbers = [entry["number"], entry["effective"]]
        texts = [*map(spaced, numbers), *([] if tagging else [_few(total)]), *map(_few, kept)]
        rows.append(Row(name, [Cell(text) for text in texts], role))
    cuts = [f"after the cut at ε_S = {percent(point)}" for point in comparison.points]
    what = "jets" if tagging else "events"
    expected = [] if tagging else [f"expected with {comparison.settings.luminosity:g} fb⁻¹"]
    return Table(
        f"{what.capitalize()}, and what {best.label} leaves of them",
        [f"test {what}", "effective", *expected, *cuts],
        rows,
        f"Effective: as many {what} of equal weight would have the same statistical error; copies of one hard "
        "event count as one" + (", and so do the jets of one." if tagging else "."),
    )


def _few(value: float) -> str:
    return spaced(value) if value >= 1000 else f"{value:.3g}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"
