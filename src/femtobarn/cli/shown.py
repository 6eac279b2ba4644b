"""Output of several verbs: tables of runs, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from femtobarn.cli.common import err, out


def print_tables(runs: Sequence[Path], baseline: str | None, *, detailed: bool = False) -> None:
    """Tables of a comparison of runs on standard output."""
    from femtobarn.tasks import results

    comparison = results.compare(runs, baseline=baseline)
    for table in results.tables(comparison, detailed=detailed):
        out.print(table.terminal())
    for note in results.notes(comparison, detailed=detailed):
        out.print(note, highlight=False, markup=False)


def make_report(
    runs: Sequence[Path], output: Path, baseline: str | None, figures: Path | None, title: str | None
) -> Path:
    """Write the report, with event displays of test events."""
    from femtobarn.evaluation.runs import CONFIG, load_run, run_folders
    from femtobarn.experiments.experiment import load
    from femtobarn.inputs import EVENTS
    from femtobarn.runs.splits import load_splits
    from femtobarn.tasks.results import report

    folders = run_folders(runs)
    for folder in folders:
        load_run(folder)  # an unfinished run is an error before the events are read
    with err.status("reading the events") as status:
        try:
            shown = load(folders[0] / CONFIG)
            # the displays draw the objects of collisions
            events = load_splits(shown).test.events if shown.inputs.domain is EVENTS else None
        except (ValueError, OSError) as error:
            events = None
            err.print(f"no event displays: {escape(str(error))}", highlight=False, soft_wrap=True)
        return report(
            folders,
            output,
            title=title,
            baseline=baseline,
            events=events,
            figures=figures,
            progress=lambda step: status.update(escape(step)),
        )
