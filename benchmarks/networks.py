"""How fast ParT and ParticleNet train and score, against weaver-core's with the same weights, side by side in one run.

    pip install --no-deps weaver-core==0.5.3
    python benchmarks/networks.py --write docs/results/networks-cpu.md
    python benchmarks/networks.py --device cuda --write docs/results/networks-gpu.md

Each network of weaver-core gets random weights, ours the same weights, and both the same events: 18 objects of which 8
to 16 are real, with 11 features, or 128 slots of which 20 to 60 are real, with 17. First both compute their outputs,
which have to be the same up to rounding. Then they are timed in alternation, each in a process of its own: a training
step (forward, backward, fused AdamW), and scoring in evaluation mode without gradient, both from features and momenta
on, so with the pairwise features. Ratios are medians over the rounds of the ratio within a round. On processors our
trainings let the C library keep memory that is freed (`femtobarn.training.devices.retain_freed_memory`), which
weaver-core does not; a second ratio, "both kept", is to weaver-core with its memory kept as well.

The arithmetic of a training step is that of its matrix products over real objects and pairs (torch's own counter; the
products within the attention, which see padding, are left out), in units of what a product of two matrices of 2048 x
2048 in float32 reaches on the same threads in the same run, by the fastest library there is, and by `torch.mm`. Divided
by the first share, a ratio becomes the largest there could be: that of a network in which these products run at the
peak and nothing else takes time.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from femtobarn.inputs import Batch, Features, Sizes
from femtobarn.inputs.interactions import pair_features
from femtobarn.models import ParT, ParticleNet, weaver
from femtobarn.models.network import trim
from femtobarn.nn import products
from femtobarn.physics import lorentz, pairwise
from femtobarn.runs import provenance
from femtobarn.training.devices import Precision, matmul_precision, retain_freed_memory

PAIRS = ("kt", "z", "delta", "mass2")  # in weaver's order

#: Batches that our network has seen when the clock starts: oneDNN writes a program for each number of rows it meets,
#: and the numbers of ParT come back, those of ParticleNet do not.
WARM = 24

#: What is asked for: times weaver-core in training and in scoring.
GOALS = {"ParT, 18": (2, 3), "ParticleNet, 18": (5, 3), "ParT, 128": (2, 3), "ParticleNet, 128": (4, 3)}


class Case(NamedTuple):
    """A network on events of a size."""

    network: str
    slots: int
    least: int
    most: int
    features: int
    batch: int  # events

    @property
    def name(self) -> str:
        return f"{self.network}, {self.slots}"


CASES = (
    Case("ParT", 18, 8, 16, 11, 256),
    Case("ParticleNet", 18, 8, 16, 11, 256),
    Case("ParT", 128, 20, 60, 17, 64),
    Case("ParticleNet", 128, 20, 60, 17, 64),
)


class Ours(nn.Module):
    """An architecture of this package behind features that are given (as tracks of a batch) and pairs that are not."""

    def __init__(self, architecture: nn.Module, pairs: bool) -> None:
        super().__init__()
        self.architecture, self.pairs = architecture, PAIRS if pairs else ()

    def forward(self, batch: Batch) -> Any:
        batch = trim(batch)
        real = pairwise.pairs(batch.mask)
        pairs = [torch.where(real, one, 0.0) for one in pair_features(batch, self.pairs)]
        blank = batch.momenta.new_zeros(*real.shape, 0)
        return self.architecture(
            Features(
                particles=batch.tracks,
                pairs=torch.stack(pairs, -1) if pairs else blank,
                context=batch.context,
                mask=batch.mask,
                momenta=batch.momenta,
                kind=batch.kind,
                vectors=batch.momenta[:, :0],
            )
        )


class Theirs(nn.Module):
    """A network of weaver-core, fed with the same batch."""

    def __init__(self, network: nn.Module, pairs: bool) -> None:
        super().__init__()
        self.network, self.pairs = network, pairs

    def forward(self, batch: Batch) -> Any:
        features = batch.tracks.transpose(1, 2).contiguous()
        momenta = batch.momenta.transpose(1, 2).contiguous()
        mask = batch.mask[:, None]
        if self.pairs:
            return self.network(features, momenta, mask)
        points = torch.stack([lorentz.eta(batch.momenta), lorentz.phi(batch.momenta)], 1)
        return self.network(torch.where(mask, points, 0.0), features, mask)


def events(case: Case, seed: int) -> Batch:
    """Random events; azimuths within a half turn, since weaver-core's ParticleNet does not wrap them."""
    random = torch.Generator().manual_seed(seed)
    shape = (case.batch, case.slots)
    counts = torch.randint(case.least, case.most + 1, (case.batch, 1), generator=random)
    mask = torch.arange(case.slots) < counts
    pt = 25 + 60 * torch.empty(shape).exponential_(generator=random)
    eta = torch.randn(shape, generator=random)
    phi = 3 * torch.rand(shape, generator=random) - 1.5
    mass = 15 * torch.rand(shape, generator=random)
    momenta = lorentz.from_ptetaphim(*(x.double() for x in (pt, eta, phi, mass))).float() * mask[..., None]
    features = torch.randn(*shape, case.features, generator=random) * mask[..., None]
    return Batch(momenta, mask.long(), mask, torch.zeros(case.batch, 0), features)


