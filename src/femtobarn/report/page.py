"""The report: one HTML page that tells a comparison of models to someone who was not there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from matplotlib.figure import Figure

import femtobarn
from femtobarn.evaluation import Comparison, Confusion, Row, compare, confusion, load_run, run_folders
from femtobarn.evaluation.rounding import NOTHING
from femtobarn.evaluation.table import Cell, Column, cells, legend, trainings
from femtobarn.events import Events
from femtobarn.report import curves, display, distributions, histories, matrix, overview
from femtobarn.report.style import RC, Picture, model_looks, process_looks
from femtobarn.report.words import duration, listing, spaced, summary

#: Lines of provenance that are shown; the whole of it lies in the run folders.
LINES = 60


@dataclass(frozen=True)
class Table:
    """A table of the page: a column for each heading, a line for each model or process."""

    title: str
    headings: Sequence[str]
    lines: Sequence[tuple[str, str, Sequence[Cell]]]  # name, small print, cells
    note: str = ""


def report(
    runs: Sequence[Path],
    output: Path,
    *,
    title: str | None = None,
    baseline: str | None = None,
    events: Events | None = None,
    figures: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Writes the comparison of finished runs as one HTML file that needs no other, for the screen and for paper.

    Args:
        runs: run folders, or the folder of a study for all runs in it.
        output: the HTML file.
        title: heading of the page; made from the processes if not given.
        baseline: label of the model that gains refer to; the first one if not given.
        events: the events that were judged, for the event display; none is drawn without them.
        figures: a folder to write the figures to as well, as PDF and PNG.
        progress: called with each step as it begins, for whoever watches.

    Returns:
        the path of the page.

    Raises:
        ValueError: no runs, an unfinished one, runs that can't be compared, or events that were not judged.

    Example:
        >>> report([Path("study")], Path("report.html"), baseline="BDT")  # doctest: +SKIP
    """
    progress("reading and comparing runs")
    comparison = compare([load_run(folder) for folder in run_folders(runs)], baseline=baseline)
    with mpl.rc_context(RC):
        pictures = _pictures(comparison, events, progress)
    progress("writing the page")
    if figures is not None:
        for picture in pictures.values():
            picture.save(figures)
    room = Environment(
        loader=PackageLoader("femtobarn", "report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters["subscripts"] = _subscripts
    text = room.get_template("page.html.jinja").render(
        title=title or f"{listing(comparison.signal)} against {listing(comparison.backgrounds)}",
        summary=summary(comparison),
        comparison=comparison,
        percent=lambda point: f"{float(point):.0%}".replace("%", " %"),
        legend=legend(comparison),
        main=_main_tables(comparison),
        detailed=_background_tables(comparison),
        costs=_costs(comparison),
        processes=_processes(comparison),
        pictures=pictures,
        facts=_facts(comparison),
        version=femtobarn.__version__,
        date=datetime.now(UTC).strftime("%-d %B %Y"),
        style=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, output)
    return output


def _pictures(comparison: Comparison, events: Events | None, progress: Callable[[str], None]) -> dict[str, Picture]:
    rows = _largest(comparison)
    labels = [row.label for row in rows]
    looks = model_looks(labels)
    processes = process_looks((*comparison.signal, *comparison.backgrounds))
    progress("measuring curves")
    found = {row.label: curves.curve(row, comparison) for row in rows}
    best, baseline = _best(comparison), comparison.baseline
    signal = listing(comparison.signal)
    several = len(labels) > 1
    bands = "The band is the statistical error of the test events"
    pictures: list[Picture] = []

    def add(name: str, title: str, figure: Figure, caption: str) -> None:
        progress(f"drawing {name}")
        pictures.append(Picture(name, title, caption, figure))

    if several:
        add(
            "overview",
            "All models at a glance",
            overview.draw_overview(comparison, rows, looks),
            "Further right is better in both panels. The bar is the statistical error of the test events, each small "
            "tick below is one training. The models share the test events, so that their differences are known better "
            "than the bars suggest.",
        )
    if (sizes := _sizes(comparison)) is not None:
        add(
            "sizes",
            "Does more data help?",
            overview.draw_sizes(sizes, model_looks(list(sizes))),
            "A line that still rises on the right says that the model would gain from more training events.",
        )
    add(
        "curves",
        "Efficiency and rejection",
        curves.draw_roc(found, looks, signal),
        f"Left: the part of {signal} kept against the part of the background kept, as the cut on the score moves; "
        f"nearer to the upper left corner is better. Right: out of how many background events one is left. {bands}; "
        "the curves end where it exceeds 50 %.",
    )
    if several and baseline in found:
        add(
            "ratios",
            f"Rejection compared with {baseline}",
            curves.draw_ratios(found, looks, baseline),
            f"Background rejection divided by that of {baseline}: 1.2 means a fifth more background rejected at the "
            f"same signal efficiency. {bands}, in which what both models share drops out. Thin dark lines are the "
            "single trainings: their distance shows the spread over seeds.",
        )
    if len(comparison.backgrounds) > 1:
        add(
            "backgrounds",
            "Rejection of each background",
            curves.draw_backgrounds(found, looks, comparison.backgrounds),
            f"The same cut on the score, seen by each background alone. {bands}.",
        )
    add(
        "scores",
        f"Score of {best.label}",
        distributions.draw_best(best, comparison, processes),
        f"Scores of {best.label} (seed {best.seeds[0]}) for the test events. Right: as many events as "
        f"{comparison.settings.luminosity:g} fb⁻¹ would bring, {signal} as a line, not stacked; everything to the "
        "right of a dotted line is kept at that signal efficiency.",
    )
    others = {row.label: row.runs[0].scores for row in rows if row is not best}
    if others:
        add(
            "scores_others",
            "Scores of the other models",
            distributions.draw_others(others, processes),
            "Shapes of the score, each process normalised to 1.",
        )
    rivals = [row for row in rows if row is not best]
    rivals.sort(key=lambda row: (row.label != baseline, -(row.numbers["auc", "total"].value or 0.0)))
    matrices = [best, *rivals[:1]]
    add(
        "confusion",
        "What is taken for what",
        matrix.draw_confusions({row.label: _mean_confusion(row, comparison) for row in matrices}),
        "Each row is a process and sums to 100 %: where its events end up if every event is given to its most "
        "probable class, all classes being taken as equally frequent."
        if len(best.runs[0].scores.probabilities) > 2
        else "Part of each process that passes the cut at each signal efficiency.",
    )  # fmt: skip
    add(
        "histories",
        "Training",
        histories.draw_histories(rows, looks),
        "Losses while training, one pair of lines a seed. The validation loss decides which epoch is kept (dot). A "
        "validation loss that rises while the training loss falls is overtraining. During training, dropout makes "
        "the training loss of a network worse than it is.",
    )
    if events is not None:
        add(
            "events",
            "Three events",
            display.draw_events(best.runs[0].scores, events),
            f"Chosen by the score of {best.label}. Top: the detector unrolled, the area of a mark grows with "
            "transverse momentum. Bottom: the same event seen along the beam. Dashed: missing transverse momentum.",
        )
    return {picture.name: picture for picture in pictures}


def _best(comparison: Comparison) -> Row:
    return comparison.best(("auc", "total")) or comparison.rows[0]


def _largest(comparison: Comparison) -> list[Row]:
    """The models that saw most training events; figures with a line for every size as well would show nothing."""
    largest = max(row.runs[0].fraction for row in comparison.rows)
    best = _best(comparison)
    return [row for row in comparison.rows if row.runs[0].fraction == largest or row is best]


def _sizes(comparison: Comparison) -> dict[str, list[Row]] | None:
    if len({row.runs[0].fraction for row in comparison.rows}) == 1:
        return None
    found: dict[str, list[Row]] = {}
    for row in comparison.rows:
        found.setdefault(row.runs[0].label, []).append(row)
    return found


def _mean_confusion(row: Row, comparison: Comparison) -> Confusion:
    found = [confusion(run.scores, comparison.settings.efficiencies) for run in row.runs]
    mean = np.mean([each.fractions for each in found], axis=0)
    return Confusion(found[0].processes, found[0].categories, mean, found[0].exclusive)


def _table(comparison: Comparison, title: str, columns: Sequence[Column], note: str = "") -> Table:
    made = [cells(comparison, column) for column in columns]
    lines = [
        (row.label, trainings(row), [column[index] for column in made]) for index, row in enumerate(comparison.rows)
    ]
    return Table(title, [column.heading for column in columns], lines, note)


def _main_tables(comparison: Comparison) -> list[Table]:
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


def _background_tables(comparison: Comparison) -> list[Table]:
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


def _costs(comparison: Comparison) -> Table:
    def mean(row: Row, name: str) -> float | None:
        values = [run.meta[name] for run in row.runs if isinstance(run.meta.get(name), int | float)]
        return float(np.mean(values)) if values else None

    lines = []
    for row in comparison.rows:
        parameters, seconds, speed = (mean(row, name) for name in ("parameters", "seconds", "events_per_second"))
        epochs = listing_range([len(run.history) for run in row.runs])
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


def listing_range(values: Sequence[int]) -> str:
    """One number, or the range of several."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def _processes(comparison: Comparison) -> Table:
    best = _best(comparison)
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


def _subscripts(text: str) -> Markup:
    """ε_B with its letter below the line."""
    return Markup(re.sub(r"ε_([A-Z])", r"ε<sub>\1</sub>", str(escape(text))))


def _few(value: float) -> str:
    return spaced(value) if value >= 1000 else f"{value:.3g}"


def _facts(comparison: Comparison) -> dict[str, Any]:
    """Configuration, versions, data and commands, each told once."""
    best = _best(comparison)
    runs = [run for row in comparison.rows for run in row.runs]
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, value in (run.meta.get("versions") or {}).items():
            versions.setdefault(str(name), set()).add(str(value))
    root = Path(os.path.commonpath([run.path.resolve().parent for run in runs]))
    inputs = [run.meta.get("inputs") or {} for run in runs]
    provenance = yaml.safe_dump(
        _plain(inputs[0].get("provenance") or {}), sort_keys=False, allow_unicode=True, width=110
    )
    lines = provenance.splitlines() if inputs[0].get("provenance") else []
    return {
        "best": best.label,
        "config": yaml.safe_dump(
            _plain(best.runs[0].config), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
        ),
        "differences": [(row.label, _differences(best, row)) for row in comparison.rows if row is not best],
        "versions": {name: " or ".join(sorted(values)) for name, values in versions.items()},
        "fingerprints": sorted({str(each["fingerprint"]) for each in inputs if each.get("fingerprint")}),
        "provenance": "\n".join(lines[:LINES]),
        "left_out": max(len(lines) - LINES, 0),
        "commands": list(dict.fromkeys(str(run.meta["command"]) for run in runs if run.meta.get("command"))),
        "folders": [
            (row.label, [(run.seed, run.path.resolve().relative_to(root).as_posix()) for run in row.runs])
            for row in comparison.rows
        ],
    }


def _differences(best: Row, row: Row) -> list[tuple[str, str]]:
    base, other = (_flat(each.runs[0].config) for each in (best, row))
    changed = [name for name in (*base, *(name for name in other if name not in base)) if name not in ("label", "seed")]
    another = base.get("model.name") != other.get("model.name")
    return [
        (name, _short(other[name]) if name in other else "not there")
        for name in changed
        # another architecture has other settings, and those of the first one say nothing about it
        if base.get(name, ...) != other.get(name, ...) and not (another and name not in other)
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Through JSON and back, so that YAML writes tuples and the like as what they are."""
    return json.loads(json.dumps(value, default=str))
