"""Parton-level events of matrix-element generators: Les Houches event files, plain or compressed.

Format: Alwall et al., *A standard format for Les Houches Event Files*, arXiv:hep-ph/0609017, and version 3 of it,
arXiv:1405.1067.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.faults import MAX_ENERGY, ROUNDING_TOLERANCE, event_faults, object_faults, wrap_phi
from femtobarn.events.formats.lhe_events import HardEvents, Head
from femtobarn.events.numbers import row_numbers
from femtobarn.events.record import Events
from femtobarn.events.storage.files import checksum, stem
from femtobarn.physics.objects import ANTIMUON, BJET, ELECTRON, INVISIBLE_PDG, JET, MUON, PADDING, PHOTON, POSITRON

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

#: What decays before a detector sees it.
UNSTABLE = {6: "t", 15: "tau", 23: "Z", 24: "W", 25: "H"}

#: Weights that cancel to less than this share of their magnitudes have no sum that a cross section can be given to.
MIN_WEIGHT_SUM = 1e-9


@dataclass(frozen=True)
class LHEInfo:
    """Header of a Les Houches file.

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


class _Contents(NamedTuple):
    """All events of a file, particles of the final state one after another."""

    head: Head
    weight: NDArray[np.float64]
    begin: NDArray[np.int64]  # line of each event
    counts: NDArray[np.int64]
    pdg: NDArray[np.int64]
    momenta: NDArray[np.float64]  # px, py, pz, E
    line: NDArray[np.int64]  # of each particle
    hard: NDArray[np.int64]
    skipped: int
    truncated: bool


def lhe_info(path: str | Path) -> LHEInfo:
    """Cross section, number of events and comment of a Les Houches file; undecayed particles are welcome.

    Raises:
        EventError: what `read_lhe` would not accept either.
        FileNotFoundError: no such file.
    """
    contents = _contents(path, tolerant=False)
    head = contents.head
    lines = [line.strip() for line in head.raw.decode("utf-8", "replace").splitlines()]
    comment = "\n".join(line for line in lines if line and not re.fullmatch(r"<[^>]*>|<!--|-->", line))
    return LHEInfo(head.cross_section, head.error, len(contents.counts), comment)


def hard_numbers(path: str | Path) -> NDArray[np.int64]:
    """Number of the hard event of each event of a Les Houches file: its place in the file, from 0.

    Events that follow one another with the same particles and momenta, which Sherpa writes now and then, are one hard
    event, and have the number of the first.

    Raises:
        EventError: as `lhe_info`.
        FileNotFoundError: no such file.
    """
    return _contents(path, tolerant=False).hard


def read_lhe(
    path: str | Path,
    *,
    process: str | None = None,
    luminosity: float = 100.0,
    undecayed: Literal["raise", "skip"] = "raise",
    tolerant: bool = False,
) -> Events:
    r"""Parton-level events: quarks and gluons as jets, b quarks as b-jets, what is invisible as MET.

    Weights sum to the expected yield, :math:`\sigma L`, whatever the weighting strategy of the file. Events that follow
    one another with the same particles and momenta share the number of their hard event, so that a split keeps them
    together; the provenance counts them as `repeated`.

    Args:
        process: name of the process; the name of the file by default.
        luminosity: integrated luminosity of the weights in 1/fb.
        undecayed: what to do with t, W, Z, H, tau and other unstable particles, which are no object of a detector:
            complain, or leave them out and count them in the provenance.
        tolerant: leave out damaged events and what a cut file lacks, and count them as `skipped` in the provenance
            (`truncated` says that the file was cut); the weights of the others sum to :math:`\sigma L`.

    Raises:
        EventError: a truncated or damaged file, another number of events than its header states, an undecayed particle,
            NaN or an impossible energy, with line; a cross section of 0.
        FileNotFoundError: no such file.
    """
    contents = _contents(path, tolerant=tolerant, detected=True)
    return _events(contents, path, process or stem(path), luminosity, undecayed == "raise")


