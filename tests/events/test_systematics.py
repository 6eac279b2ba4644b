"""Shifted events: closed formulas, momentum balance, and b-tags counted on the shipped sample."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest

import femtobarn
from femtobarn.events import VARIATIONS, Events, vary
from femtobarn.events.systematics import SOFT_TERM, jet_energy_scale, tag_efficiency
from femtobarn.physics.jets import b_tag_efficiency, b_tag_uncertainty, energy_uncertainty
from femtobarn.physics.objects import BJET, JETS
from tests.support.same_events import assert_same
from tests.support.sample import make_events


@pytest.fixture(scope="module")
def shipped():
    return femtobarn.four_top()


@pytest.fixture(scope="module")
def events(shipped):
    return shipped[::25]


def hand_made(pt: list[float], eta: list[float], kind: list[int], met: float = 50.0) -> Events:
    """One event with massive objects."""
    energy = [np.hypot(p * np.cosh(e), 0.1 * p) for p, e in zip(pt, eta, strict=True)]
    phi = np.linspace(-3, 2, len(pt)).tolist()
    columns = {"pt": [pt], "eta": [eta], "phi": [phi], "E": [energy], "kind": [kind]}
    return Events(
        particles=ak.zip({name: ak.Array(column) for name, column in columns.items()}, with_name="Momentum4D"),
        context=ak.zip({"MET": np.array([met]), "phi_MET": np.array([1.0])}),
        weight=np.ones(1),
        process=np.array(["tttt"]),
        number=np.zeros(1, dtype=np.int64),
        hard=np.zeros(1, dtype=np.int64),
    )


def is_jet(events: Events) -> ak.Array:
    kind = events.particles.kind
    return (kind == JETS[0]) | (kind == JETS[1])


def missing(events: Events, name: str = "MET") -> np.ndarray:
    return np.asarray(ak.to_numpy(events.context[name]))


def total(events: Events) -> np.ndarray:
    """Transverse momentum of MET and all objects: minus that of the soft term."""
    met, phi = missing(events), missing(events, "phi_MET")
    px, py = (ak.to_numpy(ak.sum(component, axis=1)) for component in (events.particles.px, events.particles.py))
    return np.stack([met * np.cos(phi) + px, met * np.sin(phi) + py])


def test_uncertainties_pass_through_the_quoted_values():
    central = energy_uncertainty(np.array([20.0, 250.0, 1500.0, 2500.0]), np.zeros(4))
    np.testing.assert_allclose(central, [0.05, 0.01, 0.01, 0.035], rtol=0.1)
    forward = energy_uncertainty(np.full(3, 80.0), np.array([0.8, 2.3, -2.7]))
    np.testing.assert_allclose(forward**2 - forward[0] ** 2, [0, 0.02**2, 0.02**2], atol=1e-12)
    pt = np.geomspace(20, 600, 50)
    bottom = b_tag_uncertainty(pt, np.full(50, 5))
    assert bottom[0] == pytest.approx(0.08, rel=0.01)
    assert bottom[-1] == pytest.approx(0.01, rel=0.01)
    assert (np.diff(bottom) < 0).all()
    np.testing.assert_array_equal(b_tag_uncertainty(np.full(3, 50.0), np.array([4, 15, 0])), [0.1, 0.1, 0.3])
    for sigmas in (-1, 1):
        for flavour in (0, 4, 5, 15):
            shifted = b_tag_efficiency(pt, np.full(50, flavour)) * (1 + sigmas * b_tag_uncertainty(pt, np.full(50, 5)))
            assert ((shifted > 0) & (shifted < 1)).all()


@pytest.mark.parametrize("name", VARIATIONS)
def test_variation_of_zero_changes_nothing(events, name):
    assert_same(vary(events, name, size=0.0), events)


@pytest.mark.parametrize("name", VARIATIONS)
def test_variation_leaves_other_columns_alone(events, name):
    shifted = vary(events, name)
    kept = ("process", "number", "hard")
    for column in kept if "tag" in name else (*kept, "weight"):
        np.testing.assert_array_equal(getattr(shifted, column), getattr(events, column))
    pt = shifted.particles.pt
    assert ak.all(pt[:, 1:] <= pt[:, :-1])
    assert shifted.particles.fields == events.particles.fields
    if "tag" in name:
        assert_same(replace(shifted, weight=events.weight), events)
        assert not np.allclose(shifted.weight, events.weight, rtol=1e-3)
    else:
        others = [ak.flatten(part.particles.pt[~is_jet(part)]) for part in (shifted, events)]
        np.testing.assert_array_equal(*others)
        assert not np.allclose(missing(shifted), missing(events), rtol=1e-3)
        assert ((missing(shifted, "phi_MET") >= -np.pi) & (missing(shifted, "phi_MET") < np.pi)).all()


def test_jets_scale_with_their_masses_and_others_do_not():
    events = hand_made([300.0, 100.0, 60.0, 30.0], [0.0, 1.0, -2.3, 2.6], [1, 2, 3, 1])
    shifted = jet_energy_scale(events, 1.0)
    size = energy_uncertainty(*(ak.to_numpy(events.particles[name][0]) for name in ("pt", "eta")))
    size[2] = 0
    for name in ("pt", "E", "mass"):
        before, after = (ak.to_numpy(getattr(part.particles, name)[0]) for part in (events, shifted))
        np.testing.assert_allclose(after, before * (1 + size), rtol=1e-9)
    for name in ("eta", "phi", "kind"):
        np.testing.assert_array_equal(shifted.particles[name][0], events.particles[name][0])


def test_jets_change_places_and_fall_out():
    events = hand_made([101.0, 100.0, 20.5], [2.5, 0.0, 0.0], [1, 3, 2])
    assert jet_energy_scale(events, -1.0).particles.kind[0].tolist() == [3, 1]
    assert jet_energy_scale(events, 1.0).particles.kind[0].tolist() == [1, 3, 2]


def test_missing_momentum_balances_the_jets(events):
    plain = total(events)
    np.testing.assert_allclose(total(jet_energy_scale(events, 1.0)), plain, atol=1e-8)
    down = jet_energy_scale(events, -1.0)
    is_complete = ak.to_numpy(ak.num(down.particles) == ak.num(events.particles))
    assert 0.1 < is_complete.mean() < 1
    np.testing.assert_allclose(total(down)[:, is_complete], plain[:, is_complete], atol=1e-8)
    # a dropped jet counts as soft term, which holds its momentum then
    pt, eta = (ak.to_numpy(ak.flatten(events.particles[name])) for name in ("pt", "eta"))
    factor = ak.unflatten(1 - energy_uncertainty(pt, eta), ak.num(events.particles))
    lost = is_jet(events) & (events.particles.pt * factor < 20)
    gone, factor = events.particles[lost], factor[lost]
    expected = [ak.to_numpy(ak.sum(part * factor, axis=1)) for part in (gone.px, gone.py)]
    np.testing.assert_allclose(plain - total(down), expected, atol=1e-8)


def test_up_then_down_is_nothing_to_second_order(events):
    back = jet_energy_scale(jet_energy_scale(events, 1.0), -1.0)
    is_complete = ak.to_numpy(ak.num(back.particles) == ak.num(events.particles))  # but for jets at the threshold
    assert is_complete.mean() > 0.99
    back, events = back[is_complete], events[is_complete]
    for name in ("pt", "E"):
        before, after = (ak.flatten(ak.sort(part.particles[name], axis=1)) for part in (events, back))
        np.testing.assert_allclose(after, before, rtol=2 * 0.055**2)
    once = np.abs(missing(jet_energy_scale(events, 1.0)) - missing(events))
    assert np.abs(missing(back) - missing(events)).mean() < 0.05 * once.mean()
    again = vary(vary(events, "btag_up"), "btag_down").weight / events.weight
    assert np.abs(again - 1).mean() < 0.1 * np.abs(vary(events, "btag_up").weight / events.weight - 1).mean()


def test_soft_term_gets_longer_along_itself(events):
    before, up, down = (-total(part) for part in (events, vary(events, "met_up"), vary(events, "met_down")))
    length = np.hypot(*before)
    np.testing.assert_allclose(up, before * (1 + SOFT_TERM / length), atol=1e-8)
    np.testing.assert_allclose(up + down, 2 * before, atol=1e-8)
    balanced = hand_made([40.0], [0.0], [1], met=40.0)
    balanced = replace(balanced, context=ak.zip({"MET": np.array([40.0]), "phi_MET": balanced.particles.phi[:, 0]}))
    opposite = replace(balanced, context=ak.zip({"MET": np.array([0.0]), "phi_MET": np.array([0.0])}))
    for soft_term in (balanced, opposite):
        assert np.isfinite(missing(vary(soft_term, "met_down"))).all()


@pytest.mark.parametrize(("name", "flavour"), [("btag_up", 5), ("btag_down", 5), ("ctag_up", 4), ("mistag_up", 0)])
def test_tags_of_the_shipped_events_follow_the_shifted_efficiency(shipped, name, flavour):
    """In events with two tags besides, the selection says nothing about the tag of a jet."""
    shifted = vary(shipped, name)
    particles = shipped.particles
    tagged = particles.kind == BJET
    free = is_jet(shipped) & (ak.sum(tagged, axis=1) - tagged >= 2) & (abs(particles.eta) < 2.5)
    free = free & (particles.truth_id == flavour)
    pt = ak.to_numpy(ak.flatten(particles.pt[free]))
    tag = ak.to_numpy(ak.flatten(tagged[free]))
    counts = ak.to_numpy(ak.sum(free, axis=1))
    ratio = np.repeat(shifted.weight / shipped.weight, counts)
    efficiency = b_tag_efficiency(pt, np.full(len(pt), flavour))
    size = b_tag_uncertainty(pt, np.full(len(pt), flavour)) * (1 if name.endswith("up") else -1)
    for weight, wanted in ((np.ones(len(pt)), efficiency), (ratio, efficiency * (1 + size))):
        # each jet is a trial of its own; copies of a hard event have their tags from separate draws
        difference = (weight * (tag - wanted)).sum()
        error = np.sqrt((weight**2 * wanted * (1 - wanted)).sum())
        assert abs(difference) < 4 * error
    change = (ratio * tag).sum() / ratio.sum() - tag.mean()
    assert change == pytest.approx((efficiency * size).mean(), rel=0.15)


def test_weights_of_all_tags_together_are_one():
    """Without a selection on tags, more tags are no more events: the probabilities of all outcomes sum to one."""
    jets = hand_made([90.0, 50.0, 30.0], [0.0, 1.0, 2.6], [1, 1, 1])
    flavours = np.array([5, 5, 5])
    pt = ak.to_numpy(jets.particles.pt[0])
    efficiency = b_tag_efficiency(pt, flavours)
    efficiency[2] = 0  # beyond the tracks
    mean = count = 0.0
    for first in (1, 2):
        for second in (1, 2):
            kind = ak.Array([[first, second, 1]])
            columns = {name: jets.particles[name] for name in ("pt", "eta", "phi", "E")}
            combination = replace(jets, particles=ak.zip(columns | {"kind": kind, "truth_id": ak.Array([[5, 5, 5]])}))
            tags = np.array([first, second]) == 2
            probability = np.where(tags, efficiency[:2], 1 - efficiency[:2]).prod()
            weight = tag_efficiency(combination, 1.0, (5,)).weight[0]
            mean += probability * weight
            count += probability * weight * tags.sum()
    assert mean == pytest.approx(1)
    size = b_tag_uncertainty(pt, flavours)[:2]
    assert count == pytest.approx((efficiency[:2] * (1 + size)).sum())


def test_missing_truth_and_unknown_variations_are_named():
    with pytest.raises(ValueError, match="truth column 'truth_id'"):
        vary(make_events(5), "btag_up")
    with pytest.raises(ValueError, match="no variation is called 'jer_up'; there are jes_up"):
        vary(make_events(5), "jer_up")
    vary(make_events(5), "jes_up")


@pytest.mark.parametrize("name", VARIATIONS)
def test_no_events_stay_no_events(events, name):
    assert len(vary(events[:0], name)) == 0
