"""Parton-level events of matrix-element generators: Les Houches event files, plain or compressed.

Format: Alwall et al., *A standard format for Les Houches Event Files*, arXiv:hep-ph/0609017.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Literal, NamedTuple

import awkward as ak
import numpy as np

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.faults import object_faults, wrapped
from femtobarn.events.files import checksum, opened, stem
from femtobarn.events.record import Events
from femtobarn.physics.objects import ANTIMUON, BJET, ELECTRON, JET, MUON, PHOTON, POSITRON

#: Object each final-state parton stands for, by PDG number.
OBJECTS = {number: JET for quark in (1, 2, 3, 4) for number in (quark, -quark)} | {
    21: JET,
    5: BJET,
    -5: BJET,
    11: ELECTRON,
    -11: POSITRON,
    13: MUON,
    -13: ANTIMUON,
    22: PHOTON,
}

#: What leaves without a trace and makes up MET.
INVISIBLE = frozenset((12, -12, 14, -14, 16, -16))

#: What decays before a detector sees it.
UNSTABLE = {6: "t", 15: "tau", 23: "Z", 24: "W", 25: "H"}

CUT = "it ends early; copy or generate it again"


@dataclass(frozen=True)
class LHEInfo:
    """What a Les Houches file says of itself.

    Args:
        cross_section: total over its subprocesses, in pb.
        error: Monte Carlo error of it, in pb.
        events: number of events in the file.
        comment: what stands before the `init` block (generator, settings), without tags.
    """

    cross_section: float
    error: float
    events: int
    comment: str


def lhe_info(path: str | Path) -> LHEInfo:
    """Cross section, number of events and comment of a Les Houches file, without reading its events.

    Raises:
        EventError: no `init` block, no events, or the file is cut short.
        FileNotFoundError: no such file.
    """
    with opened(path) as file:
        head = _head(file, path)
        events, rest, text = 0, b"", b""
        while chunk := file.read(1 << 22):
            text = rest + chunk
            # a tag that is cut by the end of the chunk is counted with the next one
            keep = text.rfind(b"\n") + 1
            events += len(re.findall(rb"(?m)^\s*<event[\s>]", text[:keep]))
            rest = text[keep:]
    if b"</LesHouchesEvents>" not in rest and b"</LesHouchesEvents>" not in text:
        raise EventError(path, "has no </LesHouchesEvents>", remedy=CUT)
    if not events:
        raise EventError(path, "has no events")
    return LHEInfo(head.cross_section, head.error, events, head.comment)


def read_lhe(
    path: str | Path,
    *,
    process: str | None = None,
    luminosity: float = 100.0,
    undecayed: Literal["raise", "skip"] = "raise",
) -> Events:
    r"""Parton-level events: quarks and gluons as jets, b quarks as b-jets, neutrinos as MET.

    Weights sum to the expected yield, :math:`\sigma L`, whatever the weighting strategy of the file.

    Args:
        process: name of the process; by default that of the file.
        luminosity: integrated luminosity of the weights in 1/fb.
        undecayed: what to do with t, W, Z, H, tau and other unstable particles, which are no object of a detector:
            complain, or leave them out and count them in the provenance.

    Raises:
        EventError: a truncated or damaged file, an undecayed particle, NaN or an impossible energy, with line.
        FileNotFoundError: no such file.
    """
    pdg: list[int] = []
    momenta: list[tuple[float, float, float, float]] = []
    counts: list[int] = []
    weights: list[float] = []
    missing: list[tuple[float, float]] = []
    lines: list[int] = []
    skipped: Counter[int] = Counter()
    with opened(path) as file:
        head = _head(file, path)
        for weight, particles in _events(file, path, head.lines):
            px = py = 0.0
            kept = len(pdg)
            for line, code, status, momentum in particles:
                if status != 1:
                    continue
                if code in INVISIBLE:
                    px, py = px + momentum[0], py + momentum[1]
                elif code in OBJECTS:
                    pdg.append(code)
                    momenta.append(momentum)
                    lines.append(line)
                elif undecayed == "skip":
                    skipped[code] += 1
                else:
                    name = UNSTABLE.get(abs(code), "a particle")
                    what = f"{name} (PDG {code}) in the final state is no object a detector sees"
                    remedy = "decay and shower the file with `femtobarn simulate`, or read it with undecayed='skip'"
                    raise EventError(path, what, line=line, remedy=remedy)
            counts.append(len(pdg) - kept)
            weights.append(weight)
            missing.append((px, py))
    if not counts:
        raise EventError(path, "has no events")
    total = float(np.sum(weights))
    if not np.isfinite(total) or total == 0:
        raise EventError(path, f"its event weights sum to {total:g}", remedy="no cross section can be shared out")
    p = np.array(momenta, dtype=np.float64).reshape(-1, 4)
    met = np.array(missing, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        pt = np.hypot(p[:, 0], p[:, 1])
        eta = np.arcsinh(p[:, 2] / pt)
    columns = {
        "pt": pt,
        "eta": eta,
        "phi": wrapped(np.arctan2(p[:, 1], p[:, 0])),
        "E": p[:, 3],
        "kind": np.array([OBJECTS[code] for code in pdg], dtype=np.int8),
        "truth_id": np.array(pdg, dtype=np.int32),
    }
    faults = object_faults(pt, eta, columns["phi"], p[:, 3], columns["kind"])
    for what, where in faults.items():
        at = int(np.flatnonzero(where)[0])
        text = ", ".join(f"{value:g}" for value in p[at])
        raise EventError(path, f"{what}: (px, py, pz, E) = ({text})", line=lines[at], remedy="mend or drop the event")
    name = process or stem(path)
    record = {
        "path": str(path),
        "sha256": checksum(path),
        "events": len(counts),
        "undecayed": {str(code): number for code, number in sorted(skipped.items())},
    }
    return Events(
        particles=ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts),
        context=ak.zip({"MET": np.hypot(met[:, 0], met[:, 1]), "phi_MET": wrapped(np.arctan2(met[:, 1], met[:, 0]))}),
        weight=np.array(weights) * (head.cross_section * 1000 * luminosity / total),
        process=np.full(len(counts), name),
        number=np.arange(len(counts)),
        hard=np.arange(len(counts)),
        luminosity=luminosity,
        provenance={
            "files": [record],
            "processes": {
                name: {
                    "cross_section_pb": head.cross_section,
                    "cross_section_error_pb": head.error,
                    "generated": len(counts),
                }
            },
        },
    )


class _Head(NamedTuple):
    comment: str
    cross_section: float
    error: float
    lines: int


def _head(file: BufferedReader, path: str | Path) -> _Head:
    """What stands up to the end of the `init` block, where the file is left."""
    before: list[str] = []
    number = 0
    for raw in file:
        number += 1
        text = raw.decode("utf-8", "replace").strip()
        if number == 1 and not text.startswith(("<LesHouchesEvents", "<?xml")):
            what = f"is no Les Houches event file: it starts with {shorten(text)}"
            raise EventError(path, what, line=1, remedy="the first line should be <LesHouchesEvents ...>")
        if re.match(r"<init[\s>]", text):
            break
        before.append(text)
    else:
        raise EventError(path, "has no <init> block", remedy=CUT)
    rows: list[list[float]] = []
    for raw in file:
        number += 1
        text = raw.decode("utf-8", "replace").strip()
        if text.startswith("</init"):
            break
        if not text or text.startswith(("#", "<")) or (rows and len(rows) > rows[0][-1]):
            continue
        rows.append(_floats(text, path, number))
        if len(rows) == 1 and len(rows[0]) != 10:
            raise EventError(path, f"the first line of <init> has {len(rows[0])} numbers, not 10", line=number)
        if len(rows) > 1 and len(rows[-1]) < 2:
            raise EventError(path, f"no cross section in {shorten(text)}", line=number)
    if not rows or len(rows) != 1 + rows[0][-1]:
        told = f"{rows[0][-1]:g}" if rows else "?"
        raise EventError(path, f"<init> announces {told} processes and has {max(len(rows) - 1, 0)}", line=number)
    cross_section = sum(row[0] for row in rows[1:])
    if not np.isfinite(cross_section):
        raise EventError(path, f"the cross section is {cross_section}", line=number)
    comment = "\n".join(text for text in before if text and not re.fullmatch(r"<[^>]*>|<!--|-->", text))
    return _Head(comment, cross_section, float(np.hypot.reduce([row[1] for row in rows[1:]])), number)


def _floats(text: str, path: str | Path, line: int) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError as error:
        raise EventError(path, f"no numbers: {shorten(text)}", line=line, remedy="the file is damaged") from error


class _Particle(NamedTuple):
    line: int
    pdg: int
    status: int
    momentum: tuple[float, float, float, float]


def _events(file: BufferedReader, path: str | Path, number: int) -> Iterator[tuple[float, list[_Particle]]]:
    """Weight and particles of each event behind line `number`."""
    wanted = 0
    inside = ended = False
    particles: list[_Particle] = []
    weight = 0.0
    for raw in file:
        number += 1
        text = raw.strip()
        if not inside:
            if re.match(rb"<event[\s>]", text):
                inside, wanted, particles = True, -1, []
            elif text.startswith(b"</LesHouchesEvents"):
                ended = True
                break
            continue
        if text.startswith(b"</event"):
            if wanted != len(particles):
                what = f"the event has {len(particles)} particles of {max(wanted, 0)} announced"
                raise EventError(path, what, line=number, remedy="the file is damaged")
            inside = False
            yield weight, particles
        elif not text or text.startswith((b"#", b"<")) or len(particles) == wanted:
            continue
        else:
            values = _floats(text.decode("utf-8", "replace"), path, number)
            least = 6 if wanted < 0 else 11
            if len(values) < least:
                what = f"{len(values)} numbers where {least} belong: {shorten(text.decode('utf-8', 'replace'))}"
                raise EventError(path, what, line=number, remedy="the file is damaged")
            if not all(map(math.isfinite, values[:2])):
                raise EventError(path, "NaN or infinity where a whole number belongs", line=number)
            if wanted < 0:
                wanted, weight = int(values[0]), values[2]
            else:
                momentum = (values[6], values[7], values[8], values[9])
                particles.append(_Particle(number, int(values[0]), int(values[1]), momentum))
    if inside or not ended:
        raise EventError(path, "has no </LesHouchesEvents>", line=number, remedy=CUT)
