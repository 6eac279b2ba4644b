"""The detector against its published numbers, closed formulas and hand-made events."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest

pytest.importorskip("fastjet")

from femtobarn.physics import objects
from femtobarn.physics.jets import b_tag_efficiency
from femtobarn.simulate import detector
from femtobarn.simulate.detector import reconstruct

MANY = 4000


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def particle(
    pdg: int, pt: float, eta: float, phi: float, *, final: bool = True, hadronic: bool = False
) -> dict[str, Any]:
    momentum = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "E": pt * np.cosh(eta)}
    return {"id": pdg, "final": final, "hadronic": hadronic, **momentum}


def copies(*particles: dict[str, Any], count: int = MANY) -> ak.Array:
    return ak.Array([list(particles)] * count)


def jet(pt: float, eta: float, phi: float) -> list[dict[str, Any]]:
    """Ten pions close together."""
    return [particle(211, pt / 10, eta + 0.01 * (i - 4.5), phi, hadronic=True) for i in range(10)]


def chosen(measured: ak.Array, kinds: tuple[int, ...]) -> ak.Array:
    keep = np.isin(ak.to_numpy(ak.flatten(measured.kind)), kinds)
    return ak.unflatten(keep, ak.num(measured, axis=1))


def test_resolutions_pass_through_the_published_values():
    central = np.zeros(2)
    np.testing.assert_allclose(detector.jet_resolution(np.array([20.0, 300.0]), central), [0.24, 0.06], atol=0.002)
    z_muon = np.array([45.0, 45.0])
    np.testing.assert_allclose(detector.muon_resolution(z_muon, np.array([0.5, 2.4])), [0.023, 0.029], rtol=1e-6)
    # 10 % / sqrt(E) rules a slow electron, the constant term a fast one
    electrons = detector.electromagnetic_resolution(np.array([1.0, 1e6]), np.zeros(2))
    np.testing.assert_allclose(electrons, [0.101, 0.007], rtol=0.01)


@pytest.mark.parametrize("eta", [0.0, 1.0, 2.0, 3.0, 4.2])
def test_jets_are_measured_better_at_higher_momentum(eta):
    pt = np.linspace(20, 1000, 200)
    assert (np.diff(detector.jet_resolution(pt, np.full_like(pt, eta))) < 0).all()


def test_b_tagging_is_the_70_percent_working_point():
    pt = np.linspace(40, 200, 50)
    tagged = {flavour: b_tag_efficiency(pt, np.full_like(pt, flavour)).mean() for flavour in (5, 4, 15, 0)}
    assert tagged[5] == pytest.approx(0.70, abs=0.02)
    assert 1 / tagged[4] == pytest.approx(8, abs=1.5)
    assert 1 / tagged[15] == pytest.approx(36)
    assert 1 / tagged[0] == pytest.approx(350, abs=50)


def test_every_probability_is_one():
    pt, eta = (grid.ravel() for grid in np.meshgrid(np.geomspace(0.1, 5000, 60), np.linspace(-5, 5, 101)))
    for response in (
        detector.electron_efficiency,
        detector.muon_efficiency,
        detector.photon_efficiency,
        detector.charge_flip,
        detector.track_efficiency,
        *(lambda pt, eta, f=f: b_tag_efficiency(pt, np.full_like(pt, f)) for f in (0, 4, 5, 15)),
    ):
        values = response(pt, eta)
        assert (values >= 0).all()
        assert (values <= 1).all()
        np.testing.assert_allclose(values, response(pt, -eta))


@pytest.mark.parametrize(
    ("pdg", "efficiency", "resolution"),
    [
        (11, detector.electron_efficiency, lambda pt, eta: detector.electromagnetic_resolution(pt * np.cosh(eta), eta)),
        (-13, detector.muon_efficiency, detector.muon_resolution),
        (22, detector.photon_efficiency, lambda pt, eta: detector.electromagnetic_resolution(pt * np.cosh(eta), eta)),
    ],
)
def test_isolated_particles_are_found_and_smeared_as_the_formulas_say(pdg, efficiency, resolution):
    pt, eta = np.array([60.0]), np.array([0.7])
    measured, _ = reconstruct(copies(particle(pdg, 60, 0.7, 1.0)), rng())
    lepton = measured[chosen(measured, (*objects.LEPTONS, objects.PHOTON))]
    expected = efficiency(pt, eta)[0]
    error = np.sqrt(expected * (1 - expected) / MANY)
    assert ak.mean(ak.num(lepton)) == pytest.approx(expected, abs=4 * error)
    ratio = ak.to_numpy(ak.flatten(lepton.pt)) / 60
    assert ratio.std() == pytest.approx(resolution(pt, eta)[0], rel=4 / np.sqrt(2 * len(ratio)))
    assert ratio.mean() == pytest.approx(1, abs=4 * ratio.std() / np.sqrt(len(ratio)))


def test_jets_are_smeared_as_the_formula_says():
    measured, _ = reconstruct(copies(*jet(100, 0.3, -2.0)), rng())
    ratio = ak.to_numpy(ak.flatten(measured.pt)) / 100
    expected = detector.jet_resolution(np.array([100.0]), np.array([0.3]))[0]
    assert len(ratio) == MANY
    assert ratio.std() == pytest.approx(expected, rel=0.05)


def test_electron_charges_flip_at_the_stated_rate():
    events = copies(particle(11, 150, 2.4, 0.0), count=40_000)
    measured, _ = reconstruct(events, rng())
    kinds = ak.to_numpy(ak.flatten(measured[chosen(measured, objects.ELECTRONS)].kind))
    rate = detector.charge_flip(np.array([150.0]), np.array([2.4]))[0]
    flipped = (kinds == objects.POSITRON).mean()
    assert flipped == pytest.approx(rate, abs=4 * np.sqrt(rate / len(kinds)))


def test_a_lepton_in_a_jet_is_not_isolated():
    inside = copies(*jet(100, 0.0, 0.0), particle(13, 20, 0.05, 0.05, hadronic=True), count=200)
    measured, _ = reconstruct(inside, rng())
    assert ak.sum(chosen(measured, objects.LEPTONS)) == 0


def test_an_electron_is_not_a_jet_as_well():
    measured, _ = reconstruct(copies(particle(11, 80, 0.2, 0.0), count=500), rng())
    assert ak.all(ak.num(measured) == 1)  # an electron, or, where it was not identified, its jet
    assert 0.8 < ak.mean(chosen(measured, objects.ELECTRONS)) < 0.95


@pytest.mark.parametrize(("pdg", "flavour"), [(521, 5), (421, 4), (15, 15), (211, 0), (5122, 5), (4122, 4)])
def test_a_jet_has_the_flavour_of_the_hadron_in_it(pdg, flavour):
    hadron = particle(pdg, 40, 0.1, 0.1, final=False)
    far = particle(521, 40, 0.1, 2.0, final=False)
    measured, _ = reconstruct(copies(*jet(60, 0.0, 0.0), hadron, far, count=50), rng())
    assert set(ak.flatten(measured.truth_id).to_list()) == {flavour}


def test_missing_momentum_balances_visible_objects():
    # one stiff muon against nothing: the imbalance is the muon itself, wherever it was found
    measured, missing = reconstruct(copies(particle(13, 50, 0.5, 1.0), count=500), rng())
    has_muon = ak.num(measured) == 1
    np.testing.assert_allclose(missing.MET[has_muon], ak.flatten(measured.pt[has_muon]), rtol=1e-9)
    np.testing.assert_allclose(missing.phi_MET[has_muon], 1.0 - np.pi, rtol=1e-9)
    # back-to-back jets: only their resolution is left
    _, dijet = reconstruct(copies(*jet(100, 0.0, 0.0), *jet(100, 0.0, np.pi - 1e-3), count=2000), rng())
    expected = np.sqrt(2) * 100 * detector.jet_resolution(np.array([100.0]), np.array([0.0]))[0]
    signed = np.sqrt(np.mean(dijet.MET**2))
    assert signed == pytest.approx(expected, rel=0.1)


def test_neutrinos_leave_no_trace_and_muons_no_jet():
    measured, missing = reconstruct(copies(particle(14, 100, 0.0, 0.0), count=20), rng())
    assert ak.sum(ak.num(measured)) == 0
    assert ak.all(missing.MET == 0)
    measured, _ = reconstruct(copies(particle(13, 100, 0.0, 0.0), count=200), rng())
    assert ak.sum(chosen(measured, objects.JETS)) == 0


def test_acceptance_ends_where_it_should():
    outside = [particle(11, 100, 2.6, 0.0), particle(11, 100, 1.45, 1.0), particle(13, 100, 2.6, 2.0)]
    measured, _ = reconstruct(copies(*outside, *jet(100, 3.5, -2.0), count=100), rng())
    assert ak.sum(chosen(measured, objects.LEPTONS)) == 0
    assert ak.max(abs(measured.eta)) < detector.JET_ETA
    assert ak.min(measured.pt) > detector.LEPTON_PT


def test_the_same_seed_gives_the_same_events_and_responses_differ():
    events = copies(*jet(100, 0.0, 0.0), particle(13, 50, 1.0, 2.0), count=20)
    first, second = (reconstruct(events, rng(), responses=3) for _ in range(2))
    assert ak.array_equal(first[0], second[0])
    assert len(first[0]) == 60
    met = ak.to_numpy(first[1].MET).reshape(3, 20)
    assert len(np.unique(met)) == 60


def test_charges_are_those_of_the_particle_data_group():
    numbers = ak.Array([[11, -11, 22, 211], [-321, 2212, 130, 3112]])
    assert detector.charge_of(numbers).to_list() == [[-3, 3, 0, 3], [-3, 3, 0, -3]]
