"""Report of a search for better settings: spaces and trials, for people (scan.md) and for programs (scan.csv)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from femtobarn.events.names import escape_markdown
from femtobarn.experiments import document
from femtobarn.experiments.experiment import present_keys
from femtobarn.runs import provenance
from femtobarn.studies.progress import duration
from femtobarn.studies.tuning import TrialResult, Tuning, best
from femtobarn.studies.tuning_task import TuningTask

BEST, MARKDOWN, CSV = "best.yaml", "scan.md", "scan.csv"

#: Results of all tasks of a search.
Results = Mapping[TuningTask, Sequence[TrialResult]]


def write(tuning: Tuning, source: Path) -> dict[str, TrialResult | None]:
    """Write best.yaml, scan.md and scan.csv into the folder of the search, and return the best trial of each task.

    Args:
        tuning: finished or not.
        source: the YAML file whose models are tuned.
    """
    results = {task: tuning.results(task) for task in tuning.tasks}
    provenance.atomic_write_text(tuning.folder / BEST, best_yaml(results, source))
    provenance.atomic_write_text(tuning.folder / MARKDOWN, markdown(results, source, tuning.seed))
    provenance.atomic_write_text(tuning.folder / CSV, table(results))
    return {task.label: best(trials) for task, trials in results.items()}


def best_yaml(results: Results, source: Path) -> str:
    """The `models:` of a study with the best settings, ready to replace them."""
    tree, *_ = document.read(source)
    entries: dict[str, Any] = {}
    for task, trials in results.items():
        winner = best(trials)
        change: dict[str, Any] = {}
        for path, value in winner.settings.items() if winner is not None and winner.number else ():
            change = document.put(change, path.split("."), value)
        for label in task.shared:
            entry = tree["models"][label] if "models" in tree else {"model": tree["model"]}
            entries[label] = document.merge(present_keys(entry or {}, task.experiment.model.name), change)
    order = [label for label in tree.get("models", entries) if label in entries]
    head = f"# Found on the validation events by: {provenance.command()}\n"
    return head + document.write({"models": {label: entries[label] for label in order}})


def markdown(results: Results, source: Path, seed: int) -> str:
    """Report as a page: space and trials of each task, the best trial first."""
    parts = [
        f"## Search for better settings of {escape_markdown(source.name)}",
        "Loss: weighted mean cross-entropy of the validation events (for a focal loss, of the class probabilities that "
        "its outputs stand for), at the epoch or tree that training kept. Trial 0 has the settings as they were. No "
        "test event was scored. The best of many trials looks better on the events it was chosen on than it is: "
        "evaluate it on the test events, with `femtobarn study`. Every model has the same number of trials; the "
        f"settings were chosen with seed {seed}.",
    ]
    for task, trials in results.items():
        parts += _section(task, trials)
    metas = [result.meta for trials in results.values() for result in trials if result.meta]
    if metas:
        devices = ", ".join(sorted({str(meta["device"]) for meta in metas}))
        events = ", ".join(sorted({meta["inputs"]["fingerprint"][:16] for meta in metas}))
        seconds = sum(meta["seconds"] for meta in metas)
        parts.append(
            f"`{provenance.command()}`: {len(metas)} trainings, {duration(seconds)} of training in all, on {devices}; "
            f"femtobarn {metas[0]['versions']['femtobarn']}; events of SHA-256 `{events}…`."
        )
    return "\n\n".join(parts) + "\n"


def _section(task: TuningTask, trials: Sequence[TrialResult]) -> list[str]:
    parts = [f"### {escape_markdown(task.label)}"]
    if len(task.shared) > 1:
        parts.append(
            f"The result holds for {', '.join(map(escape_markdown, task.shared))}, which differ in interactions "
            "or loss alone."
        )
    parts.append("\n".join(f"- `{path}`: {values}" for path, values in task.space.items()))
    winner = best(trials)
    present = next((result for result in trials if result.number == 0), None)
    if winner is not None and present is not None and present.loss is not None and math.isfinite(present.loss):
        parts.append(
            f"Best of {len(trials)}: trial {winner.number}, loss {winner.loss:.4f}; as it was {present.loss:.4f}."
            if winner.number
            else f"Best of {len(trials)}: the settings as they were, loss {winner.loss:.4f}."
        )
    # names of the settings alone: the section is clear without it
    names = [path.removeprefix("model.").removeprefix("training.") for path in task.space]
    lines = [
        f"| trial | loss | {' | '.join(names)} | parameters | time |",
        f"|{'---:|' * (len(names) + 4)}",
    ]
    for result in sorted(trials, key=lambda result: (math.inf if result.loss is None else result.loss, result.number)):
        bold = "**" if result is winner else ""
        values = [_text(result.settings.get(path, "")) for path in task.space]
        end = [f"{result.meta['parameters'] or ''}", duration(result.meta["seconds"])] if result.meta else ["", ""]
        lines.append(f"| {' | '.join([str(result.number), f'{bold}{_loss(result)}{bold}', *values, *end])} |")
    return [*parts, "\n".join(lines)]


def table(results: Results) -> str:
    """One line for each setting of each trial."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["model", "trial", "loss", "setting", "value", "parameters", "seconds", "reason"])
    for task, trials in results.items():
        for result in trials:
            end = [result.meta.get("parameters", ""), result.meta.get("seconds", ""), result.reason]
            for path, value in result.settings.items():
                loss = "" if result.loss is None else repr(result.loss)
                lines.writerow([task.label, result.number, loss, path, _text(value), *end])
    return text.getvalue()


def _loss(result: TrialResult) -> str:
    if result.loss is None:
        return "not finished"
    if not math.isfinite(result.loss):
        return f"none: {result.reason.partition(';')[0]}".replace("|", "/")
    return f"{result.loss:.4f}"


def _text(value: Any) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
