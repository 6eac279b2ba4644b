"""Inspection of a sample: processes, yields, objects, ranges and problems."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from femtobarn.events.faults import event_faults, object_faults, track_faults
from femtobarn.events.record import Events
from femtobarn.physics.objects import KINDS, NAMES, SLOTS

#: Objects of one event that a network of the reference analysis receives; softer ones are dropped.
N_HARDEST_SLOTS = 18

#: Objects that models with slots for each type of object receive (FCN, BDT).
N_TYPE_SLOTS = sum(count for _, count in SLOTS.values())


@dataclass(frozen=True)
class Range:
    """Smallest, middle and largest value; NaN where there are none."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Dropped:
    """Objects without a slot, and the events that lack at least one for it."""

    objects: int
    events: int


@dataclass(frozen=True)
class ProcessSummary:
    """The events of one process.

    Args:
        events: number of events.
        expected: sum of weights: expected events at the luminosity of the sample.
        effective: (sum w)^2 / sum w^2 with the weights of a hard event's copies added up: the number of independent,
            unweighted events with the same statistical error.
        negative: share of events with a negative weight.
        hard: number of different hard events.
        repeated: number of events whose number was met before in the process.
        files: number of files that hold them, 0 where the provenance does not say.
        objects: mean number of objects per event, by name.
        most: largest number of objects in an event.
        beyond_hardest: what 18 slots leave out, filled with the objects of highest pT.
        beyond_kinds: what 12 slots by kind leave out (4 jets, 4 b-jets, one lepton of each flavour and charge, filled
            with the hardest of these 18); photons have no slot.
        ranges: of pT, eta and mass of objects and of MET, in GeV.
    """

    events: int
    expected: float
    effective: float
    negative: float
    hard: int
    repeated: int
    files: int
    objects: dict[str, float]
    most: int
    beyond_hardest: Dropped
    beyond_kinds: Dropped
    ranges: dict[str, Range]


@dataclass(frozen=True)
class Inspection:
    """Contents of a sample in plain numbers; `json()` writes them.

    Args:
        luminosity: integrated luminosity of the yields in 1/fb.
        processes: summary of each process.
        generated: generation as the provenance states it: cross section in pb, generated events, cut flow, and
            `efficiency`, the share of the expected events before cuts that is in the sample.
        files: files read, with checksums, lines or rows left out and padding behind lists.
        problems: one sentence per problem; empty without any.
    """

    luminosity: float
    processes: dict[str, ProcessSummary]
    generated: dict[str, dict[str, Any]]
    files: list[dict[str, Any]]
    problems: list[str]

    def json(self) -> str:
        """The inspection as JSON; numbers that are not finite are null."""
        return json.dumps(_finite(asdict(self)), indent=2)


def inspect(events: Events, luminosity: float = 100.0) -> Inspection:
    """Inspect a sample at a luminosity in 1/fb: contents and problems."""
    weight = events.expected(luminosity)
    files = [dict(file) for file in events.provenance.get("files", [])]
    sorts: dict[str, ProcessSummary] = {}
    for name in events.processes:
        where = events.process == name
        holders = sum(name in file.get("processes", ()) for file in files)
        sorts[name] = _sort(events[where], weight[where], holders)
    generated: dict[str, dict[str, Any]] = {}
    for name, record in events.provenance.get("processes", {}).items():
        generated[name] = dict(record)
        produced = (record.get("cross_section_pb") or 0) * 1000 * luminosity
        if name in sorts and produced:
            generated[name]["efficiency"] = sorts[name].expected / produced
        flow = record.get("cut_flow")
        if flow and flow[0]["yield"] and produced:
            # its first step is the whole cross section, at the luminosity it was made for
            scale = produced / flow[0]["yield"]
            generated[name]["cut_flow"] = [step | {"yield": step["yield"] * scale} for step in flow]
    return Inspection(luminosity, sorts, generated, files, problems(events))


