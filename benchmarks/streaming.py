"""How fast events come from disk.

    pip install --no-deps weaver-core==0.5.3 && pip install --no-deps numba llvmlite
    OMP_NUM_THREADS=1 python benchmarks/streaming.py loader

`loader`: shuffled padded batches of 512 events from Parquet, in events a second of one core (processor time, all
threads together; a single process). Events are those that come along, in copies with numbers of their own. For
weaver-core the same events stand in a Parquet file of the same columns, numbers in place of names of processes, as
pyarrow writes it by default; its loader pads the same objects to the same momenta, kinds and masks. The rounds are
alternated.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import femtobarn
from femtobarn import provenance
from femtobarn.events import Events
from femtobarn.events.shards import write_shards
from femtobarn.events.source import Source
from femtobarn.inputs.stream import Stream

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
    source = Source.open(folder, "train", SLOTS, cache=cache)
    processes = len(source.index.processes)
    stream = Stream(source, list(range(processes)), [1.0] * processes)
    for epoch in range(1, 1_000_000):
        for batch, _, _ in stream.deal(BATCH, seed=1, epoch=epoch):
            yield len(batch)
        yield 0


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("loader")
    one.add_argument("--copies", type=int, default=4, help="of the events that come along")
    one.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(loader(options))


if __name__ == "__main__":
    main()
