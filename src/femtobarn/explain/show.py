"""Short tables of an explanation for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from femtobarn.evaluation.rounding import rounded

#: Lines of a table of features.
LINES = 8

#: Titles of the attributions in tables and figures.
NAMES = {
    "relevance": "layer-wise relevance",
    "gradient": "gradient x input",
    "contributions": "contributions (Shapley values)",
}


def tables(explanation: Mapping[str, Any]) -> list[Table]:
    """Shares and means by type of object and by feature, for the signal and the backgrounds.

    Args:
        explanation: contents of `explain.json`.
    """
    made = []
    for method in ("relevance", "gradient", "contributions"):
        if method not in explanation:
            continue
        title = f"{explanation['label']}: {NAMES[method]}"
        if "type" in explanation[method]:
            made.append(_table(f"{title}, by type of object", "object", explanation[method]["type"], explanation))
        features = merged(explanation[method])
        groups = contrasted(explanation, features)
        leading = sorted(features[groups[0]], key=lambda name: -(features[groups[0]][name]["share"] or 0))[:LINES]
        few = {group: {name: features[group][name] for name in leading} for group in groups}
        made.append(_table(f"{title}, leading features", "feature", few, explanation))
    return made


def note(explanation: Mapping[str, Any]) -> str:
    """Definition of shares and means, and the conservation of their sums, in a few words."""
    sentences = [
        "share: of all absolute values; mean: towards signal where positive, in the log odds, of an object (types) or "
        "an event (features)"
    ]
    if not any(method in explanation for method in NAMES):
        sentences = [
            f"{explanation['label']} uses the momenta themselves: it has no features to attribute its outputs to"
        ]
    for method in ("relevance", "contributions"):
        if method in explanation:
            sums = next(iter(explanation[method]["sums"].values()))
            group = next(iter(explanation["events"]))
            sentences.append(
                f"{NAMES[method]}: of {sums['explained']['mean']:.3g} in the mean of {group}, "
                f"{sums['constants']['mean']:.3g} come from the constants of the model; all parts sum to it within a "
                f"relative {explanation[method]['lost']:.0e}, event by event"
            )
    return "\n".join(sentences)


def contrasted(explanation: Mapping[str, Any], entries: Mapping[str, Any]) -> list[str]:
    """The groups of events to set side by side: the first signal, and all backgrounds together."""
    groups = list(entries)
    return list(dict.fromkeys([explanation["signal"][0], groups[-1]]))


def merged(finding: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All features of a finding by group of events, whether of objects, pairs or the event; or columns."""
    if "column" in finding:
        return dict(finding["column"])
    parts = finding["feature"].values()
    return {
        group: {name: entry for part in parts for name, entry in part[group].items()} for group in next(iter(parts))
    }


def _table(title: str, heading: str, entries: Mapping[str, Any], explanation: Mapping[str, Any]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column(heading)
    groups = contrasted(explanation, entries)
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
