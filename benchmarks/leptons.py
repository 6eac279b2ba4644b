"""Prompt leptons that the simulated detector loses beside its published efficiencies: by isolation and overlap removal.

    python benchmarks/leptons.py FOLDER_WITH_LHE_FILES --process tttt --events 2000 --write docs/results/leptons.md

The efficiencies of `femtobarn.simulate.detector` are those of single leptons. What stands in an event besides takes
more of them away: energy in the cone around a lepton, and jets within 0.4. Events are generated without vetoes; a
generated lepton is found if a reconstructed one of its kind lies within 0.1. Lost is the part of what the published
efficiencies leave. The detector's copies of an event count once in the errors.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

import awkward as ak
import numpy as np

import femtobarn
from femtobarn.physics.objects import ELECTRONS, MUONS
from femtobarn.runs import provenance
from femtobarn.simulate import Preselection, reconstruct
from femtobarn.simulate.detector import electron_efficiency, flat, muon_efficiency, near, with_angles
from femtobarn.simulate.generator import Generator
from femtobarn.simulate.production import plain
from femtobarn.simulate.unit import MASSES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from four_top_production import SAMPLES, plan

SEED = 5_000_000

#: Borders of pT in GeV; below, the smearing moves leptons over the threshold of 15 GeV.
BORDERS = (20.0, 30.0, 50.0, 100.0, np.inf)

#: PDG number, codes and published efficiency of each kind of lepton.
LEPTONS = {"electrons": (11, ELECTRONS, electron_efficiency), "muons": (13, MUONS, muon_efficiency)}

#: Hard processes at a time.
STEP = 500


def sums(particles: ak.Array, objects: ak.Array, responses: int) -> np.ndarray:
    """Leptons by kind, bin of pT and event: generated, found as published, and found; (kinds, bins, 3, events)."""
    counted = []
    for number, codes, efficiency in LEPTONS.values():
        leptons = particles[particles.final & (abs(particles.id) == number) & ~particles.hadronic]
        chance = ak.unflatten(efficiency(flat(leptons.pt), flat(leptons.eta)), ak.num(leptons, axis=1))
        copies = ak.concatenate([leptons] * responses)
        found = near(copies, objects[(objects.kind == codes[0]) | (objects.kind == codes[1])], 0.1)
        times = sum(found[len(leptons) * copy : len(leptons) * (copy + 1)] * 1.0 for copy in range(responses))
        counted.append(
            [
                [ak.sum(column * ((leptons.pt >= low) & (leptons.pt < high)), axis=1) for column in (1, chance, times)]
                for low, high in itertools.pairwise(BORDERS)
            ]
        )
    return np.array([[[ak.to_numpy(column) for column in each] for each in kind] for kind in counted], dtype=float)


def simulated(process: str, folder: Path, events: int, responses: int) -> np.ndarray:
    """The sums over the events of one process."""
    wanted = plan(process, folder)
    assert wanted.source is not None
    random = np.random.default_rng(SEED)
    parts = []
    with tempfile.TemporaryDirectory() as scratch:
        file = plain(wanted.source, Path(scratch))
        settings = [*MASSES, *wanted.settings, "Beams:frameType = 4", f"Beams:LHEF = {file}"]
        generator = Generator(settings, SEED, Preselection())
        for start in range(0, events, STEP):
            for part in generator.run(min(STEP, events - start)):
                objects, _ = reconstruct(part.particles, random, responses)
                parts.append(sums(with_angles(part.particles), objects, responses))
    return np.concatenate(parts, axis=-1)


def table(counted: np.ndarray, responses: int) -> str:
    """Rows by kind and pT."""
    lines = ["| leptons | pT [GeV] | generated | published efficiency [%] | found [%] | lost besides [%] |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for kind, bins in zip(LEPTONS, counted, strict=True):
        for low, high, (generated, published, times) in zip(BORDERS[:-1], BORDERS[1:], bins, strict=True):
            found = times / responses
            kept = found.sum() / published.sum()
            error = np.sqrt(np.square(found - kept * published).sum()) / published.sum()
            span = f"{low:.0f} to {high:.0f}" if np.isfinite(high) else f"above {low:.0f}"
            shares = " | ".join(f"{100 * column.sum() / generated.sum():.1f}" for column in (published, found))
            lines.append(
                f"| {kind} | {span} | {generated.sum():.0f} | {shares} | {100 * (1 - kept):.1f} ± {100 * error:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the Les Houches files")
    parser.add_argument("--process", choices=tuple(SAMPLES), default="tttt")
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--responses", type=int, default=3, help="of the detector to each event")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    text = table(simulated(options.process, options.folder, options.events, options.responses), options.responses)
    print(text)
    if options.write is not None:
        command = f"python benchmarks/leptons.py LHE_FOLDER --process {options.process} --events {options.events}"
        about = " ".join(str(__doc__).split("\n\n")[-1].split())
        page = f"# Leptons lost by isolation and overlap removal\n\n`{command} --responses {options.responses}`, "
        page += f"femtobarn {femtobarn.__version__}: {options.process}, {options.events} events.\n\n{about}\n\n{text}\n"
        provenance.atomic_write_text(options.write, page)


if __name__ == "__main__":
    main()
