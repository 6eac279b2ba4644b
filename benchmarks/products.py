"""How fast the two libraries that torch brings along for processors multiply the matrices of a network's layers.

    python benchmarks/products.py --write docs/results/products.md

Every layer asks for three products: its outputs, the slopes of its inputs and those of its weights. Each is computed by
`torch.nn.functional.linear` and its derivatives (MKL, on x86 processors) and by `femtobarn.nn.linear` (oneDNN, where it
is taken), in alternation; what is shown are the medians. The first time that oneDNN meets a shape it writes a program
for it, which is the last column: a layer's share of it is gone when the same number of rows has been seen before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from femtobarn.nn import products
from femtobarn.runs import provenance

#: Rows, inputs and outputs: layers of ParT on 256 events of 12 objects, of their pairs, of the edges of ParticleNet.
SHAPES = (
    (3072, 128, 384),
    (3072, 128, 512),
    (3072, 512, 128),
    (3072, 128, 128),
    (512, 128, 512),
    (16896, 64, 64),
    (34816, 128, 128),
    (34816, 256, 256),
)


def timed(calls: list[Callable[[], Tensor]], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each, the median of alternated rounds; and how much longer the first call took."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for mine, call in zip(seconds, calls, strict=True):
            started = time.perf_counter()
            call()
            mine.append(time.perf_counter() - started)
    medians = [statistics.median(mine[1:]) for mine in seconds]
    return medians, [max(mine[0] - median, 0.0) for mine, median in zip(seconds, medians, strict=True)]


@torch.no_grad()
def line(rows: int, inputs: int, outputs: int, rounds: int) -> str:
    """A row of the table: billion operations a second of each product by either library."""
    x, y = torch.randn(rows, inputs), torch.randn(rows, outputs)
    weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
    pairs: list[list[Callable[[], Tensor]]] = [
        [lambda: nn.functional.linear(x, weight, bias), lambda: products.onednn_linear(x, weight, bias)],
        [lambda: y @ weight, lambda: products.onednn_linear(y, weight.t())],
        [lambda: y.t() @ x, lambda: products.summed(y, x)],
    ]
    cells, writing = [], 0.0
    for calls in pairs:
        seconds, first = timed(calls, rounds)
        cells += [f"{2e-9 * rows * inputs * outputs / each:.0f}" for each in seconds]
        writing += 1e3 * first[1]
    return f"| {rows:,} | {inputs} | {outputs} | {' | '.join(cells)} | {writing:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    tables = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        lines = [
            "| rows | inputs | outputs | outputs, MKL | oneDNN | slope of inputs, MKL | oneDNN | slope of weights, MKL "
            "| oneDNN | first time, ms |",
            "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for shape in SHAPES:
            lines.append(line(*shape, options.rounds))
            print(lines[-1], flush=True)
        tables.append(f"{threads} thread{'s' * (threads > 1)}:\n\n" + "\n".join(lines))
    taken = "takes" if products.onednn_is_faster() else "does not take"
    told = (
        "Products of matrices in float32, billion operations a second.\n\n"
        + "\n\n".join(tables)
        + f"\n\n`femtobarn.nn.linear` {taken} oneDNN on this processor.\n"
    )
    if options.write is not None:
        where = f"Device: {provenance.device('cpu')}. Command: `{provenance.command()}`."
        options.write.write_text(f"# MKL and oneDNN\n\n{where}\n\n{told}", encoding="utf-8")


if __name__ == "__main__":
    main()
