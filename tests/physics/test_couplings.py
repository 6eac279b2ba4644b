"""Couplings against their renormalisation group equations, and the matrices against the printed one."""

import math

import pytest
import torch

from femtobarn.physics import couplings, lorentz
from femtobarn.physics.constants import Z_MASS
from femtobarn.physics.objects import ANTIMUON, BJET, ELECTRON, JET, MUON, PHOTON, POSITRON

#: arXiv:2211.05143: rows and columns padding, j, b, e-, e+, mu-, mu+, photon.
PRINTED = torch.tensor(
    [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 1],
        [0, 1, 1, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0, 0, 1],
        [0, 0, 0, 1, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 1, 0, 1],
        [0, 1, 1, 1, 1, 1, 1, 0],
    ],
    dtype=torch.float32,
)


def squared(*scales: float) -> torch.Tensor:
    return torch.tensor(scales, dtype=torch.float64).square()


def every_pair(pt: tuple[float, float] = (Z_MASS, Z_MASS), dtype: torch.dtype = torch.float64):
    """64 events of two objects, one for each pair of types (padding too), with these transverse momenta."""
    kind = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    momenta = lorentz.from_ptetaphim(
        torch.tensor(pt, dtype=dtype).expand(64, 2), torch.zeros(64, 2, dtype=dtype), torch.ones(1), torch.zeros(1)
    )
    return momenta.to(dtype), kind, kind > 0


def matrix(values: torch.Tensor) -> torch.Tensor:
    torch.testing.assert_close(values, values.mT, rtol=0, atol=0)
    assert not values.diagonal(dim1=1, dim2=2).any()
    return values[:, 0, 1].reshape(8, 8)


def test_couplings_at_the_reference_scale():
    assert float(couplings.alpha(squared(Z_MASS))) == pytest.approx(1 / 127.5)
    assert float(couplings.alpha_s(squared(Z_MASS))) == pytest.approx(0.118)


def test_couplings_at_500_gev_in_closed_form():
    # 1/alpha = 127.5 - ln(Q²/mu0²)/pi for three leptons; 1/alpha_s = 1/0.118 + 21/(12 pi) ln(Q²/mu0²) for six flavours
    logarithm = 2 * math.log(500 / 91.1876)
    assert float(couplings.alpha(squared(500))) == pytest.approx(1 / (127.5 - logarithm / math.pi), rel=1e-12)
    assert float(couplings.alpha(squared(500))) == pytest.approx(1 / 126.4167, rel=1e-6)
    assert float(couplings.alpha_s(squared(500))) == pytest.approx(
        1 / (1 / 0.118 + 1.75 / math.pi * logarithm), rel=1e-12
    )
    assert float(couplings.alpha_s(squared(500))) == pytest.approx(0.096428, abs=1e-6)
    assert float(couplings.strength(couplings.alpha_s(squared(500)))) == pytest.approx(1.1007967, abs=1e-6)
    assert float(couplings.strength(couplings.alpha(squared(500)))) == pytest.approx(0.3152846, abs=1e-6)


@pytest.mark.parametrize(
    ("coupling", "slope"),
    [
        (couplings.alpha, lambda a: 3 * a**2 / (3 * math.pi)),
        (couplings.alpha_s, lambda a: -(33 - 2 * 6) * a**2 / (12 * math.pi)),
    ],
)
def test_couplings_solve_their_renormalisation_group_equation(coupling, slope):
    # Runge-Kutta in t = ln Q² from the Z mass to 10 GeV and to 5 TeV: d alpha / dt = beta(alpha) at one loop
    for end in (10.0, 5000.0):
        steps = 200
        step = 2 * math.log(end / Z_MASS) / steps
        value = float(coupling(squared(Z_MASS)))
        for _ in range(steps):
            k1 = slope(value)
            k2 = slope(value + step / 2 * k1)
            k3 = slope(value + step / 2 * k2)
            k4 = slope(value + step * k3)
            value += step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        assert float(coupling(squared(end))) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_alpha_rises_and_alpha_s_falls_and_both_stay_finite(dtype):
    q2 = torch.logspace(0, 8, 200, dtype=dtype)
    assert (couplings.alpha(q2).diff() > 0).all()
    assert (couplings.alpha_s(q2).diff() < 0).all()
    absurd = torch.tensor([0.0, -1.0, 1e-30, 1e30, math.inf], dtype=dtype)
    for coupling in (couplings.alpha, couplings.alpha_s):
        assert ((coupling(absurd) > 0) & (coupling(absurd) < 0.3)).all()


def test_ids_is_the_printed_matrix():
    _, kind, mask = every_pair()
    torch.testing.assert_close(matrix(couplings.ids(kind, mask)), PRINTED)


def test_const_puts_couplings_where_ids_has_ones():
    _, kind, mask = every_pair()
    values = matrix(couplings.const(kind, mask, torch.float64))
    torch.testing.assert_close((values != 0).float(), PRINTED)
    for first, second, expected in (
        (JET, JET, 1.22),
        (JET, BJET, 1.22),
        (BJET, BJET, 1.22),
        (ELECTRON, POSITRON, 0.758),
        (ANTIMUON, MUON, 0.758),
        (JET, PHOTON, 0.155),
        (PHOTON, BJET, 0.31 / 3),
        (MUON, PHOTON, 0.31),
        (PHOTON, POSITRON, 0.31),
    ):
        assert float(values[first, second]) == pytest.approx(expected)


def test_running_is_const_at_the_z_mass_and_follows_the_mean_pt():
    at_z = matrix(couplings.running(*every_pair()))
    # g_s = 1.2177 and g_e = 0.3139 there; the constants are rounded
    _, kind, mask = every_pair()
    torch.testing.assert_close(at_z, matrix(couplings.const(kind, mask, torch.float64)), rtol=0.013, atol=0)
    hard = matrix(couplings.running(*every_pair((700.0, 300.0))))  # Q = 500 GeV
    assert float(hard[JET, BJET]) == pytest.approx(1.1007967, abs=1e-6)
    assert float(hard[ELECTRON, PHOTON]) == pytest.approx(0.3152846, abs=1e-6)
    assert float(hard[JET, PHOTON]) == pytest.approx(0.3152846 / 2, abs=1e-6)
    assert float(hard[BJET, PHOTON]) == pytest.approx(0.3152846 / 3, abs=1e-6)
    assert float(hard[MUON, ANTIMUON]) == float(at_z[MUON, ANTIMUON]) == 0.758


def test_running_in_float32_is_running_in_float64():
    single = couplings.running(*every_pair((30.0, 45.0), torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), couplings.running(*every_pair((30.0, 45.0))), rtol=1e-6, atol=0)


def test_padding_and_soft_momenta_are_harmless():
    momenta, kind, mask = every_pair()
    filler = torch.where(mask[..., None], momenta, math.nan)
    junk = torch.where(mask, kind, 99)
    for values, wanted in (
        (couplings.running(filler, junk, mask), couplings.running(momenta, kind, mask)),
        (couplings.const(junk, mask), couplings.const(kind, mask)),
        (couplings.ids(junk, mask), couplings.ids(kind, mask)),
    ):
        torch.testing.assert_close(values, wanted, rtol=0, atol=0)
    still = torch.zeros_like(momenta).requires_grad_()
    values = couplings.running(still, kind, mask)
    (slope,) = torch.autograd.grad(values.sum(), still)
    assert values.isfinite().all()
    assert values.max() < 2
    assert slope.isfinite().all()
