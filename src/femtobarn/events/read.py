"""Read events from files of any format, and write them."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from femtobarn.events.combine import contributions_of, treat, treatments
from femtobarn.events.errors import EventError
from femtobarn.events.file_reader import FileReader
from femtobarn.events.file_stream import FileStream
from femtobarn.events.formats.darkmachines import write_darkmachines
from femtobarn.events.formats.mapping import Mapping
from femtobarn.events.formats.parquet import write_parquet
from femtobarn.events.generation import Combine
from femtobarn.events.numbers import repeated
from femtobarn.events.reader_settings import Format, ReaderSettings, Unit, format_of
from femtobarn.events.record import Events, join

__all__ = ["find", "read", "read_paths", "stream", "write"]

#: Bytes above which a progress bar is shown: they take more than a moment to read.
PROGRESS_BYTES = 60_000_000


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
    combine: Combine = "average",
    renumber: bool = False,
) -> Events:
    """Events of one or many files; globs are welcome.

    The SHA-256 of every file goes into the provenance. Weights stand for `luminosity`: weights of this package's own
    files are scaled to it, weights of text and foreign tables are assumed to be for it.

    Files of one process are one sample. Where they state cross section and number of generated events (Les Houches
    files, output of `femtobarn simulate`), different productions are averaged, weighted by their generated events, so
    that the events expected are those of one cross section; parts of one production add up. Files that state nothing
    (text, foreign tables, jets) add up as their weights say.

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
        combine: `average` productions of one process, or `add` them: decay channels, slices of H_T.
        renumber: event numbers count within each file only; mix them with its checksum.

    Raises:
        FileNotFoundError: a path or glob that no file matches.
        EventError: bad input, with file and line or row; a file given twice; a suffix of no known format; files of one
            process whose cross sections or yields disagree.
        SelectionError: the selection cannot be understood.
    """
    settings = ReaderSettings(format, mapping, process, luminosity, unit, tolerant, combine, renumber)
    return read_paths(find(files), settings, selection=selection)


def read_paths(
    paths: Sequence[Path],
    settings: ReaderSettings,
    *,
    selection: str | None = None,
    progress_bytes: int = PROGRESS_BYTES,
) -> Events:
    """Events of files as `read` gives them.

    Args:
        paths: the files.
        settings: how they are read and combined.
        selection: keep the events that pass this expression.
        progress_bytes: size of all files in bytes above which a progress bar is shown.

    Raises:
        EventError, SelectionError: as `read`.
    """
    for path in paths:
        settings.format_of(path)  # before any is read
    parts: list[tuple[str, Events]] = []
    reader = FileReader(settings)
    with _progress(paths, progress_bytes) as advance:
        for path in paths:
            parts.append((str(path), reader.events(path, advance)))
    refuse_twice([file for _, events in parts for file in events.provenance["files"]])
    treated = treatments(contributions_of(parts), settings.combine, settings.luminosity)
    for at, ((path_, events), treatment) in enumerate(zip(parts, treated, strict=True)):
        part = treat(events, treatment)
        parts[at] = (path_, part if selection is None else part.select(selection))
    repeats = repeated(parts) if len(parts) > 1 else {}
    joined = join([events for _, events in parts], settings.combine)
    if repeats:
        repeated_numbers = {name: entry._asdict() for name, entry in repeats.items()}
        joined = replace(joined, provenance={**joined.provenance, "repeated_numbers": repeated_numbers})
    return joined


def refuse_twice(files: Sequence[dict[str, Any]]) -> None:
    """Checks by their checksums that no file is given twice.

    Raises:
        EventError: two files hold the same.
    """
    sums: dict[str, str] = {}
    for file in files:
        if file["sha256"] in sums:
            problem = f"holds the same as {sums[file['sha256']]}"
            raise EventError(file["path"], problem, remedy="give every file once, or its events count twice")
        sums[file["sha256"]] = file["path"]


def stream(
    files: str | Path | Sequence[str | Path], settings: ReaderSettings | None = None, *, size: int = 10_000
) -> Iterator[tuple[Path, Events]]:
    """The events of one or many files piece by piece, each with its file: files larger than the memory.

    Dark Machines text and this package's own Parquet are read in memory that does not grow with the files; of other
    formats the largest file has to fit. Weights and errors are those of `read`, but for checks that need all events at
    once.

    Args:
        files: paths or globs.
        settings: how they are read and combined.
        size: largest number of events in a piece.
    """
    yield from FileStream(find(files), settings or ReaderSettings()).pieces(size)


@contextmanager
def _progress(paths: Sequence[Path], min_bytes: int) -> Iterator[Callable[[int], object]]:
    """A progress bar over the bytes of large files; the function it gives takes the number of further bytes."""
    size = sum(path.stat().st_size for path in paths)
    if size < min_bytes:
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
    format = format_of(path)
    if format not in writers:
        raise EventError(path, f"{format} files are only read", remedy="write .parquet, .csv or .txt")
    writers[format](events, path)


def find(files: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files behind paths and globs; files of one glob are sorted.

    Raises:
        FileNotFoundError: a path or glob that no file matches.
        EventError: a file that is given twice.
    """
    patterns = [files] if isinstance(files, str | Path) else list(files)
    if not patterns:
        raise FileNotFoundError("no file given")
    paths: list[Path] = []
    matched: dict[Path, str | Path] = {}
    for pattern in patterns:
        literal = Path(pattern)
        names = [literal] if literal.is_file() else glob.glob(str(pattern), recursive=True)
        matches = sorted(path for name in names if (path := Path(name)).is_file())
        if not matches:
            raise FileNotFoundError(f"no file matches {str(pattern)!r} (in {Path.cwd()})")
        for path in matches:
            resolved = path.resolve()
            if resolved in matched:
                remedy = "give every file once, or its events count twice"
                raise EventError(path, f"is matched by {str(matched[resolved])!r} and {str(pattern)!r}", remedy=remedy)
            matched[resolved] = pattern
            paths.append(path)
    return paths
