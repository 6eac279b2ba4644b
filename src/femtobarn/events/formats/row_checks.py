"""Rows of tables that cannot be used: an error at the first of them, or left out and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.faults import event_faults, object_faults, track_faults, wrap_phi
from femtobarn.events.formats.darkmachines_lines import MAX_HARDEST_PT
from femtobarn.events.record import TRACKS, Events

#: Remedy for a bad row, where the reader can leave rows out.
MEND = "mend or drop the row, or leave out such rows with --tolerant (data.tolerant: true)"


class Raw(NamedTuple):
    """Columns of events before they are checked; objects of all events one after another."""

    counts: NDArray[np.int64]
    objects: dict[str, NDArray[Any]]
    context: dict[str, NDArray[Any]]
    weight: NDArray[np.float64]
    process: NDArray[Any]  # of str
    number: NDArray[np.int64]
    hard: NDArray[np.int64]
    luminosity: float
    provenance: dict[str, Any]


class RowChecks:
    """Bad rows of one table: the first raises an error, or with `tolerant` all are marked, to be left out.

    Args:
        path: the file, for messages.
        n_rows: number of rows.
        tolerant: mark bad rows instead of raising.
        first_row: number of the first row in the file, where the table is a piece of it.
        remedy: what helps against a bad row.
    """

    def __init__(
        self, path: str | Path, n_rows: int, *, tolerant: bool = False, first_row: int = 0, remedy: str = MEND
    ) -> None:
        self.path, self.tolerant, self.first_row, self.remedy = path, tolerant, first_row, remedy
        self.bad = np.zeros(n_rows, dtype=np.bool_)
        self.padded = np.zeros(n_rows, dtype=np.int64)

    def refuse(self, where: NDArray[np.bool_], describe: Callable[[int], str], allowed: str = "") -> None:
        """Refuse rows.

        Args:
            where: True at each bad row.
            what: message for a row, with the offending value.
            allowed: values that are allowed, for the message.

        Raises:
            EventError: there is a bad row, and bad rows are not tolerated.
        """
        self.refuse_entries(where, None, describe, allowed)

    def refuse_entries(
        self,
        where: NDArray[np.bool_],
        row: NDArray[np.integer[Any]] | None,
        describe: Callable[[int], str],
        allowed: str = "",
    ) -> None:
        """Refuse the rows of bad entries: `row` is the row of each entry, `what` gets the index of an entry."""
        if not where.any():
            return
        if self.tolerant:
            self.bad[where if row is None else row[where]] = True
            return
        at = int(np.argmax(where))
        remedy = f"{allowed}; {self.remedy}" if allowed else self.remedy
        raise EventError(self.path, describe(at), row=self.row(at, row), remedy=remedy)

    def row(self, at: int, row: NDArray[np.integer[Any]] | None = None) -> int:
        """Row in the file of an entry, by the row of each entry in the table."""
        return self.first_row + (at if row is None else int(row[at]))

    def record(self, sha256: str, n_events: int) -> dict[str, Any]:
        """Entry of the file in the provenance: its checksum, events, rows left out, and padding behind its lists."""
        return {
            "path": str(self.path),
            "sha256": sha256,
            "events": n_events,
            "skipped": int(np.count_nonzero(self.bad)),
            "padded": int(self.padded[~self.bad].sum()),
        }


def row_numbers(n_rows: int, sha256: str) -> NDArray[np.int64]:
    """Event numbers for rows without any: the row, below 31 bits of the file's checksum, so that files differ."""
    return np.arange(n_rows, dtype=np.int64) + ((int(sha256[:8], 16) >> 1) << 32)


def validate(raw: Raw, checks: RowChecks, *, unit_remedy: str, process: str | None = None) -> Events:
    """Events of a table, without the rows that are bad.

    Args:
        raw: columns of the table.
        checks: bad rows of the table so far.
        unit_remedy: what to do if the energies are in MeV.
        process: name for all events, in place of that in the table.

    Raises:
        EventError: NaN, impossible or too large energies, an event given twice, a process without a name, energies
            in MeV, or no row that can be used.
    """
    _check_events(raw, checks)
    _check_objects(raw, checks)
    _check_unit(raw, checks, unit_remedy)
    _check_repeated(raw, checks)
    if len(checks.bad) and checks.bad.all():
        problem = f"has no events: all {len(checks.bad)} rows are bad"
        raise EventError(
            checks.path, problem, remedy="read it without --tolerant (data.tolerant) to learn what is wrong"
        )
    raw = _without_bad(raw, checks.bad)
    kinematics = {"phi": wrap_phi(raw.objects["phi"]), "kind": raw.objects["kind"].astype(np.int8)}
    objects = raw.objects | kinematics
    ordered = {name: objects[name] for name in ("pt", "eta", "phi", "E", "kind")} | objects
    return Events(
        particles=ak.unflatten(ak.zip(ordered, with_name="Momentum4D"), raw.counts),
        context=ak.zip(raw.context | {"phi_MET": wrap_phi(raw.context["phi_MET"])}),
        weight=raw.weight,
        process=raw.process if process is None else np.full(len(raw.weight), process),
        number=raw.number,
        hard=raw.hard,
        luminosity=raw.luminosity,
        provenance=raw.provenance,
    )


