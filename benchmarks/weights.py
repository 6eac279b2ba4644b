"""The published ParticleNet of JetClass in our network against weaver-core's own, from raw constituents to scores.

    pip install --no-deps weaver-core==0.5.3
    python benchmarks/weights.py ParticleNet_kin.pt ParticleNet_kinpid.pt ParticleNet_full.pt
    python benchmarks/weights.py --write docs/results/weights.md ParticleNet_*.pt

Theirs: the features that JetClass_kin.yaml and its two siblings tell, computed here once more in double precision from
the columns of the file, in 128 slots whose padding repeats the jet's particles, then weaver-core's network. Ours: the
same jets, with momenta in double precision as well, through `femtobarn.models.weaver.network`.

The shipped jets have directions on a grid of 1/2048, as calorimeters have, on which many distances are equal. Which of
two equally near particles is the k-th neighbour is decided by rounding, in weaver-core as here, and no two programs
agree. Directions are therefore spread evenly within their grid first; how many jets differ without that is told as
well. Jets of more than 128 particles are left out: here the 128 hardest are the jet, in JetClass all.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import femtobarn
from femtobarn.events import Events
from femtobarn.events.storage.files import checksum
from femtobarn.inputs import make_batch
from femtobarn.models import Network, weaver
from femtobarn.physics.objects import ANTIMUON, CHARGED, ELECTRON, MUON, NEUTRAL, PHOTON, POSITRON
from femtobarn.runs import provenance

SAMPLES, SLOTS = ("top-tagging", "quark-gluon"), 128

#: Jets at a time.
PIECE = 16

#: Half of the steps of the directions in the files.
HALF = 1 / 4096

#: Scores count as different from here on.
DIFFERENT = 1e-5

#: What stands below the table.
NOTE = f"""Scores are the probabilities of the ten classes of JetClass, each from raw constituents through both
programs, in single precision where nothing else is said; only momenta and what features are computed from are in double
precision. Directions are spread within the grid of the file, but for the last column: on the grid many distances are
equal, and rounding decides which of two particles is the last neighbour. It tells the part of the jets of which a score
differs by more than {DIFFERENT:g} there."""


class Row(NamedTuple):
    """What was measured of one network on one sample: largest differences, and the median of those of the jets."""

    weights: str
    features: str
    sample: str
    jets: int
    feature: float
    score: float
    median: float
    double: float  # of a score in double precision
    ties: float  # part of the jets as they are in the file whose scores are different


class Theirs(nn.Module):
    """Weaver-core's ParticleNet with the weights of a file; directions are the last two features of a particle."""

    def __init__(self, path: Path, features: int) -> None:
        from weaver.nn.model.ParticleNet import ParticleNet

        super().__init__()
        layers = [(16, (width,) * 3) for width in (64, 128, 256)]
        classes = len(weaver.JETCLASS_CLASSES)
        self.network = ParticleNet(features, classes, layers, [(256, 0.1)], use_fusion=False, trim=False)
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.network.load_state_dict({name.removeprefix("mod."): value for name, value in state.items()})

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.network(features[:, -2:].clone(), features, mask)
        return logits


def bootstrap_std(jets: Events) -> Events:
    """Directions anywhere within the step of the file that they stand for, masses as they were."""
    random = np.random.default_rng(0)
    p = jets.particles
    counts = ak.num(p.pt)
    mass2 = p.E**2 - (p.pt * np.cosh(p.eta)) ** 2

    def moved(angle: Any) -> Any:
        return angle + ak.unflatten(random.uniform(-HALF, HALF, int(ak.sum(counts))), counts)

    eta, phi = moved(p.eta), (moved(p.phi) + np.pi) % (2 * np.pi) - np.pi
    energy = np.sqrt((p.pt * np.cosh(eta)) ** 2 + np.maximum(mass2, 0))
    for name, column in (("eta", eta), ("phi", phi), ("E", energy)):
        p = ak.with_field(p, column, name)
    return replace(jets, particles=p)


