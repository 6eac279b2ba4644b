"""Squared amplitudes against another program, closed formulas, symmetries and limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from femtobarn.physics import amplitudes
from femtobarn.physics.amplitudes import COUPLINGS, Couplings, colour, incoming, rambo
from femtobarn.physics.amplitudes.currents import dot, linear_polarizations
from femtobarn.physics.amplitudes.diphoton import photon_orders
from femtobarn.physics.amplitudes.gluons import color_ordered
from femtobarn.physics.amplitudes.legs import energy_first
from femtobarn.physics.amplitudes.quark_loop import QuarkLoop
from femtobarn.physics.amplitudes.z_gluons import z_currents

REFERENCE = Path(__file__).parents[1] / "data" / "amplitudes.parquet"


def points(name: str, n_points: int = 64, sqrt_s: float = 1000.0, seed: int = 1, angle: float = 0.2) -> Tensor:
    """Points of a process in the centre of mass, with particles at some angle to each other and to the beam."""
    process = amplitudes.process(name)
    random = np.random.default_rng(seed)
    energies = torch.full((8 * n_points,), sqrt_s, dtype=torch.float64)
    uniform = torch.from_numpy(random.random((len(energies), len(process.legs) - 2, 4)))
    final, _ = rambo(uniform, energies, process.masses())
    momenta = torch.cat([incoming(energies), final], dim=1)
    directions = momenta[..., :3] / momenta[..., :3].norm(dim=-1, keepdim=True)
    cosines = directions @ directions.transpose(1, 2) - 2 * torch.eye(momenta.shape[1])
    cosines[:, :2, :2] = 0
    return momenta[(cosines.flatten(1) < math.cos(angle)).all(1)][:n_points]


def invariants(momenta: Tensor) -> Callable[[int, int], Tensor]:
    """(p_i + p_j)² of two legs with signs of the incoming ones flipped."""
    p = energy_first(momenta)
    return lambda i, j: dot(p[i] + p[j], p[i] + p[j])


def reference(name: str) -> tuple[Tensor, dict[str, np.ndarray]]:
    table = pq.read_table(REFERENCE).filter(pq.read_table(REFERENCE)["process"].to_numpy(zero_copy_only=False) == name)
    momenta = torch.tensor(table["momenta"].to_pylist(), dtype=torch.float64).reshape(len(table), -1, 4)
    return momenta, {column: table[column].to_numpy() for column in ("m2", "m2_lc")}


@pytest.mark.parametrize("name", sorted(set(pq.read_table(REFERENCE)["process"].to_pylist())))
def test_squared_amplitudes_match_pyamplicol_and_loop_prototype(name):
    momenta, expected = reference(name)
    values = amplitudes.process(name).amplitudes(momenta)
    np.testing.assert_allclose(values["amplitude"].numpy(), expected["m2"], rtol=1e-10)
    if "amplitude_lc" in values:
        np.testing.assert_allclose(values["amplitude_lc"].numpy(), expected["m2_lc"], rtol=1e-10)


def test_gg_to_gg_matches_closed_formula_and_leading_colour_is_nine_eighths():
    momenta = points("g g > g g")
    s_ij = invariants(momenta)
    s, t, u = s_ij(0, 1), s_ij(0, 2), s_ij(0, 3)
    # Ellis, Stirling and Webber, table 7.1; 1/2 for identical gluons
    expected = 9 / 2 * COUPLINGS.strong**2 * (3 - t * u / s**2 - s * u / t**2 - s * t / u**2) / 2
    values = amplitudes.process("g g > g g").amplitudes(momenta)
    torch.testing.assert_close(values["amplitude"], expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(values["amplitude_lc"], 9 / 8 * expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("quark", "isospin", "charge"), [("u", 1 / 2, 2 / 3), ("d", -1 / 2, -1 / 3)])
def test_qq_to_z_gluon_matches_closed_formula(quark, isospin, charge):
    name = f"{quark} {quark}~ > z g"
    momenta = points(name)
    s_ij = invariants(momenta)
    s, t, u = s_ij(0, 1), s_ij(0, 3), s_ij(1, 3)
    coupling = COUPLINGS.strong * COUPLINGS.z_coupling(isospin, charge)
    expected = 16 / 36 * coupling * (t**2 + u**2 + 2 * s * COUPLINGS.m_z**2) / (t * u)
    values = amplitudes.process(name).amplitudes(momenta)
    torch.testing.assert_close(values["amplitude"], expected, rtol=1e-11, atol=0)


@pytest.mark.parametrize("n_gluons", [4, 5])
def test_gluons_match_parke_taylor(n_gluons):
    """Up to five gluons all helicities are maximally violating, and leading colour is exact up to a factor."""
    name = f"g g > {' '.join('g' * (n_gluons - 2))}"
    momenta = points(name)
    s_ij = invariants(momenta)
    helicities = torch.stack([s_ij(i, j) ** 4 for i, j in itertools.combinations(range(n_gluons), 2)]).sum(0)
    cyclic = torch.zeros(len(momenta), dtype=torch.float64)
    for order in itertools.permutations(range(1, n_gluons)):
        cyclic = cyclic + 1 / math.prod(s_ij(i, j) for i, j in itertools.pairwise((0, *order, 0)))
    # Mangano and Parke, Phys. Rept. 200 (1991) 301; with four gluons parity gives nothing new
    color = 3 ** (n_gluons - 2) * 8 * (1 if n_gluons == 4 else 2)
    expected = COUPLINGS.strong ** (n_gluons - 2) * color * helicities * torch.abs(cyclic)
    expected = expected / 256 / math.factorial(n_gluons - 2)
    values = amplitudes.process(name).amplitudes(momenta)
    torch.testing.assert_close(values["amplitude"], expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(values["amplitude_lc"], 9 / 8 * expected, rtol=1e-10, atol=0)


def test_z_current_is_conserved_and_vanishes_for_longitudinal_gluons():
    momenta = points("u u~ > z g g g", 16)
    p = energy_first(momenta, incoming=0)
    transverse = torch.stack([linear_polarizations(leg) for leg in p[3:]])
    currents = z_currents(p, transverse)
    scale = currents.abs().amax((0, 1)).amin() * p[2, 0].max()
    contracted = torch.stack([sign * currents[:, i] * p[2, i] for i, sign in enumerate((1, -1, -1, -1))]).sum(0)
    assert float(contracted.abs().max()) < 1e-11 * float(scale)
    # the sum over orders of a gauge-invariant set: colour-ordered currents vanish one by one
    longitudinal = transverse.clone()
    longitudinal[1] = p[4][:, None] / p[4, 0]
    gauge = z_currents(p, longitudinal)
    total = -(gauge[:, 0].abs() ** 2) + (gauge[:, 1:].abs() ** 2).sum(1)
    normal = (currents.abs() ** 2).sum((0, 1))
    assert float(total.abs().max()) < 1e-20 * float(normal.max())


def test_gluon_amplitudes_vanish_for_longitudinal_gluons():
    p = energy_first(points("g g > g g g", 16))
    transverse = torch.stack([linear_polarizations(leg) for leg in p])
    longitudinal = transverse.clone()
    longitudinal[3] = p[3][:, None] / p[3, 0]
    assert float(color_ordered(p, longitudinal).abs().max()) < 1e-11 * float(color_ordered(p, transverse).abs().max())


def test_kleiss_kuijf_rows_match_relabelled_amplitudes():
    p = energy_first(points("g g > g g g", 8))
    polarizations = torch.stack([linear_polarizations(leg) for leg in p])
    amplitude = color_ordered(p, polarizations)
    rows = colour.kleiss_kuijf(5)
    for row, order in zip(rows, itertools.permutations(range(4)), strict=True):
        legs = [0, *(4 if label == 3 else label + 1 for label in order)]
        direct = color_ordered(p[legs], polarizations[legs])[0]
        direct = direct.permute(*(legs.index(label) for label in range(5)), 5)
        expected = torch.tensordot(torch.from_numpy(row), amplitude, dims=1)
        torch.testing.assert_close(direct, expected, rtol=1e-9, atol=1e-12 * float(amplitude.abs().max()))


def test_colour_factors_match_known_values():
    f = colour.structure_constants()
    assert np.einsum("acd,bcd->ab", f, f) == pytest.approx(3 * np.eye(8))
    # Tr(T^a T^a) = C_F N_c; Tr(T^a T^b T^a T^b) = -C_F/(2 N_c) N_c
    assert colour.quark_line(1) == pytest.approx(np.array([[4.0]]))
    assert colour.quark_line(2) == pytest.approx(np.array([[16 / 3, -2 / 3], [-2 / 3, 16 / 3]]))
    assert colour.gluon_line(4) == pytest.approx(np.array([[72.0, 36.0], [36.0, 72.0]]))


def test_gg_to_photons_matches_published_value_at_right_angle():
    momenta = torch.tensor([[[0, 0, 1, 1], [0, 0, -1, 1], [1, 0, 0, 1], [-1, 0, 0, 1]]], dtype=torch.float64) * 500
    couplings = Couplings(alpha=1 / 137.036)
    value = amplitudes.process("g g > a a").amplitudes(momenta, couplings)["amplitude"]
    assert float(value) == pytest.approx(1.18152e-5, rel=1e-5)


@pytest.mark.parametrize("name", ["g g > a a", "g g > a a g"])
def test_loop_is_symmetric(name):
    process = amplitudes.process(name)
    momenta = points(name)
    value = process.amplitudes(momenta)["amplitude"]

    def assert_same(changed: Tensor, rtol: float = 1e-9) -> None:
        torch.testing.assert_close(process.amplitudes(changed)["amplitude"], value, rtol=rtol, atol=0)

    legs = list(range(momenta.shape[1]))
    assert_same(momenta[:, [1, 0, *legs[2:]]])  # gluons
    assert_same(momenta[:, [0, 1, 3, 2, *legs[4:]]])  # photons
    reflected = momenta * torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    assert_same(reflected)
    assert float(process.rotation_difference(momenta, value, COUPLINGS).max()) < 1e-9


def test_poles_cancel_over_photon_orders_and_each_order_is_odd_under_reflection():
    p = energy_first(points("g g > a a g", 16), incoming=0)
    loop = QuarkLoop(p)
    trees = torch.zeros(16, dtype=torch.complex128)
    largest = 0.0
    for order in photon_orders():
        pairs = itertools.pairwise((*order, order[0]))
        tree = 1 / torch.stack([loop._angle[i, j] for i, j in pairs]).prod(0)
        trees, largest = trees + tree, max(largest, float(tree.abs().max()))
        for helicities in ((1, 1, 1, 1, 1), (1, 1, -1, 1, 1), (-1, -1, 1, 1, 1), (-1, 1, -1, 1, 1), (-1, 1, -1, 1, -1)):
            value = loop.amplitude(order, helicities)
            torch.testing.assert_close(loop.amplitude(order[::-1], helicities), -value, rtol=1e-9, atol=0)
            torch.testing.assert_close(loop.amplitude((*order[2:], *order[:2]), helicities), value, rtol=1e-9, atol=0)
    assert float(trees.abs().max()) < 1e-10 * largest


def test_soft_gluon_limit_of_loop_is_eikonal():
    """A(gamma gamma g) -> eikonal factor x A(gamma gamma), with a distance that falls with the energy of the gluon."""
    photons = torch.tensor([0.6, 0.3, math.sqrt(1 - 0.45)], dtype=torch.float64) * 100
    deviations = []
    for fraction in (1e-3, 1e-5):
        soft = 100 * fraction * torch.tensor([0.48, -0.6, 0.64], dtype=torch.float64)
        first = torch.cat([photons, photons.norm()[None]])
        second = torch.cat([-photons - soft, (photons + soft).norm()[None]])
        gluon = torch.cat([soft, soft.norm()[None]])
        total = first + second + gluon
        plus, minus = (total[3] + total[2]) / 2, (total[3] - total[2]) / 2
        beams = torch.stack(
            [torch.stack([0 * plus, 0 * plus, plus, plus]), torch.stack([0 * plus, 0 * plus, -minus, minus])]
        )
        momenta = torch.stack([*beams, first, second, gluon])[None]
        hard_total = torch.stack([first, torch.cat([-photons, photons.norm()[None]])])
        half = photons.norm()
        hard = torch.cat([incoming(2 * half[None])[0], hard_total])[None]
        s_ij = invariants(momenta)
        s, t, u = s_ij(0, 1).abs(), s_ij(0, 4).abs(), s_ij(1, 4).abs()
        eikonal = COUPLINGS.strong * 3 * 4 * s / (t * u)
        ratio = amplitudes.process("g g > a a g").amplitudes(momenta)["amplitude"] / (
            eikonal * amplitudes.process("g g > a a").amplitudes(hard)["amplitude"]
        )
        deviations.append(abs(float(ratio) - 1))
    assert deviations[1] < 1e-3
    assert deviations[1] < 0.2 * deviations[0]


def test_unknown_process_is_answered_with_the_ones_there_are():
    with pytest.raises(ValueError, match=r"did you mean 'u u~ > z g g'.*there are u u~ > z g, .*g g > a a g"):
        amplitudes.process("u u~ > z gg")
    assert amplitudes.process("U u~>z g g").name == "u u~ > z g g"
    with pytest.raises(ValueError, match="has 5 legs, the momenta have 4"):
        amplitudes.process("u u~ > z g g").amplitudes(torch.ones(2, 4, 4, dtype=torch.float64))
    with pytest.raises(TypeError, match="float64, not float32"):
        amplitudes.process("g g > g g").amplitudes(torch.ones(2, 4, 4))
