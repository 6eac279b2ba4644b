"""How fast events come from disk, and that memory does not grow with them.

    pip install --no-deps weaver-core==0.5.3 && pip install --no-deps numba llvmlite
    OMP_NUM_THREADS=1 python benchmarks/streaming.py loader --write docs/results/loader.md
    OMP_NUM_THREADS=1 python benchmarks/streaming.py memory --gigabytes 1 10 --write docs/results/memory.md

`loader`: shuffled padded batches of 512 events from Parquet, in events a second of one core (processor time, all
threads together; a single process). Events are those that come along, in copies with numbers of their own. For
weaver-core the same events stand in Parquet files of the same columns, numbers in place of names of processes, as
pyarrow writes them by default; its loader pads the same objects to the same momenta, kinds and masks. The rounds are
alternated.

`memory`: the events that come along are prepared, and grown to a data set of so many GB by copies of their shards. A
tiny network is trained on it for an epoch, without a cache, in a process that may not take more than --limit GB of data
beyond what it has with the libraries loaded (RLIMIT_DATA, which the readers inherit). The table shows the largest
resident memory of that process before and during the training, and of its readers together; libraries and shared
memory count in each process that has them.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import femtobarn
from femtobarn.events import Events
from femtobarn.events.shards.index import fingerprint_of
from femtobarn.events.shards.sharded_split import ShardedSplit
from femtobarn.events.shards.writing import write_shards
from femtobarn.inputs import Batch
from femtobarn.inputs.datasets import ShardedDataset
from femtobarn.inputs.event_columns import EventColumns
from femtobarn.runs import provenance
from femtobarn.training import TrainingConfig, fit
from femtobarn.training.dataloader import make_loader
from femtobarn.training.task import NetworkCall

SLOTS, BATCH = 18, 512

#: Files that weaver-core reads, one at a time.
FILES = 5

#: Nearly all events in one side, so that this is what is measured.
SHARES = {"train": 0.98, "validation": 0.01, "test": 0.01}

#: Events a second of a core that are asked for.
GOAL = 200_000

WEAVER = """
new_variables:
  px: pt * np.cos(phi)
  py: pt * np.sin(phi)
  pz: pt * np.sinh(eta)
  mask: ak.ones_like(pt)
inputs:
  vectors: {length: 18, pad_mode: constant, vars: [[px, null], [py, null], [pz, null], [E, null]]}
  kinds: {length: 18, pad_mode: constant, vars: [[kind, null]]}
  real_mask: {length: 18, pad_mode: constant, vars: [[mask, null]]}
  context: {length: null, vars: [[MET, null], [phi_MET, null]]}
