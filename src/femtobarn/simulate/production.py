"""Productions: many runs of generator and detector, spread over processes, resumed where they stopped.

A production is cut into units of hard processes. Each unit has its own seeds and its own file, so that the result does
not depend on how many workers there are, and a production that was stopped goes on with the units that are missing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events import Events, concatenate, lhe_info, read_parquet, write_parquet
from femtobarn.events.formats.lhe import hard_numbers
from femtobarn.events.formats.lhe_copy import rewrite_lhe
from femtobarn.events.processes import end_with_parent
from femtobarn.events.storage.atomic import atomic_write_bytes
from femtobarn.events.storage.files import checksum
from femtobarn.simulate.plan import UNIT_SIZE, Plan, Progress, Unit, make_units, unit_file
from femtobarn.simulate.unit import Source, produce


def run(
    plan: Plan,
    output: str | Path,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    compact: bool = False,
    unit_size: int = UNIT_SIZE,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Events:
    """Simulated collisions with weights: what passes the selections, written as Parquet with its cut flow.

    The units are kept in a folder beside the output until the production is complete.

    Args:
        plan: what to simulate.
        output: file to write (`femtobarn.events.write_parquet`).
        workers: processes to use; all cores by default.
        executor: does the work in place of processes of this machine, `workers` units at a time; its processes need
            the folder of the output and the Les Houches file.
        compact: round to what the detector resolves.
        unit_size: hard processes of a unit; a production that is resumed needs the size it was begun with.
        progress: called after every unit.

    Raises:
        ValueError: Pythia refuses a setting, the file has other events than it should or weighted ones, or the folder
            of units belongs to another plan.
        EventError: the Les Houches file is damaged.
    """
    target = Path(output)
    folder = target.with_name(f"{target.name}.units")
    hard = hard_numbers(plan.source) if plan.source else np.zeros(0, dtype=np.int64)
    available = len(hard) if plan.source else plan.events
    claim(folder, plan, unit_size)
    queue = UnitQueue(plan, make_units(plan, available, unit_size), folder.absolute(), progress)
    with tempfile.TemporaryDirectory(dir=None if executor is None else folder) as scratch:
        path = plain(plan.source, Path(scratch).absolute()) if plan.source else None
        used = run_units(queue, Source(path, available), workers or os.cpu_count() or 1, executor)
    events = merge(plan, [read_parquet(unit_file(folder, unit)) for unit in used], hard)
    write_parquet(events, target, compact=compact)
    shutil.rmtree(folder)
    return events


def claim(folder: Path, plan: Plan, unit_size: int = UNIT_SIZE) -> None:
    """Make the folder of units, or check that it belongs to this plan; only the stopping point may differ.

    Raises:
        ValueError: the folder belongs to another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = checksum(plan.source) if plan.source else None
    settings = {**asdict(plan), "source": source, "unit_size": unit_size}
    fixed = {key: value for key, value in settings.items() if key not in ("events", "target")}
    settings = json.loads(json.dumps(fixed))
    file = folder / "plan.json"
    if file.exists():
        earlier = {"unit_size": UNIT_SIZE, **json.loads(file.read_text())}
        different = sorted(key for key in settings if settings[key] != earlier.get(key))
        if different:
            raise ValueError(
                f"{folder} holds the begun production of another plan: "
                + ", ".join(f"{key} was {earlier.get(key)}, is {settings[key]}" for key in different)
                + "; remove the folder or choose another output"
            )
    else:
        atomic_write_bytes(file, json.dumps(settings).encode())


def plain(source: Path, scratch: Path) -> Path:
    """Write the events of the file as Pythia reads them: not compressed, one tag or particle per line."""
    target = scratch / "events.lhe"
    rewrite_lhe(source, target)
    return target


@dataclass(frozen=True)
class UnitQueue:
    """The units of a plan in order, and the finished ones among them.

    Args:
        plan: the production.
        units: all units, in the order in which they are used.
        folder: folder of the finished units.
        progress: called after every unit.
        n_selected: selected events of each finished unit.
    """

    plan: Plan
    units: Sequence[Unit]
    folder: Path
    progress: Callable[[Progress], None]
    n_selected: dict[Unit, int] = field(default_factory=dict)

    def finish(self, unit: Unit, n_selected: int) -> None:
        """Count a finished unit."""
        self.n_selected[unit] = n_selected
        done = sum(unit.count for unit in self.n_selected)
        self.progress(Progress(done, self.plan.events, sum(self.n_selected.values()), self.plan.target))

    def sufficient(self) -> list[Unit] | None:
        """The shortest beginning of the list that is complete and meets the target; None if there is none yet."""
        total = 0
        for number, unit in enumerate(self.units, start=1):
            if unit not in self.n_selected:
                return None
            total += self.n_selected[unit]
            if self.plan.target is not None and total >= self.plan.target:
                return list(self.units[:number])
        return list(self.units)


