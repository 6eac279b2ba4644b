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
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events import Events, concatenate, cutflow, lhe_info, read_parquet, write_parquet
from femtobarn.events.formats.lhe import hard_numbers
from femtobarn.events.formats.lhe_copy import rewrite_lhe
from femtobarn.events.processes import end_with_parent
from femtobarn.events.storage.atomic import atomic_write_bytes
from femtobarn.events.storage.files import checksum
from femtobarn.simulate.detector import reconstruct
from femtobarn.simulate.generator import Generator, Preselection
from femtobarn.simulate.jets import MOST, Jets, find_jets

#: Hard processes of a unit: ten seconds to a minute of work.
UNIT = 10_000

#: Masses of the samples and of the generator must agree, or Pythia shifts the momenta of what it decays.
MASSES = ("6:m0 = 172.5", "25:m0 = 125.0")


@dataclass(frozen=True)
class Plan:
    """What to simulate.

    Args:
        source: a Les Houches file (plain or .gz), or None for a process built into Pythia.
        process: name that the events carry.
        settings: further lines for Pythia: the built-in process (`Top:gg2ttbar = on`), decay channels.
        events: hard processes in all, each copy of a Les Houches event counted; a number to stop at with `target`.
        target: stop as soon as this many events are selected; None to use all of `events`.
        responses: how often the detector answers to each generated event.
        select: selections (`femtobarn.events.selection`), one a step of the cut flow.
        preselection: vetoes in the generator that fit the selections.
        seed: any whole number; the same one gives the same events.
        luminosity: integrated luminosity of the weights in 1/fb.
        cross_section: in pb and with all decays, in place of that of the file or of Pythia.
        jets: in place of collisions, the jets in them: each selected one is an event of its own, with its constituents
            as particles. Its settings stand before `settings`; the detector answers once.
    """

    source: Path | None
    process: str
    settings: tuple[str, ...] = ()
    events: int = 10_000
    target: int | None = None
    responses: int = 1
    select: tuple[str, ...] = ()
    preselection: Preselection = field(default_factory=Preselection)
    seed: int = 1
    luminosity: float = 100.0
    cross_section: float | None = None
    jets: Jets | None = None

    def __post_init__(self) -> None:
        if self.jets is not None and (self.source is not None or self.responses != 1):
            raise ValueError("jets are made of processes built into Pythia, and the detector answers once to each")


class Progress(NamedTuple):
    """Where a production stands."""

    done: int  # hard processes
    total: int
    selected: int
    target: int | None


@dataclass(frozen=True)
class Unit:
    """One piece of work: `count` hard processes from the `start`-th on, all copies of the file counted through."""

    start: int
    count: int


