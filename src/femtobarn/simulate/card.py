"""The card of a simulated data set: how it was made, and what must be known before it is used."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from femtobarn.events import Events
from femtobarn.events.names import escape_markdown
from femtobarn.events.storage.files import checksum

LIMITS = """\
- Leading order, normalised to the cross sections of the Les Houches files; no matching or merging of matrix elements
  and showers, no spin correlations between production and decay, no pile-up, no trigger, no other backgrounds (tt with
  misidentified leptons, tt + photon, diboson, ...).
- Only decays with two same-sign or three prompt electrons and muons were generated. Selected events that owe their
  leptons to a charge flip or to a hadron decay in other final states are missing.
- A hard event of the file may be decayed and showered several times, and each generated event was measured by the
  detector several times, with other efficiencies, resolutions and b-tags. Such copies share `hard`; the split keeps
  them on one side, and statistical errors treat them as one. Count `distinct generated events` when you ask how much
  there is to learn from.
"""


JET_LIMITS = """\
- Leading order: two outgoing partons or bosons of the hard process, the rest is Pythia's shower; no pile-up, no
  trigger, no spin correlations between production and decay of tops.
- Jets of one process come from one kind of hard process each, so they differ from others by their colour connections
  and their spectrum too: within the window of pT each falls as its own process makes it.
- Up to two jets of an event are kept. They share `hard`; the split keeps them on one side.
- A label says where the quarks of the decay are, not that the jet holds nothing else; jets of a resonance whose quarks
  are not all within R are left out, and QCD jets are all jets of the process.
- No real detector has the particle flow of this one: tracked energy is taken out of the calorimeters perfectly, and
  electrons and muons are always told from hadrons (`femtobarn.simulate.particleflow`).
"""


def card(
    events: Events,
    file: str | Path,
    *,
    title: str,
    licence: str,
    command: str,
    notes: Sequence[str] = (),
    limits: str = LIMITS,
) -> str:
    """A data set's card in Markdown: commands, versions, seeds, cross sections, cut flow, licence, checksum.

    Args:
        events: the events of the file, with the provenance that `femtobarn.simulate.run` gave them.
        file: the file that the card stands beside.
        title: heading.
        licence: terms of use.
        command: how the file was put together.
        notes: what else must be known of these events, a sentence or two each.
        limits: what is true of all events so made; `JET_LIMITS` for jets.

    Raises:
        KeyError: a process without the provenance of a simulation.
    """
    records = events.provenance["processes"]
    lines = [f"# {title}", "", f"`{Path(file).name}`, {Path(file).stat().st_size / 1e6:.1f} MB, {len(events)} events."]
    lines += [f"SHA-256 `{checksum(file)}`. Licence: {licence}.", "", "## Processes", "", *process_table(events)]
    lines += ["## Read this first", "", limits.rstrip(), *(f"- {note}" for note in notes), ""]
    lines += ["## How it was made", "", f"`{command}` does the same as", "", "```"]
    lines += [*(shell(name, record) for name, record in records.items()), "```", ""]
    lines += ["The seeds of the pieces follow from `--seed`; any number of workers gives the same events.", ""]
    lines += ["Versions: " + ", ".join(f"{name} {version}" for name, version in versions(records).items()) + ".", ""]
    sources = [
        f"- `{record['simulation']['source']}`, SHA-256 `{record['source_sha256']}`: {name}"
        for name, record in records.items()
        if record["source_sha256"]
    ]
    lines += ["Sources:", "", *sources, ""] if sources else []
    lines += ["## Cut flow", "", *cut_flows(events)]
    return "\n".join(lines)


def process_table(events: Events) -> list[str]:
    """Lines of a table of the processes: events, distinct ones, cross section and yield."""
    lines = ["| process | events | distinct generated events | distinct hard events | cross section [pb] | expected |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for name, record in events.provenance["processes"].items():
        part = events[events.process == name]
        whose = part.hard if record["simulation"].get("jets") else part.number // record["simulation"]["responses"]
        generated = len(np.unique(whose))
        section = f"{record['cross_section_pb']:.4g} ± {record['cross_section_error_pb']:.2g}"
        yields = f"{part.weight.sum():.4g} ± {error(part):.2g}"
        hard = len(np.unique(part.hard))
        lines.append(f"| {escape_markdown(name)} | {len(part)} | {generated} | {hard} | {section} | {yields} |")
    expected = f"events in the region at {events.luminosity:g}/fb, with the statistical error of the sample"
    return [*lines, "", f"Expected: {expected}.", ""]


def cut_flows(events: Events) -> list[str]:
    """Lines of a table of the cut flow of each process."""
    lines: list[str] = []
    for name, record in events.provenance["processes"].items():
        lines += [f"{name}: events (of all copies), and expected at {events.luminosity:g}/fb", ""]
        lines += ["| cut | events | expected |", "|---|---:|---:|"]
        lines += [
            f"| {escape_markdown(row['cut'])} | {row['events']} | {row['yield']:.4g} |" for row in record["cut_flow"]
        ]
        lines.append("")
    return lines


def error(part: Events) -> float:
    """Statistical error of the yield: copies of one hard event count as one, as in the evaluation."""
    _, group = np.unique(part.hard, return_inverse=True)
    return float(np.sqrt((np.bincount(group, part.weight) ** 2).sum()))


def versions(records: Mapping[str, Any]) -> dict[str, str]:
    """Versions of the programs, which all processes share.

    Raises:
        ValueError: they do not.
    """
    by_process = [record["versions"] for record in records.values()]
    if any(other != by_process[0] for other in by_process):
        raise ValueError("the processes were made with different versions")
    return dict(by_process[0])


def shell(process: str, record: Mapping[str, Any]) -> str:
    """The command that makes one process."""
    plan = record["simulation"]
    veto = plan["preselection"]
    words = ["femtobarn", "simulate", plan["source"] or "", "--process", process]
    words += [word for setting in plan["settings"] for word in ("--setting", setting)]
    words += ["--events", str(record["generated"])]
    if jets := plan.get("jets"):
        words += ["--jets", jets["kind"], "--jet-pt", f"{jets['low']:g}", f"{jets['high']:g}"]
        words += ["--seed", str(plan["seed"]), *([] if jets["detector"] else ["--no-detector"])]
    else:
        words += ["--responses", str(plan["responses"]), "--seed", str(plan["seed"])]
        words += ["--same-sign"] if veto["same_sign"] else []
        words += ["--min-jets", str(veto["jets"]), "--min-ht", f"{veto['ht']:g}"]
    words += [word for cut in plan["select"] for word in ("--select", cut)]
    words += ["--output", f"{process}.parquet"]
    return shlex.join(word for word in words if word)
