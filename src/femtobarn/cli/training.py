"""Verbs of training: one model and its evaluation, a study of several models, a search for better settings."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from femtobarn.cli.common import Baseline, Dask, Overrides, Workers, app, complaints, err, out
from femtobarn.cli.shown import make_report, print_tables

if TYPE_CHECKING:
    from femtobarn.studies.estimate import Estimate
    from femtobarn.studies.study import PlannedRun
    from femtobarn.studies.workers import StudyResult


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Experiment in YAML.")],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; default: runs/LABEL/seed-N.")
    ] = None,
) -> None:
    """Training of one model into a run folder; a stopped training is resumed to the same numbers.

    Several processes, on one machine or many: torchrun --nproc-per-node 2 -m femtobarn train ... (docs/cluster.md)
    """
    with complaints():
        from femtobarn.experiments.experiment import load
        from femtobarn.runs import run
        from femtobarn.studies.progress import line
        from femtobarn.training import distributed

        experiment = load(config, overrides or [])
        folder = output or Path("runs") / experiment.label / f"seed-{experiment.seed}"
        with line(err) as progress:
            run.train(experiment, folder, progress=progress)
        message = f"trained in {folder}; evaluate with: femtobarn evaluate {shlex.quote(str(folder))}"
        if distributed.is_main_process():
            out.print(message, highlight=False, markup=False, soft_wrap=True)


@app.command()
def evaluate(
    folders: Annotated[list[Path], typer.Argument(help="Run folders with a trained model.")],
) -> None:
    """Evaluation of trained models on the test events: AUC, background efficiencies, significances, with errors."""
    with complaints():
        from femtobarn.runs import run
        from femtobarn.runs.event_cache import EventCache
        from femtobarn.studies.progress import line

        cache = EventCache()
        for folder in folders:
            with line(err) as progress:
                run.evaluate(folder, progress=progress, cache=cache)
        print_tables(folders, None)


@app.command()
def study(
    name: Annotated[
        str,
        typer.Argument(
            help="Study in YAML, or the name of a shipped study: four-top-small, jet-mass-small, amplitudes-small."
        ),
    ],
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder; default: runs/NAME.")] = None,
    workers: Workers = None,
    dask: Dask = None,
    baseline: Baseline = None,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Report in report.html of the folder.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List of the runs and estimated time.")] = False,
) -> None:
    """Study: training and evaluation of every model, several at once, with comparison and report.

    Finished runs are kept: a stopped study is resumed by the same command.
    """
    with complaints():
        from femtobarn.evaluation.runs import STUDY
        from femtobarn.experiments import document
        from femtobarn.runs.provenance import atomic_write_text
        from femtobarn.studies import study as studies
        from femtobarn.studies.estimate import estimate, record
        from femtobarn.studies.workers import cores

        path = studies.find(name)
        folder = output or Path("runs") / path.stem
        plan = studies.load(path, overrides or [])
        planned = studies.plan(plan, folder)
        n_workers = workers or cores()
        if dry_run:
            out.print(studies.listing(planned), highlight=False, markup=False, soft_wrap=True)
        with err.status("estimating the time"):
            expected = estimate(planned, n_workers)
        if expected.total:
            (out if dry_run else err).print(str(expected), highlight=False, markup=False, soft_wrap=True)
        if dry_run:
            return
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / STUDY, document.write(plan.model_dump(mode="json")))
        started = time.monotonic()
        result = _run_study(planned, expected, n_workers, dask)
        if expected.total:
            wall = time.monotonic() - started
            err.print(record(folder, expected, planned, wall), highlight=False, markup=False, soft_wrap=True)
        if result.finished:
            print_tables(result.finished, baseline)
            if page:
                written = make_report(result.finished, folder / "report.html", baseline, None, plan.name)
                out.print(f"report: {written}", highlight=False, markup=False, soft_wrap=True)
        if result.failures:
            message = (
                f"{len(result.failures)} of {len(planned)} runs failed; error.txt in their folders has the details"
            )
            err.print(f"[red]{message}[/red]", highlight=False, soft_wrap=True)
            raise typer.Exit(1)


def _run_study(planned: Sequence[PlannedRun], expected: Estimate, n_workers: int, dask: str | None) -> StudyResult:
    """Run what is not finished, on this machine or on a Dask cluster, with a progress display."""
    from femtobarn.studies.cluster import Cluster
    from femtobarn.studies.progress import Display
    from femtobarn.studies.workers import run_all

    due = [run for run in planned if run.state != "finished"]
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(dask)) if dask else None
        n_workers = cluster.workers if cluster else n_workers
        display = stack.enter_context(Display(due, workers=n_workers, expected=expected.seconds, console=err))
        return run_all(planned, display, workers=n_workers, cluster=cluster)


@app.command()
def tune(
    name: Annotated[
        str,
        typer.Argument(
            help="Experiment or study in YAML, or the name of a shipped study: four-top-small, jet-mass-small, "
            "amplitudes-small."
        ),
    ],
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder; default: runs/scan-NAME.")] = None,
    trials: Annotated[
        int, typer.Option(min=1, max=100_000, help="Trainings per model, including its present settings.")
    ] = 20,
    workers: Workers = None,
    spaces: Annotated[Path | None, typer.Option("--space", help="YAML file of search spaces, by model.")] = None,
    per_entry: Annotated[bool, typer.Option("--per-entry", help="Separate search for each entry of a study.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the search.")] = 1,
) -> None:
    """Search for better settings of the models on the validation events alone, with the same number of trainings each.

    A stopped search is resumed by the same command, and several commands may work in the same folder. best.yaml in it
    contains the best settings, as `models:` of a study.

    Example: femtobarn tune four-top-small --trials 30 -o runs/scan
    """
    with complaints():
        from femtobarn.studies import study, tuning_report
        from femtobarn.studies.progress import Display
        from femtobarn.studies.tuning import Tuning
        from femtobarn.studies.tuning_task import tuning_tasks
        from femtobarn.studies.workers import cores, run_in_processes

        path = study.find(name)
        folder = output or Path("runs") / f"scan-{path.stem}"
        n_workers = workers or cores()
        tasks = tuning_tasks(path, overrides or [], spaces=spaces, per_entry=per_entry)
        with Tuning(tasks, folder, trials=trials, seed=seed) as tuning:
            with Display(tuning.open_trials(), workers=n_workers, console=err) as display:
                for trial, failure in run_in_processes(tuning.ask(), display, n_workers, evaluate=False):
                    tuning.tell(trial, failure)
            for label, best in tuning_report.write(tuning, path).items():
                summary = f"trial {best.number}, validation loss {best.loss:.4f}" if best else "no training finished"
                out.print(f"{label}: {summary}", highlight=False, markup=False, soft_wrap=True)
            written = f"settings: {folder / tuning_report.BEST}, report: {folder / tuning_report.MARKDOWN}"
            out.print(written, markup=False, soft_wrap=True)
            if tuning.failures:
                err.print("[red]some trainings failed; the same command tries them again[/red]", soft_wrap=True)
                raise typer.Exit(1)
