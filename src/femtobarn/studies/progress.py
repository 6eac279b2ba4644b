"""Progress of runs, as a live table on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from femtobarn.runs.run import Progress, Step
from femtobarn.studies.study import PlannedRun

if TYPE_CHECKING:
    from femtobarn.simulate.units import Progress as Production

#: Seconds between two plain lines about one run.
LINE_INTERVAL = 15.0

WAITING = Step("waiting")


@dataclass
class RunProgress:
    """Progress of one run."""

    planned: PlannedRun
    start_time: float | None = None
    end_time: float | None = None
    step: Step = WAITING
    best: float | None = None
    last_line: float = 0.0

    @property
    def running(self) -> bool:
        """True between start and end."""
        return self.start_time is not None and self.end_time is None

    @property
    def share(self) -> float:
        """Completed fraction of the run, from 0 to 1; early stopping can only increase it."""
        if self.end_time is not None:
            return 1.0
        return self.step.done / self.step.total if self.step.total else 0.0

    def seconds(self, now: float) -> float:
        """Seconds since the start, or from start to end."""
        return 0.0 if self.start_time is None else (self.end_time or now) - self.start_time


class Display:
    """Progress display of runs: one line per active run, and the completed fraction of all runs.

    Use it as a context. It is a `femtobarn.studies.workers.ProgressListener`.

    Args:
        planned: all runs to compute.
        workers: number of runs at once, for the remaining time.
        expected: estimated seconds of runs, by name.
        console: default: standard error, which keeps tables on standard output clean.
        clock: seconds from any origin.
    """

    def __init__(
        self,
        planned: Sequence[PlannedRun],
        *,
        workers: int = 1,
        expected: Mapping[str, float] | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console(stderr=True)
        self.workers = workers
        self.expected = dict(expected or {})
        self.clock = clock
        self.runs = {planned_run.name: RunProgress(planned_run) for planned_run in planned}
        self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal and self.runs:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def started(self, planned: PlannedRun) -> None:
        """A run has started."""
        state = self.runs[planned.name]
        state.start_time = state.last_line = self.clock()
        state.step = Step("starting")

    def stepped(self, planned: PlannedRun, step: Step) -> None:
        """A run has completed an epoch, or entered its next stage."""
        state = self.runs[planned.name]
        # the evaluation follows the last epoch and must not reset the completed fraction
        state.step = step if step.total else state.step._replace(stage=step.stage)
        state.best = step.best if step.best is not None else state.best
        now = self.clock()
        if not self.console.is_terminal and step.total and now - state.last_line > LINE_INTERVAL:
            state.last_line = now
            self._print_line(f"{planned.name}: {describe(step)}, {duration(self.run_time_left(state))} left")

    def finished(self, planned: PlannedRun) -> None:
        """A run is complete."""
        state = self._end(planned)
        loss = "" if state.best is None else f", validation loss {state.best:.4f}"
        time_taken = duration(state.seconds(self.clock()))
        self._print_line(f"{self._count()} {planned.name} finished in {time_taken}{loss}{self._time_left_text()}")

    def failed(self, planned: PlannedRun, reason: str) -> None:
        """A run has failed."""
        self._end(planned)
        self._print_line(f"{self._count()} {planned.name} FAILED: {reason}", style="red")

    def run_time_left(self, state: RunProgress) -> float | None:
        """Remaining seconds of a run; None if no run gives an estimate yet."""
        if state.end_time is not None:
            return 0.0
        if state.share > 0:
            return state.seconds(self.clock()) * (1 / state.share - 1)
        measured = self._measured_times()
        similar = [
            seconds
            for other, seconds in measured
            if other.label == state.planned.label and other.size == state.planned.size
        ]
        costs = similar or self._scaled_estimate(state.planned, measured) or [seconds for _, seconds in measured]
        return max(0.0, fmean(costs) - state.seconds(self.clock())) if costs else None

    def time_left(self) -> float | None:
        """Seconds until all runs are finished; None if no run gives an estimate yet."""
        times = [self.run_time_left(state) for state in self.runs.values()]
        estimates = [seconds for seconds in times if seconds is not None]
        return None if len(estimates) < len(times) else max(sum(estimates) / max(1, self.workers), *estimates, 0.0)

    def table(self) -> RenderableType:
        """Lines of the active runs, and the bar of all runs."""
        rows = Table.grid(padding=(0, 2))
        for state in self.runs.values():
            if state.running:
                rows.add_row(
                    escape(state.planned.name),
                    ProgressBar(total=1.0, completed=state.share, width=20),
                    describe(state.step),
                    f"{duration(self.run_time_left(state))} left",
                )
        total = Table.grid(padding=(0, 2))
        share = fmean(state.share for state in self.runs.values()) if self.runs else 1.0
        total.add_row(
            escape(self._count()), ProgressBar(total=1.0, completed=share, width=40), self._time_left_text().strip(", ")
        )
        return Group(rows, total)

    def _end(self, planned: PlannedRun) -> RunProgress:
        state = self.runs[planned.name]
        state.end_time = self.clock()
        return state

    def _scaled_estimate(self, planned: PlannedRun, measured: Sequence[tuple[PlannedRun, float]]) -> list[float]:
        """Estimate of a run, scaled by measured over estimated time of other runs; empty without an estimate."""
        if planned.name not in self.expected:
            return []
        pairs = [(seconds, self.expected[other.name]) for other, seconds in measured if other.name in self.expected]
        estimated = sum(before for _, before in pairs)
        factor = sum(seconds for seconds, _ in pairs) / estimated if estimated else 1.0
        return [factor * self.expected[planned.name]]

    def _measured_times(self) -> list[tuple[PlannedRun, float]]:
        """Runs that have started, with the total time that their progress suggests."""
        now = self.clock()
        return [
            (state.planned, state.seconds(now) / state.share)
            for state in self.runs.values()
            if state.start_time is not None and state.share > 0
        ]

    def _count(self) -> str:
        return f"[{sum(state.end_time is not None for state in self.runs.values())}/{len(self.runs)}]"

    def _time_left_text(self) -> str:
        ended = all(state.end_time is not None for state in self.runs.values())
        return "" if ended else f", {duration(self.time_left())} left"

    def _print_line(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def describe(step: Step) -> str:
    """Step in words: `epoch 3/20  train 1.3021  valid 1.3100  best 1.3080`."""
    if not step.total:
        return step.stage
    losses = (("train", step.train_loss), ("valid", step.valid_loss), ("best", step.best))
    parts = [f"{name} {value:.4f}" for name, value in losses if value is not None]
    return "  ".join([f"{step.stage} {step.done}/{step.total}", *parts])


def duration(seconds: float | int | None) -> str:
    """Time in words: 42 s, 3 min 05 s, 2 h 10 min; `?` if unknown."""
    if seconds is None:
        return "?"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


@contextmanager
def line(console: Console) -> Iterator[Progress]:
    """Progress of one run in one line."""
    last_line = 0.0
    with console.status("starting") as status:

        def update(step: Step) -> None:
            nonlocal last_line
            text = describe(step)
            if console.is_terminal:
                status.update(Text(text))
            elif time.monotonic() - last_line > LINE_INTERVAL or step.done == step.total:
                last_line = time.monotonic()
                console.print(text, markup=False, highlight=False, soft_wrap=True)

        yield update


@contextmanager
def bar(title: str, console: Console) -> Iterator[Callable[[Production], None]]:
    """Progress of a production: events per second and remaining time, as plain lines without a terminal."""
    start_time = last_line = time.monotonic()
    first: Production | None = None
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal) as live:
        task = live.add_task(title, total=None, rate="")

        def update(progress: Production) -> None:
            nonlocal first, last_line
            first = first or progress
            now = time.monotonic()
            goal, done = (progress.target, progress.selected) if progress.target else (progress.total, progress.done)
            # events of an earlier attempt do not count for the speed of this one
            fresh = done - (first.selected if progress.target else first.done)
            speed = fresh / (now - start_time)
            text = f"{progress.done} hard processes, {progress.selected} selected, {speed:.1f} events/s"
            live.update(task, completed=min(done, goal), total=goal, rate=text)
            if not console.is_terminal and (now - last_line > LINE_INTERVAL or done >= goal):
                last_line = now
                remaining = duration((goal - done) / speed if speed and done < goal else 0 if done >= goal else None)
                console.print(f"{title}: {text}, {remaining} left", markup=False, highlight=False, soft_wrap=True)

        yield update
