"""Verbs of results: comparison, systematics, fits, reports and explanations of finished runs."""

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
    markdown: Annotated[bool, typer.Option("--markdown", help="Output as Markdown tables.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Output of all numbers as CSV.")] = False,
) -> None:
    """Comparison of finished runs: mean over seeds, statistical error and spread, best values in bold."""
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
def systematics(
    runs: Runs,
    systematic: Annotated[
        list[str] | None,
        typer.Option("--systematic", help="Variation, such as jes_up; may be repeated. Default: all."),
    ] = None,
) -> None:
    """Systematics: evaluation with jet energies, b-tags and MET varied by one standard deviation.

    Changes of AUC, yields and significance at fixed cuts on the score are written to shifts.json in the folder of each
    run, the scores of the varied events to shifts/; the report shows them. Variations of b-tags need the flavour of
    each jet: the truth column truth_id of simulated events.

    Example: femtobarn systematics runs/four-top-small --systematic jes_up --systematic jes_down
    """
    with complaints():
        from femtobarn.evaluation.runs import run_folders
        from femtobarn.events import VARIATIONS
        from femtobarn.runs.systematics import vary_runs
        from femtobarn.studies.progress import line
        from femtobarn.tasks.classification.systematics import NOTE
        from femtobarn.tasks.classification.systematics_table import systematics_table

        with line(err) as shown:
            variations = vary_runs(run_folders(runs), systematic or VARIATIONS, progress=shown)
        out.print(systematics_table(variations))
        out.print(NOTE, highlight=False, soft_wrap=True)


@app.command()
def fit(
    runs: Runs,
    min_background: Annotated[
        float,
        typer.Option("--min-background", min=1, help="Minimum number of effective background events per bin."),
    ] = 25.0,
    replicas: Annotated[int, typer.Option(min=2, help="Bootstrap replicas to fit, for the statistical errors.")] = 20,
    baseline: Baseline = None,
) -> None:
    """Profile-likelihood fit to the score: expected discovery significance and upper limit.

    The score becomes a histogram with a sample for each process, a normalisation uncertainty for each background
    (evaluation.systematic), the statistical error of the simulation and, after femtobarn systematics, a systematic
    uncertainty for each varied source. Each run's folder gets workspace.json, which pyhf and other tools can fit, and
    fit.json, which compare and report show. Needs the extra 'femtobarn\\[stat]'.

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
        comparison = compare_classifiers(folders, baseline=baseline)  # errors of runs that can't be compared come first
        with line(err) as shown:
            for done, folder in enumerate(folders, 1):
                shown(Step(f"fitting {folder.name}", done, len(folders)))
                fits.fit_run(folder, least=min_background, replicas=replicas)
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
    """Self-contained HTML page of finished runs: tables, curves, score distributions, loss curves, event displays."""
    with complaints():
        written = make_report(runs, output, baseline, figures, title)
        out.print(f"report: {written}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def explain(
    runs: Runs,
    events: Annotated[int, typer.Option(min=1, help="Maximum number of test events per process.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the choice of events.")] = 1,
) -> None:
    """Attributions of trained models: objects, features and pairs behind the score, in explain.json of each run.

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
                attributions = explanation.explain(
                    folder, events=events, seed=seed, progress=lambda step: status.update(escape(step))
                )
            for table in tables(attributions):
                out.print(table)
            out.print(
                f"{note(attributions)}\nall numbers: {folder / 'explain.json'}\n",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )


@app.command("irc-safety")
def irc_safety(
    runs: Runs,
    events: Annotated[int, typer.Option(min=10, help="Maximum number of test jets.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of directions and momentum fractions.")] = 1,
) -> None:
    """Infrared and collinear safety of jet taggers: change of the score by soft particles and collinear splittings.

    Changes of the log-odds for softer particles and narrower splittings are written to safety.json of each run.

    Example: femtobarn irc-safety runs/taggers
    """
    with complaints():
        from rich.table import Table

        from femtobarn.evaluation.runs import run_folders
        from femtobarn.runs.irc_safety import evaluate_irc_safety

        for folder in run_folders(runs):
            with err.status(escape(f"splitting the jets of {folder}")):
                result = evaluate_irc_safety(folder, events=events, seed=seed)
            title = f"{escape(result['label'])}: change of the log-odds, median (90 %) of {result['events']} jets"
            table = Table(
                "share of pT, angle", "soft particle", "collinear splitting", title=title, title_justify="left"
            )
            for soft, collinear in zip(result["soft"], result["collinear"], strict=True):
                changes = (f"{change['median']:.2g} ({change['most']:.2g})" for change in (soft, collinear))
                table.add_row(f"{soft['step']:.0e}", *changes)
            out.print(table)
            out.print(f"the log-odds themselves vary by {result['spread']:.2g}", highlight=False)
