"""The command line: one verb for each step from collisions to significance.

Heavy libraries are imported inside the verbs, so that `--help` answers at once.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from femtobarn.events import Events

app = typer.Typer(
    name="femtobarn",
    help="From collision events to significance: classifiers on equal footing, judged in inverse femtobarns.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

#: Results go to standard output, progress and complaints to standard error.
out, err = Console(), Console(stderr=True)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes, as in training.lr=1e-3 'inputs.interactions=\\[mass,delta_r]'.")
]
Runs = Annotated[list[Path], typer.Argument(help="Run folders, or the folder of a study for all runs in it.")]
Baseline = Annotated[str | None, typer.Option(help="Model that luminosity gains refer to; the first one if not given.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes to use; all cores if not given.")]


def told(version: bool) -> bool:
    """The version, in place of any verb."""
    if version:
        from femtobarn import __version__

        typer.echo(f"femtobarn {__version__}")
        raise typer.Exit
    return version


@app.callback()
def shared(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=told)
    ] = False,
) -> None:
    pass


@contextmanager
def complaints() -> Iterator[None]:
    """Mistakes of the user end in their own words, not in a traceback."""
    try:
        yield
    except typer.Exit:
        raise  # which is a RuntimeError, but no complaint
    except (ValueError, OSError, RuntimeError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.filename and error.strerror:
            text = f"{error.filename}: {error.strerror.lower()}"
        err.print(f"[red]error:[/red] {escape(text)}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        err.print("stopped; the same command goes on from here")
        raise typer.Exit(130) from None


@app.command()
def simulate(
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")],
    source: Annotated[
        Path | None, typer.Argument(help="Les Houches file (.lhe, .lhe.gz); none for a process built into Pythia.")
    ] = None,
    process: Annotated[str | None, typer.Option(help="Name of the process; after the file if not given.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="A line for Pythia, as in 'Top:gg2ttbar = on'; may be repeated.")
    ] = None,
    events: Annotated[
        int | None,
        typer.Option(min=1, help="Hard processes to use; a file is begun anew when it ends. Default: the file once."),
    ] = None,
    target: Annotated[int | None, typer.Option(min=1, help="Stop when this many events are selected.")] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Keep events that pass, as in 'n_jet >= 6'; may be repeated.")
    ] = None,
    same_sign: Annotated[
        bool, typer.Option("--same-sign", help="Veto early what has no two leptons of one charge and no three leptons.")
    ] = False,
    min_jets: Annotated[int, typer.Option(min=0, help="Veto early what has fewer jets.")] = 0,
    min_ht: Annotated[float, typer.Option(min=0, help="Veto early what has less H_T, in GeV.")] = 0.0,
    responses: Annotated[int, typer.Option(min=1, help="Detector responses to each generated event.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same events.")] = 1,
    luminosity: Annotated[float, typer.Option(min=0, help="Of the weights, in 1/fb.")] = 100.0,
    cross_section: Annotated[
        float | None, typer.Option(min=0, help="In pb, of all decays, in place of that of the file or of Pythia.")
    ] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Round to what a detector resolves.")] = False,
    workers: Workers = None,
) -> None:
    """Collisions with a detector: Pythia 8 decays, showers and hadronises, FastJet clusters, a detector measures.

    A production that was stopped goes on where it stood, with the same result for any number of workers.

    Example: femtobarn simulate ttW.lhe.gz --same-sign --min-jets 6 --select 'n_jet >= 6' -o ttW.parquet
    """
    with complaints():
        from femtobarn.display import bar
        from femtobarn.events import inspect, lhe_info, show
        from femtobarn.events.files import stem
        from femtobarn.simulate import Plan, Preselection, run

        if source is None and not (process and setting):
            raise ValueError("give a Les Houches file, or --process NAME and --setting for one built into Pythia")
        plan = Plan(
            source=source,
            process=process or stem(source or ""),
            settings=tuple(setting or ()),
            events=events or (lhe_info(source).events if source else 10_000),
            target=target,
            responses=responses,
            select=tuple(select or ()),
            preselection=Preselection(same_sign, min_jets, min_ht),
            seed=seed,
            luminosity=luminosity,
            cross_section=cross_section,
        )
        with bar(plan.process, err) as shown:
            found = run(plan, output, workers=workers, compact=compact, progress=shown)
        show(inspect(found, luminosity), out)
        out.print(f"{len(found)} events in {output}", highlight=False)


@app.command()
def inspect(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Files or globs (.csv, .txt, .parquet, .lhe; .gz), four-top, or an experiment's YAML for its data."
        ),
    ],
    select: Annotated[
        list[str] | None, typer.Option(help="A cut of a cut flow, as in 'n_jet >= 6'; may be repeated.")
    ] = None,
    luminosity: Annotated[float, typer.Option(min=0, help="For the expected yields, in 1/fb.")] = 100.0,
    process: Annotated[str | None, typer.Option(help="Name for all events, in place of what the files say.")] = None,
    tolerant: Annotated[
        bool, typer.Option("--tolerant", help="Leave out and count bad lines and undecayed particles.")
    ] = False,
    unit: Annotated[
        Literal["MeV", "GeV"] | None, typer.Option(help="Of energies in Dark Machines text; MeV if not given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """What is in event files: processes, counts, weights, yields, objects, ranges, cut flow, problems.

    Example: femtobarn inspect four-top --select 'HT > 800' --select 'n_bjet >= 3'
    """
    with complaints():
        from femtobarn import events as room

        found = load(files, luminosity, process, tolerant, unit)
        inspection = room.inspect(found, luminosity)
        flow = room.cutflow(found, {cut: cut for cut in select})[0] if select else []
        if json:
            out.print_json(inspection.json())
            return
        room.show(inspection, out)
        for step in flow:
            share = f"{step.events / max(flow[0].events, 1):8.2%}"
            expected = step.expected * luminosity / found.luminosity
            out.print(f"{step.events:>9} events {expected:>12.4g} expected {share}  {step.cut}", highlight=False)


def load(
    files: Sequence[str], luminosity: float, process: str | None, tolerant: bool, unit: Literal["MeV", "GeV"] | None
) -> Events:
    """Events of files, or of the sample that comes with the package."""
    from femtobarn import four_top
    from femtobarn.events import read

    if "four-top" in files and not Path("four-top").exists():
        if len(files) > 1 or process or unit or tolerant:
            raise ValueError("four-top stands alone: without other files, --process, --unit or --tolerant")
        return four_top()
    if any(Path(file).suffix in (".yaml", ".yml") for file in files):
        if len(files) > 1 or process or unit or tolerant:
            raise ValueError("a YAML file stands alone: it says itself what is to be known of its data")
        from femtobarn import experiment, sample

        return sample.everything(experiment.data(files[0]))
    return read(list(files), luminosity=luminosity, process=process, tolerant=tolerant, unit=unit)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Experiment in YAML.")],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; runs/LABEL/seed-N if not given.")
    ] = None,
) -> None:
    """Train one model into a run folder; a training that was stopped goes on to the same numbers."""
    with complaints():
        from femtobarn import run
        from femtobarn.display import line
        from femtobarn.experiment import load

        experiment = load(config, overrides or [])
        folder = output or Path("runs") / experiment.label / f"seed-{experiment.seed}"
        with line(err) as shown:
            run.train(experiment, folder, progress=shown)
        told = f"trained in {folder}; judge it with: femtobarn evaluate {shlex.quote(str(folder))}"
        out.print(told, highlight=False, markup=False, soft_wrap=True)


@app.command()
def evaluate(
    folders: Annotated[list[Path], typer.Argument(help="Run folders with a trained model.")],
) -> None:
    """Judge trained models on the held-out events: AUC, background efficiencies, significances, with errors."""
    with complaints():
        from femtobarn import run
        from femtobarn.display import line

        for folder in folders:
            with line(err) as shown:
                run.evaluate(folder, progress=shown)
        print_tables(folders, None)


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="Study in YAML, or four-top-small, which comes along.")],
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder; runs/NAME if not given.")] = None,
    workers: Workers = None,
    baseline: Baseline = None,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html into the folder.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs, estimate their time and stop.")] = False,
) -> None:
    """Train and judge every model of a study, several at once, then compare them and write the report.

    Finished runs are kept: a study that was stopped goes on where it stood.
    """
    with complaints():
        from femtobarn import document
        from femtobarn import study as studies
        from femtobarn.display import Display
        from femtobarn.estimate import estimate, record
        from femtobarn.evaluation.runs import STUDY
        from femtobarn.provenance import write_text
        from femtobarn.workers import cores, run_all

        path = studies.find(name)
        folder = output or Path("runs") / path.stem
        plan = studies.load(path, overrides or [])
        planned = studies.plan(plan, folder)
        several = workers or cores()
        if dry_run:
            out.print(studies.listing(planned), highlight=False, soft_wrap=True)
        with err.status("estimating the time"):
            guess = estimate(planned, several)
        if guess.total:
            (out if dry_run else err).print(str(guess), highlight=False, soft_wrap=True)
        if dry_run:
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / STUDY, document.write(plan.model_dump(mode="json")))
        due = [one for one in planned if one.state != "finished"]
        begun = time.monotonic()
        with Display(due, workers=several, expected=guess.seconds, console=err) as display:
            outcome = run_all(planned, display, workers=several)
        if guess.total:
            wall = time.monotonic() - begun
            err.print(record(folder, guess, planned, wall), highlight=False, soft_wrap=True)
        if outcome.finished:
            print_tables(outcome.finished, baseline)
            if page:
                written = make_report(outcome.finished, folder / "report.html", baseline, None, plan.name)
                out.print(f"report: {written}", highlight=False, soft_wrap=True)
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
        int, typer.Option(min=1, help="Trainings of each model, that with its own settings included.")
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
        from femtobarn import scan_record, search, study
        from femtobarn.display import Display
        from femtobarn.scan import Scan
        from femtobarn.workers import carry_out, cores

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
                out.print(f"{label}: {told}", highlight=False, soft_wrap=True)
            out.print(f"settings: {folder / scan_record.BEST}, record: {folder / scan_record.MARKDOWN}", soft_wrap=True)
            if begun.failures:
                err.print("[red]some trainings failed; the same command tries again[/red]", soft_wrap=True)
                raise typer.Exit(1)


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
            print_tables(runs, baseline, backgrounds=True)
            return
        from femtobarn import evaluation

        comparison = evaluation.compare(evaluation.run_folders(runs), baseline=baseline)
        text = evaluation.markdown(comparison) if markdown else evaluation.csv_table(comparison)
        typer.echo(text, nl=False)


def print_tables(runs: Sequence[Path], baseline: str | None, *, backgrounds: bool = False) -> None:
    """The comparison of runs on standard output."""
    from femtobarn import evaluation

    comparison = evaluation.compare(evaluation.run_folders(runs), baseline=baseline)
    for table in evaluation.tables(comparison, backgrounds=backgrounds):
        out.print(table)
    out.print(evaluation.legend(comparison), highlight=False)
    if backgrounds and len(comparison.rows) > 1:
        out.print(evaluation.PAIR_NOTE, highlight=False)


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
        from femtobarn import evaluation, systematics
        from femtobarn.display import line
        from femtobarn.events import SHIFTS

        with line(err) as shown:
            found = systematics.shift_runs(evaluation.run_folders(runs), only or SHIFTS, progress=shown)
        out.print(evaluation.shift_table(found))
        out.print(evaluation.SHIFT_NOTE, highlight=False, soft_wrap=True)


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
        from femtobarn import evaluation, fits
        from femtobarn.display import line
        from femtobarn.run import Step

        folders = evaluation.run_folders(runs)
        comparison = evaluation.compare(folders, baseline=baseline)  # runs that can't be compared are told first
        with line(err) as shown:
            for done, folder in enumerate(folders, 1):
                shown(Step(f"fitting {folder.name}", done, len(folders)))
                fits.fit_run(folder, least=least, replicas=replicas)
        comparison = evaluation.compare(folders, baseline=baseline)
        out.print(evaluation.printed(comparison, evaluation.fit_section(comparison)))
        out.print(evaluation.legend(comparison), highlight=False)
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
        out.print(f"report: {make_report(runs, output, baseline, figures, title)}", highlight=False, soft_wrap=True)


def make_report(
    runs: Sequence[Path], output: Path, baseline: str | None, figures: Path | None, title: str | None
) -> Path:
    """The page, with the events that the runs were judged on for the event displays."""
    from femtobarn import evaluation
    from femtobarn import report as room
    from femtobarn.evaluation.runs import CONFIG
    from femtobarn.experiment import load
    from femtobarn.sample import prepare

    folders = evaluation.run_folders(runs)
    for folder in folders:
        evaluation.load_run(folder)  # an unfinished run is told first
    with err.status("reading the events") as status:
        try:
            events = prepare(load(folders[0] / CONFIG)).test.events
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
            progress=lambda step: status.update(step),
        )


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
        from femtobarn import explanation
        from femtobarn.evaluation import run_folders
        from femtobarn.explain import note, tables

        for folder in run_folders(runs):
            with err.status("starting") as status:
                found = explanation.explain(folder, events=events, seed=seed, progress=status.update)
            for table in tables(found):
                out.print(table)
            out.print(f"{note(found)}\nall of it: {folder / 'explain.json'}\n", highlight=False, soft_wrap=True)


@app.command()
def export(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or the folder of a study for all networks in it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="ONNX file, of a single run; RUN/model.onnx if not given.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest difference from PyTorch in float64 that a score may have.")
    ] = 1e-5,
) -> None:
    """One ONNX file from raw objects to calibrated score, proved against PyTorch, with a model card.

    Example: femtobarn export runs/four-top-small/ParT_int/seed-1 -o part.onnx
    """
    with complaints():
        from femtobarn.evaluation import run_folders
        from femtobarn.experiment import load
        from femtobarn.publish import export as publish
        from femtobarn.publish import proof

        folders = run_folders(runs)
        if output is not None and len(folders) > 1:
            raise ValueError(f"--output is for one run; there are {len(folders)} in {', '.join(map(str, runs))}")
        networks = [folder for folder in folders if load(folder / "config.yaml").model.is_network]
        if networks:
            for folder in (folder for folder in folders if folder not in networks):
                err.print(f"{folder}: boosted trees are not exported", highlight=False, soft_wrap=True)
        for folder in networks or folders:
            with err.status(f"exporting {folder}"):
                made = publish(folder, output, tolerance=tolerance)
            out.print(proof(made.trials))
            out.print(f"{made.model}, with its card {made.card}", highlight=False, soft_wrap=True)


@app.command()
def score(
    files: Annotated[list[str], typer.Argument(help="Event files or globs (.csv, .txt, .parquet; .gz), or four-top.")],
    model: Annotated[Path, typer.Argument(help="File that femtobarn export wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")] = Path("scores.parquet"),
    process: Annotated[str | None, typer.Option(help="Name for all events, in place of what the files say.")] = None,
    unit: Annotated[
        Literal["MeV", "GeV"] | None, typer.Option(help="Of energies in Dark Machines text; MeV if not given.")
    ] = None,
    luminosity: Annotated[float, typer.Option(min=0, help="Of the written weights, in 1/fb.")] = 100.0,
) -> None:
    """Score events with an exported network, without PyTorch: files of any size, piece by piece.

    Example: femtobarn score ttH.csv.gz part.onnx -o scores.parquet
    """
    with complaints():
        from importlib import resources

        from femtobarn.export import Scorer, score_files, table
        from femtobarn.export.scoring import watched

        scorer = Scorer.load(model)
        sample = resources.files("femtobarn") / "data" / "four-top.parquet"
        with resources.as_file(sample) as shipped, watched("scoring", err) as shown:
            found = [str(shipped) if name == "four-top" and not Path(name).exists() else name for name in files]
            summary = score_files(
                found, scorer, output, process=process, unit=unit, luminosity=luminosity, progress=shown
            )
        out.print(table(summary, scorer.facts, luminosity))
        if summary.overfull:
            out.print(f"{summary.overfull} events have more than the {scorer.facts.slots} objects that count")
        out.print(f"{summary.events} events in {output}", highlight=False, soft_wrap=True)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A model, for its settings.")] = None,
) -> None:
    """The models there are, or the settings of one with types, defaults and paper."""
    with complaints():
        from rich.table import Table

        from femtobarn.models import MODELS, describe

        if name is None:
            table = Table(box=None, show_header=False)
            for known in sorted(MODELS):
                table.add_row(f"[bold]{known}[/bold]", describe(known).title)
            out.print(table)
            return
        about = describe(name)
        out.print(f"[bold]{about.name}[/bold]  {about.title}\n{about.paper}\n", highlight=False)
        table = Table("setting", "type", "default", box=None, pad_edge=False)
        for setting in about.settings:
            table.add_row(*setting)
        out.print(table)


def main() -> None:
    """Entry point of the `femtobarn` command."""
    app()
