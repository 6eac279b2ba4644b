"""Samples of simulated events that are installed with the package."""

from __future__ import annotations

from importlib.resources import as_file, files

from femtobarn.events.formats.parquet import read_parquet
from femtobarn.events.record import Events

#: Names of the samples, in configurations and on the command line.
SAMPLES = ("four-top", "top-tagging", "quark-gluon")

#: Samples of jets with their constituents.
JET_SAMPLES = ("top-tagging", "quark-gluon")


def load_sample(name: str) -> Events:
    """Events of a sample that is installed with the package.

    Args:
        name: one of `SAMPLES`.

    Raises:
        ValueError: no such sample.

    Example:
        >>> load_sample("quark-gluon").processes
        ('gluon', 'quark')
    """
    if name not in SAMPLES:
        raise ValueError(f"no sample is called {name!r}; there are {', '.join(SAMPLES)}")
    with as_file(files("femtobarn") / "data" / f"{name}.parquet") as path:
        return read_parquet(path)
