"""What all verbs share: the application, the two consoles, repeated options, and complaints in the user's words."""

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
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from femtobarn.experiments.errors import describe_error

app = typer.Typer(
    name="femtobarn",
    help="From collision events to significance: classifiers on equal footing, judged in inverse femtobarns.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


class Terminal(Console):
    """A console that leaves the end of its reader to `complaints`."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


#: Results go to standard output, progress and complaints to standard error.
out, err = Terminal(), Terminal(stderr=True)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes, as in training.lr=1e-3 'inputs.interactions=\\[mass,delta_r]'.")
]
Runs = Annotated[list[Path], typer.Argument(help="Run folders, or the folder of a study for all runs in it.")]
Baseline = Annotated[str | None, typer.Option(help="Model that luminosity gains refer to; the first one if not given.")]
Workers = Annotated[int | None, typer.Option(min=1, max=1024, help="Processes to use; all cores if not given.")]

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


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def complaints() -> Iterator[None]:
    """Mistakes of the user end in their own words, not in a traceback; a stop by Ctrl-C or SIGTERM in a clean end."""
    try:
        with _terminable():
            yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise  # no complaint, though the first two are RuntimeErrors
    except BrokenPipeError:
        _drop_output()
        raise typer.Exit(128 + 13) from None  # as a program that SIGPIPE ended
    except KeyboardInterrupt as stop:
        err.print("stopped; the same command goes on from here")
        raise typer.Exit(128 + (15 if isinstance(stop, Terminated) else 2)) from None
    except Exception as error:
        words = describe_error(error)
        told = words or f"a fault of femtobarn, not of its user: {type(error).__name__}: {error}; {_traceback(error)}"
        err.print(f"[red]error:[/red] {escape(told)}", highlight=False, soft_wrap=True)
        raise typer.Exit(2 if words else 1) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated` in here, once; the next one ends the process at once."""

    def terminate(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield  # somebody else decides
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _traceback(error: Exception) -> str:
    """Where the traceback of an unforeseen error was written, for a report of it."""
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
    """Sends what is still to be written to nobody, as nobody reads it: `femtobarn inspect ... | head`."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> None:
    """The command line, with the last of its output flushed where an error of that can still be told."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(128 + 13)
    except OSError as error:  # of the output: verbs tell their own
        _drop_output()
        print(f"error: {describe_error(error)}", file=sys.stderr)
        sys.exit(2)