def problems(events: Events) -> list[str]:
    """Problems of a sample, one sentence each, with the number of cases and the first one."""
    sentences: list[str] = []

    def note(fault: str, affected: NDArray[np.integer[Any]], things: str) -> None:
        at = int(affected[0])
        example = f"first in event {events.number[at]} of {events.process[at]}"
        sentences.append(f"{fault}: {len(affected)} {things}, {example}")

    flat = {name: ak.to_numpy(ak.flatten(events.particles[name])) for name in ("pt", "eta", "phi", "E", "kind")}
    owner = np.repeat(np.arange(len(events)), ak.to_numpy(ak.num(events.particles.pt)))
    met, phi_met = (ak.to_numpy(events.context[name]) for name in ("MET", "phi_MET"))
    for fault, affected in object_faults(flat["pt"], flat["eta"], flat["phi"], flat["E"], flat["kind"]).items():
        note(fault, owner[affected], "objects")
    for fault, affected in track_faults(
        {name: ak.to_numpy(ak.flatten(events.particles[name])) for name in events.tracks}
    ).items():
        note(fault, owner[affected], "objects")
    for fault, affected in event_faults(events.weight, met, phi_met).items():
        note(fault, np.flatnonzero(affected), "events")
    outside = (flat["phi"] < -np.pi) | (flat["phi"] >= np.pi)
    if outside.any():
        note("phi outside [-π, π)", owner[outside], "objects")
    empty = np.flatnonzero(ak.to_numpy(ak.num(events.particles.pt)) == 0)
    if len(empty):
        note("without any object", empty, "events")
    if not len(events):
        sentences.append("no events at all")
    order = np.lexsort((events.number, np.unique(events.process, return_inverse=True)[1]))
    same = (events.process[order[1:]] == events.process[order[:-1]]) & (np.diff(events.number[order]) == 0)
    if same.any():
        note("event number met before in the process", np.sort(order[1:][same]), "events")
        for name, repeats in events.provenance.get("repeated_numbers", {}).items():
            place = f"{repeats['example']} in {' and '.join(repeats['files'])}"
            sentences.append(f"{repeats['n_events']} event numbers of {name} repeat over files: {place}")
    for file in events.provenance.get("files", []):
        if file.get("skipped"):
            lines = "rows" if "padded" in file else "events" if "undecayed" in file else "lines"
            sentences.append(f"{file['skipped']} bad {lines} left out of {file['path']}")
        if file.get("truncated"):
            sentences.append(f"{file['path']} ends early; its whole events are there")
        if file.get("undecayed"):
            particles = ", ".join(f"{number} of PDG {code}" for code, number in file["undecayed"].items())
            sentences.append(f"undecayed particles left out of {file['path']}: {particles}")
    return sentences


def tables(inspection: Inspection) -> list[Table]:
    """An inspection as tables for a terminal: yields, objects, objects without a slot, ranges, generation, cut flow."""
    summaries = inspection.processes
    present = [name for name in KINDS[1:] if any(name in summary.objects for summary in summaries.values())]
    objects = _table("Objects per event", ["process", *present, "most"])
    ranges = _table("Ranges: min/median/max, in GeV", ["process", *_RANGES])
    for name, summary in summaries.items():
        means = (f"{summary.objects.get(object_name, 0):.2f}" for object_name in present)
        objects.add_row(name, *means, str(summary.most))
        ranges.add_row(name, *(_span(summary.ranges[quantity], digits) for quantity, digits in _RANGES.items()))
    generation = [_generation_table(inspection.generated)] if inspection.generated else []
    flows = [
        _flow_table(name, record["cut_flow"]) for name, record in inspection.generated.items() if record.get("cut_flow")
    ]
    return [_yield_table(inspection), objects, _dropped_table(summaries), ranges, *generation, *flows]


def _yield_table(inspection: Inspection) -> Table:
    table = _table(
        f"Events and expected yield at {inspection.luminosity:g} /fb",
        ["process", "files", "events", "expected", "effective", "w < 0", "hard events", "repeated"],
    )
    for name, summary in inspection.processes.items():
        table.add_row(
            name,
            str(summary.files or ""),
            str(summary.events),
            f"{summary.expected:.4g}",
            f"{summary.effective:.0f}",
            f"{summary.negative:.1%}",
            str(summary.hard),
            str(summary.repeated),
        )
    return table


def _dropped_table(summaries: Mapping[str, ProcessSummary]) -> Table:
    shares = [f"{N_HARDEST_SLOTS} hardest: lost", "in events", f"{N_TYPE_SLOTS} by kind: lost", "in events"]
    table = _table("Objects without a slot", ["process", *shares])
    for name, summary in summaries.items():
        row: list[str] = []
        for dropped in (summary.beyond_hardest, summary.beyond_kinds):
            row += [str(dropped.objects), f"{dropped.events / max(summary.events, 1):.2%}"]
        table.add_row(name, *row)
    return table


