"""Events from plain arrays: ragged and padded arrays give the same events, and errors name event and remedy."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector

from femtobarn.events import Events
from femtobarn.physics.objects import PARTICLE
from tests.support.same_events import assert_same
from tests.support.sample import make_events

EVENTS = make_events(30, seed=3)
PADDED = EVENTS.padded()
EVENT_COLUMNS: dict[str, Any] = {
    "MET": EVENTS.context.MET,
    "phi_MET": EVENTS.context.phi_MET,
    "weight": EVENTS.weight,
    "process": EVENTS.process,
    "number": EVENTS.number,
    "hard": EVENTS.hard,
}
NAMES = ("pt", "eta", "phi", "E", "kind")


def padded_columns(padding: float = 0.0) -> dict[str, Any]:
    columns = {name: getattr(PADDED, name).astype(np.float64) for name in NAMES}
    return {name: np.where(PADDED.mask, column, padding) for name, column in columns.items()} | EVENT_COLUMNS


def ragged_columns() -> dict[str, Any]:
    ordered = EVENTS.particles[ak.argsort(EVENTS.particles.pt, ascending=False)]
    return {name: ordered[name] for name in NAMES} | EVENT_COLUMNS


def changed(columns: dict[str, Any], name: str, value: float, row: int = 4, place: int = 0) -> dict[str, Any]:
    array = np.array(columns[name], dtype=np.float64)
    array[(row, place) if array.ndim == 2 else row] = value
    return columns | {name: array}


def test_ragged_and_padded_arrays_give_the_same_events():
    reference = Events.from_arrays(**ragged_columns())
    layouts = {
        "zeros": padded_columns(0.0),
        "NaN": padded_columns(np.nan),
        "mask": padded_columns(-999.0) | {"mask": PADDED.mask},
        "masked": padded_columns() | {"pt": np.ma.masked_array(PADDED.pt, ~PADDED.mask)},
        "none": {name: ak.pad_none(ragged_columns()[name], 20, clip=True) for name in NAMES} | EVENT_COLUMNS,
        "lists": {name: ragged_columns()[name].tolist() for name in NAMES} | EVENT_COLUMNS,
    }
    for columns in layouts.values():
        assert_same(Events.from_arrays(**columns), reference)
    np.testing.assert_array_equal(reference.padded().E, PADDED.E)
    assert reference.process.tolist() == EVENTS.process.tolist()
    assert ak.num(reference.particles.pt).tolist() == ak.num(EVENTS.particles.pt).tolist()


def test_energy_from_mass_agrees_with_vector():
    columns = ragged_columns()
    del columns["E"]
    events = Events.from_arrays(**columns, mass=5.0)
    expected = vector.zip({"pt": columns["pt"], "eta": columns["eta"], "phi": columns["phi"], "mass": 5.0}).E
    np.testing.assert_allclose(ak.flatten(events.particles.E), ak.flatten(expected), rtol=1e-12)


def test_jets_of_particles_have_defaults_for_everything_else():
    columns = {name: getattr(PADDED, name) for name in ("pt", "eta", "phi", "E")}
    jets = Events.from_arrays(**columns, kind=PARTICLE, tracks={"charge": np.sign(PADDED.eta)}, context={"area": 0.8})
    assert jets.tracks == ("charge",)
    assert set(jets.processes) == {"data"}
    assert jets.number.tolist() == jets.hard.tolist() == list(range(30))
    assert (jets.weight == 1).all()
    assert ak.all(jets.context.MET == 0)
    assert ak.all(jets.context.area == 0.8)


def test_events_without_objects_stay_events():
    empty = np.zeros((2, 0))
    events = Events.from_arrays(pt=empty, eta=empty, phi=empty, E=empty, kind=empty)
    assert len(events) == 2
    assert events.padded().pt.shape == (2, 0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pt", -3.0, r"event 4, object 0: negative pT.*pt -3.*mask"),
        ("eta", np.nan, r"event 4, object 0: NaN or infinity.*eta nan"),
        ("phi", 170.0, r"event 4, object 0: phi outside.*numpy\.radians"),
        ("E", 1.0, r"event 4, object 0: energy below \|p\|.*mass"),
        ("E", 1e12, r"event 4, object 0: energy above.*MeV"),
        ("kind", 14.0, r"event 4, object 0: unknown object.*codes are.*2 b-jet"),
        ("kind", 1.5, r"kind of event 4, object 0 is 1\.5.*codes are"),
        ("pt", 0.0, r"pt of event 4, object 0 is 0.*but E is.*give mask"),
        ("pt", np.nan, r"pt of event 4, object 0 is nan.*but E is.*give mask"),
        ("MET", -1.0, r"event 4: negative MET"),
        ("phi_MET", 90.0, r"event 4: phi_MET outside.*numpy\.radians"),
        ("weight", np.inf, r"event 4: weight is NaN or infinite"),
    ],
)
def test_impossible_values_are_named_with_event_and_remedy(name, value, message):
    with pytest.raises(ValueError, match=message):
        Events.from_arrays(**changed(padded_columns(), name, value))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eta": PADDED.eta[:-1]}, "eta has 29 events, pt has 30"),
        ({"eta": PADDED.eta[:, :-1]}, r"eta has \d+ objects in event 0, pt has \d+"),
        ({"pt": PADDED.pt[0]}, r"pt has 1 axes, not 2; give an array \(events, objects\)"),
        ({"phi": [["a"]]}, "phi is no array of numbers"),
        ({"E": None}, "either E or mass"),
        ({"mass": PADDED.E}, "either E or mass"),
        ({"MET": None, "phi_MET": None}, "MET and phi_MET are missing; events with jets"),
        ({"MET": None}, "MET is missing; MET and phi_MET are given together"),
        ({"weight": np.ones(3)}, r"weight has the shape \(3,\); give one value per event, \(30,\)"),
        ({"number": np.ones(30)}, "number holds float64, not whole numbers"),
        ({"process": np.ones(30)}, "process holds float64, not names"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Events.from_arrays(**padded_columns() | changes)