def run_units(queue: UnitQueue, source: Source, n_workers: int, executor: Executor | None = None) -> list[Unit]:
    """Work through the units in order until the target is met; the first ones that meet it together are used."""
    for unit in queue.units:
        if unit_file(queue.folder, unit).exists():
            queue.finish(unit, len(read_parquet(unit_file(queue.folder, unit))))
    missing = iter([unit for unit in queue.units if unit not in queue.n_selected])
    used = queue.sufficient()
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with (
        ProcessPoolExecutor(n_workers, mp_context=context, initializer=start_worker)
        if executor is None
        else nullcontext(executor)
    ) as pool:
        running: dict[Future[int], Unit] = {}
        try:
            while used is None:
                while len(running) < n_workers and (upcoming := next(missing, None)) is not None:
                    file = unit_file(queue.folder, upcoming)
                    running[pool.submit(produce, queue.plan, upcoming, file, source)] = upcoming
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    queue.finish(running.pop(future), future.result())
                used = queue.sufficient()
            wait(running)  # or they would write into a folder that is gone
        except KeyboardInterrupt:
            if isinstance(pool, ProcessPoolExecutor):
                stop_workers(pool, others)
            raise
    return used


def start_worker() -> None:
    """Prepare a worker: it ends with its parent, which handles Ctrl-C for both."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop_workers(pool: ProcessPoolExecutor, others: Sequence[object]) -> None:
    """End the workers of a pool in the middle of their units, which are made again when the production resumes."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in multiprocessing.active_children():
        if process not in others:
            process.terminate()


def merge(plan: Plan, parts: Sequence[Events], hard: NDArray[np.int64]) -> Events:
    """The units as one sample, with weights that share out cross section x luminosity, and the cut flow of all.

    Args:
        plan: what was simulated.
        parts: the units.
        hard: number of the hard event at each place of the Les Houches file; events that come again at once, which
            Sherpa writes now and then, have the number of the first.
    """
    unit_records = [part.provenance["unit"] for part in parts]
    generated = sum(unit["generated"] for unit in unit_records)
    cross_section, error, origin = rate(plan, unit_records)
    expected = cross_section * 1000 * plan.luminosity
    event_weight = expected / (generated * plan.responses)
    open_fractions = [unit["branching"] for unit in unit_records if unit["branching"] is not None]
    branching = float(np.mean(open_fractions)) if open_fractions else 1.0
    flow = [{"cut": "cross section x luminosity", "events": generated, "yield": expected}]
    if branching < 1:
        flow.append({"cut": "decays left open", "events": generated, "yield": expected * branching})
    vetoes = (("leptons", "leptons before the shower"), ("survived", "partons, leptons after it"))
    for name, label in vetoes if plan.jets is None else ():
        left = sum(unit[name] for unit in unit_records)
        flow.append({"cut": label, "events": left, "yield": expected * branching * left / generated})
    first = "reconstructed" if plan.jets is None else "jets"
    for number, cut in enumerate((first, *plan.select)):
        steps = [unit["flow"][number] for unit in unit_records]
        n_events, sum_of_weights = (sum(step[column] for step in steps) for column in (1, 2))
        flow.append({"cut": cut, "events": n_events, "yield": event_weight * sum_of_weights})
    events = concatenate([replace(part, provenance={}) for part in parts])
    settings = asdict(plan)
    settings["source"] = plan.source.name if plan.source else None
    record: dict[str, Any] = {
        "cross_section_pb": cross_section,
        "cross_section_error_pb": error,
        "cross_section_from": origin,
        "branching": branching,
        "generated": generated,
        "cut_flow": flow,
        "simulation": settings,
        "source_sha256": checksum(plan.source) if plan.source else None,
        "repeated_hard_events": int(np.sum(hard != np.arange(len(hard)))),
        "versions": {name: version(name) for name in ("femtobarn", "pythia8mc", "fastjet", "numpy", "awkward")},
    }
    return replace(
        events,
        weight=events.weight * event_weight,
        hard=hard[events.hard] if plan.source else events.hard,
        provenance={"processes": {plan.process: json.loads(json.dumps(record))}},
    )


def rate(plan: Plan, unit_records: Sequence[dict[str, Any]]) -> tuple[float, float, str]:
    """Cross section of the hard process in pb, its error, and its source."""
    if plan.cross_section is not None:
        return plan.cross_section, 0.0, "given"
    if plan.source:
        info = lhe_info(plan.source)
        return info.cross_section, info.error, "Les Houches file"
    sections = [
        (unit["cross_section_pb"], unit["cross_section_error_pb"]) for unit in unit_records if unit["cross_section_pb"]
    ]
    if not sections:
        raise ValueError("no event was accepted, so Pythia has no cross section; simulate more or veto less")
    values, errors = np.array(sections).T
    return float(values.mean()), float(np.sqrt((errors**2).sum()) / len(errors)), "Pythia"
