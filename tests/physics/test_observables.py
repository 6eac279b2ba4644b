"""Observables against scikit-hep's vector event by event, closed forms and symmetries."""

import itertools
import math
from dataclasses import replace
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import pytest
import vector
from hypothesis import given, settings
from hypothesis import strategies as st

from femtobarn.events import Padded
from femtobarn.events.selection.ragged import RaggedObjects
from femtobarn.physics.objects import ANTIMUON, BJET, ELECTRON, JET, MUON, PHOTON, POSITRON
from femtobarn.physics.observables import OBSERVABLES, EventQuantities, observables
from tests.support.sample import make_events

often = settings(max_examples=30, deadline=None, derandomize=True)
CHARGE = {ELECTRON: -1, POSITRON: 1, MUON: -1, ANTIMUON: 1}
FLAVOUR = {ELECTRON: "e", POSITRON: "e", MUON: "mu", ANTIMUON: "mu"}


class Object(NamedTuple):
    kind: int
    pt: float
    eta: float = 0.0
    phi: float = 0.0
    mass: float = 0.0


def padded(*events: list[Object], slots: int = 0) -> Padded:
    """Events spelled out by hand, in the order given, with NaN behind the last object."""
    slots = max(slots, *(len(event) for event in events))
    columns = {name: np.full((len(events), slots), np.nan) for name in ("pt", "eta", "phi", "E")}
    kind, mask = np.full((len(events), slots), 7), np.zeros((len(events), slots), dtype=bool)
    for row, event in enumerate(events):
        for slot, thing in enumerate(event):
            columns["pt"][row, slot], columns["eta"][row, slot], columns["phi"][row, slot] = thing[1:4]
            columns["E"][row, slot] = math.hypot(thing.pt * math.cosh(thing.eta), thing.mass)
            kind[row, slot], mask[row, slot] = thing.kind, True
    return Padded(**columns, kind=kind, mask=mask)


def one(event: list[Object], met: float = 0.0, phi_met: float = 0.0) -> dict[str, float]:
    values = observables(padded(event), np.array([float(met)]), np.array([float(phi_met)]))
    return {name: float(column[0]) for name, column in values.items()}


def by_hand(objects: Padded, met: np.ndarray, phi_met: np.ndarray, row: int) -> dict[str, float]:
    """The observables of one event, by loops over scikit-hep's vector objects."""
    count = int(objects.mask[row].sum())
    numbers = zip(objects.kind[row, :count], *(column[row, :count] for column in objects[:4]), strict=True)
    things: list[tuple[int, Any]] = [
        (int(kind), vector.obj(pt=pt, eta=eta, phi=phi, E=E)) for kind, pt, eta, phi, E in numbers
    ]
    things.sort(key=lambda thing: -thing[1].pt)
    jets = [p for kind, p in things if kind in (JET, BJET)]
    bjets = [p for kind, p in things if kind == BJET]
    leptons = [(kind, p) for kind, p in things if kind in CHARGE]
    pairs = list(itertools.combinations(leptons, 2))
    same = [(a + b).mass for (i, a), (j, b) in pairs if CHARGE[i] == CHARGE[j]]
    z_like = [(a + b).mass for (i, a), (j, b) in pairs if CHARGE[i] != CHARGE[j] and FLAVOUR[i] == FLAVOUR[j]]
    bb = [(a.deltaR(b), (a + b).mass) for a, b in itertools.combinations(bjets, 2)]
    missing: Any = vector.obj(pt=met[row], phi=phi_met[row])
    closest = min(z_like, key=lambda mass: abs(mass - 91.1876), default=0.0)
    lead = leptons[0][1] if leptons else None
    at_rest: Any = vector.obj(px=0, py=0, pz=0, E=0)
    total = sum((p.to_pxpypzenergy() for p in jets), start=at_rest)
    ht_jet, ht_lep = sum(p.pt for p in jets), sum(p.pt for _, p in leptons)
    return {
        "n_jet": len(jets),
        "n_bjet": len(bjets),
        "n_lep": len(leptons),
        "n_electron": sum(FLAVOUR[kind] == "e" for kind, _ in leptons),
        "n_muon": sum(FLAVOUR[kind] == "mu" for kind, _ in leptons),
        "n_photon": sum(kind == PHOTON for kind, _ in things),
        "charge": sum(CHARGE[kind] for kind, _ in leptons),
        "n_ss": len(same),
        "HT": ht_jet + ht_lep,
        "HT_jet": ht_jet,
        "HT_lep": ht_lep,
        "ST": ht_jet + ht_lep + missing.pt,
        "MET": missing.pt,
        "phi_MET": missing.phi,
        "mT": math.sqrt(2 * lead.pt * missing.pt * (1 - math.cos(lead.deltaphi(missing)))) if lead else 0.0,
        "m_ll_os_sf": closest,
        "dm_Z": abs(closest - 91.1876),
        "m_ll_ss": same[0] if same else 0.0,
        "dr_ll_min": min((a.deltaR(b) for (_, a), (_, b) in pairs), default=0.0),
        **{f"pt_jet{n + 1}": jets[n].pt if n < len(jets) else 0.0 for n in range(6)},
        **{f"pt_bjet{n + 1}": bjets[n].pt if n < len(bjets) else 0.0 for n in range(4)},
        **{f"pt_lep{n + 1}": leptons[n][1].pt if n < len(leptons) else 0.0 for n in range(3)},
        "m_jets": total.mass,
        "m_bb": bb[0][1] if bb else 0.0,
        "dr_bb_min": min((r for r, _ in bb), default=0.0),
        "dr_bb_mean": sum(r for r, _ in bb) / max(len(bb), 1),
    }


