"""What a model uses as short tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from femtobarn.evaluation.rounding import rounded

#: Lines of a table of features.
LINES = 8

#: What each finding is called in tables and figures.
NAMES = {
    "relevance": "layer-wise relevance",
    "gradient": "gradient x input",
    "contributions": "contributions (Shapley values)",
}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Shares and means by type of object and by feature, for the signal and the backgrounds.

    Args:
        found: what `explain.json` holds.
    """
    made = []
    for method in ("relevance", "gradient", "contributions"):
        if method not in found:
            continue
        title = f"{found['label']}: {NAMES[method]}"
        if "type" in found[method]:
            made.append(_table(f"{title}, by type of object", "object", found[method]["type"], found))
        features = merged(found[method])
        groups = contrasted(found, features)
        leading = sorted(features[groups[0]], key=lambda name: -(features[groups[0]][name]["share"] or 0))[:LINES]
        few = {group: {name: features[group][name] for name in leading} for group in groups}
        made.append(_table(f"{title}, leading features", "feature", few, found))
    return made


def note(found: Mapping[str, Any]) -> str:
    """What shares and means are, and how well sums are conserved, in a few words."""
    said = [
        "share: of all absolute values; mean: towards signal where positive, in the log odds, of an object (types) or "
        "an event (features)"
    ]
    if not any(method in found for method in NAMES):
        said = [f"{found['label']} uses the momenta themselves: there are no features to share its answer out among"]
    for method in ("relevance", "contributions"):
        if method in found:
            sums = next(iter(found[method]["sums"].values()))
            said.append(
                f"{NAMES[method]}: of {sums['explained']['mean']:.3g} in the mean of {next(iter(found['events']))}, "
                f"{sums['constants']['mean']:.3g} come from the constants of the model; all parts sum to it within a "
                f"relative {found[method]['lost']:.0e}, event by event"
            )
    return "\n".join(said)


def contrasted(found: Mapping[str, Any], entries: Mapping[str, Any]) -> list[str]:
    """The groups of events to set side by side: the first signal, and all backgrounds together."""
    groups = list(entries)
    return list(dict.fromkeys([found["signal"][0], groups[-1]]))


def merged(finding: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All features of a finding by group of events, whether of objects, pairs or the event; or columns."""
    if "column" in finding:
        return dict(finding["column"])
    parts = finding["feature"].values()
    return {
        group: {name: entry for part in parts for name, entry in part[group].items()} for group in next(iter(parts))
    }


def _table(title: str, what: str, entries: Mapping[str, Any], found: Mapping[str, Any]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column(what)
    groups = contrasted(found, entries)
    for group in groups:
        table.add_column(f"{escape(group)}: share in %", justify="right")
        table.add_column("mean", justify="right")
    for name in entries[groups[0]]:
        cells = []
        for group in groups:
            entry = entries[group][name]
            share = [None if entry[key] is None else 100 * entry[key] for key in ("share", "share_error")]
            cells += [rounded(*share), rounded(entry["mean"], entry["error"])]
        table.add_row(escape(name), *cells)
    return table
