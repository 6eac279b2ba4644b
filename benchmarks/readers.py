"""How fast Dark Machines text is read: MB/s on one core, beside a plain Python loop in the same run.

OMP_NUM_THREADS=1 python benchmarks/readers.py --megabytes 1000
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from femtobarn.events import Events, read_darkmachines, write_darkmachines


def sample(events: int, seed: int = 0) -> Events:
    """Events of the size of four-top events: about a dozen objects."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(11, events) + 1
    total = int(counts.sum())
    pt, eta = 25 + rng.exponential(60, total), rng.normal(0, 1.1, total)
    columns = {
        "pt": pt,
        "eta": eta,
        "phi": rng.uniform(-np.pi, np.pi, total),
        "E": np.hypot(pt * np.cosh(eta), rng.uniform(0, 15, total)),
        "kind": rng.integers(1, 8, total),
    }
    return Events(
        particles=ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts),
        context=ak.zip({"MET": rng.exponential(80, events), "phi_MET": rng.uniform(-np.pi, np.pi, events)}),
        weight=np.full(events, 0.01),
        process=np.full(events, "tttt"),
        number=np.arange(events),
        hard=np.arange(events),
    )


def short(text: str) -> str:
    """A line with six significant digits, as C++ writes it."""
    event, *objects = (field.split(",") for field in text.split(";") if "," in field or field)
    return ";".join(
        ",".join(f"{float(value):.6g}" if "." in value else value for value in field) for field in (event, *objects)
    )


def write(path: Path, megabytes: float, digits: int) -> int:
    """A file of about that size, the same few thousand events over and over with numbers of their own."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as few:
        write_darkmachines(sample(5000), few.name)
        bodies = [line.split(";", 1)[1] for line in Path(few.name).read_text().splitlines()]
    if digits < 17:
        bodies = [short(body) for body in bodies]
    number = 0
    with open(path, "w") as file:
        while file.tell() < megabytes * 1e6:
            file.writelines(f"{number + at};{body}\n" for at, body in enumerate(bodies))
            number += len(bodies)
    return number


def loop(path: Path) -> int:
    """The plain way: a Python loop over lines and objects into lists, then arrays; nothing is checked."""
    codes = {"j": 1, "b": 2, "e-": 3, "e+": 4, "m-": 5, "m+": 6, "g": 7}
    head: list[tuple[int, str, float, float, float]] = []
    counts: list[int] = []
    objects: list[tuple[int, float, float, float, float]] = []
    with open(path) as file:
        for line in file:
            fields = line.rstrip("\n;").split(";")
            head.append((int(fields[0]), fields[1], float(fields[2]), float(fields[3]) / 1000, float(fields[4])))
            counts.append(len(fields) - 5)
            for field in fields[5:]:
                word, energy, pt, eta, phi = field.split(",")
                objects.append((codes[word], float(energy) / 1000, float(pt) / 1000, float(eta), float(phi)))
    flat = np.array(objects)
    names = ("kind", "E", "pt", "eta", "phi")
    ak.unflatten(ak.zip({name: flat[:, i] for i, name in enumerate(names)}, with_name="Momentum4D"), counts)
    return len(head)


def timed(read: Callable[[Path], Any], path: Path) -> tuple[int, float]:
    start = time.process_time()
    result = read(path)
    return (result if isinstance(result, int) else len(result)), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=200, help="size of the file")
    parser.add_argument("--digits", type=int, choices=(6, 17), default=6, help="6 as C++ writes them, 17 for exact")
    parser.add_argument("--no-loop", action="store_true", help="leave out the plain Python loop")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "events.csv")
        written = write(path, chosen.megabytes, chosen.digits)
        size = path.stat().st_size / 1e6
        print(f"{size:.0f} MB, {written} events, {chosen.digits} digits")
        readers: dict[str, Callable[[Path], Any]] = {"femtobarn": read_darkmachines}
        if not chosen.no_loop:
            readers["plain loop"] = loop
        took: dict[str, float] = {}
        for name, read in readers.items():
            found, seconds = timed(read, path)
            assert found == written, f"{name} read {found} events of {written}"
            took[name] = seconds
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name:12s} {size / seconds:7.1f} MB/s  {seconds:6.1f} s of one core  peak {peak:.0f} MB")
        if len(took) > 1:
            print(f"ratio {took['plain loop'] / took['femtobarn']:.1f}")


if __name__ == "__main__":
    main()
