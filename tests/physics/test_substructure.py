"""Jet observables against FastJet and its contributions, loops by hand, closed forms and what must not change them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector

from femtobarn.physics import substructure
from femtobarn.physics.clustering import POWERS, cluster, rapidity
from femtobarn.physics.grooming import delta_r, filtered, mass, mass_drop, soft_drop, transverse
from femtobarn.physics.objects import CHARGED, ELECTRON, NEUTRAL, PHOTON
from femtobarn.physics.substructure import (
    IDENTIFIED,
    KINEMATIC,
    angularity,
    charges,
    correlators,
    identified,
    kinematic,
    n_subjettiness,
)
from tests.support.jets import make_jets, massless, prongs

SAFE = ("mass", "mass_softdrop", "tau1", "tau2", "e2", "e3", "C1_02", "girth", "LHA", "thrust", "C2")


def ragged(momenta: Any, mask: Any) -> ak.Array:
    flat = momenta[mask]
    columns = {name: flat[:, index] for index, name in enumerate(("px", "py", "pz", "E"))}
    vector.register_awkward()
    return ak.unflatten(ak.zip(columns, with_name="Momentum4D"), mask.sum(axis=1))


def components(jets: ak.Array) -> Any:
    return np.stack([ak.to_numpy(jets[name]) for name in ("px", "py", "pz", "E")], axis=-1)


@pytest.mark.parametrize("algorithm", POWERS)
def test_mergings_are_those_of_fastjet(algorithm):
    fastjet = pytest.importorskip("fastjet")
    momenta, mask = make_jets(60, max_particles=40, seed=1)
    tree = cluster(momenta, mask, algorithm)
    name = {"kt": "kt_algorithm", "cambridge_aachen": "cambridge_algorithm", "antikt": "antikt_algorithm"}[algorithm]
    wide = fastjet.JetDefinition(getattr(fastjet, name), 100.0)
    theirs = fastjet.ClusterSequence(ragged(momenta, mask), wide).jets()
    for jet, count in enumerate(mask.sum(axis=1)):
        made = components(theirs[jet])[count : 2 * count - 1]
        np.testing.assert_allclose(tree.momenta[jet, tree.slots : tree.slots + count - 1], made, rtol=1e-9, atol=1e-9)
        assert tree.mergings[jet] == count - 1


@pytest.mark.filterwarnings("ignore:dcut and exclusive jets")  # of kt jets too
def test_subjets_are_the_exclusive_ones_of_fastjet():
    fastjet = pytest.importorskip("fastjet")
    momenta, mask = make_jets(40, seed=2, fewest=4)
    tree = cluster(momenta, mask, "kt")
    sequence = fastjet.ClusterSequence(ragged(momenta, mask), fastjet.JetDefinition(fastjet.kt_algorithm, 100.0))
    for count in (1, 2, 3, 4):
        theirs = sequence.exclusive_jets(n_jets=count)
        mine = tree.subjets(count)
        for jet in range(40):
            one, other = mine[jet], components(theirs[jet])
            np.testing.assert_allclose(one[np.argsort(one[:, 3])], other[np.argsort(other[:, 3])], rtol=1e-9)


def test_chunks_and_gaps_change_nothing():
    """Constituents may stand anywhere among padding, and jets be clustered a few at a time."""
    momenta, mask = make_jets(30, seed=3)
    order = np.random.default_rng(0).permutation(mask.shape[1])
    whole = kinematic(momenta, mask)
    pieces = kinematic(momenta[:, order], mask[:, order], chunk_distances=1)
    for name in KINEMATIC:
        np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(("beta", "z_cut"), [(0.0, 0.1), (1.0, 0.1), (2.0, 0.2)])
def test_soft_drop_is_that_of_fastjet(beta, z_cut):
    fastjet = pytest.importorskip("fastjet")
    momenta, mask = make_jets(80, seed=4, fewest=2)
    mine = soft_drop(cluster(momenta, mask, "cambridge_aachen"), z_cut=z_cut, beta=beta)
    definition = fastjet.JetDefinition(fastjet.cambridge_algorithm, 100.0)
    sequence = fastjet.ClusterSequence(ragged(momenta, mask), definition)
    theirs = sequence.exclusive_jets_softdrop_grooming(njets=1, beta=beta, symmetry_cut=z_cut, R0=0.8)
    found = {name: np.ravel(theirs[f"{name}softdrop"]) for name in ("m", "pt", "pz", "E")}
    np.testing.assert_allclose(mass(mine.momentum), found["m"], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(transverse(mine.momentum), found["pt"], rtol=1e-9)
    np.testing.assert_allclose(mine.momentum[:, 2:], np.stack([found["pz"], found["E"]], axis=-1), rtol=1e-9)
    z, delta_r = (np.ravel(theirs[name]) for name in ("symmetrysoftdrop", "deltaRsoftdrop"))
    np.testing.assert_allclose(mine.z[mine.passed], z[mine.passed], rtol=1e-9)
    np.testing.assert_allclose(mine.delta_r[mine.passed], delta_r[mine.passed], rtol=1e-9)
    assert mine.passed.sum() > 60


@pytest.mark.parametrize("count", [1, 2, 3])
def test_subjettiness_is_that_of_fastjet(count):
    fastjet = pytest.importorskip("fastjet")
    momenta, mask = make_jets(60, seed=5, fewest=4)
    mine = n_subjettiness(momenta, mask, cluster(momenta, mask, "kt").subjets(count))
    definition = fastjet.JetDefinition(fastjet.kt_algorithm, 100.0)
    sequence = fastjet.ClusterSequence(ragged(momenta, mask), definition)
    theirs = sequence.njettiness(axes_definition="KT_Axes", njets=(count,), beta=1.0, R0=0.8)
    np.testing.assert_allclose(mine, np.ravel(ak.to_numpy(theirs)), rtol=1e-9)


def test_correlators_are_loops_over_constituents():
    momenta, mask = make_jets(15, max_particles=12, seed=6)
    for beta in (0.2, 1.0, 2.0):
        e2, e3 = correlators(momenta, mask, beta=beta)
        for jet in range(len(mask)):
            chosen = [vector.obj(px=p[0], py=p[1], pz=p[2], E=p[3]) for p in momenta[jet][mask[jet]]]
            total = sum(p.pt for p in chosen)

            def apart(one: Any, other: Any, beta: float = beta) -> float:
                return float(math.hypot(one.rapidity - other.rapidity, one.deltaphi(other)) ** beta)

            two = sum(a.pt * b.pt * apart(a, b) for a, b in itertools.combinations(chosen, 2)) / total**2
            three = sum(
                a.pt * b.pt * c.pt * apart(a, b) * apart(a, c) * apart(b, c)
                for a, b, c in itertools.combinations(chosen, 3)
            )
            assert e2[jet] == pytest.approx(two, rel=1e-9, abs=1e-12)
            assert e3[jet] == pytest.approx(three / total**3, rel=1e-7, abs=1e-12)


def test_the_mass_drop_is_a_walk_down_the_tree():
    """Against FastJet's own history, one jet after the other."""
    fastjet = pytest.importorskip("fastjet")
    momenta, mask = make_jets(40, seed=7, fewest=2)
    mine = mass_drop(cluster(momenta, mask, "cambridge_aachen"))
    for jet in range(len(mask)):
        particles = [fastjet.PseudoJet(*map(float, p)) for p in momenta[jet][mask[jet]]]
        definition = fastjet.JetDefinition(fastjet.cambridge_algorithm, 100.0)
        sequence = fastjet._swig.ClusterSequence(particles, definition)
        node, passed = sequence.inclusive_jets()[0], False
        while not passed:
            one, other = fastjet.PseudoJet(), fastjet.PseudoJet()
            if not node.has_parents(one, other):
                break
            if one.m() < other.m():
                one, other = other, one
            distance = one.kt_distance(other)
            if one.m() < 0.67 * node.m() and distance > 0.09 * node.m2():
                passed = True
            else:
                node = one
        assert mine.passed[jet] == passed
        if passed:
            np.testing.assert_allclose(mine.momentum[jet, 3], node.E(), rtol=1e-9)