def _check_events(raw: Raw, checks: RowChecks) -> None:
    met, phi = raw.context["MET"], raw.context["phi_MET"]
    for fault, where in event_faults(raw.weight, met, phi).items():

        def describe(row: int, fault: str = fault) -> str:
            return f"{fault}: weight {raw.weight[row]:g}, MET {met[row]:g}, phi_MET {phi[row]:g}"

        checks.refuse(where, describe)
    names, which = np.unique(raw.process, return_inverse=True)
    nameless = np.array([not (name and name.isprintable()) for name in names.tolist()], dtype=np.bool_)
    checks.refuse(
        nameless[which], lambda row: f"process {shorten(str(raw.process[row]))} is no name", "printable characters"
    )


def _check_objects(raw: Raw, checks: RowChecks) -> None:
    objects = raw.objects
    faults = object_faults(objects["pt"], objects["eta"], objects["phi"], objects["E"], objects["kind"])
    faults |= track_faults({name: objects[name] for name in TRACKS if name in objects})
    if not faults:
        return
    owner = np.repeat(np.arange(len(raw.counts)), raw.counts)
    for fault, where in faults.items():

        def describe(at: int, fault: str = fault) -> str:
            columns = ("kind", "E", "pt", "eta", "phi", *(name for name in TRACKS if fault.startswith(f"{name} ")))
            values = ", ".join(f"{name} {objects[name][at]:g}" for name in columns)
            return f"{fault}: object with {values}"

        checks.refuse_entries(where, owner, describe)


def _check_unit(raw: Raw, checks: RowChecks, remedy: str) -> None:
    """A file in MeV that is read as GeV shows in its hardest events; no row is to blame, so none is left out."""
    owner = np.repeat(np.arange(len(raw.counts)), raw.counts)
    columns = [("an object with pT", raw.objects["pt"], owner)]
    if "jet_pt" in raw.context:
        columns.append(("jet_pt", raw.context["jet_pt"], np.arange(len(raw.counts))))
    for name, values, row in columns:
        above = (values > MAX_HARDEST_PT) & ~checks.bad[row]
        if above.any():
            at = int(np.argmax(above))
            problem = f"wrong unit: {name} {values[at]:g}, too much for GeV (above {MAX_HARDEST_PT:g})"
            raise EventError(checks.path, problem, row=checks.row(at, row), remedy=remedy)


def _check_repeated(raw: Raw, checks: RowChecks) -> None:
    """An event number may come once in its process; the first row that has it is kept."""
    rows = np.flatnonzero(~checks.bad)
    number = raw.number[rows]
    if len(np.unique(number)) == len(rows):
        return
    process = np.unique(raw.process[rows], return_inverse=True)[1]
    order = np.lexsort((number, process))  # stable: the first of equals stays first
    same = (np.diff(process[order]) == 0) & (np.diff(number[order]) == 0)
    repeated = np.zeros(len(raw.number), dtype=np.bool_)
    repeated[rows[order[1:][same]]] = True

    def describe(row: int) -> str:
        before = (raw.number == raw.number[row]) & (raw.process == raw.process[row]) & ~checks.bad
        return (
            f"event {raw.number[row]} of {raw.process[row]} stands in row {checks.row(int(np.argmax(before)))} already"
        )

    checks.refuse(repeated, describe, "the event numbers of a process must differ")


def _without_bad(raw: Raw, bad: NDArray[np.bool_]) -> Raw:
    if not bad.any():
        return raw
    good = ~bad
    entries = np.repeat(good, raw.counts)
    kept = {name: getattr(raw, name)[good] for name in ("counts", "weight", "process", "number", "hard")}
    return raw._replace(
        **kept,
        objects={name: values[entries] for name, values in raw.objects.items()},
        context={name: values[good] for name, values in raw.context.items()},
    )


def with_file(events: Events, record: dict[str, Any], **more: Any) -> Events:
    """Events with the entry of their file in the provenance."""
    return replace(events, provenance={**events.provenance, "files": [{**record, **more}]})
