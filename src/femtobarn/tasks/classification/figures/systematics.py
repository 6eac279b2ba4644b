"""Systematics: changes of each model's AUC and background under variations of one standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from femtobarn.evaluation.table import Table
from femtobarn.events.systematics import SYSTEMATICS
from femtobarn.report.style import WIDTH, PlotStyle, literal
from femtobarn.tasks.classification.comparison import Comparison
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.systematics import NOTE, effect, read_systematics
from femtobarn.tasks.classification.systematics_table import Change, changed, changes, common

#: What was found for each training, by model.
Found = Mapping[str, Sequence[Mapping[str, Any]]]


def systematics_of(comparison: Comparison) -> Found:
    """Results of `femtobarn systematics` of models whose trainings all have them; empty without a common variation."""
    results = {row.label: [read_systematics(run.path) for run in row.runs] for row in comparison.rows}
    settings = comparison.settings
    complete = {
        label: [
            result
            for result in trainings
            if result and ClassificationEvaluationConfig.model_validate(result["settings"]) == settings
        ]
        for label, trainings in results.items()
    }
    complete = {label: trainings for label, trainings in complete.items() if len(trainings) == len(results[label])}
    return complete if complete and common(complete) else {}


def systematics_tables(results: Found) -> list[Table]:
    """Changes of AUC, background and significance, one row per model, one column per variation; and lost events."""
    if not results:
        return []
    names = common(results)
    headings = [name.replace("_", " ") for name in names]
    titles = {"auc": "Change of AUC, in thousandths", "background": "Change of the background yield in percent"}
    titles["significance"] = "Change of s/√b"
    tables = []
    for change in changes(next(iter(results.values()))[0]["settings"]):
        if change.metric.name not in titles or change.metric.of == "systematic":
            continue
        texts = changed(results, names, change)
        at = f", cut at ε_S = {100 * float(change.metric.at):g} %" if change.metric.at else ""
        rows = [(model, [texts[model, name] for name in names]) for model in results]
        tables.append(Table.of_texts(titles[change.metric.name] + at, headings, rows))
    tables[-1] = replace(tables[-1], note=NOTE)
    return [*tables, *_lost_events(results, names)]


def _lost_events(results: Found, names: Sequence[str]) -> list[Table]:
    """Events that leave the selection, which are the same for every model."""
    variations = next(iter(results.values()))[0]["shifts"]
    leaving = [name for name in names if any(variations[name]["lost"].values())]
    if not leaving:
        return []
    rows = [
        (process, [f"{100 * variations[name]['lost'][process]:.1f}" for name in leaving])
        for process in variations[leaving[0]]["lost"]
    ]
    headings = [name.replace("_", " ") for name in leaving]
    return [replace(Table.of_texts("Events that leave the selection, in percent", headings, rows), label="process")]


def draw_systematics(results: Found, styles: Mapping[str, PlotStyle]) -> Figure:
    """AUC and background under each variation: one column per source, one row per model; up filled, down hollow."""
    names = common(results)
    sources = [source for source in SYSTEMATICS if any(name.startswith(f"{source}_") for name in names)]
    columns = changes(next(iter(results.values()))[0]["settings"])
    shown = [columns[0], [change for change in columns if change.metric.name == "background"][-1]]
    figure = Figure(
        figsize=(WIDTH, 2 * (0.26 * len(results) + 1.0) + 0.2), layout=ConstrainedLayoutEngine(wspace=0.03, hspace=0.06)
    )
    grid = figure.subplots(len(shown), len(sources), sharey=True, sharex="row", squeeze=False)
    for line, change in zip(grid, shown, strict=True):
        for axes, source in zip(line, sources, strict=True):
            axes.axvline(0, color="black", linewidth=0.8)
            for direction, offset in (("up", -0.14), ("down", 0.14)):
                if f"{source}_{direction}" not in names:
                    continue
                for place, (model, runs) in enumerate(results.items()):
                    number = effect(runs, f"{source}_{direction}", change.metric)
                    if number.value is None:
                        continue
                    errors = [error for error in number.errors if error is not None]
                    axes.errorbar(
                        number.value * change.unit,
                        place + offset,
                        xerr=change.unit * float(np.hypot.reduce(errors)) if errors else None,
                        color=styles[model].color,
                        marker="^" if direction == "up" else "v",
                        markerfacecolor=styles[model].color if direction == "up" else "white",
                        markersize=5,
                        elinewidth=1.3,
                        linestyle="none",
                    )
            axes.set_ylim(len(results) - 0.5, -0.5)
            axes.set_yticks(range(len(results)), list(map(literal, results)))
            axes.tick_params(axis="y", length=0)
            axes.grid(visible=False, axis="y")
            if change is shown[0]:
                axes.set_title(SYSTEMATICS[source].title, fontsize=9)
        middle = line[len(line) // 2]
        middle.set_xlabel(_axis(change))
    return figure


def _axis(change: Change) -> str:
    if change.metric.at is None:
        return r"change of AUC [10$^{-3}$]"
    return rf"change of the background after the cut at ε$_S$ = {100 * float(change.metric.at):g} % [%]"
