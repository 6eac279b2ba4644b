"""Pairs against scikit-hep's vector, closed forms and the symmetries of a collider."""

import itertools
import math

import numpy as np
import pytest
import torch
import vector
from hypothesis import given, settings
from hypothesis import strategies as st

from femtobarn.physics import lorentz, pairwise

often = settings(max_examples=30, deadline=None, derandomize=True)
NAMES = ("mass", "mass2", "delta_r", "delta", "kt", "z")


def events(count: int = 20, slots: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random four-vectors with the tail of each event padded; the first event is full, the last empty."""
    generator = torch.Generator().manual_seed(seed)
    pt, eta, phi, mass = torch.rand(4, count, slots, generator=generator, dtype=torch.float64)
    momenta = lorentz.from_ptetaphim(10 + 500 * pt, 5 * eta - 2.5, 2 * math.pi * phi - math.pi, 20 * mass)
    counts = torch.randint(1, slots + 1, (count,), generator=generator)
    counts[0], counts[-1] = slots, 0
    mask = torch.arange(slots) < counts[:, None]
    return torch.where(mask[..., None], momenta, 0.0), mask


def by_vector(name: str, one, two) -> float:
    """The quantity of two objects, by scikit-hep's vector."""
    softer, summed = min(one.pt, two.pt), one.pt + two.pt
    delta = math.hypot(one.rapidity - two.rapidity, one.deltaphi(two))
    values: dict[str, float] = {
        "mass": (one + two).mass,
        "mass2": (one + two).mass2,
        "delta_r": one.deltaR(two),
        "delta": delta,
        "kt": softer * delta,
        "z": softer / summed,
    }
    return values[name]


@pytest.mark.parametrize("name", NAMES)
def test_pairs_agree_with_vector(name):
    momenta, mask = events(6)
    values = getattr(pairwise, name)(momenta, mask)
    for event, count in enumerate(mask.sum(1).tolist()):
        objects = [vector.obj(px=p[0], py=p[1], pz=p[2], E=p[3]) for p in momenta[event, :count].tolist()]
        for i, j in itertools.combinations(range(count), 2):
            expected = by_vector(name, objects[i], objects[j])
            assert float(values[event, i, j]) == pytest.approx(expected, rel=1e-9), (event, i, j)


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_symmetric_and_zero_without_two_objects(name):
    momenta, mask = events()
    values = getattr(pairwise, name)(momenta, mask)
    assert torch.equal(values, values.mT)
    real = mask[:, :, None] & mask[:, None, :] & ~torch.eye(mask.shape[1], dtype=torch.bool)
    assert torch.equal(pairwise.pairs(mask), real)
    assert not values[~real].any()
    assert (values[real] > 0).all()


@pytest.mark.parametrize("filler", [math.nan, math.inf, 1e30, -1e30])
@pytest.mark.parametrize("name", NAMES)
def test_padding_holds_no_information(name, filler):
    momenta, mask = events()
    dirty = torch.where(mask[..., None], momenta, filler).requires_grad_()
    values = getattr(pairwise, name)(dirty, mask)
    assert torch.equal(values, getattr(pairwise, name)(momenta, mask))
    values.sum().backward()
    assert dirty.grad is not None
    assert dirty.grad.isfinite().all()
    assert not dirty.grad[~mask].any()


@pytest.mark.parametrize("name", NAMES)
def test_permuted_objects_give_permuted_pairs(name):
    momenta, mask = events()
    order = torch.randperm(mask.shape[1], generator=torch.Generator().manual_seed(1))
    values = getattr(pairwise, name)(momenta, mask)
    torch.testing.assert_close(getattr(pairwise, name)(momenta[:, order], mask[:, order]), values[:, order][..., order])


@pytest.mark.parametrize("name", NAMES)
@often
@given(angle=st.floats(-math.pi, math.pi))
def test_turning_the_detector_changes_no_pair(name, angle):
    momenta, mask = events()
    px, py, pz, energy = momenta.unbind(-1)
    cos, sin = math.cos(angle), math.sin(angle)
    turned = torch.stack([cos * px - sin * py, sin * px + cos * py, pz, energy], dim=-1)
    values = getattr(pairwise, name)(momenta, mask)
    torch.testing.assert_close(getattr(pairwise, name)(turned, mask), values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "delta_r"])
