"""Plan of a production: the events to simulate, cut into units with seeds of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from femtobarn.simulate.generator import Preselection
from femtobarn.simulate.jets import Jets
from femtobarn.simulate.units import UNIT_SIZE, Unit


@dataclass(frozen=True)
class Plan:
    """A production: the events to simulate.

    Args:
        source: a Les Houches file (plain or .gz), or None for a process built into Pythia.
        process: name that the events carry.
        settings: further lines for Pythia: the built-in process (`Top:gg2ttbar = on`), decay channels.
        events: hard processes in all, each copy of a Les Houches event counted; a number to stop at with `target`.
        target: stop as soon as this many events are selected; None to use all of `events`.
        responses: how often the detector answers to each generated event.
        select: selections (`femtobarn.events.selection`), one per step of the cut flow.
        preselection: vetoes in the generator that fit the selections.
        seed: any whole number; the same one gives the same events.
        luminosity: integrated luminosity of the weights in 1/fb.
        cross_section: in pb and with all decays, in place of the value of the file or of Pythia.
        jets: in place of collisions, the jets in them: each selected one is an event of its own, with its constituents
            as particles. Its settings stand before `settings`; the detector answers once.
    """

    source: Path | None
    process: str
    settings: tuple[str, ...] = ()
    events: int = 10_000
    target: int | None = None
    responses: int = 1
    select: tuple[str, ...] = ()
    preselection: Preselection = field(default_factory=Preselection)
    seed: int = 1
    luminosity: float = 100.0
    cross_section: float | None = None
    jets: Jets | None = None

    def __post_init__(self) -> None:
        if self.jets is not None and (self.source is not None or self.responses != 1):
            raise ValueError("jets are made of processes built into Pythia, and the detector answers once to each")


def make_units(plan: Plan, available: int, size: int = UNIT_SIZE) -> list[Unit]:
    """The units of a plan; no unit crosses from one copy of the file into the next.

    Args:
        plan: the production.
        available: number of hard processes in the file, or of the plan where there is none.
        size: largest number of hard processes in a unit.
    """
    starts = [
        copy + start
        for copy in range(0, plan.events, available)
        for start in range(0, min(available, plan.events - copy), size)
    ]
    return [Unit(start, min(size, plan.events - start, available - start % available)) for start in starts]
