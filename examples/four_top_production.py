"""The production of the data set that femtobarn ships: tttt, ttH, ttW, ttWW and ttZ in the 2LSS/3L region.

    python examples/four_top_production.py FOLDER_WITH_LHE_FILES FOLDER_FOR_RESULTS

About three processor-hours. A production that was stopped goes on where it stood.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from femtobarn.events import concatenate, read_parquet, write_parquet
from femtobarn.simulate import Plan, Preselection, run
from femtobarn.simulate.card import card

REGION = ("n_jet >= 6", "n_bjet >= 2", "HT >= 500", "(n_lep == 2 and abs(charge) == 2) or n_lep >= 3")

#: Selected events of each process, at which its production stops.
TARGET = 20_000

#: Les Houches file, decays that can give the leptons, detector responses to each generated event.
SAMPLES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "tttt": ("tttt", (), 3),
    "ttH": ("ttH", ("25:offIfAny = 5 21 4",), 5),
    "ttW": ("ttWj", (), 4),
    "ttWW": ("ttWW", (), 5),
    "ttZ": ("ttZj", ("23:onMode = off", "23:onIfAny = 11 13 15"), 4),
}

#: What the card must say of these samples beside what is true of all simulations.
NOTES = (
    "ttW and ttZ carry exactly one further parton of the matrix element (pT > 25 GeV, |eta| < 3): events that reach "
    "six jets by the shower alone, or that need two further partons, are missing or modelled by the shower.",
    "What the vetoes before hadronisation lose, and how many selected events owe their leptons to charge flips and "
    "hadron decays, is measured by benchmarks/vetoes.py; the result is in docs/results/vetoes.md.",
    "The detector's efficiencies of leptons are those published for single ones. Isolation and overlap removal take "
    "more: in tttt without a selection 28 ± 5 % of the electrons of 20 to 30 GeV that the efficiencies leave, 9 ± 3 % "
    "above 100 GeV, and 15 to 20 % of the muons; measured by benchmarks/leptons.py, the result is in "
    "docs/results/leptons.md.",
)


def plan(process: str, folder: Path) -> Plan:
    """What to simulate for one process."""
    file, settings, responses = SAMPLES[process]
    return Plan(
        source=folder / f"{file}.lhe.gz",
        process=process,
        settings=settings,
        events=4_000_000,  # more than any of them needs
        target=TARGET,
        responses=responses,
        select=REGION,
        preselection=Preselection(same_sign=True, jets=6, ht=500.0),
    )


def main(sources: Path, results: Path) -> None:
    """Simulate what is missing, put it together, write the card."""
    parts = []
    for process in SAMPLES:
        file = results / f"{process}.parquet"
        if not file.exists():
            run(plan(process, sources), file, progress=lambda step, process=process: print(process, step))  # type: ignore[misc]
        parts.append(read_parquet(file))
    target = results / "four-top.parquet"
    events = concatenate(parts)
    # the paths of the pieces say nothing to anybody else
    events = replace(events, provenance={"processes": events.provenance["processes"]})
    write_parquet(events, target, compact=True)
    text = card(
        read_parquet(target),
        target,
        title="Four tops and their look-alikes",
        licence="CC0 1.0",
        command="python examples/four_top_production.py LHE_FOLDER OUTPUT_FOLDER",
        notes=NOTES,
    )
    target.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
