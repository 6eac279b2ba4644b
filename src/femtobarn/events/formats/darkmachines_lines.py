"""Lines of Dark Machines text one by one, to find an error and its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.faults import event_faults, object_faults
from femtobarn.events.formats.darkmachines_spreadsheets import cause
from femtobarn.physics import objects as codes

Unit = Literal["MeV", "GeV"]

#: How each object is written.
WORDS = {
    codes.JET: "j",
    codes.BJET: "b",
    codes.ELECTRON: "e-",
    codes.POSITRON: "e+",
    codes.MUON: "m-",
    codes.ANTIMUON: "m+",
    codes.PHOTON: "g",
}
CODES = {word: code for code, word in WORDS.items()}

#: An event whose hardest object has less pT than this (in GeV, read as MeV) was written in GeV.
MIN_HARDEST_PT = 1.0

#: An event with an object of more pT than this (in GeV, read as GeV) was written in MeV.
MAX_HARDEST_PT = 50_000.0

FIELDS = ("event ID", "process ID", "weight", "MET", "phi_MET")
VALUES = ("object", "E", "pT", "eta", "phi")
INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,4}))?")


class Block(NamedTuple):
    """Events of one block of lines, objects one after another, in GeV."""

    line: NDArray[np.int64]
    number: NDArray[np.int64]
    process: NDArray[np.str_]
    weight: NDArray[np.float64]
    met: NDArray[np.float64]
    phi_met: NDArray[np.float64]
    counts: NDArray[np.int64]
    kind: NDArray[np.int8]
    energy: NDArray[np.float64]
    pt: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]


class Fault(NamedTuple):
    """One thing that is wrong with some events of a block, and with which of their objects."""

    problem: str
    events: NDArray[np.int64]
    objects: NDArray[np.int64] | None


def careful(text: bytes, line: int, path: str | Path, unit: Unit | None, tolerant: bool) -> tuple[Block, int]:
    """A block line by line, to name what is wrong with it, and the number of lines left out.

    Raises:
        EventError: at the first bad line, unless `tolerant`.
    """
    rows: list[_Row] = []
    skipped = 0
    failed: EventError | None = None
    lines = text.split(b"\n")
    for offset, raw in enumerate(lines):
        if not raw.strip():
            continue
        try:
            if offset == len(lines) - 1:
                problem = f"the last line has no end and may be cut short: {shorten(raw.decode('utf-8', 'replace'))}"
                raise EventError(path, problem, line=line + offset, remedy="end it with a newline if it is complete")
            rows.append(_row(raw, line + offset, path, unit))
        except EventError as error:
            if not tolerant:
                failed = _explained(error, raw)
                break
            skipped += 1
    block = _block(rows)
    wrong = faults(block, unit)
    if wrong and not tolerant:
        fault = min(wrong, key=lambda fault: fault.events[0])
        raise _error(fault, rows, block.counts, path)
    if failed is not None:
        raise failed
    if wrong:
        bad = set(np.concatenate([fault.events for fault in wrong]).tolist())
        skipped += len(bad)
        block = _block([row for at, row in enumerate(rows) if at not in bad])
    return block, skipped


def _explained(error: EventError, raw: bytes) -> EventError:
    """The error with its cause, where a spreadsheet or an editor made the line so."""
    explanation = cause(raw.decode("utf-8", "replace"))
    return (
        error
        if explanation is None
        else EventError(error.path, explanation.problem, line=error.line, remedy=explanation.remedy)
    )


def decimal(text: str, places: int = 0) -> float:
    """A decimal number with its point moved by some places, correctly rounded."""
    match = NUMBER.fullmatch(text)
    if not match:
        raise ValueError(f"{shorten(text)} is no number")
    return float(f"{match[1]}e{int(match[2] or 0) + places}")


def is_name(text: str) -> bool:
    """Whether a process can be called that."""
    return bool(text) and text == text.strip() and text.isprintable() and "," not in text


def faults(block: Block, unit: Unit | None) -> list[Fault]:
    """What is impossible in a block of well-formed lines."""
    owner = np.repeat(np.arange(len(block.counts)), block.counts)
    listed = [
        Fault(problem, np.flatnonzero(where), None)
        for problem, where in event_faults(block.weight, block.met, block.phi_met).items()
    ]
    wrong = object_faults(block.pt, block.eta, block.phi, block.energy, block.kind)
    for problem, where in wrong.items():
        listed.append(Fault(problem, owner[where], np.flatnonzero(where)))
    hardest = np.zeros(len(block.counts))
    np.maximum.at(hardest, owner, block.pt)
    if unit is None and ((hardest > 0) & (hardest < MIN_HARDEST_PT)).any():
        problem = "wrong unit: its hardest object has a pT below 1000, too little for MeV"
        listed.append(Fault(problem, np.flatnonzero((hardest > 0) & (hardest < MIN_HARDEST_PT)), None))
    if unit == "GeV" and (hardest > MAX_HARDEST_PT).any():
        problem = "wrong unit: its hardest object has a pT above 50000, too much for GeV"
        listed.append(Fault(problem, np.flatnonzero(hardest > MAX_HARDEST_PT), None))
    return listed


class _Row(NamedTuple):
    line: int
    text: str
    number: int
    process: str
    event: tuple[float, float, float]
    objects: list[tuple[int, float, float, float, float]]


def _row(raw: bytes, line: int, path: str | Path, unit: Unit | None) -> _Row:
    """One line, checked for its form."""
    text = raw.decode("utf-8", "replace").strip()

    def wrong(problem: str, remedy: str) -> EventError:
        return EventError(path, problem, line=line, remedy=remedy)

    def number(name: str, word: str, places: int = 0) -> float:
        try:
            return decimal(word, places)
        except ValueError:
            pass
        problem = "NaN or infinity" if re.fullmatch(r"(?i)[+-]?(nan|inf|infinity)", word) else "no number"
        raise wrong(f"{name} is {shorten(word)}, {problem}", "mend or drop the line")

    places = 0 if unit == "GeV" else -3
    fields = [field.strip() for field in text.split(";")]
    while len(fields) > len(FIELDS) and not fields[-1]:  # spreadsheets fill all lines up to the longest
        fields.pop()
    if len(fields) < len(FIELDS):
        problem = f"truncated line: {shorten(text)} has {len(fields)} of the fields {'; '.join(FIELDS)}"
        raise wrong(problem, "complete or drop the line")
    if not INTEGER.fullmatch(fields[0]):
        raise wrong(f"event ID {shorten(fields[0])} is no whole number", "mend or drop the line")
    digits = fields[0].lstrip("+-0")
    if len(digits) > 19 or not -(2**63) <= int(fields[0]) < 2**63:  # Python reads no more than 4300 digits
        problem = f"event ID {shorten(fields[0])} is no whole number of 64 bits"
        raise wrong(problem, f"number events between {-(2**63)} and {2**63 - 1}")
    if not is_name(fields[1]):
        raise wrong(f"process ID {shorten(fields[1])} is no name", "name a process with printable characters, no comma")
    event = (number("weight", fields[2]), number("MET", fields[3], places), number("phi_MET", fields[4]))
    objects: list[tuple[int, float, float, float, float]] = []
    for field in fields[len(FIELDS) :]:
        values = [value.strip() for value in field.split(",")]
        if len(values) != len(VALUES):
            problem = f"truncated object {shorten(field)}: {len(values)} values, not the {len(VALUES)} of "
            raise wrong(problem + ",".join(VALUES), "complete or drop the line")
        if values[0] not in CODES:
            raise wrong(f"unknown object {shorten(values[0])} in {shorten(field)}", f"objects are {', '.join(CODES)}")
        energy, pt = (number(f"{VALUES[i]} in {shorten(field)}", values[i], places) for i in (1, 2))
        eta, phi = (number(f"{VALUES[i]} in {shorten(field)}", values[i]) for i in (3, 4))
        objects.append((CODES[values[0]], energy, pt, eta, phi))
    return _Row(line, text, int(fields[0]), fields[1], event, objects)


def _block(rows: list[_Row]) -> Block:
    event = np.array([row.event for row in rows], dtype=np.float64).reshape(-1, 3)
    objects = np.array([value for row in rows for value in row.objects], dtype=np.float64).reshape(-1, 5)
    return Block(
        line=np.array([row.line for row in rows], dtype=np.int64),
        number=np.array([row.number for row in rows], dtype=np.int64),
        process=np.array([row.process for row in rows], dtype=np.str_),
        weight=event[:, 0],
        met=event[:, 1],
        phi_met=event[:, 2],
        counts=np.array([len(row.objects) for row in rows], dtype=np.int64),
        kind=objects[:, 0].astype(np.int8),
        energy=objects[:, 1],
        pt=objects[:, 2],
        eta=objects[:, 3],
        phi=objects[:, 4],
    )


def _error(fault: Fault, rows: list[_Row], counts: NDArray[np.int64], path: str | Path) -> EventError:
    row = rows[fault.events[0]]
    text = row.text
    if fault.objects is not None:
        inside = int(fault.objects[0] - np.sum(counts[: fault.events[0]]))
        text = row.text.split(";")[len(FIELDS) + inside].strip()
    remedy = "mend or drop the line"
    if fault.problem.startswith("wrong unit"):
        unit = "GeV" if "MeV" in fault.problem else "MeV"
        remedy = f"if the file is in {unit}, set data.unit: {unit} (or --unit {unit}; in Python unit='{unit}')"
    return EventError(path, f"{fault.problem}: {shorten(text)}", line=row.line, remedy=remedy)
