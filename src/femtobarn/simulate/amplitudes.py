"""Phase-space points of hard processes with their squared amplitudes, as events."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from femtobarn.events import Events, concatenate, read_parquet, write_parquet
from femtobarn.physics import amplitudes
from femtobarn.physics.amplitudes import COUPLINGS, Couplings, Cuts, Process, massless_volume
from femtobarn.simulate.units import Progress, Unit, UnitQueue, claim, first_number, run_units, unit_file

#: Points of a unit.
UNIT_POINTS = 10_000

#: Points that are drawn at once.
DRAWN_POINTS = 16_384

#: Pseudorapidity of incoming partons along the beam: their pT, 1e-17 GeV, is lost in every sum.
BEAM_ETA = 45.0

#: Points whose amplitude changes by more than this fraction when the event is rotated are drawn again.
MAX_ROTATION_DIFFERENCE = 1e-6

#: Points of a unit of a tree process that are rotated; those of loops are all rotated.
N_CHECKED_POINTS = 100

#: Points from which the largest amplitude of an unweighted sample is estimated.
PILOT_POINTS = 20_000

#: Fraction of the sum of amplitudes that may lie above the largest amplitude of unweighting, as weights above 1.
OVERWEIGHT_FRACTION = 1e-3

#: (ħc)² in pb GeV².
PICOBARN = 0.3893793721e9


@dataclass(frozen=True)
class AmplitudePlan:
    """Points of phase space to draw, and the process whose squared amplitude they get.

    Args:
        process: name, such as `u u~ > z g g` (`femtobarn.physics.amplitudes.PROCESSES`).
        points: number of points.
        sqrt_s: energy of the incoming partons in their centre of mass in GeV, or the lowest one.
        max_sqrt_s: highest energy; energies between the two have a density that falls as 1/s. None for a fixed energy.
        max_rapidity: largest rapidity of a boost along the beam, uniform between both signs; 0 for none.
        unweighted: points with a density proportional to the squared amplitude, instead of flat phase space.
        cuts: selection of the final state.
        seed: the same one gives the same points.
        couplings: coupling constants and masses.

    Raises:
        ValueError: an unknown process, or energies that it cannot have.
    """

    process: str
    points: int = 10_000
    sqrt_s: float = 1000.0
    max_sqrt_s: float | None = None
    max_rapidity: float = 0.0
    unweighted: bool = False
    cuts: Cuts = field(default_factory=Cuts)
    seed: int = 1
    couplings: Couplings = COUPLINGS

    def __post_init__(self) -> None:
        object.__setattr__(self, "process", self.matrix_element.name)
        threshold = sum(self.matrix_element.masses(self.couplings))
        if not self.sqrt_s > threshold:
            raise ValueError(
                f"sqrt_s: {self.sqrt_s:g} GeV is not above the masses of {self.process}, {threshold:g} GeV"
            )
        if self.max_sqrt_s is not None and not self.max_sqrt_s > self.sqrt_s:
            raise ValueError(f"max_sqrt_s: {self.max_sqrt_s:g} GeV is not above sqrt_s, {self.sqrt_s:g} GeV")

    @property
    def matrix_element(self) -> Process:
        """The process."""
        return amplitudes.process(self.process)

    @property
    def units(self) -> list[Unit]:
        """The points in pieces with seeds of their own."""
        return [Unit(start, min(UNIT_POINTS, self.points - start)) for start in range(0, self.points, UNIT_POINTS)]


@dataclass
class Tally:
    """Counts of drawn points.

    Args:
        drawn: points of flat massless phase space.
        passed: points among them that are kept for the masses and pass the cuts.
        evaluated: points whose amplitude was computed.
        unstable: points that were drawn again because their amplitude is not accurate.
        sum_amplitudes, sum_squares: of the other evaluated points.
        rotation_difference: largest relative difference of such an amplitude after a rotation of the event.
    """

    drawn: int = 0
    passed: int = 0
    evaluated: int = 0
    unstable: int = 0
    sum_amplitudes: float = 0.0
    sum_squares: float = 0.0
    rotation_difference: float = 0.0

    def add(self, other: Tally) -> None:
        """Count the points of another tally."""
        for name in ("drawn", "passed", "evaluated", "unstable", "sum_amplitudes", "sum_squares"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.rotation_difference = max(self.rotation_difference, other.rotation_difference)


def simulate_amplitudes(
    plan: AmplitudePlan,
    output: str | Path,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Events:
    """Phase-space points with their squared amplitude, written as Parquet.

    Units of points are kept in a folder beside the output until all are complete; a stopped simulation is resumed by
    the same call, and any number of workers gives the same points.

    Args:
        plan: process and phase space.
        output: file to write.
        workers: processes to use; all cores by default.
        executor: does the work in place of processes of this machine.
        progress: called after every unit.

    Raises:
        ValueError: the folder of units belongs to another plan.
    """
    target = Path(output)
    if len(plan.units) == 1 and executor is None:  # no process is worth starting
        events = draw_amplitudes(plan)
        write_parquet(events, target)
        return events
    folder = target.with_name(f"{target.name}.units")
    claim(folder, {**asdict(plan), "unit_size": UNIT_POINTS})
    work = partial(_produce, plan, largest_amplitude(plan))
    queue = UnitQueue(work, plan.points, None, plan.units, folder.absolute(), progress)
    used = run_units(queue, min(workers or os.cpu_count() or 1, len(plan.units)), executor)
    events = _merged(plan, [read_parquet(unit_file(folder, unit)) for unit in used])
    write_parquet(events, target)
    shutil.rmtree(folder)
    return events


def draw_amplitudes(plan: AmplitudePlan) -> Events:
    """Phase-space points with their squared amplitude, in memory; the same as `simulate_amplitudes` writes.

    Particles are the legs of the process: the incoming partons, whose transverse momentum is zero (below 1e-16 GeV in
    the record), and the outgoing ones. Context columns are `amplitude`, for gluons `amplitude_lc` at leading colour and
    `color_ratio`, `sqrt_s` in GeV, and `min_sij`, the smallest invariant 2 p_i.p_j of two legs in GeV².
    """
    largest = largest_amplitude(plan)
    return _merged(plan, [_draw_unit(plan, largest, unit) for unit in plan.units])


def largest_amplitude(plan: AmplitudePlan) -> float | None:
    """Amplitude to which unweighting refers, from a pilot sample with a seed of its own; None for flat phase space."""
    if not plan.unweighted:
        return None
    random = np.random.default_rng(np.random.SeedSequence([plan.seed, 1 << 40]))
    ordered = np.sort(_draw(plan, random, PILOT_POINTS)[2]["amplitude"].numpy())
    above = np.cumsum((ordered - np.concatenate([[0.0], ordered[:-1]]))[::-1] * np.arange(len(ordered)))[::-1]
    return float(ordered[np.argmax(above <= OVERWEIGHT_FRACTION * ordered.sum())])


def _produce(plan: AmplitudePlan, largest: float | None, unit: Unit, file: Path) -> int:
    write_parquet(_draw_unit(plan, largest, unit), file)
    return unit.count


def _draw_unit(plan: AmplitudePlan, largest: float | None, unit: Unit) -> Events:
    """Points of one unit, from seeds of its own."""
    random = np.random.default_rng(np.random.SeedSequence([plan.seed, unit.start]))
    tally, parts, count = Tally(), [], 0
    while count < unit.count:
        n_points = unit.count - count if largest is None else UNIT_POINTS
        momenta, sqrt_s, values, drawn = _draw(plan, random, n_points)
        weight = torch.ones_like(sqrt_s)
        if largest is not None:
            relative = values["amplitude"] / largest
            kept = torch.from_numpy(random.random(len(relative))) < relative
            weight = relative.clamp_min(1.0)[kept]
            momenta, sqrt_s = momenta[kept], sqrt_s[kept]
            values = {name: value[kept] for name, value in values.items()}
        tally.add(drawn)
        parts.append(_events(plan, momenta, sqrt_s, values, weight))
        count += len(weight)
    events = concatenate(parts)[: unit.count]
    numbers = first_number(plan.seed) + unit.start + np.arange(unit.count)
    return replace(events, number=numbers, hard=numbers, provenance={"unit": asdict(tally)})


@contextmanager
def _single_thread() -> Iterator[None]:
    """Compute with one thread: sums of several have other last bits, and workers share the cores among themselves."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_single_thread()
