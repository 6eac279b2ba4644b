"""The record itself: padding, slicing and joining samples with their provenance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector

from femtobarn.events import concatenate
from tests.support.same_events import assert_same
from tests.support.sample import make_events


def test_particles_are_four_vectors():
    events = make_events(30)
    particle = events.particles[0, 0]
    expected = vector.obj(pt=particle.pt, eta=particle.eta, phi=particle.phi, E=particle.E)
    np.testing.assert_allclose(
        [particle.px, particle.py, particle.pz, particle.mass], [expected.px, expected.py, expected.pz, expected.mass]
    )


@pytest.mark.parametrize("slots", [None, 1, 5, 40])
def test_padding_keeps_the_hardest_in_order(slots):
    events = make_events(50)
    padded = events.padded(slots)
    width = slots or max(len(event) for event in events.particles.pt)
    assert padded.pt.shape == (50, width)
    for row, event in enumerate(events.particles.pt.tolist()):
        expected = sorted(event, reverse=True)[:width]
        assert padded.pt[row, : len(expected)].tolist() == expected
        assert padded.mask[row].tolist() == [True] * len(expected) + [False] * (width - len(expected))
        assert not padded.kind[row, len(expected) :].any()


def test_events_refuse_columns_that_do_not_fit():
    events = make_events(4)
    with pytest.raises(ValueError, match="different lengths"):
        replace(events, weight=np.ones(3))
    with pytest.raises(ValueError, match="particles lack E"):
        replace(events, particles=events.particles[["pt", "eta", "phi", "kind"]])
    with pytest.raises(ValueError, match="context lacks phi_MET; it has MET"):
        replace(events, context=events.context[["MET"]])


def test_slices_and_masks_keep_weights_and_join_to_the_whole():
    events = make_events(40)
    parts = [events[:7], events[np.arange(7, 30)], events[np.arange(40) >= 30]]
    joined = concatenate(parts)
    assert_same(events, joined)
    assert joined.provenance == events.provenance
    np.testing.assert_allclose(joined.expected(36.0).sum(), events.weight.sum() * 0.36)


def test_truth_that_only_one_sample_has_is_left_out_and_recorded():
    events = make_events(6)
    truth = replace(
        events,
        particles=ak.with_field(events.particles, events.particles.kind, "truth_id"),
        context=ak.with_field(events.context, events.weight, "vertices"),
    )
    both = concatenate([truth, events])
    assert both.particles.fields == events.particles.fields
    assert both.context.fields == ["MET", "phi_MET"]
    assert both.provenance["left_out"] == ["truth_id", "vertices"]
    assert both.particles.layout.content.parameter("__record__") == "Momentum4D"


def described(name: str, section: float, generated: int, path: str) -> dict[str, Any]:
    flow = [
        {"cut": "all", "events": generated, "yield": section * 1e5},
        {"cut": "2LSS", "events": generated // 10, "yield": section * 1e4},
    ]
    process = {"cross_section_pb": section, "generated": generated, "cut_flow": flow}
    return {"processes": {name: process}, "files": [{"path": path, "sha256": path}], "seed": 1}


def test_provenance_keeps_cross_sections_cut_flows_and_files():
    events = make_events(4)
    provenances = [described("tttt", 0.005, 100, "a"), described("ttW", 0.4, 300, "b"), described("ttW", 0.3, 200, "c")]
    joined = concatenate(
        [replace(events, provenance=provenance) for provenance in provenances], combine="add"
    ).provenance
    assert [file["path"] for file in joined["files"]] == ["a", "b", "c"]
    assert joined["seed"] == 1
    assert joined["processes"]["tttt"] == provenances[0]["processes"]["tttt"]
    both = joined["processes"]["ttW"]
    assert both["cross_section_pb"] == pytest.approx(0.7)
    assert both["generated"] == 500
    assert [(step["cut"], step["events"]) for step in both["cut_flow"]] == [("all", 500), ("2LSS", 50)]
    assert both["cut_flow"][1]["yield"] == pytest.approx(7000)
    assert len(both["samples"]) == 2
    # what was taken apart and put together again is not counted twice
    again = replace(events, provenance=joined)
    assert concatenate([again, again], combine="add").provenance == joined


def test_joined_provenance_keeps_all_differing_notes():
    events = make_events(4)
    joined = concatenate([replace(events, provenance={"seed": seed}) for seed in (1, 2, 1)])
    assert joined.provenance == {"seed": [1, 2]}


def test_concatenate_refuses_no_samples():
    with pytest.raises(ValueError, match="nothing to concatenate"):
        concatenate([])


def test_events_print_as_one_line():
    assert repr(make_events(30)) == "Events(30 events, 5 processes, 100 fb-1)"
    assert repr(replace(make_events(1), luminosity=36.5)) == "Events(1 event, 1 process, 36.5 fb-1)"


def test_indices_select_events_as_numpy_does():
    events = make_events(10)
    for index in (slice(2, 8, 3), slice(None, None, -1), [4, 1], np.array([-1, 0]), events.weight > 0.01, []):
        part = events[index]
        expected = events.number[index if index else slice(0)] if isinstance(index, list) else events.number[index]
        assert part.number.tolist() == expected.tolist()
        assert part.particles.pt.tolist() == [events.particles.pt[int(number)].tolist() for number in expected]
        assert len(part) == part.n_events == len(expected)
    assert events[-1].number.tolist() == [9]
    assert [events[row].number.item() for row in range(10)] == events.number.tolist()
    with pytest.raises(IndexError, match="event 10 of 10 events"):
        events[10]
