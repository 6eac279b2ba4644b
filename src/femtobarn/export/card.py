"""Card: an exported model on one page, for users who have the file alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from femtobarn.evaluation.rounding import fixed, rounded
from femtobarn.events.names import escape_markdown
from femtobarn.export.columns import FORMS, MEANING
from femtobarn.export.facts import OUTPUT_NAMES, Facts
from femtobarn.export.validation import ValidationResult
from femtobarn.models import model_spec
from femtobarn.tasks.classification.sections import percent


@dataclass(frozen=True)
class Card:
    """Contents of the page.

    Args:
        file: name of the ONNX file.
        size: size of the file in bytes.
        checksum: SHA-256 of the file, computed with the checksum itself blanked.
        facts: metadata of the file.
        meta: `meta.json` of the run.
        metrics: `metrics.json` of the run, None if it was not evaluated.
        events: description of the training events.
        validation: differences between the file and PyTorch.
        tolerance: largest difference allowed.
        limits: sentences about the limits of the model.
    """

    file: str
    size: int
    checksum: str
    facts: Facts
    meta: Mapping[str, Any]
    metrics: Mapping[str, Any] | None
    events: str
    validation: Sequence[ValidationResult]
    tolerance: float
    limits: Sequence[str]


def card(about: Card) -> str:
    """Page in Markdown."""
    return "\n".join(_lines(about)) + "\n"


def _lines(about: Card) -> Iterator[str]:
    facts = about.facts
    yield f"# {facts.label}: {', '.join(facts.signal)} against {', '.join(facts.background)}"
    yield ""
    yield _purpose(about)
    yield ""
    yield from _table(("", ""), _identity(about))
    yield ""
    yield "## How well it separates"
    yield ""
    yield from _quality(about.metrics)
    yield ""
    yield from _usage(about)
    yield from _check(about)
    yield from _validation(about)
    yield "## Limits"
    yield ""
    for limit in about.limits:
        yield f"- {limit}"


def _purpose(about: Card) -> str:
    """Input and output of the file in two sentences."""
    facts = about.facts
    signal, background = ", ".join(facts.signal), ", ".join(facts.background)
    particles = "constituents of jets" if facts.has_jets else "objects of collision events"
    results = {
        "outputs": f"a score for each {facts.event_name}: close to 1 for {signal}, close to 0 for {background}",
        "latent": f"the latent vector of each {facts.event_name}, the input of the last layers of the network",
        "objects": f"a vector for each particle of each {facts.event_name}, from the last layer that has one",
    }
    return (
        f"`{about.file}` ({about.size / 1e6:.2f} MB) takes the {particles} and returns {results[facts.depth]}. "
        "It needs no other file and no preprocessing."
    )


def _usage(about: Card) -> Iterator[str]:
    """Example in Python, and the inputs and outputs."""
    facts = about.facts
    yield "## How to call it"
    yield ""
    yield "```python"
    yield from _example(about)
    yield "```"
    yield ""
    if facts.depth == "outputs":
        file = shlex.quote(about.file)
        yield f"Files of events: `femtobarn score EVENTS {file} -o scores.parquet`; no torch is needed."
        yield ""
    yield from _table(("input", "shape", "type", "meaning"), _inputs(facts))
    yield ""
    yield from _table(("output", "shape", "type", "meaning"), _outputs(facts))
    yield ""
    codes = ", ".join(f"{code} {name}" for name, code in facts.types.items())
    yield f"Object types: {codes}. Any number of events and of objects; objects in any order."
    yield ""
    yield (
        "Every event of a batch costs as much as the fullest one: batches of about a hundred events with similar "
        "numbers of objects are fastest. `femtobarn score` sorts events that way."
    )
    yield ""


def _example(about: Card) -> Iterator[str]:
    facts = about.facts
    yield "import numpy as np"
    yield "import onnxruntime"
    yield ""
    yield f'session = onnxruntime.InferenceSession("{about.file}")'
    yield 'rows = {"pt": [[90, 40]], "eta": [[0.3, -1.2]], "phi": [[2.1, -0.4]], "E": [[95, 73]]}'
    if not facts.has_jets:
        yield 'rows |= {"MET": [60], "phi_MET": [1.5]}'
    elif more := FORMS[facts.features]._fields[5:]:
        yield "rows |= {" + ", ".join(f'"{name}": [[0, 0]]' for name in more) + "}"
    yield f"{facts.event_name} = {{name: np.array(row, np.{facts.precision}) for name, row in rows.items()}}"
    kinds = "[[8, 7]])  # a charged hadron and a photon" if facts.has_jets else "[[2, 5]])  # a b-jet and a muon"
    yield f'{facts.event_name}["type"] = np.array({kinds}'
    returned = ", ".join(OUTPUT_NAMES[facts.depth])
    yield f"{returned}{',' if ', ' not in returned else ''} = session.run(None, {facts.event_name})"


def _validation(about: Card) -> Iterator[str]:
    """Differences between the file and PyTorch."""
    depth = about.facts.depth
    yield "## Validation"
    yield ""
    yield (
        "Largest differences between the file, run by onnxruntime, and PyTorch in float64"
        f"{'' if depth == 'outputs' else ', relative to the largest number'}; the file was written because none "
        f"is above {about.tolerance:g}."
    )
    yield ""
    yield from _table(
        ("events", "number", *OUTPUT_NAMES[depth]),
        [
            (result.description, str(result.n_events), *(f"{value:.1e}" for value in result.differences.values()))
            for result in about.validation
        ],
    )
    yield ""


def _check(about: Card) -> Iterator[str]:
    """Instructions to check that the file is unchanged."""
    yield "## How to check that the file is unchanged"
    yield ""
    yield (
        "The property `sha256` of its metadata is the SHA-256 of the file with 64 zeros in place of the property's own "
        f"64 digits, `{about.checksum}`. `femtobarn score` refuses a file with another one. Without femtobarn:"
    )
    yield ""
    yield "```python"
    yield "import hashlib"
    yield "import re"
    yield "from pathlib import Path"
    yield ""
    yield f'content = Path("{about.file}").read_bytes()'
    yield 'blank = re.sub(rb"(?<=sha256.@)[0-9a-f]{64}", b"0" * 64, content)'
    yield "checksum = hashlib.sha256(blank).hexdigest()"
    yield "```"
    yield ""


def _identity(about: Card) -> list[tuple[str, str]]:
    facts, meta = about.facts, about.meta
    events = meta["events"]
    spec = model_spec(facts.model)
    temperature = f"{facts.temperature:.3f}"
    if calibration := meta.get("calibration"):
        temperature += f", which changed -ln(probability of the true class) from {calibration['before']:.4f} to "
        temperature += f"{calibration['after']:.4f} on {calibration['events']} events"
    return [
        ("architecture", f"{facts.model}, {meta['parameters']} parameters. {spec.title} {spec.paper}"),
        ("signal", ", ".join(map(escape_markdown, facts.signal))),
        ("background", ", ".join(map(escape_markdown, facts.background))),
        ("pairwise features", ", ".join(facts.interactions) or "none"),
        ("objects of an event", f"the {facts.slots} hardest"),
        ("classes", ", ".join(map(escape_markdown, facts.classes))),
        ("events", about.events),
        ("for training", str(events["train"])),
        ("for the choice of the epoch and the calibration", str(events["validation"])),
        ("for evaluation", str(events["test"])),
        ("epochs, seed", f"{meta['epochs']}, {facts.seed}"),
        *([("began with", "{of}: {file}, SHA-256 `{sha256}`".format(**meta["start"]))] if "start" in meta else []),
        ("finished", meta["finished"]),
        ("SHA-256 of the events", f"`{facts.data}`"),
        ("SHA-256 of the weights", f"`{facts.weights}`"),
        ("calibration temperature", temperature),
        ("made with", ", ".join(f"{name} {version}" for name, version in meta["versions"].items())),
    ]


def _quality(metrics: Mapping[str, Any] | None) -> Iterator[str]:
    if metrics is None:
        yield "It was not evaluated: `femtobarn evaluate` was not run before the export."
        return
    settings = metrics["settings"]
    numbers = [("AUC against all backgrounds", _number(metrics["auc"]["total"]))]
    numbers += [
        (f"AUC against {escape_markdown(name)}", _number(auc))
        for name, auc in metrics["auc"].items()
        if name != "total"
    ]
    numbers += [("accuracy", _number(metrics["accuracy"]))] if "accuracy" in metrics else []
    key, title = "background_efficiency", "background efficiency"
    if "rejection" in metrics:
        key, title = "rejection", "1/ε_B"
    for point, values in metrics[key].items():
        numbers.append((f"{title} at {percent(point)} signal efficiency", _number(values["total"])))
    for point, cut in metrics.get("significance", {}).items():
        title = f"s/√b at {percent(point)} signal efficiency, score > {fixed(cut['threshold'], 4)}"
        numbers.append((f"{title}, {settings['luminosity']:g}/fb", _number(cut["plain"])))
    yield "On held-out events; value ± statistical error."
    yield ""
    yield from _table(("", ""), numbers)


def _number(entry: Mapping[str, float | None]) -> str:
    if entry.get("above") is not None:
        return f"> {fixed(entry['above'], 0)} (95 % confidence: no background is left)"
    return rounded(entry["value"], entry["error"])


def _inputs(facts: Facts) -> list[tuple[str, str, str, str]]:
    return [
        (
            f"`{name}`",
            "(events,)" if name in ("MET", "phi_MET") else "(events, objects)",
            "int64" if name == "type" else facts.precision,
            MEANING[name],
        )
        for name in FORMS[facts.features]._fields
    ]


def _outputs(facts: Facts) -> list[tuple[str, str, str, str]]:
    width = "(events, width)" if facts.depth == "latent" else "(events, objects, width)"
    if facts.depth != "outputs":
        meaning = "0 where there is no particle" if facts.depth == "objects" else "latent vector"
        return [(f"`{facts.depth}`", width, "float32", meaning)]
    classes = ", ".join(map(escape_markdown, facts.classes))
    return [
        (
            "`score`",
            "(events,)",
            "float32",
            "the best test of signal against the expected mixture of backgrounds, 0 to 1",
        ),
        (
            "`probabilities`",
            f"(events, {len(facts.classes)})",
            "float32",
            f"of {classes}, if all were equally frequent",
        ),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