def _draw(
    plan: AmplitudePlan, random: np.random.Generator, n_points: int
) -> tuple[Tensor, Tensor, dict[str, Tensor], Tally]:
    """Momenta of the legs, energies and amplitudes of up to `n_points` points that pass the cuts, and the counts."""
    process, tally = plan.matrix_element, Tally()
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    while tally.passed < n_points:
        parts.append(_phase_space(plan, random))
        tally.drawn += DRAWN_POINTS
        tally.passed += len(parts[-1][0])
    central, momenta, sqrt_s = (torch.cat(columns)[:n_points] for columns in zip(*parts, strict=True))
    # in the centre of mass, where rounding errors are smallest
    values = process.amplitudes(central, plan.couplings)
    # trees are accurate everywhere within the cuts; a few points show it
    checked = slice(None if process.has_loop else N_CHECKED_POINTS)
    difference = torch.zeros_like(sqrt_s)
    difference[checked] = process.rotation_difference(central[checked], values["amplitude"][checked], plan.couplings)
    is_stable = difference < MAX_ROTATION_DIFFERENCE
    values = {name: value[is_stable] for name, value in values.items()}
    tally.evaluated, tally.unstable = n_points, int((~is_stable).sum())
    tally.sum_amplitudes = float(values["amplitude"].sum())
    tally.sum_squares = float(values["amplitude"].square().sum())
    tally.rotation_difference = float(difference[is_stable].max()) if bool(is_stable.any()) else 0.0
    return momenta[is_stable], sqrt_s[is_stable], values, tally


