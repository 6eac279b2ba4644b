"""Random but physical events for tests of mechanics (never for a claim about physics)."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np

from femtobarn.events import Events

PROCESSES = ("tttt", "ttH", "ttW", "ttWW", "ttZ")


def make_events(
    count: int = 64,
    seed: int = 0,
    processes: tuple[str, ...] = PROCESSES,
    max_objects: int = 14,
    *,
    first: int | None = None,
) -> Events:
    """Events with 1 to `max_objects` objects of every type, steeply falling pT, central eta; tttt is harder and busier.

    The first event has `first` objects, if that is given.
    """
    rng = np.random.default_rng(seed)
    process = np.array(processes)[np.arange(count) % len(processes)]
    harder = np.where(process == processes[0], 1.6, 1.0)
    counts = np.clip(rng.poisson(np.minimum(8 * harder, max_objects)), 1, max_objects)
    if first is not None:
        counts[0] = first
    total = int(counts.sum())
    pt = 25 + rng.exponential(60, total) * np.repeat(harder, counts)
    eta = np.clip(rng.normal(0, 1.1, total), -2.5, 2.5)
    mass = np.where(rng.random(total) < 0.7, rng.uniform(2, 15, total), 0.000511)
    phi = rng.uniform(-np.pi, np.pi, total)
    columns = {
        "pt": pt,
        "eta": eta,
        "phi": phi,
        "E": np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2),
        "kind": rng.choice(np.arange(1, 8), total, p=[0.5, 0.25, 0.06, 0.06, 0.06, 0.06, 0.01]).astype(np.int8),
    }
    particles = ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts)
    return Events(
        particles=particles,
        context=ak.zip({"MET": rng.exponential(80, count), "phi_MET": rng.uniform(-np.pi, np.pi, count)}),
        weight=rng.uniform(0.5, 1.5, count) * 0.01,
        process=process,
        number=np.arange(count, dtype=np.int64),
        hard=np.arange(count, dtype=np.int64) // 2,
        provenance={"seed": seed},
    )


def in_single(events: Events) -> Events:
    """The same events with numbers that float32 holds, as the columns of exported files do."""

    def rounded(records: ak.Array) -> dict[str, ak.Array]:
        single = ak.values_astype(records, np.float32)
        return {name: ak.values_astype(single[name], np.float64) for name in records.fields if name != "kind"}

    return replace(
        events,
        particles=ak.zip(rounded(events.particles) | {"kind": events.particles.kind}, with_name="Momentum4D"),
        context=ak.zip(rounded(events.context)),
    )
