"""Tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from femtobarn.evaluation import Comparison
from femtobarn.evaluation.best import LEAST
from femtobarn.evaluation.costs import COST_NOTE, cost_table, mean_of
from femtobarn.evaluation.published import TITLE as PUBLISHED
from femtobarn.evaluation.published import published_table
from femtobarn.evaluation.rounding import NOTHING, shortened, spaced
from femtobarn.evaluation.sections import Section, background_sections, fit_section, main_sections, percent
from femtobarn.evaluation.table import PAIR_HEADINGS, Cell, cells, growths, pair_tables, trainings
from femtobarn.report.words import duration, leader


@dataclass(frozen=True)
class Table:
    """A table of the page: a column for each heading, a line for each model or process."""

    title: str
    headings: Sequence[str]
    lines: Sequence[tuple[str, str, Sequence[Cell]]]  # name, small print, cells
    note: str = ""


def _table(comparison: Comparison, section: Section, note: str = "") -> Table:
    made = [cells(comparison, column) for column in section.columns]
    lines = [
        (row.label, trainings(row), [column[index] for column in made]) for index, row in enumerate(comparison.rows)
    ]
    return Table(section.title, [column.heading for column in section.columns], lines, note or section.note)


def main_tables(comparison: Comparison) -> list[Table]:
    """All backgrounds together: separation, significance and luminosity, or the metrics of taggers."""
    return [_table(comparison, section) for section in main_sections(comparison)]


def size_tables(comparison: Comparison) -> list[Table]:
    """What each model makes of each size of the training set; nothing if there is only one."""
    note = "The other tables are those of the largest training set. Marks hold for a column: models of equal size."
    return [
        Table(title, headings, [(name, "", line) for name, line in lines], note)
        for title, headings, lines in growths(comparison)
    ]


def paired_tables(comparison: Comparison) -> list[Table]:
    """Every model against the baseline, and the best against the others."""
    return [
        Table(title, PAIR_HEADINGS, [(name, "", [Cell(text) for text in texts]) for name, texts in lines])
        for title, lines in pair_tables(comparison).items()
    ]


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
    return _table(comparison, fit_section(comparison), note)


def background_tables(comparison: Comparison) -> list[Table]:
    """AUC and efficiencies, or rejections, of each background on its own."""
    return [_table(comparison, section) for section in background_sections(comparison)]


def costs(comparison: Comparison) -> Table:
    """What each model costs beside its quality: an event in operations and time, a training in epochs and time."""
    headings, rows = cost_table(comparison)
    lines = []
    for row, (_, texts) in zip(comparison.rows, rows, strict=True):
        single, seconds = (mean_of(row, name) for name in ("elementwise", "seconds"))
        more = [
            shortened(single) if single else NOTHING,
            _range([len(run.history) for run in row.runs]),
            duration(seconds) if seconds is not None else NOTHING,
            ", ".join(sorted({str(run.meta.get("device", NOTHING)) for run in row.runs})),
        ]
        lines.append((row.label, trainings(row), [Cell(text) for text in (*texts, *more)]))
    return Table(
        "Cost",
        [*headings, "element-wise operations", "epochs (iterations)", "time of a training", "device"],
        lines,
        f"{COST_NOTE}. Element-wise: one for each number that comes out of an addition, a product, an activation or a "
        "feature.",
    )


def published(comparison: Comparison) -> list[Table]:
    """Results of others, where the evaluation asks for them."""
    found = published_table(comparison)
    if found is None:
        return []
    headings, lines, note = found
    return [Table(PUBLISHED, headings, [(name, "", [Cell(text) for text in texts]) for name, texts in lines], note)]


def processes(comparison: Comparison) -> Table:
    """How many events each process has, and how many the best model leaves of them."""
    best = leader(comparison)
    metrics = best.runs[0].metrics["events"]
    tagging = comparison.settings.tagging
    lines = []
    for name, entry in metrics.items():
        # jets are counted, not expected at a luminosity
        total = entry["number"] if tagging else entry["yield"]
        kept = []
        for point in comparison.points:
            if name in comparison.signal:
                kept.append(float(point) * total)
            else:
                value = best.numbers["background_efficiency", point, name].value
                kept.append((value or 0.0) * total)
        role = "signal" if name in comparison.signal else "background"
        numbers = [entry["number"], entry["effective"]]
        texts = [*map(spaced, numbers), *([] if tagging else [_few(total)]), *map(_few, kept)]
        lines.append((name, role, [Cell(text) for text in texts]))
    cuts = [f"after the cut at ε_S = {percent(point)}" for point in comparison.points]
    what = "jets" if tagging else "events"
    expected = [] if tagging else [f"expected with {comparison.settings.luminosity:g} fb⁻¹"]
    return Table(
        f"{what.capitalize()}, and what {best.label} leaves of them",
        [f"test {what}", "effective", *expected, *cuts],
        lines,
        f"Effective: as many {what} of equal weight would have the same statistical error; copies of one hard "
        "event count as one" + (", and so do the jets of one." if tagging else "."),
    )


def _few(value: float) -> str:
    return spaced(value) if value >= 1000 else f"{value:.3g}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"
