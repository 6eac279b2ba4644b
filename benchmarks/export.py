"""Speed of exported files against the same networks in PyTorch, on the same events, alternated in one process.

    python benchmarks/export.py --write docs/results/export.md

The networks have their published sizes and random weights. Both sides take events of the shipped four-top sample and
return scores and probabilities: the exported file by onnxruntime as `femtobarn score` runs it, and PyTorch as
`femtobarn evaluate` runs a trained network. Both sort events by their number of objects. Files of networks that keep
Lorentz symmetry take float64, as the networks do. First their scores are
compared; then they are timed in alternation. The ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import femtobarn
from femtobarn.events import Events
from femtobarn.export import Facts, Scorer
from femtobarn.export.graph import Graph, write
from femtobarn.inputs import Inputs, make_batch
from femtobarn.models import Network, model_spec
from femtobarn.runs import provenance
from femtobarn.tasks.classification.classifier import Classifier, classifier_of
from femtobarn.tasks.classification.config import ClassificationConfig
from femtobarn.training.inference import predict_outputs

SLOTS = 18

#: Largest difference of a score between the two.
TOLERANCE = 1e-4


class Case(NamedTuple):
    """A network of its published size."""

    label: str
    model: str
    interactions: tuple[str, ...] = ()


CASES = (
    Case("ParT", "part", ("kt", "z", "delta", "mass2")),
    Case("ParticleNet", "particlenet"),
    Case("LLoCa-Transformer", "lloca-transformer"),
)


class Timing(NamedTuple):
    """Seconds of the rounds of a network."""

    case: Case
    torch: list[float]
    exported: list[float]
    difference: float  # of a score, at most
    write_seconds: float

    @property
    def ratio(self) -> float:
        """Speed of the exported file in units of PyTorch's."""
        return statistics.median(self.torch) / statistics.median(self.exported)


def build_network(case: Case, events: Events, task: Classifier) -> Network:
    """A network with random weights whose features are fitted to the events."""
    torch.manual_seed(1)
    inputs = Inputs(case.interactions).fit(make_batch(events, SLOTS))
    architecture = model_spec(case.model).build(inputs.sizes(task.outputs))
    return Network(inputs, architecture).eval()


def facts_of(case: Case, task: Classifier) -> Facts:
    """The metadata of a file that nobody keeps."""
    return Facts(
        label=case.label,
        model=case.model,
        seed=1,
        signal=task.signal,
        background=task.background,
        classes=task.names,
        slots=SLOTS,
        interactions=case.interactions,
        temperature=1.0,
        weights="",
        data="",
        version="",
        types={},
        units={},
        precision="float64" if model_spec(case.model).momenta_dtype == torch.float64 else "float32",
    )


def measure(case: Case, events: Events, rounds: int, threads: int, folder: Path) -> Timing:
    """Time both on all events, `rounds` times."""
    task = classifier_of(ClassificationConfig(signal=("tttt",)), events)
    network = build_network(case, events, task)
    path = folder / f"{case.model}.onnx"
    started = time.perf_counter()
    write(Graph(network, task, SLOTS), facts_of(case, task), path)
    write_seconds = time.perf_counter() - started
    scorer = Scorer.load(path, threads=threads)

    def by_torch() -> np.ndarray:
        batch = make_batch(events, SLOTS, model_spec(case.model).momenta_dtype)
        return task.predict(predict_outputs(network, batch))["score"]

    def by_file() -> np.ndarray:
        return scorer.score(events)["score"]

    difference = float(np.abs(by_torch() - by_file()).max())  # and both have met all shapes
    if not difference <= TOLERANCE:
        raise SystemExit(f"{case.label}: scores differ by {difference:.1e}")
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds):
        for column, function in zip(seconds, (by_torch, by_file), strict=True):
            column.append(elapsed(function))
    return Timing(case, *seconds, difference, write_seconds)


def elapsed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def table(timings: list[Timing], n_events: int) -> str:
    """The timings in Markdown."""
    rows = [
        "| network | PyTorch, events/s | exported file, events/s | ratio | largest difference of a score | export, s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for timing in timings:
        speeds = (n_events / statistics.median(seconds) for seconds in (timing.torch, timing.exported))
        numbers = " | ".join(f"{speed:,.0f}" for speed in speeds)
        rows.append(
            f"| {timing.case.label} | {numbers} | {timing.ratio:.2f} | {timing.difference:.1e} | "
            f"{timing.write_seconds:.0f} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2048, help="events that each round scores")
    parser.add_argument("--rounds", type=int, default=7, help="alternated rounds; medians are reported")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="part of the name of a network")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    every = femtobarn.load_sample("four-top")
    events = every[np.linspace(0, len(every) - 1, options.events).astype(np.int64)]
    timings = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if options.only.lower() in case.label.lower():
                timings.append(measure(case, events, options.rounds, options.threads, Path(folder)))
                print(table(timings[-1:], len(events)).splitlines()[-1], flush=True)
    text = (
        f"{table(timings, len(events))}\n\n{len(events)} events of the four-top sample per round, {SLOTS} slots, "
        f"{options.threads} thread{'s' * (options.threads > 1)}; medians of {options.rounds} alternated rounds.\n"
    )
    print(f"\n{text}")
    if options.write is not None:
        where = f"Device: {provenance.device('cpu')}. Command: `{provenance.command()}`."
        heading = "# Speed of exported files against PyTorch\n"
        options.write.write_text(f"{heading}\n{where}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
