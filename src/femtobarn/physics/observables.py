"""Observables: the variables a physicist cuts on, from the objects of an event.

Numpy, one value an event, for selection expressions and for the BDT. Where an event lacks what a variable asks for (no
lepton, fewer than two b-jets), the variable is 0.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from femtobarn.physics.constants import TWO_PI, Z_MASS
from femtobarn.physics.objects import BJET, CHARGES, ELECTRONS, JETS, LEPTONS, MUONS, PHOTON

Event: TypeAlias = Float[np.ndarray, " events"]
T = TypeVar("T", bound=np.generic)

#: Leading objects whose transverse momenta are variables of their own.
LEADING = {"jet": 6, "bjet": 4, "lep": 3}


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


class Chosen(NamedTuple):
    """Some of the objects of every event, hardest first, in no more slots than they need; zeros behind them."""

    pt: Float[np.ndarray, "events objects"]
    eta: Float[np.ndarray, "events objects"]
    phi: Float[np.ndarray, "events objects"]
    E: Float[np.ndarray, "events objects"]
    kind: Int[np.ndarray, "events objects"]
    mask: Bool[np.ndarray, "events objects"]


def choose(objects: Objects, kinds: tuple[int, ...], most: int | None = None) -> Chosen:
    """The objects of some kinds, hardest first; at most `most` of them, which then is the number of slots."""
    wanted = np.isin(objects.kind, kinds) & objects.mask
    width = int(wanted.sum(axis=1).max(initial=0)) if most is None else most
    hardness = np.where(wanted, -objects.pt, np.inf)
    order = np.argsort(hardness, axis=1, kind="stable")[:, :width]
    real = np.take_along_axis(wanted, order, axis=1)
    if real.shape[1] < width:
        behind = ((0, 0), (0, width - real.shape[1]))
        order, real = np.pad(order, behind), np.pad(real, behind)
    columns = (
        np.where(real, np.take_along_axis(column, order, axis=1), 0) if column.shape[1] else np.zeros(real.shape)
        for column in (objects.pt, objects.eta, objects.phi, objects.E, objects.kind)
    )
    pt, eta, phi, energy, kind = columns
    return Chosen(pt, eta, phi, energy, kind.astype(np.int64), real)


def observables(objects: Objects, met: Event, phi_met: Event) -> dict[str, NDArray[np.float64]]:
    r"""The variables of every event by name; multiplicities and charges are whole numbers in float64.

    - `n_jet` (b-tagged ones included), `n_bjet`, `n_lep`, `n_electron`, `n_muon`, `n_photon`;
    - `charge`: sum of the leptons' charges; `n_ss`: same-sign pairs among the leptons, of any flavour;
    - `HT`: scalar sum of the pT of jets, b-jets and leptons; `HT_jet`, `HT_lep`: its parts; `ST` = HT + MET, in GeV;
    - `MET` in GeV, `phi_MET` in radians;
    - `mT`: :math:`\sqrt{2 p_T^\ell\, \mathrm{MET}\, (1 - \cos \Delta\phi)}` of the hardest lepton, in GeV;
    - `m_ll_os_sf`: mass of the opposite-sign, same-flavour lepton pair closest to the Z mass, and `dm_Z`: how far it is
      from that (the whole Z mass without such a pair), in GeV;
    - `m_ll_ss`: mass of the hardest same-sign pair, in GeV; `dr_ll_min`: smallest ΔR of two leptons;
    - `pt_jet1` to `pt_jet6` (b-tagged ones included), `pt_bjet1` to `pt_bjet4`, `pt_lep1` to `pt_lep3`, in GeV;
    - `m_jets`: mass of all jets together, in GeV;
    - `m_bb`, of the two hardest b-jets in GeV; `dr_bb_min`, `dr_bb_mean`: smallest and mean ΔR of pairs of b-jets.

    Args:
        objects: pT, eta, phi, E (GeV, radians), codes of `femtobarn.physics.objects` and mask, (events, slots).
        met: missing transverse momentum in GeV.
        phi_met: its azimuth.
    """
    jets, bjets, leptons = (choose(objects, kinds) for kinds in (JETS, (BJET,), LEPTONS))
    charge = np.asarray(CHARGES, dtype=np.float64)[leptons.kind]
    same_sign, z_like = _lepton_pairs(leptons, charge)
    masses, distances = pair_mass(leptons), pair_distance(leptons)
    apart = pair_distance(bjets)
    both = _pairs(bjets.mask)
    scalar = {"HT_jet": jets.pt.sum(axis=1), "HT_lep": leptons.pt.sum(axis=1)}
    off_z = np.where(z_like, np.abs(masses - Z_MASS), np.inf)
    return {
        "n_jet": _count(jets.mask),
        "n_bjet": _count(bjets.mask),
        "n_lep": _count(leptons.mask),
        "n_electron": _count(np.isin(leptons.kind, ELECTRONS)),
        "n_muon": _count(np.isin(leptons.kind, MUONS)),
        "n_photon": _count((objects.kind == PHOTON) & objects.mask),
        "charge": charge.sum(axis=1),
        "n_ss": _count(_flat(same_sign)),
        "HT": scalar["HT_jet"] + scalar["HT_lep"],
        **scalar,
        "ST": scalar["HT_jet"] + scalar["HT_lep"] + met,
        "MET": np.asarray(met, dtype=np.float64),
        "phi_MET": np.asarray(phi_met, dtype=np.float64),
        "mT": transverse_mass(_slot(leptons.pt, 0), _slot(leptons.phi, 0), met, phi_met),
        "m_ll_os_sf": _at_smallest(off_z, masses),
        "dm_Z": _smallest(off_z, Z_MASS),
        "m_ll_ss": _first(same_sign, masses),
        "dr_ll_min": _smallest(np.where(_pairs(leptons.mask), distances, np.inf), 0.0),
        **{
            f"pt_{name}{slot + 1}": _slot(chosen.pt, slot)
            for name, chosen in (("jet", jets), ("bjet", bjets), ("lep", leptons))
            for slot in range(LEADING[name])
        },
        "m_jets": total_mass(jets),
        "m_bb": _first(both, pair_mass(bjets)),
        "dr_bb_min": _smallest(np.where(both, apart, np.inf), 0.0),
        "dr_bb_mean": (apart * both).sum(axis=(1, 2)) / np.maximum(both.sum(axis=(1, 2)), 1),
    }


def transverse_mass(pt: Event, phi: Event, met: Event, phi_met: Event) -> Event:
    r"""Transverse mass in GeV of a lepton and the missing transverse momentum; that of a W ends at the W's mass.

    .. math:: m_T = \sqrt{2 p_T\, \mathrm{MET}\, (1 - \cos \Delta\phi)}
    """
    # 1 - cos, without the cancellation at small angles
    transverse: NDArray[np.float64] = 2 * np.sqrt(pt * met) * np.abs(np.sin((phi - phi_met) / 2))
    return transverse


def total_mass(chosen: Chosen) -> Event:
    """Invariant mass in GeV of the sum of all chosen objects of each event."""
    return _root(_mass2(*(component.sum(axis=1) for component in _light_cone(chosen))))


def pair_mass(chosen: Chosen) -> Float[np.ndarray, "events objects objects"]:
    """Invariant mass in GeV of every pair of chosen objects, as in `femtobarn.physics.pairwise.mass2`."""
    summed = (component[:, :, None] + component[:, None, :] for component in _light_cone(chosen))
    return _root(_mass2(*summed))


def pair_distance(chosen: Chosen) -> Float[np.ndarray, "events objects objects"]:
    """ΔR in pseudorapidity and azimuth of every pair of chosen objects."""
    around = np.abs(chosen.phi[:, :, None] - chosen.phi[:, None, :]) % TWO_PI
    around = np.minimum(around, TWO_PI - around)
    along = chosen.eta[:, :, None] - chosen.eta[:, None, :]
    distance: NDArray[np.float64] = np.sqrt(along**2 + around**2)
    return distance


def _lepton_pairs(leptons: Chosen, charge: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pairs have the same sign, and which the opposite sign and the same flavour."""
    pairs = _pairs(leptons.mask)
    product = charge[:, :, None] * charge[:, None, :]
    electron = np.isin(leptons.kind, ELECTRONS)
    same_flavour = electron[:, :, None] == electron[:, None, :]
    return pairs & (product > 0), pairs & (product < 0) & same_flavour


