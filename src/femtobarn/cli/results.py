"""Verbs of results: finished runs compared, shifted, fitted, reported and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from femtobarn.cli.common import Baseline, Runs, app, complaints, err, out
from femtobarn.cli.shown import make_report, print_tables


@app.command()
def compare(
    runs: Runs,
    baseline: Baseline = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Tables in Markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="All numbers as CSV.")] = False,
) -> None:
    """Finished runs side by side: mean over seeds, statistical error and spread, the best in bold."""
    with complaints():
        if not (markdown or csv):
            print_tables(runs, baseline, detailed=True)
            return

        from femtobarn.evaluation.tables import csv_table
        from femtobarn.tasks import results

        comparison = results.compare(runs, baseline=baseline)
        text = results.markdown(comparison) if markdown else csv_table(comparison)
        typer.echo(text, nl=False)


@app.command()
def shifts(
    runs: Runs,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="A shift, as in jes_up; may be repeated. All if not given.")
    ] = None,
) -> None:
    """Judge trained models with a detector that is one standard deviation off: jet energies, b-tags, MET.

    Changes of AUC, yields and significance, with the cuts on the score left in place, go to shifts.json in each run's
    folder, the scores of the shifted events to shifts/; the report shows them. b-tags need the flavour of each jet, the
    truth column truth_id that simulated events have.

    Example: femtobarn shifts runs/four-top-small --only jes_up --only jes_down
    """
    with complaints():
        from femtobarn.evaluation.runs import run_folders
        from femtobarn.events import VARIATIONS
        from femtobarn.runs import systematics
        from femtobarn.studies.progress import line
        from femtobarn.tasks.classification.systematics import NOTE
        from femtobarn.tasks.classification.systematics_table import shift_table

        with line(err) as shown:
            found = systematics.shift_runs(run_folders(runs), only or VARIATIONS, progress=shown)
        out.print(shift_table(found))
        out.print(NOTE, highlight=False, soft_wrap=True)


@app.command()
def fit(
    runs: Runs,
    least: Annotated[
        float, typer.Option(min=1, help="Fewest effective background events in a bin; bins with fewer are merged.")
    ] = 25.0,
    replicas: Annotated[int, typer.Option(min=2, help="Of the test events, each fitted, for statistical errors.")] = 20,
    baseline: Baseline = None,
) -> None:
    """Profile-likelihood fit to the score: expected discovery significance and upper limit, beside counting.

    The score becomes a histogram with a sample for each process, a normalisation uncertainty for each background
    (evaluation.systematic), the statistical error of the simulation and, after femtobarn shifts, a systematic for each
    shift of the detector. Each run's folder gets workspace.json, which pyhf and other tools can fit, and fit.json,
    which compare and report show. Needs the extra 'femtobarn\\[stat]'.

    Example: femtobarn fit runs/four-top-small
    """
    with complaints():
        from femtobarn.evaluation.runs import run_folders
        from femtobarn.evaluation.tables import legend, section_table
        from femtobarn.runs import fit as fits
        from femtobarn.runs.run import Step
        from femtobarn.studies.progress import line
        from femtobarn.tasks.classification.comparison import compare as compare_classifiers
        from femtobarn.tasks.classification.sections import fit_section

        folders = run_folders(runs)
        comparison = compare_classifiers(folders, baseline=baseline)  # runs that can't be compared are told first
        with line(err) as shown:
            for done, folder in enumerate(folders, 1):
                shown(Step(f"fitting {folder.name}", done, len(folders)))
                fits.fit_run(folder, least=least, replicas=replicas)
        comparison = compare_classifiers(folders, baseline=baseline)
        out.print(section_table(comparison, fit_section(comparison)).terminal())
        out.print(legend(comparison), highlight=False, markup=False)
        out.print("workspace.json and fit.json are in each run's folder", highlight=False)


@app.command()
def report(
    runs: Runs,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file.")] = Path("report.html"),
    baseline: Baseline = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for the figures, as PDF and PNG.")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
) -> None:
    """One self-contained HTML page of finished runs: tables, curves, score distributions, histories, event displays."""
    with complaints():
        written = make_report(runs, output, baseline, figures, title)
        out.print(f"report: {written}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def explain(
    runs: Runs,
    events: Annotated[int, typer.Option(min=1, help="Held-out events of each process to look at, at most.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of events.")] = 1,
) -> None:
    """What trained models look at: objects, features and pairs behind the score, written as explain.json into each run.

    Networks: gradient x input, and attention by type of object where there is any. The convolutional network (cnn):
    layer-wise relevance propagation too. Boosted trees: contributions of the columns. The report shows them as figures.

    Example: femtobarn explain runs/study --events 500
    """
    with complaints():
        from femtobarn.evaluation.runs import run_folders
        from femtobarn.explain import note, tables
        from femtobarn.runs import explain as explanation

        for folder in run_folders(runs):
            with err.status("starting") as status:
                found = explanation.explain(
                    folder, events=events, seed=seed, progress=lambda step: status.update(escape(step))
                )
            for table in tables(found):
                out.print(table)
            out.print(
                f"{note(found)}\nall of it: {folder / 'explain.json'}\n", highlight=False, markup=False, soft_wrap=True
            )


@app.command()
def safety(
    runs: Runs,
    events: Annotated[int, typer.Option(min=10, help="Held-out jets to look at, at most.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of directions and shares.")] = 1,
) -> None:
    """Infrared and collinear safety of jet taggers: how far soft particles and collinear splittings move the score.

    Changes of the log-odds for ever softer particles and narrower splittings go to safety.json in each run's folder.

    Example: femtobarn safety runs/taggers
    """
    with complaints():
        from rich.table import Table

        from femtobarn.evaluation.runs import run_folders
        from femtobarn.runs import irc_safety as room

        for folder in run_folders(runs):
            with err.status(escape(f"splitting the jets of {folder}")):
                found = room.safety(folder, events=events, seed=seed)
            title = f"{escape(found['label'])}: change of the log-odds, median (90 %) of {found['events']} jets"
            table = Table(
                "share of pT, angle", "soft particle", "collinear splitting", title=title, title_justify="left"
            )
            for soft, collinear in zip(found["soft"], found["collinear"], strict=True):
                cells = (f"{one['median']:.2g} ({one['most']:.2g})" for one in (soft, collinear))
                table.add_row(f"{soft['step']:.0e}", *cells)
            out.print(table)
            out.print(f"the log-odds themselves vary by {found['spread']:.2g}", highlight=False)