def test_two_prongs_by_hand():
    values = {name: value[0] for name, value in kinematic(*prongs((60, 0.1, 3.1), (40, -0.2, -3.1))).items()}
    apart = math.hypot(0.3, 2 * math.pi - 6.2)
    heavy = 2 * 60 * 40 * (math.cosh(0.3) - math.cos(6.2))
    assert values["mass"] == pytest.approx(math.sqrt(heavy))
    assert values["mass_softdrop"] == values["mass_massdrop"] == pytest.approx(values["mass"])
    assert values["z_g"] == pytest.approx(0.4)
    assert values["r_g"] == pytest.approx(apart)
    assert values["e2"] == pytest.approx(0.24 * apart)
    assert values["C1_02"] == pytest.approx(0.24 * apart**0.2)
    assert values["multiplicity"] == 2
    assert values["ptD"] == pytest.approx(math.hypot(0.6, 0.4))
    assert values["entropy"] == pytest.approx(-0.6 * math.log(0.6) - 0.4 * math.log(0.4))
    for name in ("tau2", "tau3", "tau21", "tau32", "e3", "C2", "D2"):
        assert values[name] == pytest.approx(0, abs=1e-7), name


def test_equal_prongs_lie_halfway_from_the_axis():
    for apart in (0.1, 0.5):
        values = kinematic(*prongs((50, 0.3, 1.0), (50, 0.3 + apart, 1.0)))
        assert values["tau1"][0] == pytest.approx(apart / 2 / 0.8)
        assert values["girth"][0] == pytest.approx(apart / 2)
        assert values["LHA"][0] == pytest.approx(math.sqrt(apart / 2 / 0.8))


