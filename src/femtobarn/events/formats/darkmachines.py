"""Events as text, one line each: the Dark Machines format.

`event ID; process ID; weight; MET; phi_MET; obj1,E1,pT1,eta1,phi1; obj2,E2,pT2,eta2,phi2; ...` with energies in MeV and
objects j, b, e-, e+, m-, m+, g (photon).

Source: Aarrestad et al., *The Dark Machines Anomaly Score Challenge*, arXiv:2105.14027.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError, TruncatedError, shorten
from femtobarn.events.faults import wrap_phi
from femtobarn.events.formats.darkmachines_columns import fast
from femtobarn.events.formats.darkmachines_lines import WORDS, Block, careful
from femtobarn.events.reader_settings import Unit
from femtobarn.events.record import Events
from femtobarn.events.storage.atomic import atomic_write
from femtobarn.events.storage.files import MAX_LINE_BYTES, UTF8_MARK, checksum, chunks, refuse_utf16

#: Bytes read at once: what stays in the cache of a processor while it becomes columns.
BLOCK_BYTES = 1 << 20


def read_darkmachines(
    path: str | Path,
    *,
    unit: Unit | None = None,
    process: str | None = None,
    luminosity: float = 100.0,
    tolerant: bool = False,
    progress: Callable[[int], object] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Events:
    """Events of a Dark Machines text file, plain or .gz, in GeV.

    Without `unit` the file is taken to be in MeV and to show it: an event whose hardest object has a pT below 1000 was
    written in GeV, and an error says so. A line must end with a newline: one that does not may have been cut in the
    middle of a number. The number of the hard event is taken to be the event number.

    Args:
        unit: unit of the energies in the file; naming MeV switches the check of the unit off.
        process: name for all events, in place of the file's process ID.
        luminosity: integrated luminosity that the weights in the file are for, in 1/fb.
        tolerant: leave out bad lines and count them under `skipped` of the file in the provenance.
        progress: called with the number of further bytes of text that were read.
        block_bytes: bytes read at once.

    Raises:
        EventError: an empty or truncated file, a truncated line, a wrong unit, an unknown object, NaN, a negative or
            impossible energy, an event number met before: with line, offending text and remedy.
        FileNotFoundError: no such file.
    """
    parts: list[Block] = []
    skipped = 0
    for text, line in _blocks(path, tolerant, block_bytes):
        part = fast(text, line, unit)
        if part is None:
            part, n_bad = careful(text, line, path, unit, tolerant)
            skipped += n_bad
        parts.append(part)
        if progress is not None:
            progress(len(text))
    block = _joined(parts, path)
    del parts
    if not len(block.number):
        problem = "has no events" + (f": all {skipped} lines are bad" if skipped else "")
        raise EventError(path, problem, remedy="an event file has at least one good line")
    if process is not None:
        block = block._replace(process=np.full(len(block.number), process))
    events = _events(block, luminosity)
    repeated = _again(block)
    if repeated.any():
        if not tolerant:
            raise _repetition(block, int(np.flatnonzero(repeated)[0]), path)
        skipped += int(np.sum(repeated))
        events = events[~repeated]
    record = {"path": str(path), "sha256": checksum(path), "events": len(events), "skipped": skipped}
    return replace(events, provenance={"files": [record]})


def _joined(parts: Sequence[Block], path: str | Path) -> Block:
    if not parts:
        raise EventError(path, "has no events", remedy="an event file has at least one good line")
    return Block(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _repetition(block: Block, at: int, path: str | Path) -> EventError:
    """The error that the number of an event was met before in its process."""
    same = (block.number == block.number[at]) & (block.process == block.process[at])
    problem = f"event {block.number[at]} of {block.process[at]} was on line {block.line[same][0]} already"
    remedy = "number the events of a process differently, or keep the first of them with data.tolerant: true "
    remedy += "(--tolerant; in Python tolerant=True)"
    return EventError(path, problem, line=int(block.line[at]), remedy=remedy)


def stream_darkmachines(
    path: str | Path, size: int, *, unit: Unit | None = None, process: str | None = None, luminosity: float = 100.0
) -> Iterator[Events]:
    """The events of a Dark Machines text file, up to `size` at a time, in memory that does not grow with the file.

    Arguments and checks are those of `read_darkmachines`, but for event numbers that come twice: to find them, all of
    them would have to be kept.

    Raises:
        EventError: as `read_darkmachines` does, when the line with the mistake is reached.
        FileNotFoundError: no such file.
    """
    for text, line in _blocks(path, False):
        block = fast(text, line, unit) or careful(text, line, path, unit, False)[0]
        if process is not None:
            block = block._replace(process=np.full(len(block.number), process))
        events = _events(block, luminosity)
        for start in range(0, len(events), size):
            yield events[start : start + size]


def write_darkmachines(events: Events, path: str | Path, *, unit: Unit = "MeV") -> None:
    """Write events as Dark Machines text, .gz by suffix; reading gives the same numbers back to the last bit.

    The format has no place for truth columns, further context, luminosity, provenance and the number of the hard
    event: those are lost. The file appears complete or not at all.

    Raises:
        ValueError: something the format cannot hold: a process name with `;`, `,` or spaces around it, NaN, objects
            of an unknown kind.
    """
    for name in events.processes:
        if not name or name != name.strip() or not name.isprintable() or re.search("[;,]", name):
            raise ValueError(f"process name {name!r} cannot be written: no ; or , and no space around it")
    flat = ak.flatten(events.particles)
    objects = {name: ak.to_numpy(flat[name]).astype(np.float64) for name in ("E", "pt", "eta", "phi")}
    event = {name: ak.to_numpy(events.context[name]).astype(np.float64) for name in ("MET", "phi_MET")}
    for name, values in (objects | event | {"weight": events.weight}).items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has NaN or infinite values, which the format cannot hold")
    kinds = ak.to_numpy(flat["kind"])
    if not np.isin(kinds, list(WORDS)).all():
        raise ValueError(f"kinds of object are {', '.join(map(str, WORDS))}; got {sorted(set(kinds.tolist()))}")
    number = _in_mev if unit == "MeV" else repr
    words = [WORDS[code] for code in kinds.tolist()]
    energy, pt, eta, phi = (column.tolist() for column in objects.values())
    ends = np.cumsum(ak.to_numpy(ak.num(events.particles.pt))).tolist()
    columns = (events.number, events.process, events.weight, *event.values())
    rows = zip(*(column.tolist() for column in columns), [0, *ends[:-1]], ends, strict=True)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    packed = target.suffix == ".gz"
    with atomic_write(target) as raw, gzip.open(raw, "wb") if packed else nullcontext(raw) as file:
        for name, process, weight, met, angle, begin, end in rows:
            parts = [str(name), process, repr(weight), number(met), repr(angle)]
            parts += [
                f"{words[i]},{number(energy[i])},{number(pt[i])},{eta[i]!r},{phi[i]!r}" for i in range(begin, end)
            ]
            file.write(f"{';'.join(parts)}\n".encode())


def _in_mev(value: float) -> str:
    """GeV as MeV with the same decimal digits, which multiplying by 1000 would not keep."""
    if value == 0:
        return repr(value)
    shifted = Decimal(repr(value)).scaleb(3)
    return format(shifted, "f") if 1e-6 < abs(value) < 1e12 else str(shifted)


def _blocks(path: str | Path, tolerant: bool, size: int = BLOCK_BYTES) -> Iterator[tuple[bytes, int]]:
    """Whole lines, about `size` bytes at a time, each with the number of its first line; blank blocks are left out.

    Raises:
        EventError: a line has no end for too long, or the file is no text of one byte a character.
        TruncatedError: the compressed file was cut, unless `tolerant`: then its last line comes without an end.
    """
    line = 1
    rest = b""
    pieces = chunks(path, size)
    while True:
        try:
            chunk = next(pieces, None)
        except TruncatedError:
            if not tolerant:
                raise
            rest, chunk = rest or b"cut", None
        if chunk is None:
            break
        if line == 1 and not rest:
            refuse_utf16(path, chunk[:4])
            chunk = chunk.removeprefix(UTF8_MARK)
        text = rest + chunk
        end = text.rfind(b"\n") + 1
        if end and text[:end].strip():
            yield text[:end], line
        line += text.count(b"\n", 0, end)
        rest = text[end:]
        if len(rest) > MAX_LINE_BYTES:
            beginning = shorten(rest[:20].decode("utf-8", "replace"))
            problem = f"the line that begins with {beginning} has no end within {MAX_LINE_BYTES >> 20} MB"
            raise EventError(path, problem, line=line, remedy="no event has so many objects; is it a text file?")
    if rest.strip():
        yield rest, line


def _events(block: Block, luminosity: float) -> Events:
    columns = {
        "pt": block.pt,
        "eta": block.eta,
        "phi": wrap_phi(block.phi),
        "E": block.energy,
        "kind": block.kind,
    }
    return Events(
        particles=ak.unflatten(ak.zip(columns, with_name="Momentum4D"), block.counts),
        context=ak.zip({"MET": block.met, "phi_MET": wrap_phi(block.phi_met)}),
        weight=block.weight,
        process=block.process,
        number=block.number,
        hard=block.number,
        luminosity=luminosity,
    )


def _again(block: Block) -> NDArray[np.bool_]:
    """Where an event number comes a second time in its process."""
    repeated = np.zeros(len(block.number), dtype=np.bool_)
    if (np.diff(block.number) <= 0).any():  # most files count up
        process = np.unique(block.process, return_inverse=True)[1]
        order = np.lexsort((block.number, process))  # stable: the first of equals stays first
        same = (np.diff(process[order]) == 0) & (np.diff(block.number[order]) == 0)
        repeated[order[1:][same]] = True
    return repeated