def _events(contents: _Contents, path: str | Path, process: str, luminosity: float, refuse_undecayed: bool) -> Events:
    """The contents of a file as events, with what is invisible as MET."""
    kind = _kinds(contents.pdg)
    invisible = np.isin(np.abs(contents.pdg), INVISIBLE_PDG)
    other = (kind == PADDING) & ~invisible
    if refuse_undecayed and other.any():
        at = int(np.flatnonzero(other)[0])
        raise _undecayed(int(contents.pdg[at]), int(contents.line[at]), path)
    count = len(contents.counts)
    owner = np.repeat(np.arange(count), contents.counts)
    met_x, met_y = (np.bincount(owner[invisible], component[invisible], count) for component in contents.momenta.T[:2])
    kept = kind != PADDING
    columns = _columns(contents.momenta[kept]) | {
        "kind": kind[kept],
        "truth_id": contents.pdg[kept].astype(np.int32),
    }
    context = {"MET": np.hypot(met_x, met_y), "phi_MET": wrap_phi(np.arctan2(met_y, met_x))}
    weight = contents.weight * _scale(contents, luminosity, path)
    _refuse(event_faults(weight, context["MET"], context["phi_MET"]), contents.begin, path)
    digest = checksum(path)
    numbers = row_numbers(count, digest)
    return Events(
        particles=ak.unflatten(ak.zip(columns, with_name="Momentum4D"), np.bincount(owner[kept], minlength=count)),
        context=ak.zip(context),
        weight=weight,
        process=np.full(count, process),
        number=numbers,
        hard=numbers[contents.hard],
        luminosity=luminosity,
        provenance=_provenance(contents, path, digest, process, contents.pdg[other].tolist()),
    )


def _provenance(
    contents: _Contents, path: str | Path, digest: str, process: str, undecayed: list[int]
) -> dict[str, Any]:
    """Origin and normalisation of the events of a file; `undecayed` are the PDG numbers that were left out."""
    count = len(contents.counts)
    record = {
        "path": str(path),
        "sha256": digest,
        "events": count,
        "skipped": contents.skipped,
        "truncated": contents.truncated,
        "undecayed": {str(code): number for code, number in sorted(Counter(undecayed).items())},
        "repeated": int(np.sum(contents.hard != np.arange(count))),
    }
    generation = {
        "cross_section_pb": contents.head.cross_section,
        "cross_section_error_pb": contents.head.error,
        "generated": count,
        "source_sha256": digest,
    }
    return {"files": [record], "processes": {process: generation}}


def _contents(path: str | Path, *, tolerant: bool, detected: bool = False) -> _Contents:
    """Everything in a file, checked; `detected` particles must have a pseudorapidity too."""
    weight, momenta = array("d"), array("d")
    begin, counts, pdg, line, hard = (array("q") for _ in range(5))
    before: object = None
    events = HardEvents(path, tolerant=tolerant)
    for event in events:
        particles = [(particle.pdg, particle.momentum) for particle in event.final]
        hard.append(hard[-1] if particles and particles == before else len(counts))
        before = particles
        weight.append(event.weight)
        begin.append(event.tag.line)
        counts.append(len(particles))
        for particle in event.final:
            pdg.append(particle.pdg)
            line.append(particle.line)
            momenta.extend(particle.momentum)
    if not counts:
        problem = "has no events" + (f": all {events.skipped} are damaged" if events.skipped else "")
        raise EventError(path, problem, remedy="an event file has at least one good event")
    contents = _Contents(
        head=events.head,
        weight=np.array(weight),
        begin=np.array(begin, dtype=np.int64),
        counts=np.array(counts, dtype=np.int64),
        pdg=np.array(pdg, dtype=np.int64),
        momenta=np.array(momenta, dtype=np.float64).reshape(-1, 4),
        line=np.array(line, dtype=np.int64),
        hard=np.array(hard, dtype=np.int64),
        skipped=events.skipped,
        truncated=events.truncated,
    )
    faults = _faults(contents, detected)
    if not tolerant:
        _refuse(faults, contents.line, path)
    contents = _without(contents, faults) if faults else contents
    _scale(contents, 1.0, path)
    return contents


def _kinds(pdg: NDArray[np.int64]) -> NDArray[np.int8]:
    """Codes of the objects that particles stand for, 0 for all that are no object of a detector."""
    numbers, which = np.unique(pdg, return_inverse=True)
    codes: NDArray[np.int8] = np.array([OBJECTS.get(number, PADDING) for number in numbers.tolist()], dtype=np.int8)
    return codes[which]


