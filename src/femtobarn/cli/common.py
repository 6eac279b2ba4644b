"""What all verbs share: the application, the two consoles, repeated options, and complaints in the user's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

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

FileFormat = Annotated[
    Literal["darkmachines", "parquet", "lhe", "top_tagging", "quark_gluon", "jetclass"] | None,
    typer.Option(help="Format of the files; by suffix if not given."),
]
MappingFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="YAML that names the columns of flat tables: data.mapping of an experiment."),
]
Combined = Annotated[
    Literal["average", "add"],
    typer.Option(help="Files of one process: average runs of one generation, or add decay channels and slices."),
]

Dask = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="An existing Dask cluster does the work: tcp://HOST:PORT, or scheduler.json."),
]


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
