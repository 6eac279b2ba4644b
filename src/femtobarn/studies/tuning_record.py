"""The record of a scan: what was searched, tried and found, for people (scan.md) and for programs (scan.csv)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from femtobarn.events.names import escape_markdown
from femtobarn.experiments import document
from femtobarn.runs import provenance
from femtobarn.studies.progress import duration
from femtobarn.studies.tuning import Result, Scan, best
from femtobarn.studies.tuning_task import Search

BEST, MARKDOWN, CSV = "best.yaml", "scan.md", "scan.csv"


def write(scan: Scan, source: Path) -> dict[str, Result | None]:
    """Writes best.yaml, scan.md and scan.csv into the scan's folder; the best trial of each search by its label.

    Args:
        scan: finished, or as far as it is.
        source: the YAML file that was scanned.
    """
    results = {search: scan.results(search) for search in scan.searches}
    provenance.write_text(scan.folder / BEST, best_yaml(results, source))
    provenance.write_text(scan.folder / MARKDOWN, markdown(results, source, scan.seed))
    provenance.write_text(scan.folder / CSV, table(results))
    return {search.label: best(found) for search, found in results.items()}


def best_yaml(results: Mapping[Search, Sequence[Result]], source: Path) -> str:
    """The `models:` of a study with the settings found, ready to stand in its place."""
    tree, *_ = document.read(source)
    entries: dict[str, Any] = {}
    for search, tried in results.items():
        found = best(tried)
        change: dict[str, Any] = {}
        for path, value in found.settings.items() if found is not None and found.number else ():
            change = document.put(change, path.split("."), value)
        for label in search.shared:
            own = tree["models"][label] if "models" in tree else {"model": tree["model"]}
            entries[label] = document.merge(own or {}, change)
    order = [label for label in tree.get("models", entries) if label in entries]
    head = f"# Found on the validation events by: {provenance.command()}\n"
    return head + document.write({"models": {label: entries[label] for label in order}})


def markdown(results: Mapping[Search, Sequence[Result]], source: Path, seed: int) -> str:
    """The record as a page: for each search its space, and its trials, the best first."""
    parts = [
        f"## Search for better settings of {escape_markdown(source.name)}",
        "Loss: weighted mean cross-entropy of the validation events (for a focal loss, of the class probabilities that "
        "its outputs stand for), at the epoch or tree that training kept. Trial 0 has the settings as they were. No "
        "test event was scored. The best of many trials looks better on the events it was chosen on than it is: judge "
        "it on the test events, with `femtobarn study`. Every model has the same number of trials; the "
        f"settings were chosen with seed {seed}.",
    ]
    for search, tried in results.items():
        parts += _section(search, tried)
    metas = [one.meta for tried in results.values() for one in tried if one.meta]
    if metas:
        devices = ", ".join(sorted({str(meta["device"]) for meta in metas}))
        events = ", ".join(sorted({meta["inputs"]["fingerprint"][:16] for meta in metas}))
        seconds = sum(meta["seconds"] for meta in metas)
        parts.append(
            f"`{provenance.command()}`: {len(metas)} trainings, {duration(seconds)} of training in all, on {devices}; "
            f"femtobarn {metas[0]['versions']['femtobarn']}; events of SHA-256 `{events}…`."
        )
    return "\n\n".join(parts) + "\n"


def _section(search: Search, tried: Sequence[Result]) -> list[str]:
    parts = [f"### {escape_markdown(search.label)}"]
    if len(search.shared) > 1:
        parts.append(
            f"What is found holds for {', '.join(map(escape_markdown, search.shared))}, which differ in interactions "
            "or loss alone."
        )
    parts.append("\n".join(f"- `{path}`: {one}" for path, one in search.space.items()))
    found = best(tried)
    before = next((one for one in tried if one.number == 0), None)
    if found is not None and before is not None and before.loss is not None and math.isfinite(before.loss):
        parts.append(
            f"Best of {len(tried)}: trial {found.number}, loss {found.loss:.4f}; as it was {before.loss:.4f}."
            if found.number
            else f"Best of {len(tried)}: the settings as they were, loss {found.loss:.4f}."
        )
    # `training.lr` says all, `model.` before a model's setting says nothing
    names = [path.removeprefix("model.").removeprefix("training.") for path in search.space]
    lines = [
        f"| trial | loss | {' | '.join(names)} | parameters | time |",
        f"|{'---:|' * (len(names) + 4)}",
    ]
    for one in sorted(tried, key=lambda one: (math.inf if one.loss is None else one.loss, one.number)):
        bold = "**" if one is found else ""
        values = [_text(one.settings.get(path, "")) for path in search.space]
        end = [f"{one.meta['parameters'] or ''}", duration(one.meta["seconds"])] if one.meta else ["", ""]
        lines.append(f"| {' | '.join([str(one.number), f'{bold}{_loss(one)}{bold}', *values, *end])} |")
    return [*parts, "\n".join(lines)]


def table(results: Mapping[Search, Sequence[Result]]) -> str:
    """One line for each setting of each trial."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["model", "trial", "loss", "setting", "value", "parameters", "seconds", "reason"])
    for search, tried in results.items():
        for one in tried:
            end = [one.meta.get("parameters", ""), one.meta.get("seconds", ""), one.reason]
            for path, value in one.settings.items():
                loss = "" if one.loss is None else repr(one.loss)
                lines.writerow([search.label, one.number, loss, path, _text(value), *end])
    return text.getvalue()


def _loss(one: Result) -> str:
    if one.loss is None:
        return "not finished"
    return f"{one.loss:.4f}" if math.isfinite(one.loss) else f"none: {one.reason.partition(';')[0]}".replace("|", "/")


def _text(value: Any) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