def _phase_space(plan: AmplitudePlan, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Points that pass the cuts: momenta in the centre of mass, after the boost along the beam, and energies."""
    process = plan.matrix_element
    masses = process.masses(plan.couplings)
    sqrt_s = torch.full((DRAWN_POINTS,), plan.sqrt_s, dtype=torch.float64)
    if plan.max_sqrt_s is not None:
        low, high = 1 / plan.sqrt_s, 1 / plan.max_sqrt_s
        sqrt_s = 1 / (low - torch.from_numpy(random.random(DRAWN_POINTS)) * (low - high))
    uniform = 1 - torch.from_numpy(random.random((DRAWN_POINTS, len(masses), 4)))  # (0, 1], for the logarithm
    final, weight = amplitudes.rambo(uniform.clamp_max(1 - 1e-16), sqrt_s, masses)
    central = torch.cat([amplitudes.incoming(sqrt_s), final], dim=1)
    momenta = central
    if plan.max_rapidity:
        rapidity = plan.max_rapidity * (2 * torch.from_numpy(random.random(DRAWN_POINTS)) - 1)
        momenta = _boost_along_beam(central, rapidity)
    kept = torch.from_numpy(random.random(DRAWN_POINTS)) < weight
    kept &= process.passed(momenta, plan.cuts)
    return central[kept], momenta[kept], sqrt_s[kept]


def _boost_along_beam(momenta: Tensor, rapidity: Tensor) -> Tensor:
    """Momenta after a boost along z, by their light-cone components."""
    factor = rapidity.exp()[:, None]
    px, py, pz, energy = momenta.unbind(-1)
    plus, minus = (energy + pz) * factor, (energy - pz) / factor
    return torch.stack([px, py, (plus - minus) / 2, (plus + minus) / 2], dim=-1)


def _events(plan: AmplitudePlan, momenta: Tensor, sqrt_s: Tensor, values: dict[str, Tensor], weight: Tensor) -> Events:
    """Points as events."""
    px, py, pz, energy = momenta.numpy().transpose(2, 0, 1)
    pt, eta = np.hypot(px, py), np.empty_like(px)
    eta[:, 2:] = np.arcsinh(pz[:, 2:] / pt[:, 2:])
    pt[:, :2], eta[:, :2] = np.abs(pz[:, :2]) / math.sinh(BEAM_ETA), np.copysign(BEAM_ETA, pz[:, :2])
    n_points, n_legs = pt.shape
    kinds = np.tile(np.array(plan.matrix_element.kinds, dtype=np.int8), (n_points, 1))
    phi = np.arctan2(py, px)
    columns = {"pt": pt, "eta": eta, "phi": np.where(phi >= np.pi, -np.pi, phi), "E": energy, "kind": kinds}
    flat = ak.zip({name: column.ravel() for name, column in columns.items()}, with_name="Momentum4D")
    context = {name: value.numpy() for name, value in values.items()}
    if "amplitude_lc" in context:
        context["color_ratio"] = context["amplitude"] / context["amplitude_lc"]
    zeros = np.zeros(n_points)
    context |= {"sqrt_s": sqrt_s.numpy(), "min_sij": _smallest_invariant(momenta), "MET": zeros, "phi_MET": zeros}
    numbers = np.arange(n_points)
    return Events(
        particles=ak.unflatten(flat, np.full(n_points, n_legs)),
        context=ak.zip(context),
        weight=weight.numpy(),
        process=np.full(n_points, plan.process),
        number=numbers,
        hard=numbers,
    )


def _smallest_invariant(momenta: Tensor) -> NDArray[np.float64]:
    """Smallest 2 p_i.p_j of two legs in GeV²."""
    metric = torch.tensor([-1.0, -1.0, -1.0, 1.0], dtype=momenta.dtype)
    products = 2 * (momenta * metric) @ momenta.transpose(1, 2)
    first, second = torch.triu_indices(momenta.shape[1], momenta.shape[1], 1)
    smallest: NDArray[np.float64] = products[:, first, second].min(1).values.numpy()
    return smallest


def _merged(plan: AmplitudePlan, parts: list[Events]) -> Events:
    """Units as one sample, with their origin and the partonic cross section of a fixed energy."""
    tally = Tally()
    for part in parts:
        tally.add(Tally(**part.provenance["unit"]))
    events = concatenate([replace(part, provenance={}) for part in parts])
    process = plan.matrix_element
    record: dict[str, Any] = {
        "amplitudes": {
            "order": process.order,
            "source": process.source,
            **asdict(plan),
            **asdict(tally),
            "partonic_cross_section_pb": cross_section(plan, tally),
        },
        "versions": {name: version(name) for name in ("femtobarn", "torch", "numpy")},
    }
    return replace(events, provenance={"processes": {plan.process: json.loads(json.dumps(record))}})


def cross_section(plan: AmplitudePlan, tally: Tally) -> tuple[float, float] | None:
    r"""Partonic cross section within the cuts in pb, and its statistical error; None where the energy is not fixed.

    .. math:: \hat\sigma = \frac{1}{2s} \frac{V_n(s)}{(2\pi)^{3n-4}} \langle w\,|M|^2\,\theta \rangle
    """
    if plan.max_sqrt_s is not None:
        return None
    n = len(plan.matrix_element.legs) - 2
    volume = float(massless_volume(n, plan.sqrt_s))
    factor = PICOBARN * volume / (2 * math.pi) ** (3 * n - 4) / (2 * plan.sqrt_s**2)
    n_stable = tally.evaluated - tally.unstable
    fraction, mean = tally.passed / tally.drawn, tally.sum_amplitudes / n_stable
    variance = (tally.sum_squares / n_stable - mean**2) / n_stable + mean**2 * (1 - fraction) / tally.passed
    return factor * fraction * mean, factor * fraction * math.sqrt(variance)
