"""Inspect: numbers against plain Python, and problems that are found."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
from rich.console import Console

from femtobarn.events import concatenate, inspect, show
from femtobarn.events.inspect import Dropped
from femtobarn.inputs import Sizes, make_batch
from femtobarn.models import FCN
from femtobarn.physics.objects import BJET, ELECTRON, JET, MUON, NAMES, PHOTON, SLOTS
from tests.support.sample import make_events

FLOW = [{"cut": "all", "events": 1000, "yield": 545.8}, {"cut": "2LSS or 3L", "events": 130, "yield": 70.9}]
TOLD = {
    "processes": {"tttt": {"cross_section_pb": 0.005458, "generated": 1000, "cut_flow": FLOW}},
    "files": [{"path": "tttt.csv", "sha256": "0" * 64, "events": 40, "skipped": 3}],
}


def test_inspection_agrees_with_plain_python():
    events = replace(make_events(200), luminosity=50.0)
    weight = events.weight.copy()
    weight[::5] *= -1  # every tttt event
    events = replace(events, weight=weight)
    for name, sort in inspect(events, luminosity=100.0).processes.items():
        part = events[events.process == name]
        weights = [2 * w for w in part.weight.tolist()]
        assert sort.events == len(weights)
        assert sort.expected == pytest.approx(sum(weights))
        assert sort.effective == pytest.approx(sum(weights) ** 2 / sum(w * w for w in weights))
        assert sort.negative == sum(w < 0 for w in weights) / len(weights)
        assert sort.hard == len(set(part.hard.tolist()))
        kinds = part.particles.kind.tolist()
        for code in range(1, len(NAMES)):
            assert sort.objects[NAMES[code]] == pytest.approx(sum(k.count(code) for k in kinds) / len(kinds))
        assert sort.most == max(map(len, kinds))
        assert sort.beyond_hardest == Dropped(0, 0)  # there are 14 at most
        lost = [len(k) - sum(min(k.count(code), limit) for code, limit in SLOTS.values()) for k in kinds]
        assert sort.beyond_kinds == Dropped(sum(lost), sum(map(bool, lost)))
        assert sort.ranges["pT"].median == pytest.approx(
            np.median([pt for event in part.particles.pt.tolist() for pt in event])
        )
        assert sort.ranges["MET"].max == max(part.context.MET.tolist())
    masses = ak.to_numpy(ak.flatten(events.particles[events.process == "ttH"].mass))
    assert inspect(events).processes["ttH"].ranges["mass"].max == pytest.approx(masses.max(), rel=1e-6)


def test_copies_of_a_hard_event_are_one_event_to_the_statistics():
    events = make_events(100)
    copied = concatenate([events, replace(events, number=events.number + 1000)])
    once, twice = inspect(events).processes, inspect(copied).processes
    for name, sort in once.items():
        assert twice[name].events == 2 * sort.events
        assert twice[name].effective == pytest.approx(sort.effective)


def test_more_than_eighteen_objects_are_counted():
    events = make_events(3)
    repeated = ak.concatenate([events.particles] * 19, axis=1)
    sorts = inspect(replace(events, particles=repeated)).processes
    for number, name in enumerate(events.process):
        count = 19 * len(events.particles[number])
        assert sorts[name].beyond_hardest == Dropped(count - 18, 1)


def test_slots_by_kind_are_filled_from_the_eighteen_hardest():
    """As in a batch: an electron behind eighteen jets is seen by no model."""
    pt = [[*range(100, 80, -1), 30.0], [50.0, 40.0, 35.0], [25.0]]
    kind = [[JET] * 20 + [ELECTRON], [MUON, PHOTON, MUON], [BJET]]
    particles = ak.zip({"pt": pt, "eta": pt, "phi": pt, "E": pt, "kind": kind}, with_name="Momentum4D")
    particles["eta"] = particles["phi"] = 0.0 * particles["pt"]
    three = replace(make_events(3, processes=("tttt",)), particles=particles)
    batch = make_batch(three, 18)
    kept = FCN(Sizes(11, 0, 3, 2), widths=(2,)).select(batch.momenta, batch.kind, batch.mask).sum((1, 2))
    assert kept.tolist() == [4, 1, 1]
    sort = inspect(three).processes["tttt"]
    assert sort.beyond_hardest == Dropped(3, 1)
    assert sort.beyond_kinds == Dropped(17 + 2, 2)


def test_inspection_shows_generation_and_cut_flow():
    events = replace(make_events(100), provenance=TOLD)
    inspection = inspect(events)
    expected = events.weight[events.process == "tttt"].sum() / 545.8
    assert inspection.generated["tttt"]["efficiency"] == pytest.approx(expected)
    assert inspection.problems == ["3 bad lines left out of tttt.csv"]
    assert [step["yield"] for step in inspection.generated["tttt"]["cut_flow"]] == pytest.approx([545.8, 70.9])
    # all numbers stand for the luminosity that was asked for
    longer = inspect(events, luminosity=300.0).generated["tttt"]
    assert [step["yield"] for step in longer["cut_flow"]] == pytest.approx([3 * 545.8, 3 * 70.9])
    assert longer["efficiency"] == pytest.approx(expected)


def test_good_events_have_no_problems():
    assert inspect(make_events(50)).problems == []


def broken(column: str, value: float):
    events = make_events(20)
    counts = ak.to_numpy(ak.num(events.particles.pt))
    flat = ak.to_numpy(ak.flatten(events.particles[column])).copy()
    flat[counts[:3].sum()] = value
    return replace(events, particles=ak.with_field(events.particles, ak.unflatten(flat, counts), column))


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("pt", np.nan, "NaN or infinity: 1 objects, first in event 3 of ttWW"),
        ("E", -1.0, "negative energy: 1 objects"),
        ("E", 0.5, "energy below |p|"),
        ("kind", 0, "unknown object"),
        ("phi", 3.5, "phi outside [-π, π): 1 objects"),
    ],
)
def test_inspection_lists_bad_objects(column, value, problem):
    assert any(sentence.startswith(problem) for sentence in inspect(broken(column, value)).problems)


def test_inspection_lists_bad_events():
    events = make_events(20)
    doubled = replace(events, number=np.where(events.number == 10, 0, events.number))  # both are tttt
    assert inspect(doubled).problems == ["event number met before in the process: 1 events, first in event 0 of tttt"]
    assert inspect(events[:0]).problems == ["no events at all"]
    bare = replace(events, particles=events.particles[events.particles.pt < 0])
    assert inspect(bare).problems[0].startswith("without any object: 20 events")
    weight = events.weight.copy()
    weight[4] = np.inf
    assert inspect(replace(events, weight=weight)).problems[0].startswith("weight is NaN or infinite: 1 events")


def test_inspection_is_written_as_json_and_printed():
    for events in (replace(make_events(100), provenance=TOLD), broken("pt", np.nan), make_events(5)[:0]):
        inspection = inspect(events)
        assert set(json.loads(inspection.json())["processes"]) == set(events.processes)
        out = io.StringIO()
        show(inspection, Console(file=out, width=150))
        for name in events.processes:
            assert name in out.getvalue()
    out = io.StringIO()
    show(inspect(replace(make_events(100), provenance=TOLD)), Console(file=out, width=150))
    for text in ("Cut flow of tttt", "2LSS or 3L", "13.0%", "0.005458", "problem: 3 bad lines"):
        assert text in out.getvalue()