def test_three_prongs_in_a_triangle():
    """Equal shares and distances d: e_2 = d/3, e_3 = d³/27, C_2 = d/3 and D_2 = 1, by the definitions."""
    d = 0.3
    values = kinematic(*prongs((30, 0, 0), (30, d, 0), (30, d / 2, d * math.sqrt(3) / 2)))
    for name, expected in {"e2": d / 3, "e3": d**3 / 27, "C2": d / 3, "D2": 1.0, "tau3": 0.0}.items():
        assert values[name][0] == pytest.approx(expected, abs=1e-8), name


def test_soft_wide_radiation_is_groomed_away():
    hard = [(300.0, 0.0, 0.0), (200.0, 0.3, 0.1)]
    clean, dirty = (kinematic(*prongs(*particles)) for particles in (hard, [*hard, (5.0, -0.6, 0.2)]))
    assert dirty["mass"][0] > clean["mass"][0] + 5
    assert dirty["mass_softdrop"][0] == pytest.approx(clean["mass"][0])


def test_filtering_keeps_the_hardest_subjets():
    momenta, _ = prongs((100, 0, 0), (5, 1, 1), (60, 0.2, 0), (30, 0, 0.3))
    np.testing.assert_allclose(filtered(momenta)[0], momenta[0, [0, 2, 3]].sum(axis=0))


def test_safe_observables_feel_neither_soft_particles_nor_collinear_splittings():
    momenta, mask = make_jets(30, seed=8, fewest=3)
    momenta = np.where(mask[..., None], momenta, 0.0)
    before = kinematic(momenta, mask)
    soft = massless(np.full((30, 1), 1e-9), np.zeros((30, 1)), np.zeros((30, 1)))
    split = np.concatenate([0.3 * momenta[:, :1], 0.7 * momenta[:, :1], momenta[:, 1:]], axis=1)
    for changed, real in (
        (np.concatenate([momenta, soft], axis=1), np.pad(mask, ((0, 0), (0, 1)), constant_values=True)),
        (split, np.pad(mask, ((0, 0), (1, 0)), constant_values=True)),
    ):
        after = kinematic(changed, real)
        for name in SAFE:
            # angles of 1e-16, the rounding of collinear momenta, are 6e-4 to the power 0.2
            rtol = 1e-3 if name in ("C1_02", "LHA") else 1e-5
            np.testing.assert_allclose(after[name], before[name], rtol=rtol, atol=1e-6, err_msg=name)
        assert (after["multiplicity"] == before["multiplicity"] + 1).all()
    assert (kinematic(split, np.pad(mask, ((0, 0), (1, 0)), constant_values=True))["ptD"] < before["ptD"]).all()


