"""Display: how runs go on, as a live table on a terminal and as plain lines elsewhere."""

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
from femtobarn.studies.study import Planned

if TYPE_CHECKING:
    from femtobarn.simulate.plan import Progress as Production

#: Seconds between two plain lines about one run.
PAUSE = 15.0

WAITING = Step("waiting")


@dataclass
class Progressing:
    """One run as the display knows it."""

    planned: Planned
    begun: float | None = None
    ended: float | None = None
    step: Step = WAITING
    best: float | None = None
    said: float = 0.0

    @property
    def running(self) -> bool:
        """True between start and end."""
        return self.begun is not None and self.ended is None

    @property
    def share(self) -> float:
        """How much of the run is done, from 0 to 1; early stopping can only make it more."""
        if self.ended is not None:
            return 1.0
        return self.step.done / self.step.total if self.step.total else 0.0

    def seconds(self, now: float) -> float:
        """Since the start, or from start to end."""
        return 0.0 if self.begun is None else (self.ended or now) - self.begun


class Display:
    """Watches runs: one line for each that is running, and how much of the whole is done.

    Use it as a context. It is a `femtobarn.studies.workers.Watcher`.

    Args:
        planned: all runs that are to be computed.
        workers: how many run at once, for the time left.
        expected: seconds that runs should take, by name, where that was estimated.
        console: where to write; by default standard error, so that tables on standard output stay clean.
        clock: seconds, from any origin.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
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
        self.runs = {planned_run.name: Progressing(planned_run) for planned_run in planned}
        self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal and self.runs:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def started(self, planned: Planned) -> None:
        """A run begins."""
        one = self.runs[planned.name]
        one.begun = one.said = self.clock()
        one.step = Step("starting")

    def stepped(self, planned: Planned, step: Step) -> None:
        """A run comes further."""
        one = self.runs[planned.name]
        # judging comes after the last epoch and must not set the run back to nothing
        one.step = step if step.total else one.step._replace(stage=step.stage)
        one.best = step.best if step.best is not None else one.best
        now = self.clock()
        if not self.console.is_terminal and step.total and now - one.said > PAUSE:
            one.said = now
            self._say(f"{planned.name}: {describe(step)}, {duration(self.left(one))} left")

    def finished(self, planned: Planned) -> None:
        """A run is complete."""
        one = self._end(planned)
        loss = "" if one.best is None else f", validation loss {one.best:.4f}"
        self._say(
            f"{self._count()} {planned.name} finished in {duration(one.seconds(self.clock()))}{loss}{self._rest()}"
        )

    def failed(self, planned: Planned, reason: str) -> None:
        """A run could not be completed."""
        self._end(planned)
        self._say(f"{self._count()} {planned.name} FAILED: {reason}", style="red")

    def left(self, one: Progressing) -> float | None:
        """Seconds that a run still takes; None as long as nothing is known."""
        if one.ended is not None:
            return 0.0
        if one.share > 0:
            return one.seconds(self.clock()) * (1 / one.share - 1)
        known = self._known()
        alike = [
            seconds for other, seconds in known if other.label == one.planned.label and other.size == one.planned.size
        ]
        costs = alike or self._estimated(one.planned, known) or [seconds for _, seconds in known]
        return max(0.0, fmean(costs) - one.seconds(self.clock())) if costs else None

    def rest(self) -> float | None:
        """Seconds until all runs are done; None as long as nothing is known."""
        left = [self.left(one) for one in self.runs.values()]
        known = [seconds for seconds in left if seconds is not None]
        return None if len(known) < len(left) else max(sum(known) / max(1, self.workers), *known, 0.0)

    def table(self) -> RenderableType:
        """The lines of the running runs and the bar of the whole."""
        rows = Table.grid(padding=(0, 2))
        for one in self.runs.values():
            if one.running:
                rows.add_row(
                    escape(one.planned.name),
                    ProgressBar(total=1.0, completed=one.share, width=20),
                    describe(one.step),
                    f"{duration(self.left(one))} left",
                )
        whole = Table.grid(padding=(0, 2))
        share = fmean(one.share for one in self.runs.values()) if self.runs else 1.0
        whole.add_row(
            escape(self._count()), ProgressBar(total=1.0, completed=share, width=40), self._rest().strip(", ")
        )
        return Group(rows, whole)

    def _end(self, planned: Planned) -> Progressing:
        one = self.runs[planned.name]
        one.ended = self.clock()
        return one

    def _estimated(self, planned: Planned, known: Sequence[tuple[Planned, float]]) -> list[float]:
        """The estimate for a run, set right by how long others took against theirs; empty without one."""
        if planned.name not in self.expected:
            return []
        both = [(seconds, self.expected[other.name]) for other, seconds in known if other.name in self.expected]
        estimated = sum(before for _, before in both)
        factor = sum(seconds for seconds, _ in both) / estimated if estimated else 1.0
        return [factor * self.expected[planned.name]]

    def _known(self) -> list[tuple[Planned, float]]:
        """What runs take, as far as can be told."""
        now = self.clock()
        return [
            (one.planned, one.seconds(now) / one.share)
            for one in self.runs.values()
            if one.begun is not None and one.share > 0
        ]

    def _count(self) -> str:
        return f"[{sum(one.ended is not None for one in self.runs.values())}/{len(self.runs)}]"

    def _rest(self) -> str:
        return "" if all(one.ended is not None for one in self.runs.values()) else f", {duration(self.rest())} left"

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def describe(step: Step) -> str:
    """A step in words: `epoch 3/20  train 1.3021  valid 1.3100  best 1.3080`."""
    if not step.total:
        return step.stage
    losses = (("train", step.train_loss), ("valid", step.valid_loss), ("best", step.best))
    told = [f"{name} {value:.4f}" for name, value in losses if value is not None]
    return "  ".join([f"{step.stage} {step.done}/{step.total}", *told])


def duration(seconds: float | int | None) -> str:
    """A time in words: 42 s, 3 min 05 s, 2 h 10 min; `?` where unknown."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextmanager
def line(console: Console) -> Iterator[Progress]:
    """One line that says where a run stands."""
    said = 0.0
    with console.status("starting") as status:

        def shown(step: Step) -> None:
            nonlocal said
            text = describe(step)
            if console.is_terminal:
                status.update(Text(text))
            elif time.monotonic() - said > PAUSE or step.done == step.total:
                said = time.monotonic()
                console.print(text, markup=False, highlight=False, soft_wrap=True)

        yield shown


@contextmanager
def bar(what: str, console: Console) -> Iterator[Callable[[Production], None]]:
    """How a production goes on: events/s and the time left, plain lines where there is no terminal."""
    begun = said = time.monotonic()
    first: Production | None = None
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal) as live:
        task = live.add_task(what, total=None, rate="")

        def shown(progress: Production) -> None:
            nonlocal first, said
            first = first or progress
            now = time.monotonic()
            goal, done = (progress.target, progress.selected) if progress.target else (progress.total, progress.done)
            # what an earlier attempt had done says nothing about the speed of this one
            fresh = done - (first.selected if progress.target else first.done)
            speed = fresh / (now - begun)
            text = f"{progress.done} hard processes, {progress.selected} selected, {speed:.1f} events/s"
            live.update(task, completed=min(done, goal), total=goal, rate=text)
            if not console.is_terminal and (now - said > PAUSE or done >= goal):
                said = now
                left = duration((goal - done) / speed if speed and done < goal else 0 if done >= goal else None)
                console.print(f"{what}: {text}, {left} left", markup=False, highlight=False, soft_wrap=True)

        yield shown