def _generation_table(generated: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("Generation", ["process", r"cross section \[pb]", "generated", "combined", "efficiency"])
    for name, record in generated.items():
        section, error = _number(record.get("cross_section_pb")), record.get("cross_section_error_pb")
        section += f" ± {error:.2g}" if error else ""
        combined = {"average": "average of {}", "add": "sum of {}"}.get(record.get("combine", ""), "")
        combined = combined.format(len(record.get("samples", ())))
        table.add_row(name, section, _number(record.get("generated")), combined, _number(record.get("efficiency")))
    return table


def _flow_table(process: str, flow: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(f"Cut flow of {process}", ["cut", "events", "expected", "of those before"])
    before = 0.0
    for step in flow:
        share = f"{step['yield'] / before:.1%}" if before else ""
        table.add_row(step["cut"], str(step["events"]), f"{step['yield']:.4g}", share)
        before = step["yield"]
    return table


def show(inspection: Inspection, console: Console | None = None) -> None:
    """Print an inspection."""
    console = console or Console()
    for table in tables(inspection):
        console.print(table)
    for file in inspection.files:
        path = escape(str(file["path"]))
        padding = f", {file['padded']} padded entries that are no objects" if file.get("padded") else ""
        copies = f", {file['repeated']} copies of the event before" if file.get("repeated") else ""
        summary = f"{file['events']} events{padding}{copies}"
        console.print(f"{path}  sha256 {file['sha256'][:16]}…  {summary}", highlight=False)
    if inspection.problems:
        for problem in inspection.problems:
            console.print(f"[bold red]problem:[/] {escape(problem)}", highlight=False)
    else:
        console.print("no problems found")


#: Quantities whose ranges are shown, and their number of decimals.
_RANGES = {"pT": 0, "eta": 1, "mass": 1, "MET": 0}


def _sort(events: Events, weight: NDArray[np.float64], files: int) -> ProcessSummary:
    particles = events.particles
    counts = ak.to_numpy(ak.num(particles.pt))
    kind = ak.to_numpy(ak.flatten(particles.kind))
    pt, eta, energy = (ak.to_numpy(ak.flatten(particles[name])) for name in ("pt", "eta", "E"))
    with np.errstate(over="ignore", invalid="ignore"):
        along = pt * np.sinh(eta)
        mass = np.sqrt(np.maximum((energy - along) * (energy + along) - pt**2, 0))
        hard, copy = np.unique(events.hard, return_inverse=True)
        squared = float(np.sum(np.bincount(copy, weight) ** 2))
        effective = float(np.sum(weight)) ** 2 / squared if squared > 0 else 0.0
    values = (pt, eta, mass, ak.to_numpy(events.context["MET"]))
    return ProcessSummary(
        events=len(events),
        expected=float(weight.sum()),
        effective=effective,
        negative=float(np.mean(weight < 0)),
        hard=len(hard),
        repeated=len(events) - len(np.unique(events.number)),
        files=files,
        objects={
            name: float(np.sum(kind == code)) / len(events)
            for code, name in enumerate(KINDS)
            if code and (code < len(NAMES) or (kind == code).any())
        },
        most=int(counts.max(initial=0)),
        beyond_hardest=_dropped(counts, np.minimum(counts, N_HARDEST_SLOTS)),
        beyond_kinds=_dropped(counts, _slotted(particles)),
        ranges={name: _range(column) for name, column in zip(_RANGES, values, strict=True)},
    )


def _slotted(particles: ak.Array) -> NDArray[np.integer[Any]]:
    """How many objects of each event have one of the slots by kind."""
    order = ak.argsort(particles.pt, ascending=False, stable=True)
    kind = particles.kind[order][:, :N_HARDEST_SLOTS]
    return sum(
        (np.minimum(ak.to_numpy(ak.sum(kind == code, axis=1)), limit) for code, limit in SLOTS.values()),
        start=np.zeros(len(particles), dtype=np.int64),
    )


def _dropped(counts: NDArray[np.integer[Any]], kept: NDArray[np.integer[Any]]) -> Dropped:
    return Dropped(objects=int(np.sum(counts - kept)), events=int(np.sum(counts > kept)))


def _range(values: NDArray[np.floating[Any]]) -> Range:
    real = values[np.isfinite(values)]
    if not len(real):
        return Range(float("nan"), float("nan"), float("nan"))
    return Range(float(real.min()), float(np.median(real)), float(real.max()))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _span(span: Range, digits: int) -> str:
    if np.isnan(span.median):
        return "-"
    return "/".join(f"{value:.{digits}f}" for value in (span.min, span.median, span.max))


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at else "left", no_wrap=not at)  # names stay whole
    return table
