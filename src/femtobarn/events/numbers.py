"""Event numbers: unique within a process over all files, with an error where they are not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError

if TYPE_CHECKING:
    from femtobarn.events.record import Events

#: Files over which the numbers of events are spread on disk, of which one at a time is in memory.
N_BUCKETS = 64

#: One event in such a file.
ENTRY = np.dtype([("process", "<i4"), ("file", "<i4"), ("number", "<i8"), ("content", "<u8")])


def file_mask(digest: str) -> int:
    """31 bits of a file's checksum, above the 32 bits that a count of its rows fills."""
    return (int(digest[:8], 16) >> 1) << 32


def renumber_mask(digest: str) -> int:
    """Other bits of a file's checksum, for numbers that may hold those of `file_mask` already."""
    return (int(digest[8:16], 16) >> 1) << 32


def row_numbers(count: int, digest: str) -> NDArray[np.int64]:
    """Numbers of the rows of a file that has none of its own: other files have others, wherever they lie."""
    return np.arange(count, dtype=np.int64) + np.int64(file_mask(digest))


def scattered(numbers: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """A pseudorandom group for each number, by the finaliser of splitmix64 (see `femtobarn.events.split.lot`)."""
    z = numbers.astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) % np.uint64(n_groups)).astype(np.int64)


class Repeats(NamedTuple):
    """Event numbers that come more than once in a process.

    Args:
        n_events: number of events whose number was met before.
        example: the smallest such number.
        files: two files that hold it; the same one twice where it comes twice in one file.
        n_identical: number of those events that are the same event again.
    """

    n_events: int
    example: int
    files: tuple[str, str]
    n_identical: int


def entries(events: Events, processes: Mapping[str, int], file: int) -> NDArray[Any]:
    """The events as entries, with the code of each process and of the file."""
    table = np.zeros(len(events), dtype=ENTRY)
    names, where = np.unique(events.process, return_inverse=True)
    table["process"] = np.array([processes[str(name)] for name in names], dtype=np.int32)[where]
    table["file"] = file
    table["number"] = events.number
    content = ak.to_numpy(ak.num(events.particles.pt)).astype(np.uint64)
    hardest = ak.to_numpy(ak.fill_none(ak.max(events.particles.pt, axis=1), 0.0))
    for column in (events.context["MET"], events.context["phi_MET"], hardest):
        bits = np.ascontiguousarray(column, dtype=np.float64).view(np.uint64)
        content = (content ^ bits) * np.uint64(0x9E3779B97F4A7C15)
    table["content"] = content
    return table


def find_repeats(table: NDArray[Any], processes: Sequence[str], files: Sequence[str]) -> dict[str, Repeats]:
    """Which processes have repeated numbers."""
    order = np.lexsort((table["content"], table["number"], table["process"]))
    table = table[order]
    again = (np.diff(table["process"]) == 0) & (np.diff(table["number"]) == 0)
    identical = again & (table["content"][1:] == table["content"][:-1])
    repeats: dict[str, Repeats] = {}
    for code in np.unique(table["process"][1:][again]).tolist():
        here = again & (table["process"][1:] == code)
        example = int(table["number"][1:][here][0])
        holders = table["file"][(table["process"] == code) & (table["number"] == example)]
        first, last = files[holders.min()], files[holders.max()]
        repeats[processes[code]] = Repeats(int(here.sum()), example, (first, last), int((here & identical).sum()))
    return repeats


def repeated(parts: Sequence[tuple[str, Events]]) -> dict[str, Repeats]:
    """Numbers that repeat within a process, over the events of several files.

    Args:
        parts: each file with its events.
    """
    names = sorted({name for _, events in parts for name in events.processes})
    codes = {name: code for code, name in enumerate(names)}
    tables = [entries(events, codes, at) for at, (_, events) in enumerate(parts)]
    if not tables or (all(map(_counts_up, tables)) and _apart(tables)):
        return {}
    return find_repeats(np.concatenate(tables), names, [file for file, _ in parts])


def _counts_up(table: NDArray[Any]) -> bool:
    return bool((np.diff(table["number"]) > 0).all())


def _apart(tables: Sequence[NDArray[Any]]) -> bool:
    """Whether the ranges of numbers do not overlap."""
    spans = sorted((int(table["number"].min()), int(table["number"].max())) for table in tables if len(table))
    return all(before[1] < after[0] for before, after in pairwise(spans))


class NumberLog:
    """The numbers of events that pass in pieces, kept on disk until all have passed.

    Args:
        folder: where a temporary folder can be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=".numbers-", dir=folder))
        self.processes: dict[str, int] = {}
        self.files: dict[str, int] = {}

    def add(self, file: str, events: Events) -> None:
        """More events of a file."""
        for name in events.processes:
            self.processes.setdefault(name, len(self.processes))
        table = entries(events, self.processes, self.files.setdefault(file, len(self.files)))
        bucket = scattered(table["number"], N_BUCKETS)
        for number in np.unique(bucket).tolist():
            with (self.folder / f"{number}.bin").open("ab") as file_:
                file_.write(table[bucket == number].tobytes())

    def repeated(self) -> dict[str, Repeats]:
        """As `repeated`, of all events."""
        sums: dict[str, Repeats] = {}
        for path in sorted(self.folder.iterdir()):
            table = np.fromfile(path, dtype=ENTRY)
            for name, repeats in find_repeats(table, list(self.processes), list(self.files)).items():
                other = sums.get(name, repeats._replace(n_events=0, n_identical=0))
                smaller = min(other, repeats, key=lambda entry: entry.example)
                total = (other.n_events + repeats.n_events, other.n_identical + repeats.n_identical)
                sums[name] = smaller._replace(n_events=total[0], n_identical=total[1])
        return sums

    def __enter__(self) -> NumberLog:
        return self

    def __exit__(self, *failure: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def check_numbers(events: Events) -> None:
    """Checks that no event number repeats within a process.

    Raises:
        EventError: numbers repeat; it gives their count, an example and the files, if the provenance lists them.
    """
    files = [str(file["path"]) for file in events.provenance.get("files", [])] or ["the events"]
    between = events.provenance.get("repeated_numbers", {})
    for process, repeats in repeated([(", ".join(files[:3]), events)]).items():
        pair = between.get(process, {}).get("files", repeats.files)
        raise refuse(process, repeats._replace(files=(pair[0], pair[1])))


def refuse(process: str, repeats: Repeats) -> EventError:
    """The error about numbers that repeat in a process: how many, where, and what helps."""
    first, last = repeats.files
    where = f"are in {first} too" if first != last else "come more than once"
    problem = f"{repeats.n_events} event numbers of {process} {where}, {repeats.example} for instance"
    if repeats.n_identical == repeats.n_events:
        problem += ": the same events again"
        remedy = "give every event once, or it counts twice"
    elif first != last:
        remedy = (
            "numbers that count within each file are made different with data.renumber: true; different processes get "
            "names of their own with data.files: {NAME: FILE, ...}"
        )
    else:
        remedy = (
            "number the events of a process differently (rows are counted where data.mapping has no number); several "
            "processes of a file keep their names where data.files gives none, and task.classes: binary makes one "
            "class of them"
        )
    return EventError(last, problem, remedy=remedy)
