"""How exactly networks keep Lorentz symmetry, by the Lorentz factor, and how fast three are against their packages.

    pip install --no-deps lloca==2.0.0 lgatr==2.0.0
    python benchmarks/lorentz.py --write docs/results/lorentz.md

Symmetry: jets of the shipped top-tagging sample, and the same jets boosted in a random direction. Each network has
random weights, its published size and only those settings that make it exactly invariant. Shown is by how much its
logits change, in units of the standard deviation of a logit among the jets: the median and the largest of all jets.
The boost itself is computed in float64. `mixed` is what trainings and scores are made with: weights in float32, momenta
in float64. For `float32` the boosted momenta are rounded as well, which is most of the error: a mass is not in them any
more when the energy is 3000 times as large. The last lines boost a network that is
told of the beam and of time, and one that never was invariant.

Speed: a training step (forward, backward, AdamW) and scoring, the packages and ours at the same sizes on the same jets,
in alternation; ratios are medians over the rounds of the ratio within a round. LLoCa-Transformer: 12 blocks of 128, 8
heads with one four-vector each, frames from a network of 2 x 128. L-GATr: 12 blocks of 16 multivectors and 32 scalars,
8 heads; slim: of 32 four-vectors and 96 scalars. The packages find frames on real particles only (their packed form)
and attend on padded ones with a mask, which is what they have for processors.
"""

from __future__ import annotations

import argparse
import math
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from networks import stepper  # beside this file
from torch import Tensor, nn

import femtobarn
from femtobarn.inputs import Batch, Inputs, make_batch
from femtobarn.models import Network, model_spec, networks
from femtobarn.nn import tokens
from femtobarn.nn.tokens import Reference, n_token_scalars
from femtobarn.physics import lorentz
from femtobarn.runs import provenance

GAMMAS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
SLOTS = 128  # more than the most constituents of nearly every jet

#: Of the weights and of the momenta.
PRECISIONS = {
    "float64": (torch.float64, torch.float64),
    "mixed": (torch.float32, torch.float64),
    "float32": (torch.float32, torch.float32),
}

#: Settings beside those that make a network exactly invariant: lines that show what a symmetry is worth.
BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "lloca-transformer, beam and time": ("lloca-transformer", {"references": ("beam", "time")}),
    "transformer": ("transformer", {}),
}


