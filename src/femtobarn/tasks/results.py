"""Finished runs of any task: compared, as tables and as a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from femtobarn.evaluation.comparison import Comparison
from femtobarn.evaluation.runs import Run, load_run, run_folders
from femtobarn.evaluation.table import Table
from femtobarn.evaluation.tables import legend
from femtobarn.events import Events
from femtobarn.tasks.base import TaskKind
from femtobarn.tasks.registry import task_kind


def compare(runs: Sequence[str | Path | Run], *, baseline: str | None = None) -> Comparison[Any]:
    """Put finished runs side by side, model by model, with the errors of their differences.

    Args:
        runs: run folders, folders of studies, or runs already read; all of one task.
        baseline: label of the model that the others are compared with; default: the first one.

    Returns:
        the comparison of the runs' task.

    Raises:
        ValueError: no runs, an unfinished one, runs of different tasks, or runs that were evaluated on different
            events or with different settings.

    Example:
        >>> compare([Path("runs/four-top-small")]).leader.label  # doctest: +SKIP
        'ParT_int_SM'
    """
    loaded = _load(runs)
    return task_of(loaded).compare(loaded, baseline=baseline)


def task_of(runs: Sequence[Run]) -> TaskKind:
    """The task of runs.

    Raises:
        ValueError: no runs, or runs of different tasks.
    """
    if not runs:
        raise ValueError("no runs to compare")
    for run in runs:
        if run.task != runs[0].task:
            raise ValueError(
                f"{runs[0].path} is a run of task {runs[0].task}, {run.path} of task {run.task}; "
                "compare runs of one task"
            )
    return task_kind(runs[0].task)


def tables(comparison: Comparison[Any], *, detailed: bool = False) -> list[Table]:
    """Tables of a comparison.

    Args:
        comparison: from `compare`.
        detailed: True for all tables of the task.
    """
    return _task(comparison).tables(comparison, detailed=detailed)


def notes(comparison: Comparison[Any], *, detailed: bool = False) -> list[str]:
    """Sentences below the tables."""
    return _task(comparison).notes(comparison, detailed=detailed)


def markdown(comparison: Comparison[Any]) -> str:
    """All tables in Markdown, the best of a column in bold, its equals marked with ≈."""
    task = _task(comparison)
    texts = [table.markdown() for table in task.tables(comparison, detailed=True)]
    _, *rest = task.notes(comparison, detailed=True)
    return "\n\n".join([*texts, *(f"{note}." for note in rest), legend(comparison.largest, best="bold") + "."]) + "\n"


def report(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    title: str | None = None,
    baseline: str | None = None,
    events: Events | None = None,
    figures: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Write the comparison of finished runs as one HTML file that needs no other, for the screen and for paper.

    Args:
        runs: run folders, or the folder of a study for all runs in it.
        output: the HTML file.
        title: heading of the page; default: made by the task.
        baseline: label of the model that the others are compared with; default: the first one.
        events: the test events, for event displays; None draws none.
        figures: a folder to write the figures to as well, as PDF and PNG.
        progress: called with each step as it begins.

    Returns:
        the path of the page.

    Raises:
        ValueError: no runs, an unfinished one, runs that can't be compared, or events that were not evaluated.

    Example:
        >>> report([Path("study")], Path("report.html"), baseline="BDT")  # doctest: +SKIP
    """
    import matplotlib as mpl

    from femtobarn.report.page import write_page
    from femtobarn.report.style import RC

    progress("reading and comparing runs")
    comparison = compare(runs, baseline=baseline)
    with mpl.rc_context(RC):
        content = _task(comparison).page(comparison, events, progress)
    progress("writing the page")
    return write_page(content, comparison.largest, Path(output), title=title, figures=figures)


def _load(runs: Sequence[str | Path | Run]) -> list[Run]:
    loaded: list[Run] = []
    for run in runs:
        loaded += [run] if isinstance(run, Run) else map(load_run, run_folders([Path(run)]))
    return loaded


def _task(comparison: Comparison[Any]) -> TaskKind:
    return task_of([run for row in comparison.rows for run in row.runs])
