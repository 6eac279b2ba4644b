"""What several verbs end with: the tables of runs, and the page about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from femtobarn.cli.common import err, out


def print_tables(runs: Sequence[Path], baseline: str | None, *, backgrounds: bool = False) -> None:
    """The comparison of runs on standard output."""
    from femtobarn import evaluation

    comparison = evaluation.compare(evaluation.run_folders(runs), baseline=baseline)
    for table in evaluation.tables(comparison, backgrounds=backgrounds):
        out.print(table.terminal())
    out.print(evaluation.legend(comparison), highlight=False, markup=False)
    if backgrounds and len(comparison.rows) > 1:
        out.print(evaluation.PAIR_NOTE, highlight=False)


def make_report(
    runs: Sequence[Path], output: Path, baseline: str | None, figures: Path | None, title: str | None
) -> Path:
    """The page, with the events that the runs were judged on for the event displays."""
    from femtobarn import evaluation
    from femtobarn import report as room
    from femtobarn.evaluation.runs import CONFIG
    from femtobarn.experiments.experiment import load
    from femtobarn.inputs import OBJECTS
    from femtobarn.runs.splits import prepare

    folders = evaluation.run_folders(runs)
    for folder in folders:
        evaluation.load_run(folder)  # an unfinished run is told first
    with err.status("reading the events") as status:
        try:
            shown = load(folders[0] / CONFIG)
            # the displays draw the objects of collisions
            events = prepare(shown).test.events if shown.inputs.features == OBJECTS else None
        except (ValueError, OSError) as error:
            events = None
            err.print(f"no event displays: {escape(str(error))}", highlight=False, soft_wrap=True)
        return room.report(
            folders,
            output,
            title=title,
            baseline=baseline,
            events=events,
            figures=figures,
            progress=lambda step: status.update(escape(step)),
        )
