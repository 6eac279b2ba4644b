"""Truth of measured jets: matching by hand, masses against FastJet, and the shipped sample."""

from __future__ import annotations

from functools import cache
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector

import femtobarn
from femtobarn.events import Events, cutflow, read_parquet, write_parquet
from femtobarn.simulate.generated_jets import generated_jet_columns, groomed_and_ungroomed
from tests.support.jets import massless

RADIUS = 0.8


def particles(*rows: tuple[float, float, float]) -> list[dict[str, float]]:
    """Massless particles of given pT, eta and phi."""
    return [dict(zip(("px", "py", "pz", "E"), momentum, strict=True)) for momentum in massless(*np.array(rows).T)]


@cache
def top_tagging() -> Events:
    return femtobarn.load_sample("top-tagging")


def of_process(name: str, column: str) -> Any:
    events = top_tagging()
    values = events.context[column].to_numpy()[events.process == name]
    return values[np.isfinite(values)]


def test_truth_is_of_the_nearest_generated_jet_within_half_a_radius():
    near = particles((300, 0.1, 3.1), (200, -0.1, -3.1))  # both sides of ±π
    soft = particles((280, 0.3, -2.8))
    far = particles((500, 0.5, 0.0))
    generated = ak.Array([[soft, near], [], [far], [near]])
    event = np.array([0, 1, 2, 2, 3])
    eta, phi = np.array([0.0, 0.0, 0.0, 0.2, 0.0]), np.array([-3.12, 0.0, 0.0, 0.0, 0.0])
    columns = generated_jet_columns(generated, event, eta, phi, RADIUS)
    mass = np.sqrt(2 * 300 * 200 * (np.cosh(0.2) - np.cos(6.2)))
    pt = np.hypot(300 * np.cos(3.1) + 200 * np.cos(3.1), 300 * np.sin(3.1) - 200 * np.sin(3.1))
    np.testing.assert_allclose(columns["gen_jet_pt"], [pt, np.nan, np.nan, 500, np.nan], rtol=1e-12)
    np.testing.assert_allclose(columns["gen_jet_mass"], [mass, np.nan, np.nan, 0, np.nan], atol=1e-4)
    np.testing.assert_allclose(columns["gen_jet_groomed_mass"], [mass, np.nan, np.nan, 0, np.nan], atol=1e-4)


def test_measured_jets_without_any_generated_jet_have_no_truth():
    nothing = ak.Array([particles((1, 0, 0))])[:, np.newaxis][:, :0]
    columns = generated_jet_columns(nothing, np.zeros(2, np.int64), np.zeros(2), np.zeros(2), RADIUS)
    assert all(np.isnan(values).tolist() == [True, True] for values in columns.values())
    columns = generated_jet_columns(nothing, np.zeros(0, np.int64), np.zeros(0), np.zeros(0), RADIUS)
    assert all(values.shape == (0,) for values in columns.values())


@pytest.mark.filterwarnings("ignore:dcut and exclusive jets")
def test_groomed_and_ungroomed_masses_are_those_of_fastjet():
    fastjet = pytest.importorskip("fastjet")
    vector.register_awkward()
    constituents = femtobarn.load_sample("quark-gluon").particles[:60]
    jets = ak.zip({name: getattr(constituents, name) for name in ("px", "py", "pz", "E")}, with_name="Momentum4D")
    groomed_mass, momentum = groomed_and_ungroomed(jets, RADIUS)
    sequence = fastjet.ClusterSequence(jets, fastjet.JetDefinition(fastjet.cambridge_algorithm, 100.0))
    ungroomed = sequence.exclusive_jets(n_jets=1)[:, 0]
    groomed = sequence.exclusive_jets_softdrop_grooming(njets=1, beta=0, symmetry_cut=0.1, R0=RADIUS)
    np.testing.assert_allclose(groomed_mass, np.ravel(groomed.msoftdrop), rtol=1e-5, atol=1e-4)
    for column, name in enumerate(("px", "py", "pz", "E")):
        np.testing.assert_allclose(momentum[:, column], ungroomed[name].to_numpy(), rtol=1e-9)
    assert np.mean(groomed_mass < 0.8 * np.sqrt(np.maximum(ungroomed.m2, 0))) > 0.3


def test_truth_is_without_detector_and_neutrinos_and_draws_no_random_numbers():
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    from femtobarn.simulate.jets import Jets, find_jets
    from femtobarn.simulate.particleflow import candidates, visible

    rows = particles((300, 0.1, 0.2), (240, -0.1, 0.0), (100, 0.0, 0.1))
    common = {"final": True, "status": 91, "mother1": 0, "x": 0.0, "y": 0.0, "z": 0.0}
    event = [row | common | {"id": pdg} for row, pdg in zip(rows, (211, 22, 12), strict=True)]
    events = ak.Array([event] * 40)
    generator, other = np.random.default_rng(3), np.random.default_rng(3)
    _, context, _, _ = find_jets(events, Jets("QCD"), generator)
    candidates(visible(events, 2.0 + 2 * RADIUS), other)
    assert generator.bit_generator.state == other.bit_generator.state
    assert len(context) > 20
    pion, photon = rows[:2]
    expected = np.hypot(pion["px"] + photon["px"], pion["py"] + photon["py"])
    np.testing.assert_allclose(context.gen_jet_pt, expected, rtol=1e-9)
    assert np.std(context.jet_pt) > 1
    _, context, _, _ = find_jets(events, Jets("QCD", detector=False), generator)
    assert len(context) == 40
    for name in ("pt", "mass"):
        np.testing.assert_allclose(context[f"gen_jet_{name}"], context[f"jet_{name}"], rtol=1e-9)


def test_measured_jets_have_the_momentum_of_the_generated_ones():
    context = top_tagging().context
    response = (context.jet_pt / context.gen_jet_pt).to_numpy()
    response = response[np.isfinite(response)]
    low, median, high = np.quantile(response, [0.16, 0.5, 0.84])
    assert 0.97 < median < 1.03
    assert 0.005 < (high - low) / 2 < 0.05


def test_groomed_generated_masses_peak_at_the_top_and_the_w():
    """Most top jets keep all three quarks after soft drop; W bosons are seen where the b quark is dropped."""
    mass = of_process("top", "gen_jet_groomed_mass")
    counts, edges = np.histogram(mass, np.arange(40, 260, 5))
    centres = (edges[1:] + edges[:-1]) / 2
    peak = centres[counts.argmax()]
    assert 165 < peak < 180
    is_low = centres < 100  # above it the tail of the top peak rises
    assert 75 < centres[is_low][counts[is_low].argmax()] < 90
    assert np.median(mass) > 3 * np.median(of_process("QCD", "gen_jet_groomed_mass"))
    for process in ("top", "QCD"):  # grooming takes momentum away
        assert (of_process(process, "gen_jet_groomed_mass") <= of_process(process, "gen_jet_mass") * 1.001).all()


def test_selections_cut_on_truth_and_remove_jets_without_it(tmp_path):
    events = top_tagging()[:50]
    truth = events.context.gen_jet_pt.to_numpy().copy()
    truth[::10] = np.nan
    events.context["gen_jet_pt"] = truth
    write_parquet(events, tmp_path / "jets.parquet", compact=True)
    events = read_parquet(tmp_path / "jets.parquet")
    _, passed = cutflow(events, {cut: cut for cut in ("gen_jet_pt > 0", "gen_jet_groomed_mass < 1000")})
    assert passed.tolist() == np.isfinite(truth).tolist()
    np.testing.assert_allclose(events.context.gen_jet_pt, truth, rtol=2**-12)
