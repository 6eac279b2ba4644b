"""Phase space of RAMBO against closed volumes, conservation laws and cuts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from femtobarn.physics import amplitudes, lorentz
from femtobarn.physics.amplitudes import Cuts, massless_volume, rambo


def sample(
    masses: tuple[float, ...], sqrt_s: float = 1000.0, n_points: int = 20_000, seed: int = 3
) -> tuple[Tensor, Tensor]:
    uniform = torch.from_numpy(np.random.default_rng(seed).random((n_points, len(masses), 4)))
    return rambo(uniform, torch.full((n_points,), sqrt_s, dtype=torch.float64), masses)


@pytest.mark.parametrize("masses", [(0.0, 0.0), (0.0,) * 4, (91.188, 0.0, 0.0), (91.188, 80.4, 10.0, 0.0, 0.0)])
def test_momenta_are_conserved_and_on_shell(masses):
    momenta, weight = sample(masses, n_points=500)
    total = momenta.sum(1)
    assert float((total - torch.tensor([0.0, 0.0, 0.0, 1000.0], dtype=torch.float64)).abs().max()) < 1e-9
    squared = momenta[..., 3] ** 2 - momenta[..., :3].square().sum(-1)
    expected = torch.tensor(masses, dtype=torch.float64) ** 2
    assert float((squared - expected).abs().max()) < 1e-9 * 1000**2
    assert float(weight.min()) > 0
    assert float(weight.max()) <= 1 + 1e-12


def test_two_body_weight_is_the_closed_volume():
    _, weight = sample((91.188, 80.4), 300.0, 10)
    s, first, second = 300.0**2, 91.188**2, 80.4**2
    triangle = (s - first - second) ** 2 - 4 * first * second
    assert weight.numpy() == pytest.approx(math.sqrt(triangle) / s, rel=1e-12)


def test_three_body_weight_averages_to_the_closed_volume():
    _, weight = sample((91.188, 0.0, 0.0), 300.0)
    x = (91.188 / 300) ** 2
    expected = 1 - x**2 + 2 * x * math.log(x)
    error = float(weight.std()) / math.sqrt(len(weight))
    assert error < 2e-3
    assert float(weight.mean()) == pytest.approx(expected, abs=5 * error)


def test_massless_phase_space_is_flat():
    """Energies of three massless particles are uniform in the Dalitz plane; invariants of four have a known mean."""
    momenta, _ = sample((0.0, 0.0, 0.0))
    x = 2 * momenta[..., 3] / 1000
    # x1 has the density 2 x1, so x1² is uniform
    counts = np.histogram(x[:, 0].numpy() ** 2, bins=10, range=(0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 40  # chi² with 9 degrees of freedom: 1e-5
    four, _ = sample((0.0,) * 4)
    pair = four[:, 0] + four[:, 1]
    s12 = (pair[:, 3] ** 2 - pair[:, :3].square().sum(-1)) / 1000**2
    assert float(s12.mean()) == pytest.approx(1 / 6, abs=5 * float(s12.std()) / math.sqrt(len(s12)))


def test_massless_volume_follows_from_convolution():
    # V_2 = pi/2; V_3 = int ds23 / (...) = (pi/2)² s / 2
    assert massless_volume(2, 123.0) == pytest.approx(math.pi / 2)
    assert massless_volume(3, 100.0) == pytest.approx((math.pi / 2) ** 2 * 100**2 / 2)


def test_energy_below_masses_is_refused():
    with pytest.raises(ValueError, match=r"90 GeV is not above the sum of the masses 91\.188"):
        sample((91.188, 0.0), 90.0, 3)


def test_cuts_keep_resolved_gluons_and_central_photons():
    process = amplitudes.process("g g > a a g")
    momenta, _ = sample((0.0, 0.0, 0.0), 500.0, 4000)
    momenta = torch.cat([amplitudes.incoming(torch.full((4000,), 500.0, dtype=torch.float64)), momenta], dim=1)
    passed = process.passed(momenta, Cuts())
    assert 0.8 < float(passed.double().mean()) < 0.9  # 85 % in the reference
    photons, gluon = momenta[passed, 2:4], momenta[passed, 4]
    hard, soft = lorentz.pt(photons).max(1).values, lorentz.pt(photons).min(1).values
    assert float(hard.min()) > 40
    assert float(soft.min()) > 30
    assert float(lorentz.eta(photons).abs().max()) < 2.37
    assert float(lorentz.pt(gluon).min()) > 20
    rejected = momenta[~passed]
    is_soft = lorentz.pt(rejected[:, 4]) < 20
    is_forward = (lorentz.eta(rejected[:, 2:4]).abs() > 2.37).any(1)
    least = lorentz.pt(rejected[:, 2:4]).sort(1).values
    is_faint = (least[:, 0] < 30) | (least[:, 1] < 40)
    eta, phi = lorentz.eta(rejected[:, 2:]), lorentz.phi(rejected[:, 2:])
    is_close = torch.zeros_like(is_soft)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        around = torch.remainder(phi[:, i] - phi[:, j] + math.pi, 2 * math.pi) - math.pi
        is_close |= torch.hypot(eta[:, i] - eta[:, j], around) < 0.4
    assert bool((is_soft | is_forward | is_faint | is_close).all())
