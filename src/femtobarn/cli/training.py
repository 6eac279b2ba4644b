"""Verbs of training: one model and its judgement, a study of many, a search for settings."""

from __future__ import annotations

import shlex
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from femtobarn.cli.common import Baseline, Dask, Overrides, Workers, app, complaints, err, out
from femtobarn.cli.shown import make_report, print_tables


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Experiment in YAML.")],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; runs/LABEL/seed-N if not given.")
    ] = None,
) -> None:
    """Train one model into a run folder; a training that was stopped goes on to the same numbers.

    Several processes, on one machine or many: torchrun --nproc-per-node 2 -m femtobarn train ... (docs/cluster.md)
    """
    with complaints():
        from femtobarn.experiments.experiment import load
        from femtobarn.runs import run
        from femtobarn.studies.progress import line
        from femtobarn.training import distributed

        experiment = load(config, overrides or [])
        folder = output or Path("runs") / experiment.label / f"seed-{experiment.seed}"
        with line(err) as shown:
            run.train(experiment, folder, progress=shown)
        told = f"trained in {folder}; judge it with: femtobarn evaluate {shlex.quote(str(folder))}"
        if distributed.is_main_process():
            out.print(told, highlight=False, markup=False, soft_wrap=True)


@app.command()
def evaluate(
    folders: Annotated[list[Path], typer.Argument(help="Run folders with a trained model.")],
) -> None:
    """Judge trained models on the held-out events: AUC, background efficiencies, significances, with errors."""
    with complaints():
        from femtobarn.runs import run
        from femtobarn.runs.event_cache import EventCache
        from femtobarn.studies.progress import line

        cache = EventCache()
        for folder in folders:
            with line(err) as shown:
                run.evaluate(folder, progress=shown, cache=cache)
        print_tables(folders, None)


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="Study in YAML, or four-top-small, which comes along.")],
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder; runs/NAME if not given.")] = None,
    workers: Workers = None,
    dask: Dask = None,
    baseline: Baseline = None,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html into the folder.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs, estimate their time and stop.")] = False,
) -> None:
    """Train and judge every model of a study, several at once, then compare them and write the report.

    Finished runs are kept: a study that was stopped goes on where it stood.
    """
    with complaints():
        from femtobarn.evaluation.runs import STUDY
        from femtobarn.experiments import document
        from femtobarn.runs.provenance import write_text
        from femtobarn.studies import study as studies
        from femtobarn.studies.cluster import Cluster
        from femtobarn.studies.estimate import estimate, record
        from femtobarn.studies.progress import Display
        from femtobarn.studies.workers import cores, run_all

        path = studies.find(name)
        folder = output or Path("runs") / path.stem
        plan = studies.load(path, overrides or [])
        planned = studies.plan(plan, folder)
        several = workers or cores()
        if dry_run:
            out.print(studies.listing(planned), highlight=False, markup=False, soft_wrap=True)
        with err.status("estimating the time"):
            guess = estimate(planned, several)
        if guess.total:
            (out if dry_run else err).print(str(guess), highlight=False, markup=False, soft_wrap=True)
        if dry_run:
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / STUDY, document.write(plan.model_dump(mode="json")))
        due = [one for one in planned if one.state != "finished"]
        begun = time.monotonic()
        with ExitStack() as stack:
            cluster = stack.enter_context(Cluster(dask)) if dask else None
            several = cluster.workers if cluster else several
            display = stack.enter_context(Display(due, workers=several, expected=guess.seconds, console=err))
            outcome = run_all(planned, display, workers=several, cluster=cluster)
        if guess.total:
            wall = time.monotonic() - begun
            err.print(record(folder, guess, planned, wall), highlight=False, markup=False, soft_wrap=True)
        if outcome.finished:
            print_tables(outcome.finished, baseline)
            if page:
                written = make_report(outcome.finished, folder / "report.html", baseline, None, plan.name)
                out.print(f"report: {written}", highlight=False, markup=False, soft_wrap=True)
        if outcome.failures:
            told = (
                f"{len(outcome.failures)} of {len(planned)} runs failed; error.txt in their folders has the full story"
            )
            err.print(f"[red]{told}[/red]", highlight=False, soft_wrap=True)
            raise typer.Exit(1)


@app.command()
def scan(
    name: Annotated[str, typer.Argument(help="Experiment or study in YAML, or four-top-small, which comes along.")],
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder; runs/scan-NAME if not given.")] = None,
    trials: Annotated[
        int, typer.Option(min=1, max=100_000, help="Trainings of each model, that with its own settings included.")
    ] = 20,
    workers: Workers = None,
    spaces: Annotated[Path | None, typer.Option("--space", help="YAML of what may be tried, by model.")] = None,
    every: Annotated[bool, typer.Option("--every", help="Search for each entry, not for each architecture.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of settings.")] = 1,
) -> None:
    """Search better settings of the models, on the validation events alone, with as many trainings for each.

    A scan that was stopped goes on where it stood, and several such commands may work in the same folder. best.yaml in
    it holds what was found, as `models:` of a study.

    Example: femtobarn scan four-top-small --trials 30 -o runs/scan
    """
    with complaints():
        from femtobarn.studies import study
        from femtobarn.studies import tuning_record as scan_record
        from femtobarn.studies import tuning_task as search
        from femtobarn.studies.progress import Display
        from femtobarn.studies.tuning import Scan
        from femtobarn.studies.workers import carry_out, cores

        path = study.find(name)
        folder = output or Path("runs") / f"scan-{path.stem}"
        several = workers or cores()
        found = search.searches(path, overrides or [], spaces=spaces, every=every)
        with Scan(found, folder, trials=trials, seed=seed) as begun:
            with Display(begun.open(), workers=several, console=err) as display:
                for trial, failure in carry_out(begun.upcoming(), display, several, judged=False):
                    begun.conclude(trial, failure)
            best = scan_record.write(begun, path)
            for label, one in best.items():
                told = f"trial {one.number}, validation loss {one.loss:.4f}" if one else "no training finished"
                out.print(f"{label}: {told}", highlight=False, markup=False, soft_wrap=True)
            written = f"settings: {folder / scan_record.BEST}, record: {folder / scan_record.MARKDOWN}"
            out.print(written, markup=False, soft_wrap=True)
            if begun.failures:
                err.print("[red]some trainings failed; the same command tries again[/red]", soft_wrap=True)
                raise typer.Exit(1)
