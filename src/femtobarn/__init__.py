"""femtobarn: from collision events to significance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from femtobarn.events import Events

__version__ = "0.1.0"


def four_top() -> Events:
    """Simulated four-top events and their look-alikes ttH, ttW, ttWW and ttZ, as they come with the package.

    Proton-proton collisions at 13 TeV with two same-sign leptons or three leptons, six jets, two b-jets and
    H_T >= 500 GeV; weights for 100/fb. The card `four-top.md` beside the file tells how they were made.

    Example:
        >>> events = four_top()
        >>> events.processes
        ('ttH', 'ttW', 'ttWW', 'ttZ', 'tttt')
    """
    from importlib.resources import as_file, files

    from femtobarn.events import read_parquet

    with as_file(files("femtobarn") / "data" / "four-top.parquet") as path:
        return read_parquet(path)
