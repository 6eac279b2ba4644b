"""The production of the two data sets of jets that femtobarn ships: top against QCD, and quarks against gluons.

    python examples/jet_production.py FOLDER_FOR_RESULTS

About ten processor-minutes. A production that was stopped goes on where it stood.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from femtobarn.events import Events, concatenate, read_parquet, write_parquet
from femtobarn.simulate import Jets, Plan, run
from femtobarn.simulate.card import JET_LIMITS, card


@dataclass(frozen=True)
class DataSet:
    """One file: its processes, whether a detector measures them, and what its card must say beside what all say."""

    title: str
    processes: dict[str, int]  # with the hard processes of each, which give 5400 jets or so
    detector: bool
    columns: tuple[str, ...]  # what is kept of the constituents
    notes: tuple[str, ...]


KINEMATICS = ("pt", "eta", "phi", "E", "kind", "charge")

SETS = {
    "top-tagging": DataSet(
        "Top jets and QCD jets",
        {"top": 12_500, "QCD": 7_000},
        True,
        (*KINEMATICS, "d0", "d0_error", "dz", "dz_error"),
        (
            "Measured constituents, with the charges and impact parameters of tracks. The jets of arXiv:1902.09914 "
            "have 550 to 650 GeV, another detector and neither types nor tracks: numbers do not compare.",
        ),
    ),
    "quark-gluon": DataSet(
        "Quark jets and gluon jets",
        {"quark": 7_500, "gluon": 7_500},
        False,
        KINEMATICS,
        (
            "Generated particles without a detector, with their types and charges, as in arXiv:1810.05165; those come "
            "from Z + jet with R = 0.4, these from qq -> qq and gg -> gg with R = 0.8: numbers do not compare.",
            "Quarks are u, d and s of either sign.",
        ),
    ),
}


def main(results: Path) -> None:
    """Simulate what is missing, put it together, write the cards."""
    for name, about in SETS.items():
        parts = []
        for process, hard in about.processes.items():
            file = results / f"{process}.parquet"
            if not file.exists():
                plan = Plan(None, process, events=hard, jets=Jets(process, detector=about.detector))
                run(plan, file, progress=lambda step, process=process: print(process, step))  # type: ignore[misc]
            events = read_parquet(file)
            parts.append(replace(events, particles=events.particles[list(about.columns)]))
        events = concatenate(parts)
        # the paths of the pieces say nothing to anybody else
        events = replace(events, provenance={"processes": events.provenance["processes"]})
        target = results / f"{name}.parquet"
        write_parquet(events, target, compact=True)
        written = read_parquet(target)
        text = card(
            written,
            target,
            title=about.title,
            licence="CC0 1.0",
            command="python examples/jet_production.py OUTPUT_FOLDER",
            notes=(*about.notes, truth_note(written)),
            limits=JET_LIMITS,
        )
        target.with_suffix(".md").write_text(text, encoding="utf-8")


def truth_note(events: Events) -> str:
    """Sentences of the card about the columns of the generated jet."""
    missing = int(np.isnan(events.context.gen_jet_pt.to_numpy()).sum())
    return (
        "`gen_jet_pt`, `gen_jet_mass` and `gen_jet_groomed_mass` (GeV; soft drop, z_cut = 0.1, beta = 0, "
        "arXiv:1402.2657) are truth, for regressions: no model receives them. They are of the anti-kt jet "
        "of the same radius of the stable generated particles that is nearest to the jet, within half a radius. "
        "Neutrinos are not part of it, because no detector measures them. NaN where there is no such jet: "
        f"{missing} of {len(events)}."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