def test_boosts_along_the_beam_and_turns_around_it_change_nothing():
    momenta, mask = make_jets(25, seed=9)
    momenta = np.where(mask[..., None], momenta, 0.0)
    px, py, pz, energy = np.moveaxis(momenta, -1, 0)
    c, s, ch, sh = math.cos(2), math.sin(2), math.cosh(0.7), math.sinh(0.7)
    moved = np.stack([c * px - s * py, s * px + c * py, ch * pz + sh * energy, ch * energy + sh * pz], axis=-1)
    before, after = kinematic(momenta, mask), kinematic(moved, mask)
    for name in KINEMATIC:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_angularities_and_their_special_cases():
    momenta, mask = make_jets(20, seed=10)
    np.testing.assert_allclose(angularity(momenta, mask, 0, 0), mask.sum(axis=1))
    np.testing.assert_allclose(angularity(momenta, mask, 1, 0), 1)
    whole = np.where(mask[..., None], momenta, 0).sum(axis=1)
    # thrust is (m / pT R)² of narrow jets
    narrow = momenta.copy()
    middle = np.arctan2(whole[:, 1], whole[:, 0])[:, None]
    pt, eta = transverse(momenta), rapidity(momenta)
    eta = rapidity(whole)[:, None] + 0.01 * (eta - rapidity(whole)[:, None])
    turn = np.angle(np.exp(1j * (np.arctan2(momenta[..., 1], momenta[..., 0]) - middle)))
    narrow = massless(pt, eta, middle + 0.01 * turn)
    total = np.where(mask[..., None], narrow, 0).sum(axis=1)
    expected = (mass(total) / transverse(total) / 0.8) ** 2
    np.testing.assert_allclose(angularity(narrow, mask, 1, 2), expected, rtol=2e-3, atol=1e-10)


def test_types_share_the_momentum():
    momenta, mask = prongs((50, 0, 0), (30, 0.1, 0), (15, 0, 0.1), (5, 0.1, 0.1))
    kind = np.array([[CHARGED, PHOTON, NEUTRAL, ELECTRON]])
    found = {name: value[0] for name, value in identified(momenta, mask, kind).items()}
    entropy = -sum(z * math.log(z) for z in (0.5, 0.3, 0.15, 0.05))
    expected = dict(zip(IDENTIFIED, (0.55, 0.15, 0.3, 0.05, 2, entropy), strict=True))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    charge = charges(momenta, mask, np.array([[1.0, 0.0, 0.0, -1.0]]))
    assert charge["charge_05"][0] == pytest.approx(math.sqrt(0.5) - math.sqrt(0.05))
    assert charge["charge_10"][0] == pytest.approx(0.45)


def test_jets_of_one_constituent_and_of_none_are_zeros_not_nan():
    momenta, mask = make_jets(4, max_particles=5, seed=11)
    mask[0], mask[1] = False, np.arange(5) == 2
    momenta[1, 2] = massless(np.array(20.0), np.array(0.3), np.array(1.0))
    values = kinematic(momenta, mask)
    assert all(np.isfinite(value).all() for value in values.values())
    assert not any(value[0] for value in values.values())
    assert values["multiplicity"][1] == values["ptD"][1] == 1
    assert values["pt"][1] == pytest.approx(20)
    nothing = kinematic(momenta[:, :0], mask[:, :0])
    assert all(not value.any() for value in nothing.values())


def test_names_are_told_in_order():
    momenta, mask = make_jets(3)
    assert tuple(kinematic(momenta, mask)) == KINEMATIC
    assert tuple(identified(momenta, mask, mask.astype(np.int64))) == IDENTIFIED
    assert tuple(charges(momenta, mask, mask.astype(np.float64))) == substructure.CHARGED_ONLY
    np.testing.assert_allclose(delta_r(momenta[0, :1], momenta[0, :1]), 0)