def run(
    plan: Plan,
    output: str | Path,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    compact: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Events:
    """Simulated collisions with weights: what passes the selections, written as Parquet with its cut flow.

    The units are kept in a folder beside the output until the production is complete.

    Args:
        plan: what to simulate.
        output: file to write (`femtobarn.events.write_parquet`).
        workers: processes to use; all cores by default.
        executor: does the work in place of processes of this machine, so many units at a time; it needs to see the
            folder of the output, and the Les Houches file.
        compact: round to what the detector resolves.
        progress: told after every unit.

    Raises:
        ValueError: Pythia refuses a setting, the file has other events than it should or weighted ones, or the folder
            of units belongs to another plan.
        EventError: the Les Houches file is damaged.
    """
    target = Path(output)
    folder = target.with_name(f"{target.name}.units")
    hard = hard_numbers(plan.source) if plan.source else np.zeros(0, dtype=np.int64)
    available = len(hard) if plan.source else plan.events
    claim(folder, plan)
    units = [
        Unit(start, min(UNIT, plan.events - start, available - start % available)) for start in starts(plan, available)
    ]
    with tempfile.TemporaryDirectory(dir=None if executor is None else folder) as scratch:
        source = plain(plan.source, Path(scratch).absolute()) if plan.source else None
        many = workers or os.cpu_count() or 1
        used = work(plan, units, folder.absolute(), source, available, many, progress, executor)
    events = merge(plan, [read_parquet(unit_file(folder, unit)) for unit in used], hard)
    write_parquet(events, target, compact=compact)
    shutil.rmtree(folder)
    return events


def starts(plan: Plan, available: int) -> list[int]:
    """First hard process of each unit; no unit crosses from one copy of the file into the next."""
    return [
        copy + start
        for copy in range(0, plan.events, available)
        for start in range(0, min(available, plan.events - copy), UNIT)
    ]


def unit_file(folder: Path, unit: Unit) -> Path:
    """Where a finished unit is kept."""
    return folder / f"{unit.start:012d}.parquet"


def claim(folder: Path, plan: Plan) -> None:
    """Make the folder of units, or see that it belongs to this very plan (only the stopping point may differ)."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {**asdict(plan), "source": checksum(plan.source) if plan.source else None}
    told = json.loads(json.dumps({key: value for key, value in told.items() if key not in ("events", "target")}))
    file = folder / "plan.json"
    if file.exists():
        known = json.loads(file.read_text())
        different = sorted(key for key in told if told[key] != known.get(key))
        if different:
            raise ValueError(
                f"{folder} holds the begun production of another plan: "
                + ", ".join(f"{key} was {known.get(key)}, is {told[key]}" for key in different)
                + "; remove the folder or choose another output"
            )
    else:
        atomic_write_bytes(file, json.dumps(told).encode())


def plain(source: Path, scratch: Path) -> Path:
    """The events of the file as Pythia reads them: not compressed, a tag or a particle a line."""
    target = scratch / "events.lhe"
    rewrite_lhe(source, target)
    return target


def work(
    plan: Plan,
    units: Sequence[Unit],
    folder: Path,
    source: Path | None,
    available: int,
    workers: int,
    progress: Callable[[Progress], None],
    executor: Executor | None = None,
) -> list[Unit]:
    """Work through the units in order until the target is met; the first ones that meet it together are used."""
    selected: dict[Unit, int] = {}

    def enough() -> list[Unit] | None:
        """The shortest beginning of the list that is complete and meets the target."""
        found = 0
        for number, unit in enumerate(units, start=1):
            if unit not in selected:
                return None
            found += selected[unit]
            if plan.target is not None and found >= plan.target:
                return list(units[:number])
        return list(units)

    def note(unit: Unit, count: int) -> None:
        selected[unit] = count
        done = sum(unit.count for unit in selected)
        progress(Progress(done, plan.events, sum(selected.values()), plan.target))

    for unit in units:
        if unit_file(folder, unit).exists():
            note(unit, len(read_parquet(unit_file(folder, unit))))
    missing = iter([unit for unit in units if unit not in selected])
    used = enough()
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with (
        ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker)
        if executor is None
        else nullcontext(executor)
    ) as pool:
        running: dict[Future[int], Unit] = {}
        try:
            while used is None:
                while len(running) < workers and (upcoming := next(missing, None)) is not None:
                    future = pool.submit(produce, plan, upcoming, unit_file(folder, upcoming), source, available)
                    running[future] = upcoming
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    note(running.pop(future), future.result())
                used = enough()
            wait(running)  # or they would write into a folder that is gone
        except KeyboardInterrupt:
            if isinstance(pool, ProcessPoolExecutor):
                stop_workers(pool, others)
            raise
    return used


def begin_worker() -> None:
    """What a worker does first; Ctrl-C reaches it too, but its parent decides."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop_workers(pool: ProcessPoolExecutor, others: Sequence[object]) -> None:
    """Ends the workers of a pool in the middle of their units, which are made again next time."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in multiprocessing.active_children():
        if process not in others:
            process.terminate()


def produce(plan: Plan, unit: Unit, file: Path, source: Path | None, available: int) -> int:
    """Generate, detect and select the events of one unit into a file; how many there are."""
    seeds = np.random.SeedSequence([plan.seed, unit.start])
    pythia_seed = 1 + int(seeds.generate_state(1)[0]) % 900_000_000
    settings = [*(plan.jets.settings if plan.jets else ()), *plan.settings]
    if source:
        first = unit.start % available
        settings += ["Beams:frameType = 4", f"Beams:LHEF = {source}", f"Beams:nSkipLHEFatInit = {first}"]
    generator = Generator([*MASSES, *settings], pythia_seed, plan.preselection, history=plan.jets is not None)
    random = np.random.default_rng(seeds.spawn(1)[0])
    parts = []
    branching: list[float] = []
    for generated in generator.run(unit.count):
        hard = unit.start + generated.hard
        # Pythia's own cross sections count open decays only
        share = generated.branching if source or plan.cross_section is not None else np.ones(len(hard))
        branching.extend(share)
        if plan.jets is not None:
            particles, context, event, place = find_jets(generated.particles, plan.jets, random)
            hard = hard[event] + offset(plan.seed)
            weight, number = share[event], MOST * hard + place
        else:
            particles, context = reconstruct(generated.particles, random, plan.responses)
            weight = np.tile(share, plan.responses)
            counted = hard + offset(plan.seed)
            number = (np.arange(plan.responses)[:, None] + plan.responses * counted).ravel()
            # showers of an event of the file share its number, whatever the seed
            hard = np.tile(hard % available if source else counted, plan.responses)
        parts.append(
            Events(
                particles=ak.with_name(particles, "Momentum4D"),
                context=context,
                weight=weight,
                process=np.full(len(number), plan.process),
                number=number,
                hard=hard,
                luminosity=plan.luminosity,
            )
        )
    if generator.ended_early():
        raise ValueError(f"{plan.source} ended before hard process {unit.start % available + unit.count}")
    events = concatenate(parts) if parts else nothing(plan)
    flow, passed = cutflow(events, {cut: cut for cut in plan.select})
    selected = events[passed]
    cross_section, error = generator.cross_section()
    told = {
        "generated": unit.count,
        "leptons": generator.veto.after_leptons if plan.preselection.same_sign else unit.count,
        "survived": generator.survived,
        "branching": float(np.mean(branching)) if branching else None,
        "flow": [list(step) for step in flow],
        "cross_section_pb": cross_section,
        "cross_section_error_pb": error,
    }
    write_parquet(replace(selected, provenance={"unit": told}), file)
    return len(selected)


def offset(seed: int) -> int:
    """Where the numbers of a production begin: at 0 for seed 1, elsewhere for others, so that they do not repeat."""
    return (seed - 1) % (1 << 16) << 36


def nothing(plan: Plan) -> Events:
    """No events, with all columns."""
    kinematics = {name: np.zeros(0) for name in ("pt", "eta", "phi", "E")}
    truth = {"kind": np.zeros(0, np.int8), "truth_id": np.zeros(0, np.int32), "prompt": np.zeros(0, np.bool_)}
    particles = ak.unflatten(ak.zip({**kinematics, **truth}, with_name="Momentum4D"), np.zeros(0, np.int64))
    integers = np.zeros(0, np.int64)
    context = ak.zip({"MET": np.zeros(0), "phi_MET": np.zeros(0)})
    return Events(particles, context, np.zeros(0), np.zeros(0, np.str_), integers, integers, plan.luminosity)


def merge(plan: Plan, parts: Sequence[Events], hard: NDArray[np.int64]) -> Events:
    """The units as one sample, with weights that share out cross section x luminosity, and the cut flow of all.

    Args:
        plan: what was simulated.
        parts: the units.
        hard: number of the hard event at each place of the Les Houches file; events that come again at once, which
            Sherpa writes now and then, have the number of the first.
    """
    told = [part.provenance["unit"] for part in parts]
    generated = sum(unit["generated"] for unit in told)
    cross_section, error, origin = rate(plan, told)
    expected = cross_section * 1000 * plan.luminosity
    each = expected / (generated * plan.responses)
    open_fractions = [unit["branching"] for unit in told if unit["branching"] is not None]
    branching = float(np.mean(open_fractions)) if open_fractions else 1.0
    flow = [{"cut": "cross section x luminosity", "events": generated, "yield": expected}]
    if branching < 1:
        flow.append({"cut": "decays left open", "events": generated, "yield": expected * branching})
    vetoes = (("leptons", "leptons before the shower"), ("survived", "partons, leptons after it"))
    for name, what in vetoes if plan.jets is None else ():
        left = sum(unit[name] for unit in told)
        flow.append({"cut": what, "events": left, "yield": expected * branching * left / generated})
    first = "reconstructed" if plan.jets is None else "jets"
    for number, cut in enumerate((first, *plan.select)):
        steps = [unit["flow"][number] for unit in told]
        flow.append(
            {"cut": cut, "events": sum(step[1] for step in steps), "yield": each * sum(step[2] for step in steps)}
        )
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
        weight=events.weight * each,
        hard=hard[events.hard] if plan.source else events.hard,
        provenance={"processes": {plan.process: json.loads(json.dumps(record))}},
    )


def rate(plan: Plan, told: Sequence[dict[str, Any]]) -> tuple[float, float, str]:
    """Cross section of the hard process in pb, its error, and who says so."""
    if plan.cross_section is not None:
        return plan.cross_section, 0.0, "given"
    if plan.source:
        info = lhe_info(plan.source)
        return info.cross_section, info.error, "Les Houches file"
    known = [(unit["cross_section_pb"], unit["cross_section_error_pb"]) for unit in told if unit["cross_section_pb"]]
    if not known:
        raise ValueError("no event was accepted, so Pythia has no cross section; simulate more or veto less")
    values, errors = np.array(known).T
    return float(values.mean()), float(np.sqrt((errors**2).sum()) / len(errors)), "Pythia"
