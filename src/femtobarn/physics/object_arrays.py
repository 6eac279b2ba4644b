"""Objects of many events in rectangular arrays, hardest first, and the masses and distances of their pairs.

Numpy, one row per event: the observables of `femtobarn.physics.observables` are computed from these.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from femtobarn.physics.constants import TWO_PI

Event: TypeAlias = Float[np.ndarray, " batch"]


@runtime_checkable
class Objects(Protocol):
    """Objects in rectangular arrays (events, slots), as `femtobarn.events.Padded` has them."""

    @property
    def pt(self) -> NDArray[np.float64]: ...
    @property
    def eta(self) -> NDArray[np.float64]: ...
    @property
    def phi(self) -> NDArray[np.float64]: ...
    @property
    def E(self) -> NDArray[np.float64]: ...
    @property
    def kind(self) -> NDArray[np.int64]: ...
    @property
    def mask(self) -> NDArray[np.bool_]: ...


class ObjectArrays(NamedTuple):
    """Selected objects of each event, hardest first, in as few slots as possible; zeros in padded slots."""

    pt: Float[np.ndarray, "batch particles"]
    eta: Float[np.ndarray, "batch particles"]
    phi: Float[np.ndarray, "batch particles"]
    E: Float[np.ndarray, "batch particles"]
    kind: Int[np.ndarray, "batch particles"]
    mask: Bool[np.ndarray, "batch particles"]


def select_objects(objects: Objects, kinds: tuple[int, ...], max_objects: int | None = None) -> ObjectArrays:
    """Select the objects of some types, hardest first.

    Args:
        objects: objects of the events.
        kinds: codes of the types.
        max_objects: number of slots; default: as many as needed.
    """
    selected = np.isin(objects.kind, kinds) & objects.mask
    width = int(selected.sum(axis=1).max(initial=0)) if max_objects is None else max_objects
    hardness = np.where(selected, -objects.pt, np.inf)
    order = np.argsort(hardness, axis=1, kind="stable")[:, :width]
    real = np.take_along_axis(selected, order, axis=1)
    if real.shape[1] < width:
        behind = ((0, 0), (0, width - real.shape[1]))
        order, real = np.pad(order, behind), np.pad(real, behind)
    columns = (
        np.where(real, np.take_along_axis(column, order, axis=1), 0) if column.shape[1] else np.zeros(real.shape)
        for column in (objects.pt, objects.eta, objects.phi, objects.E, objects.kind)
    )
    pt, eta, phi, energy, kind = columns
    return ObjectArrays(pt, eta, phi, energy, kind.astype(np.int64), real)


@runtime_checkable
class ObjectSource(Protocol):
    """Objects of events that are counted and selected by type, however they are stored."""

    def count(self, kinds: tuple[int, ...]) -> NDArray[np.int64]:
        """Number of objects of some kinds in each event."""

    def select(self, kinds: tuple[int, ...]) -> Objects:
        """Objects of some types, hardest first, in as few slots as possible; zeros in padded slots."""


class PaddedObjects:
    """Objects that stand in rectangular arrays, in any order; each selection by type is computed once.

    Args:
        objects: pT, eta, phi, E (GeV, radians), codes of `femtobarn.physics.objects` and mask, (events, slots).
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._by_kinds: dict[tuple[int, ...], ObjectArrays] = {}

    def count(self, kinds: tuple[int, ...]) -> NDArray[np.int64]:
        """Number of objects of some kinds in each event."""
        return np.asarray((np.isin(self.objects.kind, kinds) & self.objects.mask).sum(axis=1), dtype=np.int64)

    def select(self, kinds: tuple[int, ...]) -> ObjectArrays:
        """Objects of some types, hardest first."""
        if kinds not in self._by_kinds:
            self._by_kinds[kinds] = select_objects(self.objects, kinds)
        return self._by_kinds[kinds]


def transverse_mass(pt: Event, phi: Event, met: Event, phi_met: Event) -> Event:
    r"""Transverse mass in GeV of a lepton and the missing transverse momentum; that of a W ends at the W's mass.

    .. math:: m_T = \sqrt{2 p_T\, \mathrm{MET}\, (1 - \cos \Delta\phi)}
    """
    # 1 - cos, without the cancellation at small angles
    transverse: NDArray[np.float64] = 2 * np.sqrt(pt * met) * np.abs(np.sin((phi - phi_met) / 2))
    return transverse


def light_cone(
    pt: NDArray[np.float64], eta: NDArray[np.float64], phi: NDArray[np.float64], energy: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """E + pz, E - pz, px, py in GeV, of arrays of any common shape."""
    pz = pt * np.sinh(eta)
    return energy + pz, energy - pz, pt * np.cos(phi), pt * np.sin(phi)


def invariant_mass(
    plus: NDArray[np.float64], minus: NDArray[np.float64], px: NDArray[np.float64], py: NDArray[np.float64]
) -> NDArray[np.float64]:
    r"""Invariant mass in GeV from E + pz, E - pz, px and py; 0 where rounding makes its square negative.

    .. math:: m^2 = (E + p_z)(E - p_z) - p_x^2 - p_y^2
    """
    mass: NDArray[np.float64] = np.sqrt(np.maximum(plus * minus - px**2 - py**2, 0))
    return mass


def total_mass(objects: Objects) -> Event:
    """Invariant mass in GeV of the sum of all objects of each event."""
    return invariant_mass(*(component.sum(axis=1) for component in _components(objects)))


def pair_mass(objects: Objects) -> Float[np.ndarray, "batch particles particles"]:
    """Invariant mass in GeV of every pair of objects, as in `femtobarn.physics.pairwise.mass2`."""
    return invariant_mass(*(component[:, :, None] + component[:, None, :] for component in _components(objects)))


def pair_distance(objects: Objects) -> Float[np.ndarray, "batch particles particles"]:
    """ΔR in pseudorapidity and azimuth of every pair of objects."""
    around = np.abs(objects.phi[:, :, None] - objects.phi[:, None, :]) % TWO_PI
    around = np.minimum(around, TWO_PI - around)
    along = objects.eta[:, :, None] - objects.eta[:, None, :]
    distance: NDArray[np.float64] = np.sqrt(along**2 + around**2)
    return distance


def _components(objects: Objects) -> tuple[NDArray[np.float64], ...]:
    return light_cone(objects.pt, objects.eta, objects.phi, objects.E)