def test_every_observable_agrees_with_loops_over_vector():
    events = make_events(120, seed=3)
    objects, met, phi_met = events.padded(), events.context.MET.to_numpy(), events.context.phi_MET.to_numpy()
    values = observables(objects, met, phi_met)
    assert (values["n_ss"] > 0).any(), "no event has same-sign leptons"
    assert (values["m_ll_os_sf"] > 0).any(), "no event has a Z candidate"
    for row in range(len(events)):
        expected = by_hand(objects, met, phi_met, row)
        assert expected.keys() == values.keys()
        for name, value in expected.items():
            # mass² of a single jet is E² - p², with the rounding of E²
            assert values[name][row] == pytest.approx(value, rel=1e-7, abs=1e-5), (name, row)


def test_a_z_and_a_same_sign_lepton_by_hand():
    back_to_back = math.sqrt(45 * 45.5)  # m = 2 sqrt(pT1 pT2) at eta = 0
    values = one(
        [
            Object(MUON, 60, 0, 0.5),
            Object(ELECTRON, 45.5, 0, 1.0),
            Object(POSITRON, 45, 0, 1.0 - math.pi),
            Object(ANTIMUON, 10, 0, 0.5),
        ]
    )
    assert values["m_ll_os_sf"] == pytest.approx(2 * back_to_back)
    assert values["dm_Z"] == pytest.approx(abs(2 * back_to_back - 91.1876))
    assert (values["charge"], values["n_lep"], values["n_ss"]) == (0, 4, 2)
    # mu- e-, 0.5 apart: m² = 2 pT pT (1 - cos 0.5)
    assert values["m_ll_ss"] == pytest.approx(math.sqrt(2 * 60 * 45.5 * (1 - math.cos(0.5))))


def test_opposite_sign_of_two_flavours_is_no_z():
    values = one([Object(ELECTRON, 50), Object(ANTIMUON, 45, 0, 3)])
    assert (values["m_ll_os_sf"], values["dm_Z"], values["n_ss"], values["m_ll_ss"]) == (0, 91.1876, 0, 0)


@pytest.mark.parametrize(
    ("event", "channel"),
    [
        ([Object(ELECTRON, 30), Object(MUON, 25)], True),
        ([Object(POSITRON, 30), Object(MUON, 25)], False),
        ([Object(POSITRON, 30), Object(MUON, 25), Object(ELECTRON, 25)], True),
        ([Object(POSITRON, 30), Object(JET, 25), Object(PHOTON, 25)], False),
    ],
)
def test_two_same_sign_or_three_leptons_is_a_cut_on_them(event, channel):
    values = one(event)
    assert ((values["n_lep"] == 2 and abs(values["charge"]) == 2) or values["n_lep"] == 3) == channel


def test_transverse_mass_ends_at_twice_the_lepton_when_balanced():
    assert one([Object(MUON, 40, 1.5, 3.0)], 40, 3.0 - math.pi)["mT"] == pytest.approx(80)
    assert one([Object(MUON, 40, 1.5, 3.0)], 40, 3.0 + 2 * math.pi)["mT"] == pytest.approx(0, abs=1e-6)
    assert one([Object(JET, 40)], 40)["mT"] == 0


def test_leading_objects_are_the_hardest_whatever_their_order():
    event = [Object(JET, 40), Object(BJET, 90), Object(MUON, 33), Object(JET, 70), Object(BJET, 120), Object(BJET, 20)]
    values = one(event)
    assert [values[f"pt_jet{n}"] for n in range(1, 7)] == [120, 90, 70, 40, 20, 0]
    assert [values[f"pt_bjet{n}"] for n in range(1, 5)] == [120, 90, 20, 0]
    assert values["HT"] == 120 + 90 + 70 + 40 + 20 + 33
    assert one(event[::-1]) == values