def networks(case: Case) -> tuple[Ours, Theirs]:
    """Both, with the same weights."""
    from weaver.nn.model.ParticleNet import ParticleNet as TheirParticleNet
    from weaver.nn.model.ParticleTransformer import ParticleTransformer

    logging.disable(logging.CRITICAL)
    torch.manual_seed(1)
    attends = case.network == "ParT"
    theirs: nn.Module
    if attends:
        theirs = ParticleTransformer(case.features, 2, use_pre_activation_pair=False, remove_self_pair=True)
    else:
        blocks = [(16, (width,) * 3) for width in (64, 128, 256)]
        # its trimming cuts below k + 1 slots, which it cannot take
        theirs = TheirParticleNet(
            case.features, 2, conv_params=blocks, fc_params=[(256, 0.1)], use_fusion=False, trim=case.slots > 18
        )
    sizes = Sizes(case.features, len(PAIRS) if attends else 0, 0, 2)
    # padding stands in for neighbours that are missing, as in weaver-core
    ours = ParT(sizes) if attends else ParticleNet(sizes, fill=True)
    ours.load_state_dict(weaver.translate(theirs.state_dict()).weights, strict=False)
    return Ours(ours, attends), Theirs(theirs, attends)


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def stepper(network: nn.Module, batches: list[Batch], train: bool, device: torch.device) -> Callable[[int], float]:
    """Seconds of one pass over one batch."""
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    labels = torch.arange(len(batches[0]), device=device) % 2

    def step(number: int) -> float:
        batch = batches[number % len(batches)]
        network.train(train)
        started = clock(device)
        with torch.set_grad_enabled(train):
            said = network(batch)
            if train:
                optimizer.zero_grad()
                nn.functional.cross_entropy(said.float(), labels).backward()
                optimizer.step()
        return clock(device) - started

    return step


def peaks(device: torch.device) -> dict[str, float]:
    """Float operations a second of a product of two large matrices, by each library that there is."""
    a, b = (torch.randn(2048, 2048, device=device) for _ in range(2))
    libraries: dict[str, Callable[..., Any]] = {"torch.mm": torch.mm}
    if device.type == "cpu" and products.onednn_is_faster():
        libraries["oneDNN"] = products.onednn_linear
    found = {}
    for name, multiply in libraries.items():
        seconds = []
        for _ in range(10):
            started = clock(device)
            multiply(a, b)
            seconds.append(clock(device) - started)
        found[name] = 2 * 2048**3 / min(seconds)
    return found


def useful(network: nn.Module, batch: Batch, train: bool) -> float:
    """Float operations of the matrix products on real objects and pairs, in training with the backward pass."""
    network.train(train)
    # without the few rows that oneDNN gets to fill up
    with mock.patch.object(products, "onednn_is_faster", return_value=False), FlopCounterMode(display=False) as counter:
        said = network(batch).sum()
        if train:
            said.backward()
    counts = counter.get_flop_counts()["Global"]
    return float(sum(count for name, count in counts.items() if "bmm" not in str(name)))


