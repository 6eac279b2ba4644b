"""Scoring: event files through an exported network, into one file of scores."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from femtobarn.events import Events, ReaderSettings, stream
from femtobarn.events.storage.atomic import atomic_write
from femtobarn.export.facts import Facts
from femtobarn.export.scorer import EventScorer

#: Bins of the score in which medians are found, so that memory does not grow with the events.
BINS = 1000

#: Seconds between two plain lines.
PAUSE = 15.0


@dataclass
class Process:
    """Sums over the scored events of one process."""

    events: int = 0
    expected: float = 0.0
    score: float = 0.0  # weighted sum
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    def add(self, weight: NDArray[np.float64], score: NDArray[np.float32]) -> None:
        """Count more events."""
        self.events += len(score)
        self.expected += float(weight.sum())
        self.score += float(weight @ score)
        self.histogram += np.histogram(score, BINS, (0, 1))[0]

    @property
    def mean(self) -> float:
        """Weighted mean score; NaN where the weights sum to 0."""
        return self.score / self.expected if self.expected else float("nan")

    @property
    def median(self) -> float:
        """Score that half of the events exceed, to 1/`BINS`."""
        return float((np.searchsorted(np.cumsum(self.histogram), self.events / 2) + 0.5) / BINS)


@dataclass(frozen=True)
class Summary:
    """Scores of each process, and the number of events with more objects than the network uses."""

    processes: dict[str, Process]
    overfull: int

    @property
    def events(self) -> int:
        """Number of all events."""
        return sum(process.events for process in self.processes.values())


def score_files(
    files: str | Path | Sequence[str | Path],
    scorer: EventScorer,
    output: Path,
    settings: ReaderSettings | None = None,
    *,
    progress: Callable[[int], object] | None = None,
) -> Summary:
    """Score the events of files and write `process, number, hard, weight, score, probability_<class>` as Parquet.

    Events pass in pieces: memory does not grow with the files. The output appears complete or not at all, and
    `femtobarn.evaluation.Scores.read` reads it.

    Args:
        files: paths or globs; Dark Machines text and this package's Parquet may be larger than the memory.
        scorer: the exported network, or the run.
        output: Parquet file to write.
        settings: how the files are read; the weights are written for their luminosity.
        progress: called with the number of further events that are done.

    Raises:
        EventError: bad input, with file and line or row.
        FileNotFoundError: a path or glob that no file matches.
        ValueError: no events at all.
    """
    facts, settings = scorer.facts, settings or ReaderSettings()
    about = {"signal": list(facts.signal), "luminosity": settings.luminosity, "model": json.loads(facts.json())}
    schema = pa.schema(
        [
            ("process", pa.dictionary(pa.int32(), pa.string())),
            ("number", pa.int64()),
            ("hard", pa.int64()),
            ("weight", pa.float64()),
            *((name, pa.float32()) for name in ("score", *(f"probability_{name}" for name in facts.classes))),
        ],
        metadata={b"femtobarn": json.dumps(about, ensure_ascii=False).encode()},
    )
    processes: dict[str, Process] = {}
    overfull = 0
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as file:
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            for _, events in stream(files, settings):
                scores = scorer.score(events)
                writer.write_table(_table(events, scores, schema))
                overfull += int((ak.num(events.particles.pt).to_numpy() > facts.slots).sum())
                for name in events.processes:
                    is_process = events.process == name
                    processes.setdefault(name, Process()).add(events.weight[is_process], scores["score"][is_process])
                if progress is not None:
                    progress(len(events))
        if not processes:
            raise ValueError("no events to score: the files are empty")
    return Summary(dict(sorted(processes.items())), overfull)


def table(summary: Summary, facts: Facts, luminosity: float) -> Table:
    """Summary for a terminal, signal first."""
    columns = ("process", "events", f"expected at {luminosity:g}/fb", "mean score", "median")
    shown = Table(*columns, box=None, pad_edge=False)
    for name in sorted(summary.processes, key=lambda name: (name not in facts.signal, name)):
        process = summary.processes[name]
        label = f"{name} (signal)" if name in facts.signal else name
        shown.add_row(
            escape(label),
            str(process.events),
            f"{process.expected:.4g}",
            f"{process.mean:.3f}",
            f"{process.median:.3f}",
        )
    return shown


@contextmanager
def watched(title: str, console: Console) -> Iterator[Callable[[int], object]]:
    """Show the number of events and the rate after two seconds: a bar on a terminal, lines elsewhere."""
    begun = last_line = time.monotonic()
    done = 0
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as live:
        task = live.add_task(title, total=None, status="", visible=False)

        def shown(more: int) -> None:
            nonlocal done, last_line
            done += more
            now = time.monotonic()
            text = f"{done} events, {done / max(now - begun, 1e-9):.0f} events/s"
            live.update(task, status=text, visible=now - begun > 2)
            if not console.is_terminal and now - last_line > PAUSE:
                last_line = now
                console.print(f"{title}: {text}", highlight=False, soft_wrap=True)

        yield shown


def _table(events: Events, scores: dict[str, NDArray[np.float32]], schema: pa.Schema) -> pa.Table:
    columns = {
        "process": pa.array(events.process.tolist(), pa.string()).dictionary_encode(),
        "number": events.number,
        "hard": events.hard,
        "weight": events.weight,
        **scores,
    }
    return pa.table(columns, schema=schema)
