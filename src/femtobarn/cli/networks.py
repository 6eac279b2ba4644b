"""Verbs of models: list them, export trained models, and score events with an exported file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from femtobarn.cli.common import Combined, FileFormat, MappingFile, app, complaints, err, out

if TYPE_CHECKING:
    from femtobarn.export.scorer import EventScorer
    from femtobarn.models import ModelSpec


@app.command()
def export(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or the folder of a study for all networks in it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="ONNX file of a single run (default RUN/model.onnx).")
    ] = None,
    depth: Annotated[
        Literal["outputs", "latent", "objects"],
        typer.Option(help="Scores (outputs), a vector per event (latent) or a vector per particle (objects)."),
    ] = "outputs",
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Largest difference from PyTorch in float64: of a score (default 1e-5), or of a vector relative to "
            "its largest number (default 1e-3).",
        ),
    ] = None,
    precision: Annotated[
        Literal["float32", "float64"],
        typer.Option(help="Precision of the input columns; float64 for Lorentz-equivariant networks."),
    ] = "float32",
) -> None:
    """Write one ONNX file from raw particles to calibrated score, validated against PyTorch, with a model card.

    Example: femtobarn export runs/four-top-small/ParT_int/seed-1 -o part.onnx
    """
    with complaints():
        from femtobarn.evaluation.runs import run_folders
        from femtobarn.experiments.experiment import load
        from femtobarn.runs.export import export as export_run
        from femtobarn.runs.export import validation_table

        folders = run_folders(runs)
        if output is not None and len(folders) > 1:
            raise ValueError(f"--output is for one run; there are {len(folders)} in {', '.join(map(str, runs))}")
        networks = [folder for folder in folders if load(folder / "config.yaml").model.is_network]
        if networks:
            for folder in (folder for folder in folders if folder not in networks):
                err.print(f"{folder}: boosted trees are not exported", highlight=False, soft_wrap=True)
        for folder in networks or folders:
            with err.status(f"exporting {folder}"):
                result = export_run(folder, output, depth=depth, tolerance=tolerance, precision=precision)
            out.print(validation_table(result.validation))
            out.print(f"{result.model}, with its card {result.card}", highlight=False, soft_wrap=True)


@app.command()
def score(
    files: Annotated[list[str], typer.Argument(help="Event files or globs, or the name of a sample.")],
    model: Annotated[Path, typer.Argument(help="File of femtobarn export, or a run folder (requires PyTorch).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")] = Path("scores.parquet"),
    process: Annotated[
        str | None, typer.Option(help="Name of the process of all events; default: from the files.")
    ] = None,
    unit: Annotated[
        Literal["MeV", "GeV"] | None, typer.Option(help="Unit of energies in Dark Machines text; default: MeV.")
    ] = None,
    format: FileFormat = None,
    mapping: MappingFile = None,
    combine: Combined = "average",
    tolerant: Annotated[
        bool, typer.Option("--tolerant", help="Leave out and count damaged lines, rows and events.")
    ] = False,
    luminosity: Annotated[
        float, typer.Option(min=0, help="Integrated luminosity of the written weights, in 1/fb.")
    ] = 100.0,
) -> None:
    """Scores of events from an exported network, without PyTorch, for files of any size.

    Example: femtobarn score ttH.csv.gz part.onnx -o scores.parquet
    """
    with complaints():
        from contextlib import ExitStack

        from femtobarn.events import ReaderSettings
        from femtobarn.experiments.data import read_mapping
        from femtobarn.export import score_files, table
        from femtobarn.export.scoring import watched

        scorer = _load_scorer(model)
        with ExitStack() as stack:
            progress = stack.enter_context(watched("scoring", err))
            paths = [stack.enter_context(_event_file(name)) for name in files]
            settings = ReaderSettings(
                format=format,
                mapping=None if mapping is None else read_mapping(mapping),
                process=process,
                luminosity=luminosity,
                unit=unit,
                tolerant=tolerant,
                combine=combine,
            )
            summary = score_files(paths, scorer, output, settings, progress=progress)
        out.print(table(summary, scorer.facts, luminosity))
        if summary.overfull:
            out.print(f"{summary.overfull} events have more than the {scorer.facts.slots} objects that count")
        out.print(f"{summary.events} events in {output}", highlight=False, soft_wrap=True)


def _load_scorer(model: Path) -> EventScorer:
    """Model of a run folder, or of an exported file."""
    if model.is_dir():
        from femtobarn.runs.export import RunScorer

        return RunScorer.load(model)
    from femtobarn.export import Scorer

    return Scorer.load(model)


@contextmanager
def _event_file(name: str) -> Iterator[str]:
    """Path of a file, or of the file of a sample that comes with the package."""
    from importlib import resources

    from femtobarn.events.samples import SAMPLES

    if name not in SAMPLES or Path(name).exists():
        yield name
        return
    with resources.as_file(resources.files("femtobarn") / "data" / f"{name}.parquet") as path:
        yield str(path)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Model whose settings are listed.")] = None,
) -> None:
    """List of models, or settings of one model with types, defaults, meanings and paper."""
    with complaints():
        from rich.markup import escape
        from rich.table import Table

        from femtobarn.models import MODELS, model_spec, published_sizes

        if name is None:
            table = Table("model", "depths", "", box=None, pad_edge=False)
            sizes = published_sizes()
            titles = {spec.name: spec.title for spec in MODELS.values()}
            titles |= {size: f"{spec.architecture} in a published size." for size, spec in sizes.items()}
            for spec in [*(MODELS[key] for key in sorted(MODELS)), *(sizes[key] for key in sorted(sizes))]:
                table.add_row(f"[bold]{spec.name}[/bold]", _depths(spec), titles[spec.name])
            out.print(table)
            return
        spec = model_spec(name)
        out.print(f"[bold]{spec.name}[/bold]  {spec.title}\n{spec.paper}", highlight=False)
        out.print(f"Depths: {_depths(spec)}\n", highlight=False)
        table = Table("setting", "type", "default", "meaning", box=None, pad_edge=False)
        for setting in spec.setting_table:
            table.add_row(*map(escape, setting))
        out.print(table)


def _depths(spec: ModelSpec) -> str:
    """Depths of a model as a list, with the four-vectors per particle of an equivariant model."""
    vectors = {"objects": "objects + vectors"} if spec.has_vectors else {}
    return ", ".join(vectors.get(depth, depth) for depth in spec.depths)