def jets(count: int, start: int = 0) -> Batch:
    """Real jets in float64, of all classes."""
    sample = femtobarn.load_sample("top-tagging")
    return make_batch(sample[start :: max(1, len(sample) // count)][:count], SLOTS, torch.float64)


def build(name: str, settings: dict[str, Any], batch: Batch) -> Network:
    """A network with random weights, its running statistics those of the jets."""
    torch.manual_seed(1)
    inputs = Inputs(features="kin").fit(batch)
    network = Network(inputs, model_spec(name).build(inputs.sizes(2), **settings)).double().train()
    with torch.no_grad():
        for _ in range(5):
            network(batch[:32])
    return network.eval()


def boosted(batch: Batch, gamma: float) -> Batch:
    random = torch.Generator().manual_seed(2)
    axis = torch.randn(3, generator=random, dtype=torch.float64)
    beta = axis / axis.norm() * math.sqrt(1 - 1 / gamma**2)
    return batch.replace(momenta=lorentz.boost(batch.momenta, beta) * batch.mask[..., None])


def logits(network: Network, batch: Batch, weights: torch.dtype, momenta: torch.dtype) -> Tensor:
    """In these precisions."""
    given = batch.replace(momenta=batch.momenta.to(momenta), context=batch.context.to(momenta))
    with torch.no_grad():
        return network.to(weights)(given).double()


def symmetry(count: int) -> str:
    """The table of errors."""
    batch = jets(count)
    head = " | ".join(f"γ = {gamma:g}" for gamma in GAMMAS)
    rows = [f"| network | precision | {head} |", "|---|---|" + "--:|" * len(GAMMAS)]
    cases = {name: (name, model_spec(name).lorentz) for name in networks() if model_spec(name).is_equivariant} | BROKEN
    for title, (name, settings) in cases.items():
        network = build(name, settings, batch)
        expected = logits(network, batch, *PRECISIONS["float64"])
        spread = expected.std(0)
        for label, kinds in PRECISIONS.items():
            errors = []
            for gamma in GAMMAS:
                far = ((logits(network, boosted(batch, gamma), *kinds) - expected).abs() / spread).amax(1)
                errors.append(f"{float(far.median()):.0e}, {float(far.max()):.0e}")
            rows.append(f"| {title} | {label} | {' | '.join(errors)} |")
            print(rows[-1], flush=True)
    return "\n".join(rows)


class TheirLLoCa(nn.Module):
    """A jet tagger of the parts of the package lloca, as large as our LLoCa-Transformer."""

    def __init__(self, sizes: Any, references: tuple[Reference, ...]) -> None:
        from lloca.backbone.transformer import Transformer
        from lloca.equivectors.mlp import MLPVectors
        from lloca.framesnet.equi_frames import LearnedPDFrames

        super().__init__()
        self.sizes, self.references = sizes, references
        self.scalars = n_token_scalars(sizes, references)
        vectors = partial(MLPVectors, num_scalars=self.scalars, hidden_channels=128, num_layers_mlp=2, dropout_prob=0.1)
        self.frames = LearnedPDFrames(vectors, mass_reg=0.1)
        self.norm = nn.BatchNorm1d(7)
        self.backbone = Transformer(7 + self.scalars, "12x0n+1x1n", 2, 12, 8, mlp_factor=2, preserve_variance=False)

    def forward(self, encoded: Any) -> Tensor:
        from lloca.framesnet.frames import Frames

        from femtobarn.inputs.feature_sets import features_in_frames

        found = tokens(encoded, self.sizes, self.references)
        mask = found.mask
        momenta, scalars = found.momenta.double()[mask], found.scalars[mask]
        ptr = nn.functional.pad(mask.sum(1).cumsum(0), (1, 0))
        first = momenta.roll(1, -1)
        self.frames.equivectors.init_standardization(first, ptr)
        frames = self.frames(first, scalars=scalars, ptr=ptr)
        own = (frames.matrices @ first[..., None])[..., 0].roll(-1, -1)
        whole = torch.where(encoded.mask[..., None], encoded.momenta, 0.0).double().sum(1)
        owner = mask.nonzero()[:, 0]
        seen = (frames.matrices @ whole.roll(1, -1)[owner][..., None])[..., 0].roll(-1, -1)
        features = features_in_frames(own[:, None], seen[:, None], scalars[:, None, :0], "kin")[:, 0].to(scalars.dtype)
        padded = scalars.new_zeros(*mask.shape, 7 + self.scalars)
        padded[mask] = torch.cat([self.norm(features), scalars], -1)
        matrices = torch.eye(4, dtype=scalars.dtype).repeat(*mask.shape, 1, 1)
        matrices[mask] = frames.matrices.to(scalars.dtype)
        bias = scalars.new_zeros(mask.shape).masked_fill(~mask, torch.finfo(scalars.dtype).min)
        said = self.backbone(padded, Frames(matrices), attn_mask=bias[:, None, None].expand(-1, 1, mask.shape[1], -1))
        real = torch.where(encoded.mask[..., None], said[:, : encoded.mask.shape[1]], 0.0)
        return real.sum(1) / encoded.mask.sum(1, keepdim=True).clamp_min(1)


class TheirLGATr(nn.Module):
    """A jet tagger of the package lgatr, as large as ours, full or slim."""

    def __init__(self, sizes: Any, references: tuple[Reference, ...], slim: bool = False) -> None:
        import lgatr

        super().__init__()
        self.sizes, self.references, self.slim = sizes, references, slim
        if slim:
            self.network = lgatr.LGATrSlim(
                num_blocks=12,
                in_v_channels=1,
                out_v_channels=0,
                hidden_v_channels=32,
                in_s_channels=n_token_scalars(sizes, references) + 1,
                out_s_channels=2,
                hidden_s_channels=96,
                num_heads=8,
                mlp_ratio=4,
                attn_ratio=1,
            )
            return
        self.network = lgatr.LGATr(
            num_blocks=12,
            in_mv_channels=1,
            out_mv_channels=2,
            hidden_mv_channels=16,
            in_s_channels=n_token_scalars(sizes, references) + 1,
            out_s_channels=0,
            hidden_s_channels=32,
            attention={"num_heads": 8, "attn_ratio": 2},
            mlp={"mlp_ratio": 2},
        )

    def forward(self, encoded: Any) -> Tensor:
        found = tokens(encoded, self.sizes, self.references, 20.0)
        pad = nn.functional.pad
        momenta = pad(found.momenta, (0, 0, 1, 0)).to(found.scalars.dtype)
        mask = pad(found.mask, (1, 0), value=True)
        scalars = pad(found.scalars, (0, 1, 1, 0))
        scalars[:, 0, -1] = 1.0
        first = momenta.roll(1, -1)[:, :, None]
        bias = scalars.new_zeros(mask.shape).masked_fill(~mask, torch.finfo(scalars.dtype).min)
        bias = bias[:, None, None].expand(-1, 1, mask.shape[1], -1)
        if self.slim:
            _, said = self.network(first, scalars, attn_mask=bias)
            return said[:, 0]
        said, _ = self.network(pad(first, (1, 11)), scalars, attn_mask=bias)
        return said[:, 0, :, 0]


class Pair(NamedTuple):
    """One of ours and one of theirs."""

    ours: str
    settings: dict[str, Any]
    package: str
    theirs: Callable[[Any, tuple[Reference, ...]], nn.Module]


PAIRS = (
    Pair("lloca-transformer", {"frames_dropout": 0.1}, "lloca 2.0.0", TheirLLoCa),
    Pair("lgatr", {}, "lgatr 2.0.0", TheirLGATr),
    Pair("lgatr-slim", {}, "lgatr 2.0.0", partial(TheirLGATr, slim=True)),
)


def speed(size: int, rounds: int, threads: list[int], only: str) -> str:
    """The table of ratios."""
    batches = [jets(size, start) for start in range(3)]
    rows = [
        "| network | parameters, theirs | | threads | events/s | package | ratio |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    for pair in PAIRS:
        if only not in pair.ours:
            continue
        torch.manual_seed(1)
        inputs = Inputs(features="kin").fit(batches[0])
        sizes = inputs.sizes(2)
        ours = Network(inputs, model_spec(pair.ours).build(sizes, **pair.settings))
        theirs = Network(inputs, pair.theirs(sizes, ("beam", "time")))
        counts = ", ".join(f"{sum(p.numel() for p in each.parameters()):,}" for each in (ours, theirs))
        for number in threads:
            torch.set_num_threads(number)
            for what, train in (("train", True), ("score", False)):
                steps = [stepper(network, batches, train, torch.device("cpu")) for network in (ours, theirs)]
                times = [tuple(step(turn) for step in steps) for turn in range(rounds + 1)][1:]  # the first warms up
                mine, other = (statistics.median(time[at] for time in times) for at in (0, 1))
                ratio = statistics.median(b / a for a, b in times)
                rows.append(
                    f"| {pair.ours} against {pair.package} | {counts} | {what} | {number} | {size / mine:,.0f} | "
                    f"{size / other:,.0f} | {ratio:.1f} |"
                )
                print(rows[-1], flush=True)
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jets", type=int, default=200, help="for the symmetry")
    parser.add_argument("--batch", type=int, default=64, help="jets in a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="speed alone, of networks with this in their name")
    parser.add_argument("--write", type=Path, help="a Markdown file for the tables")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    told = "" if options.only else symmetry(options.jets) + "\n\n"
    told += speed(options.batch, options.rounds, options.threads, options.only)
    if options.write is not None:
        told = (
            "# Lorentz symmetry and speed of equivariant networks\n\n"
            f"Device: {provenance.device('cpu')}. Command: `{provenance.command()}`.\n\n"
            f"{__doc__.split(chr(10) * 2, 2)[2].strip()}\n\n{told}\n"
        )
        provenance.atomic_write_text(options.write, told)


if __name__ == "__main__":
    main()
