"""The report: one HTML page that tells a comparison of models to someone who was not there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

import femtobarn
from femtobarn.evaluation import PAIR_NOTE, compare, legend, load_run, run_folders
from femtobarn.evaluation.published import published_table
from femtobarn.evaluation.table import subscripts
from femtobarn.evaluation.tables import pair_tables
from femtobarn.events import Events
from femtobarn.events.storage.atomic import atomic_write_bytes
from femtobarn.report.calibration import calibration_table, calibrations
from femtobarn.report.facts import facts
from femtobarn.report.looks import PREFIX
from femtobarn.report.pictures import pictures
from femtobarn.report.shifts import shift_tables, shifts_of
from femtobarn.report.style import RC
from femtobarn.report.tables import (
    background_tables,
    costs,
    fit_table,
    main_tables,
    processes,
    size_tables,
)
from femtobarn.report.words import listing, summary


def report(
    runs: Sequence[Path],
    output: Path,
    *,
    title: str | None = None,
    baseline: str | None = None,
    events: Events | None = None,
    figures: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Writes the comparison of finished runs as one HTML file that needs no other, for the screen and for paper.

    Args:
        runs: run folders, or the folder of a study for all runs in it.
        output: the HTML file.
        title: heading of the page; made from the processes if not given.
        baseline: label of the model that gains refer to; the first one if not given.
        events: the events that were judged, for the event display; none is drawn without them.
        figures: a folder to write the figures to as well, as PDF and PNG.
        progress: called with each step as it begins, for whoever watches.

    Returns:
        the path of the page.

    Raises:
        ValueError: no runs, an unfinished one, runs that can't be compared, or events that were not judged.

    Example:
        >>> report([Path("study")], Path("report.html"), baseline="BDT")  # doctest: +SKIP
    """
    progress("reading and comparing runs")
    whole = compare([load_run(folder) for folder in run_folders(runs)], baseline=baseline)
    comparison = whole.largest
    with mpl.rc_context(RC):
        drawn = pictures(whole, events, progress)
    progress("writing the page")
    if figures is not None:
        for picture in drawn.values():
            picture.save(figures)
    room = Environment(
        loader=PackageLoader("femtobarn", "report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters["subscripts"] = subscripts
    room.filters["quoted"] = shlex.quote  # labels such as ParT_int_SM(FL) are folders, and the shell's own signs
    text = room.get_template("page.html.jinja").render(
        title=title or f"{listing(comparison.signal)} against {listing(comparison.backgrounds)}",
        summary=summary(comparison),
        comparison=comparison,
        legend=legend(comparison, best="bold"),
        main=[*main_tables(comparison), *published_table(comparison), *size_tables(whole)],
        paired=pair_tables(comparison),
        pair_note=PAIR_NOTE,
        detailed=background_tables(comparison),
        calibration=calibration_table(comparison, calibrations(comparison)),
        fit=fit_table(comparison),
        costs=costs(comparison),
        processes=processes(comparison),
        shifts=shift_tables(shifts_of(comparison)),
        pictures=drawn,
        looks=[name for name in drawn if name.startswith(PREFIX)],
        facts=facts(comparison),
        version=femtobarn.__version__,
        date=datetime.now(UTC).strftime("%-d %B %Y"),
        style=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(output, text.encode())
    return output
