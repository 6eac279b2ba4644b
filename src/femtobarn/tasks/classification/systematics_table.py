"""Tables of systematics: changes under each variation of the detector, model by model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.rounding import common_decimals
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.systematics import effect


@dataclass(frozen=True)
class Change:
    """A metric that variations change, and its formatting.

    Args:
        metric: what is changed.
        heading: of the column.
        unit: what the change is multiplied with: 100 for a percentage, 1000 for thousandths.
    """

    metric: Metric
    heading: str
    unit: float = 1.0


def changes(settings: Mapping[str, Any]) -> tuple[Change, ...]:
    """The numbers of a table: area, then yields and significances at each working point.

    Args:
        settings: of the evaluation, as `shifts.json` holds them.
    """
    columns = [Change(AUC, "ΔAUC, 10⁻³", 1000.0)]
    for efficiency in settings["efficiencies"]:
        point, at = f"{efficiency:g}", f"ε_S = {100 * efficiency:g} %"
        columns += [
            Change(Metric("signal", at=point), f"Δs/s [%], {at}", 100.0),
            Change(Metric("background", at=point), f"Δb/b [%], {at}", 100.0),
            Change(Metric("significance", "plain", at=point), f"Δ(s/√b), {at}"),
            Change(Metric("significance", "systematic", at=point), f"Δσ(δ = {settings['systematic']:g}), {at}"),
        ]
    return tuple(columns)


def changed(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], variations: Sequence[str], change: Change
) -> dict[tuple[str, str], str]:
    """One metric under every variation, by model and variation, with sign and errors, all rounded to the same digit.

    Args:
        runs: what was found for each training, by model.
        variations: their names.
        change: which number.
    """
    effects = {
        (model, name): effect(trainings, name, change.metric).scaled(change.unit)
        for model, trainings in runs.items()
        for name in variations
    }
    digits = common_decimals((number.errors for number in effects.values()), default=2)
    return {which: number.format(digits, signed=True) for which, number in effects.items()}


def systematics_table(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Group:
    """Tables for a terminal of 80 columns: one for the area, then one for each working point.

    Each has a line for each model and variation that all its trainings have.
    """
    settings = next(iter(runs.values()))[0]["settings"]
    columns = changes(settings)
    tables = [_table("Change of the area", runs, [change for change in columns if change.metric == AUC])]
    for efficiency in settings["efficiencies"]:
        at_point = [change for change in columns if change.metric.at == f"{efficiency:g}"]
        tables.append(_table(f"Changes at ε_S = {100 * efficiency:g} %", runs, at_point))
    return Group(*tables)


def _table(title: str, runs: Mapping[str, Sequence[Mapping[str, Any]]], columns: Sequence[Change]) -> Table:
    names = common(runs)
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("model", overflow="fold")
    table.add_column("variation", no_wrap=True)
    for change in columns:
        table.add_column(escape(change.heading.partition(", ε")[0]), justify="right", no_wrap=True)
    formatted = [changed(runs, names, change) for change in columns]
    for model in runs:
        for place, name in enumerate(names):
            texts = (column[model, name] for column in formatted)
            table.add_row(
                escape(model) if not place else "", name, *map(_styled, texts), end_section=place == len(names) - 1
            )
    return table


def common(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[str, ...]:
    """Variations that every training has, in the order of the first."""
    every = [run["shifts"] for trainings in runs.values() for run in trainings]
    return tuple(name for name in every[0] if all(name in names for names in every))


def _styled(text: str) -> Text:
    value, *errors = text.split(" ± ")
    styled = Text(value)
    if errors:
        styled.append("".join(f"\n±{error}" for error in errors), style="dim")
    return styled
