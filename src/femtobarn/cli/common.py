"""Application, consoles, shared options and error messages of all verbs."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from femtobarn.experiments.errors import describe_error

#: Present names of verbs and options by their former names, which still work.
FORMER_VERBS = {"safety": "irc-safety", "scan": "tune", "shifts": "systematics"}
FORMER_OPTIONS = {
    "--every": "--per-entry",
    "--least": "--min-background",
    "--only": "--systematic",
    "--responses": "--smearings",
    "--target": "--max-selected",
}


class Verbs(TyperGroup):
    """Verbs of the command line, with the former names of verbs and options."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        verb, *rest = args
        renamed = (argument.partition("=") for argument in rest)
        present = [f"{FORMER_OPTIONS.get(name, name)}{equals}{value}" for name, equals, value in renamed]
        return super().resolve_command(ctx, [FORMER_VERBS.get(verb, verb), *present])


app = typer.Typer(
    name="femtobarn",
    cls=Verbs,
    help="From collision events to significance: models of every architecture, compared in inverse femtobarns.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


class Terminal(Console):
    """Console that leaves a closed pipe to `complaints`."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


#: Results go to standard output, progress and complaints to standard error.
out, err = Terminal(), Terminal(stderr=True)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Overrides, such as training.lr=1e-3 'inputs.interactions=\\[mass,delta_r]'.")
]
Runs = Annotated[list[Path], typer.Argument(help="Run folders, or the folder of a study for all runs in it.")]
Baseline = Annotated[str | None, typer.Option(help="Model that luminosity gains refer to; default: the first one.")]
Workers = Annotated[int | None, typer.Option(min=1, max=1024, help="Number of processes; default: one per core.")]

FileFormat = Annotated[
    Literal["darkmachines", "parquet", "lhe", "top_tagging", "quark_gluon", "jetclass"] | None,
    typer.Option(help="Format of the files; default: by suffix."),
]
MappingFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="YAML file with the columns of flat tables: data.mapping of an experiment."),
]
Combined = Annotated[
    Literal["average", "add"],
    typer.Option(help="Files of one process: average of productions, or sum of decay channels and slices."),
]

Dask = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Address of a Dask cluster: tcp://HOST:PORT, or scheduler.json."),
]


def print_version(version: bool) -> bool:
    """Print the version and exit."""
    if version:
        from femtobarn import __version__

        typer.echo(f"femtobarn {__version__}")
        raise typer.Exit
    return version


@app.callback()
def shared(
    version: Annotated[
        bool, typer.Option("--version", help="Version of femtobarn.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    pass


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def complaints() -> Iterator[None]:
    """Report mistakes of the user as messages without a traceback, and end cleanly on Ctrl-C and SIGTERM."""
    try:
        with _terminable():
            yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise  # no complaint, though the first two are RuntimeErrors
    except BrokenPipeError:
        _drop_output()
        raise typer.Exit(128 + 13) from None  # as a program that SIGPIPE ended
    except KeyboardInterrupt as stop:
        err.print("stopped; run the same command to resume")
        raise typer.Exit(128 + (15 if isinstance(stop, Terminated) else 2)) from None
    except Exception as error:
        description = describe_error(error)
        message = description or f"internal error of femtobarn: {type(error).__name__}: {error}; {_traceback(error)}"
        err.print(f"[red]error:[/red] {escape(message)}", highlight=False, soft_wrap=True)
        raise typer.Exit(2 if description else 1) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `Terminated` on the first SIGTERM; the second one ends the process at once."""

    def terminate(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield  # the application around decides
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _traceback(error: Exception) -> str:
    """Write the traceback of an internal error to a file, and return how to report it."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="femtobarn-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError:
        return f"please report it with this traceback:\n{text}"
    return f"please report it with the traceback in {file.name}"


def _drop_output() -> None:
    """Discard the remaining output of a closed pipe: `femtobarn inspect ... | head`."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> None:
    """Run the command line, and flush its output while an error of the output can still be reported."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(128 + 13)
    except OSError as error:  # of the output: verbs report their own errors
        _drop_output()
        print(f"error: {describe_error(error)}", file=sys.stderr)
        sys.exit(2)
