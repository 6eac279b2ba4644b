"""Angles and four-vectors against scikit-hep's vector, closed forms and symmetries."""

import math

import awkward as ak
import numpy as np
import pytest
import torch
import vector
from hypothesis import given, settings
from hypothesis import strategies as st

from femtobarn.physics import angles, lorentz

often = settings(max_examples=60, deadline=None, derandomize=True)
angle = st.floats(-50, 50)
momentum = st.tuples(st.floats(1, 2000), st.floats(-4, 4), st.floats(-math.pi, math.pi), st.floats(0, 200))


def some(count: int = 200, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    pt, eta, phi, mass = torch.rand(4, count, generator=generator, dtype=torch.float64)
    return lorentz.from_ptetaphim(10 + 900 * pt, 6 * eta - 3, 2 * math.pi * phi - math.pi, 180 * mass).to(dtype)


def hep(momenta: torch.Tensor):
    px, py, pz, energy = momenta.double().unbind(-1)
    return vector.array({"px": px.numpy(), "py": py.numpy(), "pz": pz.numpy(), "E": energy.numpy()})


@often
@given(angle)
def test_wrapping_keeps_the_direction_and_lands_in_the_interval(value):
    wrapped = float(angles.wrap(torch.tensor(value, dtype=torch.float64)))
    assert -math.pi - 1e-12 <= wrapped < math.pi + 1e-12
    assert math.cos(wrapped) == pytest.approx(math.cos(value), abs=1e-12)
    assert math.sin(wrapped) == pytest.approx(math.sin(value), abs=1e-12)


@often
@given(angle, angle)
def test_separation_is_symmetric_and_what_the_cosine_says(first, second):
    one, two = torch.tensor([first, second], dtype=torch.float64).unbind()
    apart = angles.abs_delta_phi(one, two)
    assert apart == angles.abs_delta_phi(two, one)
    assert 0 <= apart <= math.pi + 1e-12
    assert math.cos(float(apart)) == pytest.approx(math.cos(first - second), abs=1e-12)
    assert abs(float(angles.delta_phi(one, two))) == pytest.approx(float(apart), abs=1e-12)


def test_across_the_seam_two_degrees_are_two_degrees():
    seam = torch.deg2rad(torch.tensor([179.0, -179.0], dtype=torch.float64))
    assert math.degrees(float(angles.delta_phi(seam[1], seam[0]))) == pytest.approx(2)
    assert float(angles.wrap(torch.tensor(math.pi, dtype=torch.float64))) == -math.pi


def test_azimuths_of_tensors_and_arrays_differ_by_the_same_numbers():
    first, second = torch.linspace(-7, 7, 101, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    expected = angles.delta_phi(first, second)
    assert isinstance(expected, torch.Tensor)
    numbers = angles.delta_phi(first.numpy(), second.numpy())
    assert isinstance(numbers, np.ndarray)
    np.testing.assert_array_equal(numbers, expected.numpy())
    np.testing.assert_array_equal(ak.to_numpy(angles.delta_phi(ak.Array(first.numpy()), 2.0)), expected.numpy())


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
@pytest.mark.parametrize("name", ["pt", "eta", "phi", "rapidity", "mass", "mass2"])
def test_coordinates_agree_with_vector(name, dtype, relative):
    momenta = some(dtype=dtype)
    ours = getattr(lorentz, name)(momenta)
    theirs = torch.from_numpy(getattr(hep(momenta), name.replace("mass", "tau")))
    assert ours.dtype == dtype
    # masses carry the rounding of E² (see mass2)
    energy = momenta[:, 3].double()
    scale = {"mass2": energy.square(), "mass": energy.square() / (theirs + 1)}.get(name, theirs.abs() + 1)
    assert ((ours - theirs).abs() <= relative * scale).all()


@often
@given(momentum)
def test_coordinates_come_back(coordinates):
    pt, eta, phi, mass = torch.tensor(coordinates, dtype=torch.float64).unbind()
    momenta = lorentz.from_ptetaphim(pt, eta, phi, mass)
    assert float(lorentz.pt(momenta)) == pytest.approx(float(pt), rel=1e-12)
    assert float(lorentz.eta(momenta)) == pytest.approx(float(eta), abs=1e-9)
    assert float(lorentz.phi(momenta)) == pytest.approx(float(phi), abs=1e-12)
    assert float(lorentz.mass2(momenta)) == pytest.approx(float(mass) ** 2, abs=1e-14 * float(momenta[3]) ** 2)
    again = lorentz.from_ptetaphie(lorentz.pt(momenta), lorentz.eta(momenta), lorentz.phi(momenta), momenta[3])
    torch.testing.assert_close(again, momenta)


def test_components_broadcast():
    momenta = lorentz.from_ptetaphim(torch.tensor(50.0), torch.zeros(3, 1), torch.zeros(2), torch.tensor(0.0))
    assert momenta.shape == (3, 2, 4)
    torch.testing.assert_close(momenta, torch.tensor([50.0, 0, 0, 50]).expand(3, 2, 4))


def test_boosts_agree_with_vector():
    momenta = some(50)
    beta = torch.tensor([0.3, -0.5, 0.7], dtype=torch.float64)
    theirs = hep(momenta).boost_beta3(vector.obj(x=0.3, y=-0.5, z=0.7))
    expected = np.stack([theirs.px, theirs.py, theirs.pz, theirs.E], axis=-1)
    np.testing.assert_allclose(lorentz.boost(momenta, beta), expected, rtol=1e-9, atol=1e-9)


@often
@given(st.floats(1.0001, 50), st.floats(0, math.pi), st.floats(-math.pi, math.pi))
def test_boosts_keep_products_and_undo_each_other(gamma, polar, azimuth):
    way = torch.tensor([math.sin(polar) * math.cos(azimuth), math.sin(polar) * math.sin(azimuth), math.cos(polar)])
    beta = math.sqrt(1 - gamma**-2) * way.double() / way.double().norm()
    first, second = some(30), some(30, seed=1)
    boosted = [lorentz.boost(p, beta) for p in (first, second)]
    scale = float((boosted[0][:, 3] * boosted[1][:, 3]).max())
    torch.testing.assert_close(lorentz.dot(*boosted), lorentz.dot(first, second), rtol=0, atol=1e-13 * scale)
    torch.testing.assert_close(lorentz.boost(boosted[0], -beta), first, rtol=0, atol=1e-10 * gamma**2)


def test_a_massive_particle_rests_in_its_own_frame():
    momenta = some(100)
    rest = lorentz.boost(momenta, -lorentz.velocity(momenta))
    torch.testing.assert_close(rest[:, 3], lorentz.mass(momenta), rtol=1e-7, atol=1e-7)
    assert rest[:, :3].abs().max() < 1e-8 * momenta.max()
    torch.testing.assert_close(lorentz.boost(momenta, torch.zeros(3, dtype=torch.float64)), momenta)


def test_a_boost_along_the_beam_shifts_every_rapidity_alike():
    momenta, beta = some(100), 0.8
    shifted = lorentz.boost(momenta, torch.tensor([0, 0, beta], dtype=torch.float64))
    torch.testing.assert_close(
        lorentz.rapidity(shifted) - lorentz.rapidity(momenta), torch.full((100,), math.atanh(beta), dtype=torch.float64)
    )
    torch.testing.assert_close(lorentz.pt(shifted), lorentz.pt(momenta))


def test_rapidity_of_the_massless_is_pseudorapidity():
    momenta = lorentz.from_ptetaphim(*torch.tensor([[20.0, 300], [-4, 1], [1, 2], [0, 0]], dtype=torch.float64))
    torch.testing.assert_close(lorentz.rapidity(momenta), lorentz.eta(momenta), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["pt", "eta", "phi", "rapidity", "mass", "mass2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_finite_where_coordinates_end(name, dtype):
    edges = [[0, 0, 0, 0], [0, 0, 6500, 6500], [0, 0, -6500, 6500], [-0.0, -0.0, 1, 1], [0, 0, 0, 5], [3, 4, 0, 4.9]]
    momenta = torch.tensor(edges, dtype=dtype, requires_grad=True)
    value = getattr(lorentz, name)(momenta)
    value.sum().backward()
    assert value.isfinite().all()
    assert momenta.grad is not None
    assert momenta.grad.isfinite().all()


@pytest.mark.parametrize("name", ["pt", "eta", "phi", "rapidity", "mass", "mass2"])
def test_gradients_are_those_of_finite_differences(name):
    assert torch.autograd.gradcheck(getattr(lorentz, name), some(5).requires_grad_())