def _columns(momenta: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Momenta as a detector measures them."""
    px, py, pz, energy = momenta.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        pt = np.hypot(px, py)
        eta = np.arcsinh(pz / pt)
    return {"pt": pt, "eta": eta, "phi": wrap_phi(np.arctan2(py, px)), "E": energy}


def _faults(contents: _Contents, detected: bool) -> dict[str, NDArray[np.bool_]]:
    """Masks of impossible momenta in the final state, invisible particles included."""
    px, py, pz, energy = contents.momenta.T
    with np.errstate(over="ignore"):
        size = np.hypot(np.hypot(px, py), pz)
    masks = {
        "negative energy": energy < 0,
        "energy below |p|": energy < size * (1 - ROUNDING_TOLERANCE),
        f"energy above {MAX_ENERGY:g} GeV": energy > MAX_ENERGY,
    }
    if detected:
        kind = _kinds(contents.pdg)
        is_visible = kind != PADDING
        masks["pT of 0, so that there is no pseudorapidity"] = is_visible & (px == 0) & (py == 0)
        pt, eta, phi, energy = _columns(contents.momenta[is_visible]).values()
        for fault, where in object_faults(pt, eta, phi, energy, kind[is_visible]).items():
            masks.setdefault(fault, np.zeros(len(kind), dtype=np.bool_))[is_visible] |= where
    return {fault: where for fault, where in masks.items() if where.any()}


def _without(contents: _Contents, faults: Mapping[str, NDArray[np.bool_]]) -> _Contents:
    """The events without any of these faults, the others counted as skipped."""
    owner = np.repeat(np.arange(len(contents.counts)), contents.counts)
    bad = np.zeros(len(contents.counts), dtype=np.bool_)
    bad[owner[np.logical_or.reduce(list(faults.values()))]] = True
    kept, particles = np.flatnonzero(~bad), ~bad[owner]
    return contents._replace(
        **{name: getattr(contents, name)[kept] for name in ("weight", "begin", "counts")},
        **{name: getattr(contents, name)[particles] for name in ("pdg", "momenta", "line")},
        hard=np.searchsorted(kept, contents.hard[kept]),  # copies are as good or bad as the first
        skipped=contents.skipped + int(np.sum(bad)),
    )


def _scale(contents: _Contents, luminosity: float, path: str | Path) -> float:
    """Factor from the weights of the file to expected numbers of events."""
    total, magnitude = float(np.sum(contents.weight)), float(np.sum(np.abs(contents.weight)))
    expected = contents.head.cross_section * 1000 * luminosity
    with np.errstate(all="ignore"):
        scale = float(np.float64(expected) / total) if total else np.inf
    if not np.isfinite(total) or not np.isfinite(scale) or abs(total) < MIN_WEIGHT_SUM * magnitude:
        raise EventError(path, f"its event weights sum to {total:g}", remedy="no cross section can be shared out")
    if scale < 0:
        problem = f"its event weights sum to {total:g}, but its cross section is {contents.head.cross_section:g} pb"
        raise EventError(path, problem, remedy="weights and cross section have the same sign")
    return scale


def _undecayed(code: int, line: int, path: str | Path) -> EventError:
    """The error that a particle is no object of a detector."""
    name = UNSTABLE.get(abs(code), "a particle of unknown decay")
    problem = f"{name} (PDG {code}) in the final state is no object a detector sees"
    remedy = "decay and shower the file with `femtobarn simulate`, or leave such particles out and count them with "
    remedy += "data.tolerant: true (--tolerant; in Python undecayed='skip')"
    return EventError(path, problem, line=line, remedy=remedy)


def _refuse(faults: Mapping[str, NDArray[np.bool_]], lines: NDArray[np.int64], path: str | Path) -> None:
    """Raise the fault that comes first in the file."""
    if faults:
        first = {problem: int(np.flatnonzero(where)[0]) for problem, where in faults.items()}
        problem = min(first, key=lambda problem: first[problem])
        raise EventError(path, problem, line=int(lines[first[problem]]), remedy="mend or drop the event")