def test_empty_events_and_no_events():
    values = one([])
    assert {name: value for name, value in values.items() if value} == {"dm_Z": 91.1876}
    for slots in (0, 5):
        nothing = padded([Object(JET, 1)], slots=slots)
        columns = observables(Padded._make(column[:0] for column in nothing), np.zeros(0), np.zeros(0))
        assert columns.keys() == values.keys()
        assert all(column.shape == (0,) for column in columns.values())


@often
@given(st.floats(-10, 10))
def test_turning_the_event_turns_only_phi(angle):
    events = make_events(40, seed=5)
    objects, met, phi_met = events.padded(), events.context.MET.to_numpy(), events.context.phi_MET.to_numpy()
    turned = observables(objects._replace(phi=objects.phi + angle), met, phi_met + angle)
    for name, column in observables(objects, met, phi_met).items():
        if name != "phi_MET":
            np.testing.assert_allclose(turned[name], column, rtol=1e-6, atol=1e-4, err_msg=name)


def test_more_padding_changes_nothing():
    events = make_events(40, seed=6)
    met, phi_met = events.context.MET.to_numpy(), events.context.phi_MET.to_numpy()
    tight, wide = observables(events.padded(), met, phi_met), observables(events.padded(40), met, phi_met)
    for name, column in tight.items():
        np.testing.assert_allclose(wide[name], column, rtol=1e-12, err_msg=name)


def shuffled(events, seed: int):
    """Events whose objects stand in a random order, with two of the same pT."""
    rng = np.random.default_rng(seed)
    counts = ak.num(events.particles)
    order = ak.argsort(ak.unflatten(rng.random(int(ak.sum(counts))), counts), axis=1)
    particles = ak.with_field(events.particles, np.round(events.particles.pt), "pt")[order]
    return replace(events, particles=particles)[rng.permutation(len(events))]


@pytest.mark.parametrize(
    "change", [lambda events: events, lambda events: shuffled(events, 1), lambda events: events[:0]]
)
def test_each_observable_of_ragged_objects_is_bit_by_bit_that_of_all_of_padded_ones(change):
    events = change(make_events(300, seed=8))
    met, phi_met = events.context.MET.to_numpy(), events.context.phi_MET.to_numpy()
    together = observables(events.padded(), met, phi_met)
    assert list(together) == list(OBSERVABLES)
    for name, compute in OBSERVABLES.items():
        alone = compute(EventQuantities(RaggedObjects(events.particles), met, phi_met))
        assert alone.dtype == np.float64, name
        assert alone.tobytes() == together[name].tobytes(), name


def test_observables_agree_with_awkward():
    events = shuffled(make_events(300, seed=9), 2)
    met, phi_met = events.context.MET.to_numpy(), events.context.phi_MET.to_numpy()
    quantities = EventQuantities(RaggedObjects(events.particles), met, phi_met)
    kind, pt = events.particles.kind, events.particles.pt
    is_jet, is_lepton = (kind == JET) | (kind == BJET), (kind >= ELECTRON) & (kind <= ANTIMUON)
    expected = {
        "n_jet": ak.sum(is_jet, axis=1),
        "n_lep": ak.sum(is_lepton, axis=1),
        "HT": ak.sum(pt[is_jet | is_lepton], axis=1),
        "ST": ak.sum(pt[is_jet | is_lepton], axis=1) + events.context.MET,
        "charge": ak.sum(is_lepton & (kind % 2 == 0), axis=1) - ak.sum(is_lepton & (kind % 2 == 1), axis=1),
        "pt_jet1": ak.fill_none(ak.max(pt[is_jet], axis=1), 0),
        "pt_bjet2": ak.fill_none(ak.pad_none(ak.sort(pt[kind == BJET], ascending=False), 2)[:, 1], 0),
    }
    for name, column in expected.items():
        np.testing.assert_allclose(OBSERVABLES[name](quantities), ak.to_numpy(column), rtol=1e-13, err_msg=name)


def test_an_observable_computes_what_it_needs_and_shares_it():
    class Source:
        """Objects that note what they are asked for."""

        def __init__(self) -> None:
            self.chosen: list[tuple[int, ...]] = []

        def count(self, kinds: tuple[int, ...]) -> np.ndarray:
            return np.array([len(kinds)])

        def select(self, kinds: tuple[int, ...]) -> Padded:
            self.chosen.append(kinds)
            return padded([Object(ELECTRON, 50), Object(POSITRON, 40)])

    source = Source()
    quantities = EventQuantities(source, np.array([30.0]), np.array([0.0]))
    assert OBSERVABLES["n_jet"](quantities) == 2
    assert OBSERVABLES["MET"](quantities) == 30
    assert not source.chosen
    for name in ("HT_lep", "charge", "m_ll_os_sf", "dm_Z", "mT"):
        OBSERVABLES[name](quantities)
    assert source.chosen == [(ELECTRON, POSITRON, MUON, ANTIMUON)]
