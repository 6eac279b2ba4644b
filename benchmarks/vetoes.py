"""What the production's vetoes cost: the part of the selected events that they lose, process by process.

    python benchmarks/vetoes.py partons FOLDER_WITH_LHE_FILES --events 10000
    python benchmarks/vetoes.py leptons FOLDER_WITH_LHE_FILES --events 20000 --process tttt

`partons`: events go on through hadronisation and detector whatever the vetoes on partons say of them, and what they
said is compared with what was selected; the lepton veto stays on. Events are those that passed it.
`leptons`: no lepton veto; how many of the selected events have too few prompt leptons for it, and owe their selection
to a charge flip or to a hadron decay. Events are hard processes.

Settings, selections and detector are those of `examples/four_top_production.py`; seeds are others.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np

import femtobarn
from femtobarn.events import Events, lhe_info
from femtobarn.simulate import generator as generators
from femtobarn.simulate import reconstruct
from femtobarn.simulate.plan import Plan
from femtobarn.simulate.production import plain
from femtobarn.simulate.unit import MASSES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from four_top_production import SAMPLES, plan

SEED = 4_000_000
#: What stands above a table.
WHAT = {
    "partons": "Selected events that the vetoes on partons and parton jets would have lost (they were let pass):",
    "leptons": "Selected events with fewer prompt leptons than the lepton veto asks for (it was off), which "
    "the shipped sample misses:",
}

#: Hard processes at a time.
STEP = 2000


class Listener(generators.Veto):
    """The production's vetoes on partons, which say what they think and let the event pass."""

    def __init__(self, pythia: Any, preselection: generators.Preselection) -> None:
        super().__init__(pythia, preselection)
        self.said: list[bool] = []  # of each hard process

    def doVetoProcessLevel(self, process: Any) -> bool:
        self.said.append(False)
        return super().doVetoProcessLevel(process)

    def doVetoPT(self, stage: int, event: Any) -> bool:
        self.said[-1] |= super().doVetoPT(stage, event)
        return False

    def doVetoPartonLevel(self, event: Any) -> bool:
        self.said[-1] |= super().doVetoPartonLevel(event)
        return False


class Found(NamedTuple):
    """Generated events, and of each how many responses of the detector were selected and whether it would be lost."""

    generated: int
    selected: np.ndarray
    lost: np.ndarray


def study(what: str, wanted: Plan, events: int) -> Found:
    """Follow one process until `events` are complete."""
    partons = what == "partons"
    if partons:
        generators.Veto = Listener  # type: ignore[misc]
    preselection = replace(wanted.preselection, same_sign=partons)
    selected, lost, done = [], [], 0
    assert wanted.source is not None
    with tempfile.TemporaryDirectory() as scratch:
        settings = [
            *(*MASSES, *wanted.settings),
            *("Beams:frameType = 4", f"Beams:LHEF = {plain(wanted.source, Path(scratch))}"),
        ]
        available = lhe_info(wanted.source).events
        random = np.random.default_rng(SEED)
        for copy in itertools.count():  # of the file
            generator = generators.Generator(settings, SEED + copy, preselection)
            for start in range(0, available, STEP):
                count = min(STEP, available - start)
                for part in generator.run(count):
                    done += len(part.hard) if partons else 0
                    particles, context = reconstruct(part.particles, random, wanted.responses)
                    passed = chosen(particles, context, wanted)
                    selected.append(passed.reshape(wanted.responses, -1).sum(axis=0))
                    if partons:
                        lost.append(np.array(generator.veto.said)[start + part.hard])
                    else:
                        lost.append(~generators.same_sign(part.particles))
                if partons and len(generator.veto.said) != start + count:
                    raise RuntimeError("not one verdict a hard process: they would belong to other events")
                done += 0 if partons else count
                if done >= events:
                    return Found(done, np.concatenate(selected), np.concatenate(lost))
    raise AssertionError("unreachable")


def chosen(particles: ak.Array, context: ak.Array, wanted: Plan) -> np.ndarray:
    """True for the responses that pass the production's selections."""
    count = len(particles)
    events = Events(
        particles=ak.with_name(particles, "Momentum4D"),
        context=context,
        weight=np.ones(count),
        process=np.full(count, wanted.process),
        number=np.arange(count),
        hard=np.arange(count),
        luminosity=1.0,
    )
    for cut in wanted.select:
        events = events.select(cut)
    passed = np.zeros(count, dtype=bool)
    passed[events.number] = True
    return passed


def line(what: str, folder: Path, process: str, events: int) -> str:
    """A row of the table."""
    found = study(what, plan(process, folder), events)
    weight = found.selected
    fraction = weight[found.lost].sum() / weight.sum()
    # copies of a generated event are one: the error of a ratio of sums over generated events
    error = np.sqrt(((weight * (found.lost - fraction)) ** 2).sum()) / weight.sum()
    once = int((weight > 0).sum())
    return f"| {process} | {found.generated} | {once} | {100 * fraction:.1f} ± {100 * error:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("partons", "leptons"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--process", choices=tuple(SAMPLES), action="append")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, help="add the table to this Markdown file")
    given = parser.parse_args()
    only = "".join(f" --process {process}" for process in given.process or ())
    command = f"python benchmarks/vetoes.py {given.what} LHE_FOLDER --events {given.events}{only}"
    lines = [
        f"`{command}`, femtobarn {femtobarn.__version__}:",
        "",
        "| process | events | selected once or more | lost [%] |",
        "|---|---:|---:|---:|",
    ]
    processes = given.process or list(SAMPLES)
    with ProcessPoolExecutor(given.workers) as pool:
        rows = [pool.submit(line, given.what, given.folder, process, given.events) for process in processes]
        lines += [row.result() for row in rows]
    print("\n".join(lines))
    if given.output:
        with given.output.open("a", encoding="utf-8") as file:
            file.write("\n".join(["", WHAT[given.what], "", *lines, ""]))


if __name__ == "__main__":
    main()
