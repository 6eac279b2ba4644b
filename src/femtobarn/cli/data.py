"""Verbs of events: inspect files, prepare events for training from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from femtobarn.cli.common import Combined, FileFormat, MappingFile, Overrides, app, complaints, err, out

if TYPE_CHECKING:
    from femtobarn.events import Events


@app.command()
def inspect(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Files or globs (.csv, .txt, .parquet, .lhe; .gz; jets in .h5, .npz, .root), four-top, top-tagging, "
            "quark-gluon, or an experiment's YAML for its data."
        ),
    ],
    select: Annotated[
        list[str] | None, typer.Option(help="Cut of a cut flow, such as 'n_jet >= 6'; may be repeated.")
    ] = None,
    luminosity: Annotated[
        float, typer.Option(min=0, help="Integrated luminosity of the expected yields, in 1/fb.")
    ] = 100.0,
    process: Annotated[
        str | None, typer.Option(help="Name of the process of all events; default: from the files.")
    ] = None,
    tolerant: Annotated[
        bool,
        typer.Option("--tolerant", help="Leave out and count bad lines, rows and events, and undecayed particles."),
    ] = False,
    unit: Annotated[
        Literal["MeV", "GeV"] | None,
        typer.Option(help="Unit of energies; default: MeV in Dark Machines text, GeV in tables."),
    ] = None,
    format: FileFormat = None,
    mapping: MappingFile = None,
    combine: Combined = "average",
    json: Annotated[bool, typer.Option("--json", help="Output as JSON.")] = False,
) -> None:
    """Contents of event files: processes, counts, weights, yields, objects, ranges, cut flow, problems.

    Example: femtobarn inspect four-top --select 'HT > 800' --select 'n_bjet >= 3'
    """
    with complaints():
        from femtobarn import events as room

        settings = {"process": process, "tolerant": tolerant, "unit": unit, "format": format, "mapping": mapping}
        events = load(files, luminosity, settings | {"combine": combine})
        inspection = room.inspect(events, luminosity)
        flow = room.cutflow(events, {cut: cut for cut in select})[0] if select else []
        if json:
            out.print_json(inspection.json())
            return
        room.show(inspection, out)
        for step in flow:
            share = f"{step.events / max(flow[0].events, 1):8.2%}"
            expected = step.expected * luminosity / events.luminosity
            out.print(f"{step.events:>9} events {expected:>12.4g} expected {share}  {step.cut}", highlight=False)


@app.command()
def prepare(
    config: Annotated[Path, typer.Argument(help="Experiment or study in YAML, for its data.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; it must not exist.")],
    overrides: Overrides = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Number of files to write; default: one per 48 MB read.")
    ] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Rounding to the resolution of a detector.")] = False,
) -> None:
    """Preparation of events: read, select and split once, into a folder that trainings read from disk.

    An experiment reads the folder with data: {prepared: FOLDER} (docs/cluster.md).

    Example: femtobarn prepare experiment.yaml -o prepared 'data.selection=n_bjet >= 3'
    """
    with complaints():
        from femtobarn.experiments import experiment
        from femtobarn.export.scoring import watched
        from femtobarn.runs import prepare as preparation

        data = experiment.data(config, overrides or [])
        with watched("preparing", err) as progress:
            index = preparation.prepare_shards(data, output, shards=shards, compact=compact, progress=progress)
        for side, shards_ in index.sides.items():
            counts = index.counts(side).sum(0).tolist()
            counted = ", ".join(f"{name} {count}" for name, count in zip(index.processes, counts, strict=True))
            text = f"{side}: {sum(counts)} events in {len(shards_)} files ({counted})"
            out.print(text, highlight=False, soft_wrap=True)
        out.print(f"prepared in {output}; read it with data: {{prepared: {output}}}", highlight=False, soft_wrap=True)


def load(files: Sequence[str], luminosity: float, settings: Mapping[str, Any]) -> Events:
    """Events of files, or of a sample that comes with the package.

    Args:
        files: paths or globs, the name of a sample, or a YAML file.
        luminosity: of the weights, in 1/fb.
        settings: values of the options about files by name, None or False where not given.
    """
    from femtobarn.events import read
    from femtobarn.events.samples import SAMPLES, load_sample

    given = [f"--{name}" for name, value in settings.items() if value not in (None, False, "average")]
    own = [name for name in SAMPLES if name in files and not Path(name).exists()]
    if own:
        if len(files) > 1 or given:
            raise ValueError(f"{own[0]} cannot be combined with {', '.join(given) or 'other files'}; leave it out")
        return load_sample(own[0])
    if any(Path(file).suffix in (".yaml", ".yml") for file in files):
        if len(files) > 1 or given:
            extra = ", ".join(given) or "other files"
            raise ValueError(f"a YAML file cannot be combined with {extra}; it defines how its data are read")
        from femtobarn.experiments import experiment
        from femtobarn.runs import splits as sample

        return sample.load_events(experiment.data(files[0]))
    from femtobarn.experiments.data import read_mapping

    mapping = settings["mapping"]
    columns = None if mapping is None else read_mapping(mapping)
    return read(list(files), luminosity=luminosity, **{**settings, "mapping": columns})
