"""One unit of a production: generate, detect and select its events into a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events import Events, concatenate, cutflow, write_parquet
from femtobarn.simulate.detector import reconstruct
from femtobarn.simulate.generator import Generated, Generator
from femtobarn.simulate.jets import MAX_JETS_PER_EVENT, Jets, find_jets
from femtobarn.simulate.plan import Plan
from femtobarn.simulate.units import Unit, first_number

#: Masses of the samples and of the generator must agree, or Pythia shifts the momenta of what it decays.
MASSES = ("6:m0 = 172.5", "25:m0 = 125.0")


class Source(NamedTuple):
    """The Les Houches file of a production, as Pythia reads it.

    Args:
        path: the file, plain; None for a process built into Pythia.
        n_events: number of hard processes in it; in the plan where there is no file.
    """

    path: Path | None
    n_events: int


def produce(plan: Plan, unit: Unit, file: Path, source: Source) -> int:
    """Generate, detect and select the events of one unit into a file.

    Returns:
        the number of selected events.

    Raises:
        ValueError: the Les Houches file has fewer events than expected.
    """
    seeds = np.random.SeedSequence([plan.seed, unit.start])
    pythia_seed = 1 + int(seeds.generate_state(1)[0]) % 900_000_000
    settings = [*MASSES, *(plan.jets.settings if plan.jets else ()), *plan.settings]
    if source.path:
        first = unit.start % source.n_events
        settings += ["Beams:frameType = 4", f"Beams:LHEF = {source.path}", f"Beams:nSkipLHEFatInit = {first}"]
    generator = Generator(settings, pythia_seed, plan.preselection, history=plan.jets is not None)
    random = np.random.default_rng(seeds.spawn(1)[0])
    parts: list[Events] = []
    branching: list[float] = []
    for generated in generator.run(unit.count):
        # Pythia's own cross sections count open decays only
        has_decays = source.path is not None or plan.cross_section is not None
        open_fraction = generated.branching if has_decays else np.ones(len(generated.hard))
        branching.extend(open_fraction)
        generated = generated._replace(hard=unit.start + generated.hard, branching=open_fraction)
        parts.append(
            _collisions(plan, generated, source, random)
            if plan.jets is None
            else _jets(plan, generated, plan.jets, random)
        )
    if generator.ended_early():
        raise ValueError(f"{plan.source} ended before hard process {unit.start % source.n_events + unit.count}")
    events = concatenate(parts) if parts else no_events(plan)
    flow, passed = cutflow(events, {cut: cut for cut in plan.select})
    selected = events[passed]
    cross_section, error = generator.cross_section()
    record = {
        "generated": unit.count,
        "leptons": generator.veto.after_leptons if plan.preselection.same_sign else unit.count,
        "survived": generator.survived,
        "branching": float(np.mean(branching)) if branching else None,
        "flow": [list(step) for step in flow],
        "cross_section_pb": cross_section,
        "cross_section_error_pb": error,
    }
    write_parquet(replace(selected, provenance={"unit": record}), file)
    return len(selected)


def _collisions(plan: Plan, generated: Generated, source: Source, random: np.random.Generator) -> Events:
    """Collisions as the detector measures them, once per response."""
    particles, context = reconstruct(generated.particles, random, plan.responses)
    counted = generated.hard + first_number(plan.seed)
    number = (np.arange(plan.responses)[:, None] + plan.responses * counted).ravel()
    # showers of an event of the file share its number, whatever the seed
    hard = np.tile(generated.hard % source.n_events if source.path else counted, plan.responses)
    weight = np.tile(generated.branching, plan.responses)
    return _sample(plan, particles, context, weight=weight, number=number, hard=hard)


def _jets(plan: Plan, generated: Generated, jets: Jets, random: np.random.Generator) -> Events:
    """Jets of the collisions, each an event of its own."""
    particles, context, event, place = find_jets(generated.particles, jets, random)
    hard = generated.hard[event] + first_number(plan.seed)
    number = MAX_JETS_PER_EVENT * hard + place
    return _sample(plan, particles, context, weight=generated.branching[event], number=number, hard=hard)


def _sample(
    plan: Plan,
    particles: ak.Array,
    context: ak.Array,
    *,
    weight: NDArray[np.float64],
    number: NDArray[np.int64],
    hard: NDArray[np.int64],
) -> Events:
    """Events of the process of a plan."""
    return Events(
        particles=ak.with_name(particles, "Momentum4D"),
        context=context,
        weight=weight,
        process=np.full(len(number), plan.process),
        number=number,
        hard=hard,
        luminosity=plan.luminosity,
    )


def no_events(plan: Plan) -> Events:
    """An empty sample with all columns."""
    kinematics = {name: np.zeros(0) for name in ("pt", "eta", "phi", "E")}
    truth = {"kind": np.zeros(0, np.int8), "truth_id": np.zeros(0, np.int32), "prompt": np.zeros(0, np.bool_)}
    particles = ak.unflatten(ak.zip({**kinematics, **truth}, with_name="Momentum4D"), np.zeros(0, np.int64))
    integers = np.zeros(0, np.int64)
    context = ak.zip({"MET": np.zeros(0), "phi_MET": np.zeros(0)})
    return Events(particles, context, np.zeros(0), np.zeros(0, np.str_), integers, integers, plan.luminosity)
