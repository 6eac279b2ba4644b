"""How fast cuts are applied: selections on the shipped events, beside the same cuts written in awkward by hand.

    OMP_NUM_THREADS=1 python benchmarks/selections.py

Each cut is applied to events that were just loaded, so that nothing is computed beforehand; both sides give the mask of
the events that pass, and the masks are compared. Least processor time of some rounds, which take turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np

import femtobarn
from femtobarn.events import Events, select
from femtobarn.runs import provenance


def of(events: Events, *kinds: int) -> ak.Array:
    """True for objects of some types."""
    kind = events.particles.kind
    mask = kind == kinds[0]
    for other in kinds[1:]:
        mask = mask | (kind == other)
    return mask


def jets(events: Events) -> ak.Array:
    """The transverse momenta of jets, hardest first."""
    return events.particles.pt[of(events, 1, 2)]


def ht(events: Events) -> ak.Array:
    return ak.sum(events.particles.pt[of(events, 1, 2, 3, 4, 5, 6)], axis=1)


def region(events: Events) -> ak.Array:
    kind = events.particles.kind
    leptons = ak.sum(of(events, 3, 4, 5, 6), axis=1)
    charge = ak.sum((kind == 4) | (kind == 6), axis=1) - ak.sum((kind == 3) | (kind == 5), axis=1)
    channel = ((leptons == 2) & (abs(charge) == 2)) | (leptons >= 3)
    counted = (ak.sum(of(events, 1, 2), axis=1) >= 6) & (ak.sum(kind == 2, axis=1) >= 2)
    return counted & (ht(events) >= 500) & channel


def two_hardest(events: Events) -> ak.Array:
    particles = events.particles[of(events, 1, 2)]
    pair = ak.pad_none(particles, 2, axis=1, clip=True)
    return ak.fill_none((pair[:, 0] + pair[:, 1]).mass > 300, False)


def isolated(events: Events) -> ak.Array:
    jet, lepton = (events.particles[of(events, *kinds)] for kinds in ((1, 2), (3, 4, 5, 6)))
    return ak.fill_none(ak.min(jet.deltaR(ak.firsts(lepton)), axis=1) > 0.6, False)


#: Selections, and the same in awkward.
CUTS: dict[str, Callable[[Events], ak.Array]] = {
    "n_jet >= 6": lambda events: ak.sum(of(events, 1, 2), axis=1) >= 6,
    "HT >= 500": lambda events: ht(events) >= 500,
    "MET > 100": lambda events: events.context.MET > 100,
    "jet.pt[0] > 200": lambda events: ak.fill_none(ak.firsts(jets(events)) > 200, False),
    "pt_jet6 > 50": lambda events: ak.fill_none(ak.pad_none(jets(events), 6, axis=1)[:, 5] > 50, False),
    "count(jet.pt > 50) >= 6": lambda events: ak.sum(jets(events) > 50, axis=1) >= 6,
    "n_jet >= 6 and n_bjet >= 2 and HT >= 500 and ((n_lep == 2 and abs(charge) == 2) or n_lep >= 3)": region,
    "mass(jet[0], jet[1]) > 300": two_hardest,
    "min(delta_r(jet, lepton[0])) > 0.6": isolated,
    "process == 'tttt'": lambda events: events.process == "tttt",
}


def seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Processor time of a call, and what it gives."""
    begun = time.process_time()
    passed = work()
    return time.process_time() - begun, passed


def measured(events: Events, rounds: int) -> str:
    lines = ["| selection | events left | awkward [ms] | femtobarn [ms] | ratio |", "|---|---:|---:|---:|---:|"]
    for cut, by_hand in CUTS.items():
        times: list[tuple[float, float]] = []
        for _ in range(rounds):
            theirs, expected = seconds(lambda by_hand=by_hand: np.asarray(by_hand(events)))
            ours, passed = seconds(lambda cut=cut: select(events, cut))
            if (expected != passed).sum() > 2:  # rounding may move an event over a border
                raise RuntimeError(f"{cut}: {expected.sum()} events by hand, {passed.sum()} by femtobarn")
            times.append((theirs, ours))
        theirs, ours = (min(column) for column in zip(*times, strict=True))
        lines.append(f"| `{cut}` | {passed.sum()} | {1e3 * theirs:.1f} | {1e3 * ours:.1f} | {ours / theirs:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    events = femtobarn.four_top()
    table = measured(events, options.rounds)
    print(table)
    if options.write is not None:
        about = str(__doc__).split("\n\n")
        text = f"# Selections\n\nCommand: `OMP_NUM_THREADS=1 {provenance.command()}`, on {len(events)} events.\n\n"
        text += f"{about[0]} {about[2].strip()}\n\n{table}\n\n{provenance.processor()}.\n"
        provenance.atomic_write_text(options.write, text)


if __name__ == "__main__":
    main()