def serve(
    pipe: Connection, case: Case, mine: bool, threads: int, device: torch.device, precision: Precision, kept: bool
) -> None:
    """Answers the seed of a batch, and whether to train on it, with seconds, until it gets nothing."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest")
    network = networks(case)[not mine].to(device)

    def made(seed: int) -> Batch:
        return events(case, seed).to(device)

    batches = [made(seed) for seed in range(WARM if mine else 1)]
    steps: dict[bool, Callable[[int], float]] = {}
    # on GPUs weaver-core has mixed precision of its own (--use-amp); on processors it has none
    with (
        matmul_precision(precision if mine or device.type == "cuda" else "fp32", device),
        retain_freed_memory(device) if kept else nullcontext(),
    ):
        while asked := pipe.recv():
            train, seed = asked
            if train not in steps:
                steps[train] = stepper(network, batches, train, device)
                for number in range(len(batches)):
                    steps[train](number)
            batches.append(made(seed))
            pipe.send(steps[train](len(batches) - 1))
            batches.pop()
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@contextmanager
def server(peak: list[float], *arguments: Any) -> Iterator[Callable[[bool, int], float]]:
    """What `serve` answers, from a process of its own, and at the end the most memory it had, in MB."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=serve, args=(other, *arguments), daemon=True)
    process.start()
    other.close()

    def ask(train: bool, seed: int) -> float:
        pipe.send((train, seed))
        return float(pipe.recv())

    yield ask
    pipe.send(None)
    peak.append(pipe.recv())
    process.join()


def differ(ours: Ours, theirs: Theirs, batch: Batch) -> float:
    """Largest difference of an output, in units of their spread over the events."""
    with torch.no_grad():
        one, other = (network.eval()(batch).float() for network in (ours, theirs))
    return float(((one - other).abs().amax(0) / other.std(0)).max())


#: What the operations of torch are, by parts of their names, the first that fits.
PARTS = {
    "products of the layers": ("addmm", "aten::mm", "linear"),
    "products of the attention": ("bmm",),
    "norms": ("norm",),
    "GELU": ("gelu",),
    "softmax": ("softmax",),
    "dropout": ("random_", "aten::ge"),
    "gathers and copies": ("index", "copy_", "cat", "fill_"),
}


def parts(case: Case) -> str:
    """Where the time of our network goes, in training and in scoring: milliseconds of a batch, on one thread."""
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {name: [] for name in (*PARTS, "other", "all")}
    for train in (True, False):
        ours, _ = networks(case)
        step = stepper(ours, [events(case, seed) for seed in range(3)], train, torch.device("cpu"))
        for number in range(3):
            step(number)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for number in range(3):
                step(number)
        times = {entry.key: entry.self_cpu_time_total / 3000 for entry in profile.key_averages()}
        found["all"].append(sum(times.values()))
        for name, marks in PARTS.items():
            mine = [key for key in times if any(mark in key for mark in marks)]
            found[name].append(sum(times.pop(key) for key in mine))
        found["other"].append(sum(times.values()))
    whole = found["all"]
    rows = "\n".join(
        f"| {name} | "
        + " | ".join(f"{ms:.0f} | {100 * ms / all_:.0f}" for ms, all_ in zip(each, whole, strict=True))
        + " |"
        for name, each in found.items()
    )
    return f"| {case.name} | training, ms | % | scoring, ms | % |\n|---|--:|--:|--:|--:|\n{rows}"


def short(lines: list[Line]) -> str:
    """What was not reached, and what could have been: matrix products as fast as the fastest, and nothing else."""
    told = []
    for one in lines:
        if one.ratio < one.goal:
            told.append(
                f"- {one.name}, {one.what}, threads {one.threads}: {one.ratio:.2f} of {one.goal}; with the products at "
                f"the peak and all else free it were {one.most:.1f}."
            )
    return "Not reached:\n\n" + "\n".join(told) if told else "All was reached."


class Line(NamedTuple):
    """What was measured of one case."""

    name: str
    what: str
    threads: int
    precision: str
    ours: float  # events a second
    theirs: float
    ratio: float
    even: float  # ratio with memory kept in both
    goal: int
    difference: float
    share: float  # of the peak
    usual: float  # of what torch.mm reaches
    memory: list[float]  # MB at most: of weaver-core with its memory kept, as it comes, and of ours

    @property
    def most(self) -> float:
        """The ratio if nothing took time but the matrix products on real objects, at the peak."""
        return self.ratio / self.share


