"""femtobarn: from collision events to significance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from femtobarn.events import Events

__version__ = "0.1.0"

#: Samples that come with the package, by the names that configurations and the command line use.
SAMPLES = ("four-top", "top-tagging", "quark-gluon")
#: Those of jets with their constituents.
JETS = ("top-tagging", "quark-gluon")


def four_top() -> Events:
    """Simulated four-top events and their look-alikes ttH, ttW, ttWW and ttZ, as they come with the package.

    Proton-proton collisions at 13 TeV with two same-sign leptons or three leptons, six jets, two b-jets and
    H_T >= 500 GeV; weights for 100/fb. The card `four-top.md` beside the file tells how they were made.

    Example:
        >>> events = four_top()
        >>> events.processes
        ('ttH', 'ttW', 'ttWW', 'ttZ', 'tttt')
    """
    return shipped("four-top")


def top_tagging() -> Events:
    """Simulated top and QCD jets with their measured constituents, as they come with the package.

    Anti-kt with R = 0.8, pT from 500 to 600 GeV; types, charges and impact parameters of the constituents. The card
    `top-tagging.md` beside the file tells how they were made.

    Example:
        >>> jets = top_tagging()
        >>> jets.processes
        ('QCD', 'top')
    """
    return shipped("top-tagging")


def quark_gluon() -> Events:
    """Simulated quark and gluon jets with their generated particles, as they come with the package.

    Anti-kt with R = 0.8, pT from 500 to 600 GeV; types and charges of the particles, no detector. The card
    `quark-gluon.md` beside the file tells how they were made.

    Example:
        >>> jets = quark_gluon()
        >>> jets.processes
        ('gluon', 'quark')
    """
    return shipped("quark-gluon")


def shipped(name: str) -> Events:
    """A sample that comes with the package, by its name in `SAMPLES`.

    Raises:
        ValueError: no such sample.
    """
    from importlib.resources import as_file, files

    from femtobarn.events import read_parquet

    if name not in SAMPLES:
        raise ValueError(f"no sample is called {name!r}; there are {', '.join(SAMPLES)}")
    with as_file(files("femtobarn") / "data" / f"{name}.parquet") as path:
        return read_parquet(path)
