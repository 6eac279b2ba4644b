"""Phase-space points as events: seeds, workers, cross sections, energies, unweighting, noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
from scipy.integrate import quad

from femtobarn.events import Events, concatenate, read_parquet
from femtobarn.experiments.amplitudes import AmplitudesConfig, NoiseConfig
from femtobarn.inputs import make_batch
from femtobarn.physics import amplitudes
from femtobarn.physics.amplitudes import COUPLINGS
from femtobarn.runs.noise import add_noise
from femtobarn.simulate.amplitude_card import amplitude_card
from femtobarn.simulate.amplitudes import PICOBARN, AmplitudePlan, draw_amplitudes, simulate_amplitudes
from femtobarn.simulate.units import Progress, Unit, unit_file


def record(events: Events) -> dict[str, Any]:
    (name,) = events.processes
    return dict(events.provenance["processes"][name]["amplitudes"])


def test_any_number_of_workers_and_a_resumed_simulation_give_the_same_points(tmp_path):
    plan = AmplitudePlan("u u~ > z g", 21_000, seed=7)
    parallel = simulate_amplitudes(plan, tmp_path / "parallel.parquet", workers=2)
    in_memory = draw_amplitudes(plan)
    for events in (parallel, read_parquet(tmp_path / "parallel.parquet")):
        assert ak.array_equal(events.particles, in_memory.particles)
        assert ak.array_equal(events.context, in_memory.context)
        np.testing.assert_array_equal(events.number, in_memory.number)
    assert len(np.unique(in_memory.number)) == 21_000
    assert not list(tmp_path.glob("*.units"))
    resumed, done = tmp_path / "resumed.parquet", []
    folder = tmp_path / "resumed.parquet.units"
    with pytest.raises(RuntimeError, match="stopped"):
        simulate_amplitudes(plan, resumed, workers=1, progress=_stop_after(10_000))
    assert unit_file(folder, Unit(0, 10_000)).exists()
    again = simulate_amplitudes(plan, resumed, workers=1, progress=lambda progress: done.append(progress.done))
    assert done[0] == 10_000
    assert ak.array_equal(again.context, in_memory.context)


def _stop_after(points: int) -> Callable[[Progress], None]:
    def progress(state: Progress) -> None:
        if state.done >= points:
            raise RuntimeError("stopped")

    return progress


def test_amplitudes_of_stored_momenta_are_those_of_the_file():
    events = draw_amplitudes(AmplitudePlan("u u~ > z g g", 200, max_sqrt_s=3000.0, max_rapidity=2.0))
    batch = make_batch(events, 5, dtype=torch.float64)
    order = batch.kind.argsort(dim=1, descending=True, stable=True)
    momenta = batch.momenta.gather(1, order[..., None].expand(-1, -1, 4))
    values = amplitudes.process("u u~ > z g g").amplitudes(momenta)["amplitude"]
    np.testing.assert_allclose(values.numpy(), events.context["amplitude"].to_numpy(), rtol=1e-7)
    total = momenta[:, 2:].sum(1).numpy()
    np.testing.assert_allclose(
        np.sqrt(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1)), events.context["sqrt_s"].to_numpy(), rtol=1e-9
    )
    assert np.abs(np.arctanh(total[:, 2] / total[:, 3])).max() > 1.5


def test_cross_section_of_z_gluon_matches_integrated_closed_formula():
    """Integral of the two-body formula over the angle that pT > 20 GeV leaves."""
    sqrt_s, m2 = 1000.0, COUPLINGS.m_z**2
    s = sqrt_s**2
    momentum = (s - m2) / (2 * sqrt_s)
    limit = math.sqrt(1 - (20 / momentum) ** 2)
    coupling = 16 / 36 * COUPLINGS.strong * COUPLINGS.z_coupling(1 / 2, 2 / 3)

    def squared(cosine):
        t, u = -sqrt_s * momentum * (1 - cosine), -sqrt_s * momentum * (1 + cosine)
        return coupling * (t**2 + u**2 + 2 * s * m2) / (t * u)

    expected = PICOBARN / (32 * math.pi * s) * (2 * momentum / sqrt_s) * quad(squared, -limit, limit)[0]
    value, error = record(draw_amplitudes(AmplitudePlan("u u~ > z g", 40_000)))["partonic_cross_section_pb"]
    assert error < 0.03 * expected
    assert value == pytest.approx(expected, abs=5 * error)


def test_unweighted_points_have_the_weighted_distribution():
    """Mean of a function of the points: flat points weighted by A, against points drawn by A."""
    flat = draw_amplitudes(AmplitudePlan("u u~ > z g", 60_000, seed=2))
    unweighted = draw_amplitudes(AmplitudePlan("u u~ > z g", 4_000, seed=3, unweighted=True))
    weight = flat.context["amplitude"].to_numpy()
    x = np.log(flat.context["min_sij"].to_numpy())
    expected = np.average(x, weights=weight)
    y, w = np.log(unweighted.context["min_sij"].to_numpy()), unweighted.weight
    value = np.average(y, weights=w)
    error = y.std() / math.sqrt(len(y)) + x.std() * math.sqrt((weight**2).sum()) / weight.sum()
    assert abs(value - expected) < 5 * error
    assert abs(x.mean() - expected) > 10 * error
    assert (w >= 1).all()
    assert (w > 1).mean() < 0.1


def test_energies_fall_as_one_over_s():
    events = draw_amplitudes(AmplitudePlan("g g > g g", 10_000, sqrt_s=500.0, max_sqrt_s=2000.0))
    uniform = (1 / 500 - 1 / events.context["sqrt_s"].to_numpy()) / (1 / 500 - 1 / 2000)
    counts = np.histogram(uniform, bins=10, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # a cut removes 2 to 4 % at all energies
    assert record(events)["partonic_cross_section_pb"] is None


def test_card_repeats_the_command_and_checks(tmp_path):
    plan = AmplitudePlan("g g > a a g", 500, sqrt_s=500.0)
    events = simulate_amplitudes(plan, tmp_path / "aag.parquet")
    text = amplitude_card(events, tmp_path / "aag.parquet")
    assert "femtobarn simulate amplitudes 'g g > a a g' --events 500 --sqrt-s 500" in text
    assert "photons: pT > 40 and 30 GeV" in text
    assert "one loop" in text
    assert record(events)["rotation_difference"] < 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"process": "u u~ > w g"}, "no matrix element for 'u u~ > w g' .*did you mean"),
        ({"process": "u u~ > z g", "sqrt_s": 90.0}, "90 GeV is not above the masses of u u~ > z g, 91.188 GeV"),
        ({"process": "g g > g g", "max_sqrt_s": 900.0}, "max_sqrt_s: 900 GeV is not above sqrt_s, 1000 GeV"),
    ],
)
def test_impossible_plans_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AmplitudesConfig(**settings)


def test_noise_is_relative_gaussian_and_independent_of_the_subset():
    events = draw_amplitudes(AmplitudePlan("g g > g g", 20_000, sqrt_s=200.0, max_sqrt_s=300.0))
    noise = NoiseConfig(relative=0.1, where="sqrt_s > 225 and sqrt_s < 275", seed=4)
    noisy = add_noise(events, noise)
    ratio = noisy.context["amplitude"].to_numpy() / events.context["amplitude"].to_numpy() - 1
    energies = events.context["sqrt_s"].to_numpy()
    inside = (energies > 225) & (energies < 275)
    assert (ratio[~inside] == 0).all()
    pulls = ratio[inside] / 0.1
    n = len(pulls)
    assert abs(pulls.mean()) < 5 / math.sqrt(n)
    assert abs(pulls.std() - 1) < 5 / math.sqrt(2 * n)
    assert abs((np.abs(pulls) > 2).mean() - 0.0455) < 5 * math.sqrt(0.0455 / n)
    part = add_noise(events[::3], noise)
    np.testing.assert_array_equal(part.context["amplitude"], noisy.context["amplitude"][::3])
    other = add_noise(events, noise.model_copy(update={"seed": 5}))
    assert (
        np.corrcoef(other.context["amplitude"][inside] / events.context["amplitude"][inside], ratio[inside])[0, 1]
        < 0.05
    )
    gap = add_noise(events, NoiseConfig(where="sqrt_s > 225 and sqrt_s < 275", drop=True))
    assert len(gap) == (~inside).sum()


def test_points_of_two_processes_are_read_together():
    both = concatenate([draw_amplitudes(AmplitudePlan(name, 100)) for name in ("u u~ > z g", "d d~ > z g")])
    assert both.processes == ("d d~ > z g", "u u~ > z g")
    assert both.weight.sum() == 200


def test_drawing_points_leaves_the_threads_of_torch_as_they_are():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        draw_amplitudes(AmplitudePlan("u u~ > z g", 10))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_simulation_of_another_length_is_not_resumed(tmp_path):
    """Its last unit would have too few points."""
    output = tmp_path / "points.parquet"
    with pytest.raises(RuntimeError, match="stopped"):
        simulate_amplitudes(AmplitudePlan("u u~ > z g", 15_000), output, workers=1, progress=_stop_after(10_000))
    with pytest.raises(ValueError, match="points was 15000, is 25000"):
        simulate_amplitudes(AmplitudePlan("u u~ > z g", 25_000), output, workers=1)
