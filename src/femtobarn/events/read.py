"""Any number of files of any format as events, and events as a file."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from femtobarn.events.darkmachines import read_darkmachines, stream_darkmachines, write_darkmachines
from femtobarn.events.errors import EventError
from femtobarn.events.jetclass import read_jetclass
from femtobarn.events.lhe import read_lhe
from femtobarn.events.lines import Unit
from femtobarn.events.mapping import Mapping
from femtobarn.events.parquet import read_parquet, stream_parquet, write_parquet
from femtobarn.events.quarkgluon import read_quark_gluon
from femtobarn.events.record import Events, concatenate
from femtobarn.events.toptagging import read_top_tagging

Format = Literal["darkmachines", "parquet", "lhe", "top_tagging", "quark_gluon", "jetclass"]

#: Format by the end of a file's name.
SUFFIXES: dict[str, Format] = {
    ".csv": "darkmachines",
    ".csv.gz": "darkmachines",
    ".txt": "darkmachines",
    ".txt.gz": "darkmachines",
    ".parquet": "parquet",
    ".lhe": "lhe",
    ".lhe.gz": "lhe",
    ".h5": "top_tagging",
    ".hdf5": "top_tagging",
    ".npz": "quark_gluon",
    ".root": "jetclass",
}

#: Public layouts of jets.
JETS: dict[Format, Callable[..., Events]] = {
    "top_tagging": read_top_tagging,
    "quark_gluon": read_quark_gluon,
    "jetclass": read_jetclass,
}


#: Bytes that take more than a moment to read.
LARGE = 60_000_000


def read(
    files: str | Path | Sequence[str | Path],
    *,
    format: Format | None = None,
    mapping: Mapping | None = None,
    process: str | None = None,
    luminosity: float = 100.0,
    selection: str | None = None,
    unit: Unit | None = None,
    tolerant: bool = False,
) -> Events:
    """Events of one or many files; globs are welcome.

    The SHA-256 of every file goes into the provenance. Weights stand for `luminosity`: those of this package's own
    files are scaled to it, those of text and foreign tables are taken to be for it.

    Args:
        files: paths or globs.
        format: darkmachines, parquet, lhe, or one of jets: top_tagging, quark_gluon, jetclass; by default after the
            suffix (.csv, .txt, .parquet, .lhe; .gz; .h5, .npz, .root).
        mapping: which columns of a foreign Parquet file hold what.
        process: name for all events, in place of what the files say.
        luminosity: integrated luminosity of the weights in 1/fb.
        selection: keep the events that pass this expression, see `femtobarn.events.selection`.
        unit: unit of the energies in Dark Machines text, where it is not MeV or not plain to see; in foreign Parquet
            files and jets, where it is not GeV.
        tolerant: leave out what cannot be used (bad lines of text, bad rows of tables, undecayed particles of LHE
            files) and count it in the provenance.

    Raises:
        FileNotFoundError: a path or glob that no file matches.
        EventError: bad input, with file and line or row; a file given twice; a suffix of no known format.
        SelectionError: the selection cannot be understood.
    """
    paths = find(files)
    formats = [format or format_of(path) for path in paths]
    parts: list[Events] = []
    with _progress(paths) as advance:
        for path, kind in zip(paths, formats, strict=True):
            match kind:
                case "darkmachines":
                    tell = None if path.suffix == ".gz" else advance
                    part = read_darkmachines(
                        path, unit=unit, process=process, luminosity=luminosity, tolerant=tolerant, progress=tell
                    )
                case "lhe":
                    undecayed: Literal["skip", "raise"] = "skip" if tolerant else "raise"
                    part = read_lhe(
                        path, process=process, luminosity=luminosity, undecayed=undecayed, tolerant=tolerant
                    )
                case "parquet":
                    part = read_parquet(path, mapping, process=process, unit=unit, tolerant=tolerant)
                    weight = part.weight if mapping else part.expected(luminosity)
                    part = replace(part, weight=weight, luminosity=luminosity)
                case "top_tagging" | "quark_gluon" | "jetclass":
                    part = JETS[kind](path, process=process, unit=unit, tolerant=tolerant)
                    part = replace(part, luminosity=luminosity)
            if kind != "darkmachines" or path.suffix == ".gz":
                advance(path.stat().st_size)
            parts.append(part if selection is None else part.select(selection))
    events = concatenate(parts)
    sums: dict[str, str] = {}
    for file in events.provenance["files"]:
        if file["sha256"] in sums:
            what = f"holds the same as {sums[file['sha256']]}"
            raise EventError(file["path"], what, remedy="give every file once, or its events count twice")
        sums[file["sha256"]] = file["path"]
    return events


def stream(
    files: str | Path | Sequence[str | Path],
    size: int = 10_000,
    *,
    format: Format | None = None,
    process: str | None = None,
    luminosity: float = 100.0,
    unit: Unit | None = None,
) -> Iterator[tuple[Path, Events]]:
    """The events of one or many files piece by piece, each with the file it is from: files larger than the memory.

    Dark Machines text and this package's own Parquet; arguments, weights and errors as for `read`, but for checks that
    need all events at once.

    Args:
        files: paths or globs.
        size: most events in a piece.
        format, process, luminosity, unit: as for `read`.
    """
    for path in find(files):
        match format or format_of(path):
            case "darkmachines":
                pieces = stream_darkmachines(path, size, unit=unit, process=process, luminosity=luminosity)
            case "parquet":
                pieces = stream_parquet(path, size, process=process)
            case other:
                raise EventError(
                    path, f"{other} files are not read in pieces", remedy="write .parquet with `femtobarn.events`"
                )
        for events in pieces:
            yield path, replace(events, weight=events.expected(luminosity), luminosity=luminosity)


@contextmanager
def _progress(paths: Sequence[Path]) -> Iterator[Callable[[int], object]]:
    """A bar over the bytes of large files, which is told how many more are done."""
    size = sum(path.stat().st_size for path in paths)
    if size < LARGE:
        yield lambda _: None
        return
    from rich.console import Console  # small files need no bar
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"reading {size / 1e6:.0f} MB in {len(paths)} files", highlight=False)
        yield lambda _: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("reading", total=size)
        yield lambda done: bar.advance(task, done)


def write(events: Events, path: str | Path) -> None:
    """Write events in the format of the suffix: .parquet keeps everything, .csv and .txt (.gz) are Dark Machines text.

    Raises:
        EventError: a suffix that nothing is written to.
        ValueError: something the format cannot hold.
    """
    writers: dict[Format, Callable[[Events, str | Path], Any]] = {
        "parquet": write_parquet,
        "darkmachines": write_darkmachines,
    }
    kind = format_of(path)
    if kind not in writers:
        raise EventError(path, f"{kind} files are only read", remedy="write .parquet, .csv or .txt")
    writers[kind](events, path)


def find(files: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files behind paths and globs, those of a glob sorted.

    Raises:
        FileNotFoundError: a path or glob that no file matches.
        EventError: a file that is given twice.
    """
    patterns = [files] if isinstance(files, str | Path) else list(files)
    if not patterns:
        raise FileNotFoundError("no file given")
    paths: list[Path] = []
    found: dict[Path, str | Path] = {}
    for pattern in patterns:
        literal = Path(pattern)
        names = [literal] if literal.is_file() else glob.glob(str(pattern), recursive=True)
        matches = sorted(path for name in names if (path := Path(name)).is_file())
        if not matches:
            raise FileNotFoundError(f"no file matches {str(pattern)!r} (in {Path.cwd()})")
        for path in matches:
            where = path.resolve()
            if where in found:
                remedy = "give every file once, or its events count twice"
                raise EventError(path, f"is matched by {str(found[where])!r} and {str(pattern)!r}", remedy=remedy)
            found[where] = pattern
            paths.append(path)
    return paths


def format_of(path: str | Path) -> Format:
    """The format of a file by its suffix.

    Raises:
        EventError: a suffix of no known format.
    """
    name = Path(path).name.lower()
    for suffix, kind in SUFFIXES.items():
        if name.endswith(suffix):
            return kind
    raise EventError(path, "has a suffix of no known format", remedy=f"say format=...; known are {', '.join(SUFFIXES)}")
