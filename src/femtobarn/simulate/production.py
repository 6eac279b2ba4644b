"""Productions: many runs of generator and detector, spread over processes, resumed where they stopped."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events import Events, concatenate, lhe_info, read_parquet, write_parquet
from femtobarn.events.formats.lhe import hard_numbers
from femtobarn.events.formats.lhe_copy import rewrite_lhe
from femtobarn.events.storage.files import checksum
from femtobarn.simulate.plan import Plan, make_units
from femtobarn.simulate.unit import Source, produce
from femtobarn.simulate.units import UNIT_SIZE, Progress, UnitQueue, claim, run_units, unit_file


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
    claim(folder, fixed_settings(plan, unit_size))
    units = make_units(plan, available, unit_size)
    with tempfile.TemporaryDirectory(dir=None if executor is None else folder) as scratch:
        path = plain(plan.source, Path(scratch).absolute()) if plan.source else None
        work = partial(produce, plan, source=Source(path, available))
        queue = UnitQueue(work, plan.events, plan.target, units, folder.absolute(), progress)
        used = run_units(queue, workers or os.cpu_count() or 1, executor)
    events = merge(plan, [read_parquet(unit_file(folder, unit)) for unit in used], hard)
    write_parquet(events, target, compact=compact)
    shutil.rmtree(folder)
    return events


def fixed_settings(plan: Plan, unit_size: int) -> dict[str, Any]:
    """Settings of a production that a resumed one must share: all but the stopping point."""
    source = checksum(plan.source) if plan.source else None
    settings = {**asdict(plan), "source": source, "unit_size": unit_size}
    return {key: value for key, value in settings.items() if key not in ("events", "target")}


def plain(source: Path, scratch: Path) -> Path:
    """Write the events of the file as Pythia reads them: not compressed, one tag or particle per line."""
    target = scratch / "events.lhe"
    rewrite_lhe(source, target)
    return target


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