def _pairs(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each pair of real objects once: the harder first."""
    return np.triu(mask[:, :, None] & mask[:, None, :], k=1)


def _light_cone(chosen: Chosen) -> tuple[NDArray[np.float64], ...]:
    """E + pz, E - pz, px, py in GeV."""
    pz = chosen.pt * np.sinh(chosen.eta)
    return chosen.E + pz, chosen.E - pz, chosen.pt * np.cos(chosen.phi), chosen.pt * np.sin(chosen.phi)


def _mass2(
    plus: NDArray[np.float64], minus: NDArray[np.float64], px: NDArray[np.float64], py: NDArray[np.float64]
) -> NDArray[np.float64]:
    return plus * minus - px**2 - py**2


def _root(value: NDArray[np.float64]) -> NDArray[np.float64]:
    root: NDArray[np.float64] = np.sqrt(np.maximum(value, 0))
    return root


def _count(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    count: NDArray[np.float64] = mask.sum(axis=1).astype(np.float64)
    return count


def _flat(pairs: NDArray[T]) -> NDArray[T]:
    # not reshape(len, -1), which cannot guess the -1 without events
    return pairs.reshape(len(pairs), pairs.shape[1] * pairs.shape[2])


def _slot(column: NDArray[np.float64], slot: int) -> NDArray[np.float64]:
    return column[:, slot] if slot < column.shape[1] else np.zeros(len(column))


def _first(chosen: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value of the first chosen pair, that with the hardest objects; 0 without one."""
    return _at_smallest(np.where(chosen, 0.0, np.inf), values)


def _at_smallest(key: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value of the pair with the smallest key; 0 where all keys are infinite."""
    key, values = _flat(key), _flat(values)
    if not key.shape[1]:
        return np.zeros(len(key))
    best = key.argmin(axis=1)[:, None]
    found = np.isfinite(np.take_along_axis(key, best, axis=1))
    chosen: NDArray[np.float64] = np.where(found, np.take_along_axis(values, best, axis=1), 0.0)[:, 0]
    return chosen


def _smallest(key: NDArray[np.float64], otherwise: float) -> NDArray[np.float64]:
    """The smallest key of each event, or `otherwise` where all are infinite."""
    smallest = _flat(key).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(smallest), smallest, otherwise)