def efficiency_curves(case: Case, threads: int, rounds: int, device: torch.device, precision: Precision) -> list[Line]:
    torch.set_num_threads(threads)
    ours, theirs = (network.to(device) for network in networks(case))
    batch = events(case, 0).to(device)
    tops = peaks(device)
    far = differ(ours, theirs, batch)
    if far > 1e-4:
        raise SystemExit(f"{case.name}: not the same network, outputs differ by {far:.1e} of their spread")
    lines = []
    memory: list[float] = []  # comes in the end, the last process first
    with ExitStack() as stack:
        # ours, theirs as it comes, theirs with its memory kept
        asks = [
            stack.enter_context(server(memory, case, mine, threads, device, precision, kept))
            for mine, kept in ((True, True), (False, False), (False, True))
        ]
        for what, train in (("train", True), ("score", False)):
            seconds = [[ask(train, WARM + number) for ask in asks] for number in range(rounds + 1)][1:]  # one to begin
            mine, other = (statistics.median(each[at] for each in seconds) for at in (0, 1))
            ratio, even = (statistics.median(each[at] / each[0] for each in seconds) for at in (1, 2))
            pace = useful(ours, batch, train) / mine
            shares = pace / max(tops.values()), pace / tops["torch.mm"]
            goal, n = GOALS[case.name][not train], case.batch
            lines.append(
                Line(case.name, what, threads, precision, n / mine, n / other, ratio, even, goal, far, *shares, memory)
            )
    return lines


def memories(lines: list[Line]) -> str:
    """The memory that each network took at most."""
    rows = [
        f"| {one.name} | {one.threads} | {one.precision} | {one.memory[2]:,.0f} | {one.memory[1]:,.0f} | "
        f"{one.memory[0]:,.0f} |"
        for one in lines
        if one.what == "train"
    ]
    heading = "| network, slots | threads | precision | ours, MB | weaver-core | weaver-core, kept |"
    return "\n".join([heading, "|---|--:|---|--:|--:|--:|", *rows])


def measured(device: torch.device) -> str:
    """The peaks, in words."""
    torch.set_num_threads(1)
    found = {name: value / 1e9 for name, value in peaks(device).items()}
    told = ", ".join(f"{value:.0f} by {name}" for name, value in found.items())
    return (
        f"The peak, of two matrices of 2048 x 2048 in float32 on one thread, billion operations a second: {told}; "
        "shares are of the faster one."
    )


def table(lines: list[Line]) -> str:
    rows = [
        "| network, slots | | threads | precision | events/s | weaver-core | ratio | asked | both kept "
        "| of peak | of `mm` |",
        "|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in lines:
        rows.append(
            f"| {one.name} | {one.what} | {one.threads} | {one.precision} | {one.ours:,.0f} | {one.theirs:,.0f} | "
            f"{one.ratio:.1f} | {one.goal} | {one.even:.1f} | {100 * one.share:.0f} % "
            f"| {100 * one.usual:.0f} % |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=6, help="batches that are timed, each of them new")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--only", default="", help="part of the name of a network")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    device = torch.device(options.device)
    lines: list[Line] = []
    for case in CASES:
        for threads in options.threads if device.type == "cpu" else [1]:
            for precision in options.precision:
                if options.only in case.name:
                    lines += efficiency_curves(case, threads, options.rounds, device, precision)
                    print(table(lines[-2:]).partition("\n")[2].partition("\n")[2], flush=True)
    worst = max(one.difference for one in lines)
    told = (
        f"{table(lines)}\n\nLargest difference of an output, same weights in float32: {worst:.1e} of their spread. "
        f"Median of {options.rounds} alternated rounds. weaver-core computes in float32 on processors.\n\n"
        f"{measured(device)}\n"
    )
    if device.type == "cpu":
        told += f"\nMost memory that a process has had, libraries included:\n\n{memories(lines)}\n"
        told += (
            f"\n{short(lines)}\n\nWhere the time of a batch goes, float32, one thread (with the profiler, so more):\n\n"
        )
        told += "\n\n".join(parts(case) for case in CASES if options.only in case.name) + "\n"
    print(f"\n{told}")
    if options.write is not None:
        heading = "# Speed of the networks against weaver-core 0.5.3\n"
        where = f"Device: {provenance.device(device.type)}. Command: `{provenance.command()}`."
        options.write.write_text(f"{heading}\n{where}\n\n{told}", encoding="utf-8")


if __name__ == "__main__":
    main()