labels: {type: simple, value: [%s]}
monitor_variables: [weight]
"""


def copies(count: int) -> Iterator[Events]:
    """The events that come along, over and over with numbers of their own."""
    events = replace(femtobarn.four_top(), provenance={})
    for copy in range(count):
        shift = copy * (int(max(events.number.max(), events.hard.max())) + 1)
        for start in range(0, len(events), 10_000):
            piece = events[start : start + 10_000]
            yield replace(piece, number=piece.number + shift, hard=piece.hard + shift)


def ours(folder: Path, cache: Path | None) -> Iterator[int]:
    """Sizes of the batches of one epoch after the other."""
    dataset = sharded(folder, "train")
    settings = TrainingConfig(batch_size=BATCH, num_workers=0, cache=False if cache is None else str(cache))
    loader = make_loader(dataset, ProcessOf(dataset.processes), settings, torch.device("cpu"), seed=1)
    for epoch in range(1, 1_000_000):
        for batch, _ in loader.batches(epoch):
            yield len(batch)
        yield 0


def sharded(folder: Path, name: str) -> ShardedDataset:
    """Events of all processes in a folder of shards."""
    split = ShardedSplit.open(folder, name, SLOTS)
    return ShardedDataset(split, tuple(split.index.processes), {})


def theirs(folder: Path) -> Iterator[int]:
    """The same of weaver-core."""
    logging.disable(logging.INFO)
    from weaver.utils.dataset import SimpleIterDataset

    events = list(copies(1))
    names = sorted({name for piece in events for name in piece.processes})
    table = pa.concat_tables([flat(piece, names) for piece in events])
    table = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    files = [folder / f"{number}.parquet" for number in range(FILES)]
    for number, file in enumerate(files):
        pq.write_table(table.slice(len(table) * number // FILES, len(table) // FILES), file)
    config = folder / "data.yaml"
    config.write_text(WEAVER % ", ".join(f"is_{name}" for name in names))
    # whole files at a time: its faster way, and parts of files stop in its padding
    dataset = SimpleIterDataset(
        {"_": list(map(str, files))},
        str(config),
        for_training=True,
        fetch_by_files=True,
        fetch_step=1,
        async_load=False,
        name="train",
    )
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH)
    while True:
        for inputs, _, _ in loader:
            yield len(inputs["real_mask"])
        yield 0


def flat(events: Events, names: list[str]) -> pa.Table:
    """Events as weaver-core reads them."""
    columns: dict[str, Any] = {
        name: ak.to_arrow(events.particles[name], extensionarray=False) for name in ("pt", "eta", "phi", "E", "kind")
    }
    columns |= {name: ak.to_numpy(events.context[name]) for name in ("MET", "phi_MET")}
    columns |= {f"is_{name}": (events.process == name).astype(np.int32) for name in names}
    return pa.table(columns | {"weight": events.weight})


def speed(batches: Iterator[int]) -> float:
    """Events a second of processor time, over one epoch."""
    begun, count = time.process_time(), 0
    while size := next(batches):
        count += size
    return count / (time.process_time() - begun)


def loader(options: argparse.Namespace) -> str:
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_shards(copies(options.copies), folder / "set", SHARES, shards=options.copies)
        runs = {
            "femtobarn, Parquet": ours(folder / "set", None),
            "femtobarn, cache": ours(folder / "set", folder / "cache"),
        }
        missing = ""
        try:
            runs["weaver-core 0.5.3, Parquet"] = theirs(folder)
            speed(runs["weaver-core 0.5.3, Parquet"])  # numba compiles
        except ImportError as error:
            del runs["weaver-core 0.5.3, Parquet"]
            missing = f"\nweaver-core's loader was not measured ({error})."
        speed(runs["femtobarn, cache"])  # which this fills
        found: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, batches in runs.items():
                found[name].append(speed(batches))
    lines = ["| loader | events/s of a core | lowest to highest | times weaver-core |", "|---|---:|---:|---:|"]
    base = found.get("weaver-core 0.5.3, Parquet")
    for name, speeds in found.items():
        ratio = f"{statistics.median(a / b for a, b in zip(speeds, base, strict=True)):.1f}" if base else ""
        lines.append(f"| {name} | {statistics.median(speeds):.0f} | {min(speeds):.0f} to {max(speeds):.0f} | {ratio} |")
    asked = (
        f"asked: {GOAL} from Parquet. Median of {options.rounds} alternated rounds, batches of {BATCH}, {SLOTS} slots."
    )
    return "\n".join([*lines, "", f"{asked} {provenance.processor()}.{missing}"])


def grown(folder: Path, gigabytes: float, small: Path) -> int:
    """A folder of so many GB, made of copies of the training shards of a small one; its training events."""
    index = json.loads((small / "index.json").read_text())
    shutil.copytree(small, folder)
    shards = list(index["sides"]["train"])
    size = sum(shard["bytes"] for shard in shards)
    for copy in range(1, max(1, round(gigabytes * 1e9 / size))):
        for number, shard in enumerate(shards):
            file = f"train/{copy:04d}-{number:04d}.parquet"
            shutil.copyfile(small / shard["file"], folder / file)
            index["sides"]["train"].append({**shard, "file": file})
    index["fingerprint"] = fingerprint_of(index)
    (folder / "index.json").write_text(json.dumps(index))
    return sum(sum(map(sum, shard["groups"])) for shard in index["sides"]["train"])


class Tiny(torch.nn.Module):
    """Four numbers of an event to its classes: next to nothing beside the reading."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, classes)

    def forward(self, batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = self.layer(batch.momenta.sum(1) / 1000)
        return logits


class ProcessOf:
    """Task: one class per process, with the cross-entropy as loss."""

    columns: tuple[str, ...] = ()

    def __init__(self, processes: Sequence[str]) -> None:
        self.processes = processes

    def weight_factors(self, absolute_weights: Mapping[str, float]) -> dict[str, float]:
        return dict.fromkeys(self.processes, 1 / sum(absolute_weights.values()))

    def targets(self, columns: EventColumns) -> tuple[torch.Tensor, ...]:
        return torch.from_numpy(columns.process), torch.from_numpy(columns.weight).float()

    def loss(self, network: NetworkCall, batch: Batch, targets: tuple[torch.Tensor, ...]) -> torch.Tensor:
        labels, weights = targets
        losses = torch.nn.functional.cross_entropy(network(batch), labels, reduction="none")
        return (losses * weights).mean()


def trained(folder: Path, limit: float, readers: int) -> dict[str, float]:
    """An epoch on a folder of shards under a limit of memory: events, seconds, peaks of memory in MB."""
    torch.set_num_threads(1)
    train, valid = sharded(folder, "train"), sharded(folder, "validation")
    settings = TrainingConfig(epochs=1, batch_size=2048, threads=1, device="cpu", num_workers=readers)
    begun = status("self")["VmRSS"]
    most = int(status("self")["VmData"] * 1024 + limit * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # readers inherit it
    task = ProcessOf(train.processes)
    for epoch in fit(Tiny(len(train.processes)), task, train, valid, settings, seed=1):
        children = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
        worker_peaks = [status(pid)["VmHWM"] / 1024 for pids in children for pid in pids]
        seconds = epoch.seconds
    peak = status("self")["VmHWM"] / 1024
    found = {"events": len(train), "seconds": seconds, "begun": begun / 1024, "peak": peak}
    return found | {"readers": sum(worker_peaks)}


def status(process: str) -> dict[str, int]:
    """Memory of a process in kB, as Linux tells it."""
    lines = Path("/proc", process, "status").read_text().splitlines()
    return {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "kB" in value}


def memory(options: argparse.Namespace) -> str:
    lines = [
        "| data on disk | events | before the training | peak | peak of the readers | events/s |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        small = Path(place) / "small"
        write_shards(copies(1), small, SHARES)
        for gigabytes in options.gigabytes:
            folder = Path(place) / "grown"
            grown(folder, gigabytes, small)
            size = sum(path.stat().st_size for path in folder.rglob("*.parquet")) / 1e9
            call = [sys.executable, __file__, "one", str(folder), "--limit", str(options.limit)]
            done = subprocess.run(
                [*call, "--readers", str(options.readers)], check=True, capture_output=True, text=True
            )
            told = json.loads(done.stdout)
            sizes = " | ".join(f"{told[name]:.0f} MB" for name in ("begun", "peak", "readers"))
            pace = told["events"] / told["seconds"]
            lines.append(f"| {size:.2f} GB | {told['events']:.0f} | {sizes} | {pace:.0f} |")
            print(lines[-1], file=sys.stderr, flush=True)
            shutil.rmtree(folder)
    limit = f"at most {options.limit:g} GB of data in each process beyond its start"
    return "\n".join([*lines, "", f"One epoch each, readers: {options.readers}, {limit}. {provenance.processor()}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    pace = verbs.add_parser("loader")
    pace.add_argument("--copies", type=int, default=4, help="of the events that come along")
    pace.add_argument("--rounds", type=int, default=5)
    space = verbs.add_parser("memory")
    space.add_argument("--gigabytes", type=float, nargs="+", default=[0.2, 0.5, 1.0], help="of data on disk")
    space.add_argument("--folder", type=Path, help="for the data; that of temporary files if not given")
    one = verbs.add_parser("one", help="called by `memory`")
    one.add_argument("data", type=Path)
    for verb in (space, one):
        verb.add_argument("--limit", type=float, default=1.0, help="GB of data in memory")
        verb.add_argument("--readers", type=int, default=1)
    for verb in (pace, space):
        verb.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    if options.verb == "one":
        print(json.dumps(trained(options.data, options.limit, options.readers)))
        return
    told = (loader if options.verb == "loader" else memory)(options)
    print(told)
    if options.write is not None:
        title = "Events from disk" if options.verb == "loader" else "Memory of a training from disk"
        about = next(part for part in str(__doc__).split("\n\n") if part.startswith(f"`{options.verb}`"))
        about = about.partition(": ")[2].strip()
        about = about[0].upper() + about[1:]
        told = f"# {title}\n\nCommand: `OMP_NUM_THREADS=1 {provenance.command()}`.\n\n{about}\n\n{told}\n"
        provenance.atomic_write_text(options.write, told)


if __name__ == "__main__":
    main()
