"""Tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from femtobarn.evaluation import Comparison, Row
from femtobarn.evaluation.best import LEAST
from femtobarn.evaluation.rounding import NOTHING
from femtobarn.evaluation.table import (
    GROWTH,
    PAIR_HEADINGS,
    Cell,
    Column,
    cells,
    fit_section,
    growth,
    pair_tables,
    trainings,
)
from femtobarn.report.words import duration, leader, spaced


@dataclass(frozen=True)
class Table:
    """A table of the page: a column for each heading, a line for each model or process."""

    title: str
    headings: Sequence[str]
    lines: Sequence[tuple[str, str, Sequence[Cell]]]  # name, small print, cells
    note: str = ""


def _table(comparison: Comparison, title: str, columns: Sequence[Column], note: str = "") -> Table:
    made = [cells(comparison, column) for column in columns]
    lines = [
        (row.label, trainings(row), [column[index] for column in made]) for index, row in enumerate(comparison.rows)
    ]
    return Table(title, [column.heading for column in columns], lines, note)


def main_tables(comparison: Comparison) -> list[Table]:
    """Separation, significance and luminosity with all backgrounds together."""
    points = [(point, f"{float(point):.0%}".replace("%", " %")) for point in comparison.points]
    settings = comparison.settings
    kinds = (("plain", "s/√b"), ("systematic", f"δ = {settings.systematic:g}"))
    separation = [
        Column(("auc", "total"), "AUC"),
        *(Column(("background_efficiency", point, "total"), f"ε_B at ε_S = {name}") for point, name in points),
    ]
    tables = [_table(comparison, "Separation, all backgrounds together", separation)]
    for key, name, note in (
        ("significance", f"Significance with {settings.luminosity:g} fb⁻¹, in standard deviations", ""),
        (
            "gain",
            f"Luminosity {comparison.baseline} needs to match, in units of its own",
            "With a systematic uncertainty the ratio is a convention: no luminosity makes up for δ.",
        ),
    ):
        if key == "gain" and len(comparison.rows) == 1:
            continue
        columns = [Column((key, point, kind), f"{text}, ε_S = {at}") for point, at in points for kind, text in kinds]
        tables.append(_table(comparison, name, columns, note))
    return tables


def size_table(comparison: Comparison) -> list[Table]:
    """AUC of each model at each size of the training set; nothing if there is only one."""
    if len(comparison.sizes) == 1:
        return []
    headings, lines = growth(comparison)
    note = "The other tables are those of the largest training set. Marks hold for a column: models of equal size."
    return [Table(GROWTH, headings, [(name, "", line) for name, line in lines], note)]


def paired_tables(comparison: Comparison) -> list[Table]:
    """Every model against the baseline, and the best against the others."""
    return [
        Table(title, PAIR_HEADINGS, [(name, "", [Cell(text) for text in texts]) for name, texts in lines])
        for title, lines in pair_tables(comparison).items()
    ]


def fit_table(comparison: Comparison) -> Table:
    """Significances of counting experiments beside those of fits, and limits."""
    section = fit_section(comparison)
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
    return _table(comparison, section.title, section.columns, note)


def background_tables(comparison: Comparison) -> list[Table]:
    """AUC and efficiencies of each background on its own."""
    names = comparison.backgrounds
    tables = [
        _table(comparison, "AUC against each background", [Column(("auc", name), name) for name in names]),
    ]
    for point in comparison.points:
        columns = [Column(("background_efficiency", point, name), name) for name in names]
        tables.append(
            _table(comparison, f"Background efficiency at ε_S = {float(point):.0%}".replace("%", " %"), columns)
        )
    return tables


def costs(comparison: Comparison) -> Table:
    """What a training of each model costs in parameters and time."""

    def mean(row: Row, name: str) -> float | None:
        values = [run.meta[name] for run in row.runs if isinstance(run.meta.get(name), int | float)]
        return float(np.mean(values)) if values else None

    lines = []
    for row in comparison.rows:
        parameters, seconds, speed = (mean(row, name) for name in ("parameters", "seconds", "events_per_second"))
        epochs = _range([len(run.history) for run in row.runs])
        trees = (row.runs[0].config.get("model") or {}).get("name") == "bdt"
        devices = sorted({str(run.meta.get("device", NOTHING)) for run in row.runs})
        texts = [
            spaced(parameters) if parameters else "trees" if trees else NOTHING,
            epochs,
            duration(seconds) if seconds is not None else NOTHING,
            spaced(speed) if speed else NOTHING,
            ", ".join(devices),
        ]
        lines.append((row.label, trainings(row), [Cell(text) for text in texts]))
    return Table(
        "Cost of a training",
        ["trained parameters", "epochs (iterations)", "time", "events/s", "device"],
        lines,
        "Mean over seeds. Times depend on what else the machine was doing.",
    )


def processes(comparison: Comparison) -> Table:
    """How many events each process has, and how many the best model leaves of them."""
    best = leader(comparison)
    metrics = best.runs[0].metrics["events"]
    total = comparison.settings.luminosity
    lines = []
    for name, entry in metrics.items():
        kept = []
        for point in comparison.points:
            if name in comparison.signal:
                kept.append(float(point) * entry["yield"])
            else:
                value = best.numbers["background_efficiency", point, name].value
                kept.append((value or 0.0) * entry["yield"])
        role = "signal" if name in comparison.signal else "background"
        numbers = [entry["number"], entry["effective"]]
        texts = [*map(spaced, numbers), _few(entry["yield"]), *map(_few, kept)]
        lines.append((name, role, [Cell(text) for text in texts]))
    cuts = [f"after the cut at ε_S = {float(point):.0%}".replace("%", " %") for point in comparison.points]
    return Table(
        f"Events, and what {best.label} leaves of them",
        ["test events", "effective", f"expected with {total:g} fb⁻¹", *cuts],
        lines,
        "Effective: as many events of equal weight would have the same statistical error; copies of one hard "
        "event count as one.",
    )


def _few(value: float) -> str:
    return spaced(value) if value >= 1000 else f"{value:.3g}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"