def preprocessed(jets: Events, features: str) -> tuple[Tensor, Tensor]:
    """Features and mask, (jets, features or 1, slots), as the configuration of this name says, in double precision."""
    o, tracks = jets.padded(SLOTS), jets.padded_tracks(SLOTS)

    def total(column: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(column.sum(1, keepdims=True))

    jet_x, jet_y, jet_z = total(o.pt * np.cos(o.phi)), total(o.pt * np.sin(o.phi)), total(o.pt * np.sinh(o.eta))
    jet_pt = np.hypot(jet_x, jet_y)
    jet_eta = np.arcsinh(jet_z / jet_pt)
    deta = (o.eta - jet_eta) * np.where(jet_eta > 0, 1.0, -1.0)
    dphi = (o.phi - np.arctan2(jet_y, jet_x) + np.pi) % (2 * np.pi) - np.pi
    with np.errstate(divide="ignore"):
        logarithms = [np.log(o.pt), np.log(o.E), np.log(o.pt / jet_pt), np.log(o.E / total(o.E))]
    scales = [(1.7, 0.7), (2.0, 0.7), (-4.7, 0.7), (-4.7, 0.7)]
    found = [np.clip((value - a) * b, -5, 5) for value, (a, b) in zip(logarithms, scales, strict=True)]
    found.append(np.clip((np.hypot(deta, dphi) - 0.2) * 4, -5, 5))
    if features != "kin":
        kinds = ((CHARGED,), (NEUTRAL,), (PHOTON,), (ELECTRON, POSITRON), (MUON, ANTIMUON))
        found += [tracks[..., 0], *(np.isin(o.kind, kind).astype(np.float64) for kind in kinds)]
    if features == "full":
        d0, d0_error, dz, dz_error = (tracks[..., column] for column in range(1, 5))
        found += [np.tanh(d0), np.clip(d0_error, 0, 1), np.tanh(dz), np.clip(dz_error, 0, 1)]
    around = np.arange(SLOTS) % o.mask.sum(1, keepdims=True)
    columns = [np.take_along_axis(value, around, 1) for value in (*found, deta, dphi)]
    return torch.from_numpy(np.stack(columns, 1)), torch.from_numpy(o.mask)[:, None]


@torch.no_grad()
def both(ours: Network, theirs: Theirs, jets: Events, features: str, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """What the two programs say of each jet."""
    batch, (there, mask) = make_batch(jets, SLOTS, torch.float64), preprocessed(jets, features)
    ours, theirs, there = ours.to(kind).eval(), theirs.to(kind).eval(), there.to(kind)
    pieces = [slice(start, start + PIECE) for start in range(0, len(jets), PIECE)]
    mine = torch.cat([ours(batch[piece]) for piece in pieces])
    other = torch.cat([theirs(there[piece], mask[piece]) for piece in pieces])
    return mine.softmax(-1), other.softmax(-1)


def efficiency_curves(path: Path, sample: str, count: int) -> Row | None:
    """One network on jets from all over a sample, among them some with fewer particles than neighbours.

    None for a sample without the impact parameters that it takes.
    """
    found, jets = weaver.read(path), femtobarn.load_sample(sample)
    if found.feature_set == "full" and "d0" not in jets.tracks:
        return None
    counts = ak.to_numpy(ak.num(jets.particles.pt))
    chosen = np.union1d(np.arange(0, len(jets), -(-len(jets) // count)), np.flatnonzero(counts <= 16)[:20])
    jets = jets[chosen[counts[chosen] <= SLOTS]]
    ours, theirs, features = weaver.network(path), Theirs(path, found.features), found.feature_set
    smooth = bootstrap_std(jets)
    batch, (there, _) = make_batch(smooth, SLOTS, torch.float64), preprocessed(smooth, features)
    apart = (ours.inputs(batch).particles - there.transpose(1, 2))[batch.mask].abs()
    mine, other = both(ours, theirs, smooth, features, torch.float32)
    raw, raw_other = both(ours, theirs, jets, features, torch.float32)
    exact, exact_other = both(ours, theirs, smooth, features, torch.float64)
    return Row(
        weights=f"{path.name} ({checksum(path)[:12]})",
        features=features,
        sample=sample,
        jets=len(jets),
        feature=float(apart.max()),
        score=float((mine - other).abs().max()),
        median=float((mine - other).abs().amax(1).median()),
        double=float((exact - exact_other).abs().max()),
        ties=float(((raw - raw_other).abs().amax(1) > DIFFERENT).double().mean()),
    )


def table(rows: list[Row]) -> str:
    """Markdown."""
    columns = ["weights (SHA-256)", "features", "sample", "jets", "largest difference of a feature", "of a score"]
    columns += ["median of that of a jet", "of a score in double precision", "jets that differ on the grid"]
    head = f"| {' | '.join(columns)} |\n{'|---' * 3}{'|--:' * 6}|"
    lines = [
        f"| {row.weights} | {row.features} | {row.sample} | {row.jets} | {row.feature:.1e} | {row.score:.1e} | "
        f"{row.median:.1e} | {row.double:.1e} | {row.ties:.1%} |"
        for row in rows
    ]
    return "\n".join([head, *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+", help="from jet-universe/particle_transformer, folder models")
    parser.add_argument("--jets", type=int, default=100, help="of each sample, about")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    rows = []
    for path, sample in itertools.product(options.weights, SAMPLES):
        row = efficiency_curves(path, sample, options.jets)
        if row is not None:
            rows.append(row)
            print(row, flush=True)
    print(f"\n{table(rows)}")
    if options.write is not None:
        told = provenance.versions()
        versions = f"femtobarn {told['femtobarn']}, torch {told['torch']}"
        where = f"`python benchmarks/{provenance.command()}`, {provenance.device('cpu')}, {versions}:"
        text = f"# Published weights against weaver-core 0.5.3\n\n{where}\n\n{table(rows)}\n\n{NOTE}\n"
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
