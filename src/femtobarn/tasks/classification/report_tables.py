"""Tables of the page."""

from __future__ import annotations

from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.rounding import group_digits
from femtobarn.evaluation.table import Cell, Row, Table
from femtobarn.evaluation.tables import section_table
from femtobarn.tasks.classification.comparison import Comparison
from femtobarn.tasks.classification.optimal_cut import MIN_BACKGROUND
from femtobarn.tasks.classification.sections import background_sections, fit_section, percent


def fit_table(comparison: Comparison) -> Table | None:
    """Significances of counting experiments beside those of fits, and limits; None for taggers, which have none."""
    if comparison.settings.tagging:
        return None
    note = (
        "Counting: the Asimov significance after a cut, with all background uncertain by δ together. The best cut "
        f"leaves {MIN_BACKGROUND:g} effective background events or more; the cuts at fixed ε_S may leave fewer."
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


def processes(comparison: Comparison) -> Table:
    """How many events each process has, and how many the best model leaves of them."""
    best = comparison.leader
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
        texts = [*map(group_digits, numbers), *([] if tagging else [_format_count(total)]), *map(_format_count, kept)]
        rows.append(Row(name, [Cell(text) for text in texts], role))
    cuts = [f"after the cut at ε_S = {percent(point)}" for point in comparison.points]
    members = "jets" if tagging else "events"
    expected = [] if tagging else [f"expected with {comparison.settings.luminosity:g} fb⁻¹"]
    return Table(
        f"{members.capitalize()}, and what {best.label} leaves of them",
        [f"test {members}", "effective", *expected, *cuts],
        rows,
        f"Effective: as many {members} of equal weight would have the same statistical error; copies of one hard "
        "event count as one" + (", and so do the jets of one." if tagging else "."),
    )


def _format_count(value: float) -> str:
    return group_digits(value) if value >= 1000 else f"{value:.3g}"