@often
@given(rapidity=st.floats(-3, 3))
def test_boosting_along_the_beam_changes_no_pair(name, rapidity):
    momenta, mask = events()
    boosted = lorentz.boost(momenta, torch.tensor([0, 0, math.tanh(rapidity)], dtype=torch.float64))
    values = getattr(pairwise, name)(momenta, mask)
    torch.testing.assert_close(getattr(pairwise, name)(boosted, mask), values, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["mass", "mass2"])
def test_masses_are_the_same_in_every_frame(name):
    momenta, mask = events()
    boosted = lorentz.boost(momenta, torch.tensor([0.6, -0.5, 0.4], dtype=torch.float64))
    values = getattr(pairwise, name)(momenta, mask)
    torch.testing.assert_close(getattr(pairwise, name)(boosted, mask), values, rtol=1e-9, atol=1e-7)


@often
@given(st.floats(10, 1000), st.floats(10, 1000), st.floats(-2.5, 2.5), st.floats(-2.5, 2.5), st.floats(0, math.pi))
def test_mass_of_two_massless_objects_in_closed_form(pt1, pt2, eta1, eta2, dphi):
    columns = torch.tensor([[pt1, pt2], [eta1, eta2], [1, 1 + dphi], [0, 0]], dtype=torch.float64)
    value = pairwise.mass2(lorentz.from_ptetaphim(*columns)[None], torch.ones(1, 2, dtype=torch.bool))[0, 0, 1]
    expected = 2 * pt1 * pt2 * (math.cosh(eta1 - eta2) - math.cos(dphi))
    energy = pt1 * math.cosh(eta1) + pt2 * math.cosh(eta2)
    assert float(value) == pytest.approx(expected, abs=1e-14 * energy**2)


def test_float32_masses_are_as_good_as_their_momenta():
    momenta, mask = events(500, 10)
    # collinear pairs, where everything cancels: a copy of each leading object, turned by 1e-3
    momenta[:, 1] = lorentz.from_ptetaphim(
        0.5 * lorentz.pt(momenta[:, 0]),
        lorentz.eta(momenta[:, 0]) + 1e-3,
        lorentz.phi(momenta[:, 0]),
        torch.tensor(1e-3, dtype=torch.float64),
    )
    exact, single = pairwise.mass2(momenta, mask), pairwise.mass2(momenta.float(), mask)
    assert single.dtype == torch.float32
    energy = momenta[..., 3]
    # rounding the momenta alone makes up to 2 of these
    bound = 3 * (energy[:, :, None] + energy[:, None, :]).square() * torch.finfo(torch.float32).eps
    real = pairwise.pairs(mask)
    assert ((single - exact).abs()[real] <= bound[real]).all()


@pytest.mark.parametrize("name", ["delta_r", "delta", "kt", "z"])
def test_float32_agrees_with_float64(name):
    momenta, mask = events(500, 10)
    single = getattr(pairwise, name)(momenta.float(), mask)
    exact = getattr(pairwise, name)(momenta, mask)
    np.testing.assert_allclose(single, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_survive_twins_and_beams(name):
    twins = torch.tensor(
        [[[3.0, 4, 0, 5], [3, 4, 0, 5], [0, 0, 7, 7], [0, 0, 0, 0], [-3, -4, 0, 5]]], requires_grad=True
    )
    values = getattr(pairwise, name)(twins, torch.ones(1, 5, dtype=torch.bool))
    values.sum().backward()
    assert values.isfinite().all()
    assert twins.grad is not None
    assert twins.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    momenta, mask = events(3, 4)
    assert torch.autograd.gradcheck(lambda p: getattr(pairwise, name)(p, mask), momenta.requires_grad_())
