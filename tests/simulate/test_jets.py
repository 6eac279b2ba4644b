"""Jets of the simulation: hand-made events for labels and detector, and a few real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")

from typer.testing import CliRunner

import femtobarn
from femtobarn.cli import app
from femtobarn.events import read_parquet
from femtobarn.events.storage.files import checksum
from femtobarn.inputs.feature_sets import check_features
from femtobarn.physics.objects import CHARGED, ELECTRON, MUON, NEUTRAL, PHOTON
from femtobarn.simulate import SOURCES, Jets, Plan, run
from femtobarn.simulate.jets import RESONANCES, ancestors, cluster, labelled
from femtobarn.simulate.particleflow import candidates, impact_resolution, track_momentum_resolution, visible


def row(pdg: int, status: int, mother: int, pt: float, eta: float, phi: float, origin: float = 0.0) -> dict[str, Any]:
    momentum = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "E": pt * np.cosh(eta)}
    return {"id": pdg, "status": status, "final": status > 0, "mother1": mother, **momentum} | {
        "x": origin,
        "y": 0.0,
        "z": 0.0,
    }


def ttbar(eta: float = 0.3) -> list[dict[str, Any]]:
    """A top of quarks within 0.4 around (0.3, 0), and an antitop with one of its quarks elsewhere."""
    return [
        row(90, -11, 0, 1, 0, 0),
        row(2212, -12, 0, 1, 0, 0),
        row(21, -21, 1, 1, 0, 0),
        row(6, -22, 2, 550, 0.3, 0),
        row(-6, -22, 2, 550, -0.3, 3.1),
        row(6, -62, 3, 550, 0.3, 0),  # the same top, recoiled
        row(24, -22, 5, 400, 0.3, 0),
        row(5, -23, 5, 150, eta, 0.3),
        row(2, -23, 6, 200, 0.5, -0.1),
        row(-1, -23, 6, 200, 0.1, 0.1),
        row(-24, -22, 4, 400, -0.3, 3.1),
        row(-5, -23, 4, 150, 2.0, 1.0),
        row(1, -23, 10, 200, -0.3, 3.0),
        row(-2, -23, 10, 200, -0.3, -3.1),
        row(2, -71, 8, 200, 0.5, -0.1),  # a later copy is no outgoing quark
    ]


def test_quarks_are_traced_to_their_resonance():
    events = ak.Array([ttbar(), ttbar()[:5], ttbar()])
    outgoing = (abs(events.status) == 23) & (abs(events.id) < 6)
    expected = [[1, 1, 1, 2, 2, 2], [], [1, 1, 1, 2, 2, 2]]
    assert ancestors(events, outgoing, 6).to_list() == expected
    assert ancestors(events, outgoing, 24).to_list() == [[0, 1, 1, 0, 2, 2], [], [0, 1, 1, 0, 2, 2]]
    assert ancestors(events, outgoing, 25).to_list() == [[0] * 6, [], [0] * 6]


def test_a_top_jet_has_all_its_quarks():
    events = ak.Array([ttbar(), ttbar(eta=1.5), ttbar()])
    eta, phi = ak.Array([[0.3, -0.3], [0.3], []]), ak.Array([[0.0, 3.1], [0.0], []])
    assert labelled(events, Jets("top"), eta, phi).to_list() == [[True, False], [False], []]
    assert labelled(events, Jets("W"), eta, phi).to_list() == [[True, True], [True], []]
    assert labelled(events, Jets("Higgs"), eta, phi).to_list() == [[False, False], [False], []]
    assert labelled(events, Jets("QCD"), eta, phi).to_list() == [[True, True], [True], []]


def test_quarks_and_gluons_are_the_nearest_outgoing_parton():
    event = [row(90, -11, 0, 1, 0, 0), row(21, -23, 0, 550, 0, 0), row(2, -23, 0, 550, 0, 3.0), row(5, -23, 0, 9, 2, 2)]
    eta, phi = ak.Array([[0.1, 0.1, 0.6, 2.0]]), ak.Array([[0.1, -3.2, 0.0, 2.0]])
    assert labelled(ak.Array([event]), Jets("gluon"), eta, phi).to_list() == [[True, False, False, False]]
    assert labelled(ak.Array([event]), Jets("quark"), eta, phi).to_list() == [[False, True, False, False]]


def test_visible_particles_and_their_impact_parameters():
    particles = [
        row(211, 91, 0, 5, 0.5, 0.0, origin=3.0),  # flies on from where it was made: no impact
        row(-211, 91, 0, 5, 0.5, np.pi / 2, origin=3.0),  # across: 3 mm
        row(12, 91, 0, 50, 0, 0),
        row(22, 91, 0, 5, 0, 0, origin=3.0),
        row(130, 91, 0, 5, 4.5, 0),
        row(11, -91, 0, 5, 0, 0),
        row(13, 91, 0, 5, 0, 0),
        row(2112, 91, 0, 5, 0, 0),
    ]
    kept = visible(ak.Array([particles]), 3.0)
    assert kept.kind.to_list() == [[CHARGED, CHARGED, PHOTON, MUON, NEUTRAL]]
    assert kept.charge.to_list() == [[1, -1, 0, -1, 0]]
    np.testing.assert_allclose(kept.d0.to_list(), [[0, 3, 0, 0, 0]], atol=1e-9)
    np.testing.assert_allclose(kept.dz.to_list(), [[-3 * np.sinh(0.5), 0, 0, 0, 0]], atol=1e-9)


def test_the_detector_finds_tracks_and_sums_the_rest_in_cells():
    particles = [row(211, 91, 0, 20, 0.5, 0.3), row(22, 91, 0, 10, 0.205, 1.0), row(22, 91, 0, 10, 0.206, 1.0)]
    particles += [row(2112, 91, 0, 20, -0.5, 2.0), row(12, 91, 0, 20, 0, 0), row(22, 91, 0, 0.2, 1.0, -2.0)]
    constituents = candidates(visible(ak.Array([particles] * 3000), 3.0), np.random.default_rng(0))
    tracks = constituents[constituents.kind == CHARGED]
    pt = np.hypot(*(ak.to_numpy(ak.flatten(tracks[name])) for name in ("px", "py")))
    assert len(pt) / 3000 == pytest.approx(0.95, abs=0.02)
    expected = track_momentum_resolution(np.array([20.0]), np.array([0.5]))[0]
    assert np.std(pt / 20) == pytest.approx(expected, rel=0.1)
    assert expected == pytest.approx(0.34e-3 * np.hypot(20, 44))
    error = impact_resolution(np.array([20.0]), np.array([0.5]))
    assert np.std(ak.flatten(tracks.d0)) == pytest.approx(error[0][0], rel=0.1)
    assert np.std(ak.flatten(tracks.dz)) == pytest.approx(error[1][0], rel=0.1)
    # a pion without a track is a neutral hadron; two photons in a cell are one, of both energies
    assert ak.mean(ak.num(constituents[constituents.kind == NEUTRAL].px)) == pytest.approx(1.05, abs=0.02)
    photons = constituents[constituents.kind == PHOTON]
    assert (ak.num(photons.px) == 1).to_numpy().all()
    assert ak.mean(photons.E) == pytest.approx(20 * np.cosh(0.2055), rel=0.01)
    assert not ak.any(constituents.kind == ELECTRON)
    assert ak.sum(abs(constituents.d0[constituents.charge == 0])) == 0


def test_constituents_are_those_of_their_jet():
    rng = np.random.default_rng(1)
    events = [
        [
            row(211, 91, 0, float(pt), float(rng.normal(side, 0.1)), float(rng.normal(3 * side, 0.1)))
            for pt in (300, 200, 60)
        ]
        for side in (0, 1, 0)
    ]
    both = [events[0] + events[1], events[2], []]
    particles = ak.Array([[{**particle, "tag": place} for particle in event] for place, event in enumerate(both)])
    clustered = cluster(particles, 0.8, 400)
    assert ak.num(clustered, axis=1).to_list() == [2, 1, 0]
    assert ak.num(clustered, axis=2).to_list() == [[3, 3], [3], []]
    np.testing.assert_allclose(ak.flatten(np.hypot(ak.sum(clustered.px, 2), ak.sum(clustered.py, 2))), 560, rtol=0.02)
    assert ak.flatten(clustered.tag, axis=2).to_list() == [[0] * 6, [1] * 3, []]


@pytest.mark.parametrize(("kind", "mass"), [("W", 80.4), ("Higgs", 125.0)])
def test_resonances_show_at_their_mass(kind, mass, tmp_path):
    plan = Plan(None, kind, events=120, jets=Jets(kind, detector=False), settings=("PartonLevel:MPI = off",))
    events = run(plan, tmp_path / "jets.parquet", workers=1)
    assert len(events) > 20
    assert abs(np.median(events.context.jet_mass) - mass) < 12
    assert (events.context.jet_pt >= 500).to_numpy().all()
    assert (events.context.jet_pt < 600).to_numpy().all()
    transverse = ak.sum(events.particles.pt * np.exp(1j * events.particles.phi), axis=1)
    np.testing.assert_allclose(np.abs(transverse), events.context.jet_pt, rtol=1e-6)


def test_the_command_on_the_card_makes_the_same_jets(tmp_path):
    from femtobarn.simulate.card import JET_LIMITS, card

    words = ["simulate", "--jets", "QCD", "--events", "60", "-o", str(tmp_path / "QCD.parquet"), "--workers", "1"]
    assert CliRunner().invoke(app, words).exit_code == 0
    made = read_parquet(tmp_path / "QCD.parquet")
    check_features(made, "full")
    # most tracks come from the collision itself: they miss it by what the detector adds alone
    tracks = ak.flatten(made.particles[made.particles.charge != 0])
    assert abs(np.median(abs(tracks.d0 / tracks.d0_error)) - 0.67) < 0.2
    assert made.processes == ("QCD",)
    assert len(np.unique(made.number)) == len(made) > len(np.unique(made.hard))
    record = made.provenance["processes"]["QCD"]
    assert made.weight.sum() == pytest.approx(record["cut_flow"][-1]["yield"])
    text = card(made, tmp_path / "QCD.parquet", title="QCD", licence="CC0", command="-", limits=JET_LIMITS)
    assert "--jets QCD --jet-pt 500 600 --seed 1" in text


def test_impossible_plans_of_jets_are_refused():
    with pytest.raises(ValueError, match="no jets are called 'charm'; there are top, W"):
        Jets("charm")
    with pytest.raises(ValueError, match="the second must be the larger"):
        Jets("top", 600, 500)
    with pytest.raises(ValueError, match="built into Pythia"):
        Plan(Path("some.lhe"), "top", jets=Jets("top"))
    assert set(RESONANCES) < set(SOURCES)


@pytest.mark.parametrize("name", ["top-tagging", "quark-gluon"])
def test_shipped_jets_are_those_of_their_card(name):
    """Checksum, counts and cut on pT; a top is heavier than QCD, a gluon has more particles than a quark."""
    events = femtobarn.load_sample(name)
    folder = Path(femtobarn.__file__).parent / "data"
    text = (folder / f"{name}.md").read_text(encoding="utf-8")
    assert checksum(folder / f"{name}.parquet") in text
    for process in events.processes:
        assert f"| {process} | {(events.process == process).sum()} |" in text
    pt = events.context.jet_pt.to_numpy()
    assert pt.min() > 499
    assert pt.max() < 601
    check_features(events, "full" if name == "top-tagging" else "kinpid")
    first, second = ("top", "QCD") if name == "top-tagging" else ("gluon", "quark")
    value = events.context.jet_mass if name == "top-tagging" else ak.num(events.particles.pt)
    assert np.median(value[events.process == first]) > 1.2 * np.median(value[events.process == second])
