"""Observables: the variables a physicist cuts on, from the objects of an event.

One function per quantity, numpy, one value per event, for selection expressions and for the BDT. Where an event lacks
what a variable asks for (no lepton, fewer than two b-jets), the variable is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from femtobarn.physics.constants import Z_MASS
from femtobarn.physics.object_arrays import (
    Event,
    Objects,
    ObjectSource,
    PaddedObjects,
    pair_distance,
    pair_mass,
    total_mass,
    transverse_mass,
)
from femtobarn.physics.objects import BJET, CHARGES, ELECTRONS, JETS, LEPTONS, MUONS, PHOTON

T = TypeVar("T", bound=np.generic)

#: Leading objects whose transverse momenta are variables of their own.
LEADING = {"jet": 6, "bjet": 4, "lep": 3}


class EventQuantities:
    """The jets, leptons and missing momentum of events, and the pairs that several observables share.

    Each of them is computed when it is first used, and kept as long as this object is.

    Args:
        source: the objects of the events.
        met: missing transverse momentum in GeV.
        phi_met: its azimuth.
    """

    def __init__(self, source: ObjectSource, met: Event, phi_met: Event) -> None:
        self.source = source
        self.met = np.asarray(met, dtype=np.float64)
        self.phi_met = np.asarray(phi_met, dtype=np.float64)

    @cached_property
    def jets(self) -> Objects:
        """All jets, b-tagged ones included, hardest first."""
        return self.source.select(JETS)

    @cached_property
    def bjets(self) -> Objects:
        """B-tagged jets, hardest first."""
        return self.source.select((BJET,))

    @cached_property
    def leptons(self) -> Objects:
        """Electrons and muons, hardest first."""
        return self.source.select(LEPTONS)

    @cached_property
    def lepton_charge(self) -> NDArray[np.float64]:
        """Charges of the leptons, (events, leptons)."""
        return np.asarray(CHARGES, dtype=np.float64)[self.leptons.kind]

    @cached_property
    def lepton_pairs(self) -> NDArray[np.bool_]:
        """True for each pair of leptons once, (events, leptons, leptons)."""
        return _pairs(self.leptons.mask)

    @cached_property
    def same_sign(self) -> NDArray[np.bool_]:
        """True for pairs of leptons with the same charge."""
        return self.lepton_pairs & (self.lepton_charge[:, :, None] * self.lepton_charge[:, None, :] > 0)

    @cached_property
    def lepton_masses(self) -> NDArray[np.float64]:
        """Mass in GeV of each pair of leptons."""
        return pair_mass(self.leptons)

    @cached_property
    def off_z(self) -> NDArray[np.float64]:
        """Distance in GeV of each opposite-sign, same-flavour pair from the Z mass; infinite for other pairs."""
        electron = np.isin(self.leptons.kind, ELECTRONS)
        same_flavour = electron[:, :, None] == electron[:, None, :]
        opposite = self.lepton_charge[:, :, None] * self.lepton_charge[:, None, :] < 0
        return np.where(self.lepton_pairs & opposite & same_flavour, np.abs(self.lepton_masses - Z_MASS), np.inf)

    @cached_property
    def bjet_pairs(self) -> NDArray[np.bool_]:
        """True for each pair of b-jets once."""
        return _pairs(self.bjets.mask)

    @cached_property
    def bjet_distances(self) -> NDArray[np.float64]:
        """ΔR of each pair of b-jets."""
        return pair_distance(self.bjets)


def n_jet(events: EventQuantities) -> Event:
    """Number of jets, b-tagged ones included."""
    return _number(events, JETS)


def n_bjet(events: EventQuantities) -> Event:
    """Number of b-tagged jets."""
    return _number(events, (BJET,))


def n_lep(events: EventQuantities) -> Event:
    """Number of electrons and muons."""
    return _number(events, LEPTONS)


def n_electron(events: EventQuantities) -> Event:
    """Number of electrons and positrons."""
    return _number(events, ELECTRONS)


def n_muon(events: EventQuantities) -> Event:
    """Number of muons and antimuons."""
    return _number(events, MUONS)


def n_photon(events: EventQuantities) -> Event:
    """Number of photons."""
    return _number(events, (PHOTON,))


def charge(events: EventQuantities) -> Event:
    """Sum of the charges of the leptons."""
    return np.asarray(events.lepton_charge.sum(axis=1))


def n_ss(events: EventQuantities) -> Event:
    """Number of same-sign pairs among the leptons, of any flavour."""
    return np.asarray(_flat(events.same_sign).sum(axis=1).astype(np.float64))


def ht_jet(events: EventQuantities) -> Event:
    """Scalar sum of the pT of jets, in GeV."""
    return np.asarray(events.jets.pt.sum(axis=1))


def ht_lep(events: EventQuantities) -> Event:
    """Scalar sum of the pT of leptons, in GeV."""
    return np.asarray(events.leptons.pt.sum(axis=1))


def ht(events: EventQuantities) -> Event:
    """Scalar sum of the pT of jets and leptons, in GeV."""
    return np.asarray(ht_jet(events) + ht_lep(events))


def st(events: EventQuantities) -> Event:
    """Scalar sum of the pT of jets, leptons and missing momentum, in GeV."""
    return np.asarray(ht(events) + events.met)


def met(events: EventQuantities) -> Event:
    """Missing transverse momentum in GeV."""
    return events.met


def phi_met(events: EventQuantities) -> Event:
    """Azimuth of the missing transverse momentum in radians."""
    return events.phi_met


def m_t(events: EventQuantities) -> Event:
    r"""Transverse mass of the hardest lepton and the missing momentum, in GeV.

    .. math:: \sqrt{2 p_T^\ell\, \mathrm{MET}\, (1 - \cos \Delta\phi)}
    """
    return transverse_mass(_slot(events.leptons.pt, 0), _slot(events.leptons.phi, 0), events.met, events.phi_met)


def m_ll_os_sf(events: EventQuantities) -> Event:
    """Mass of the opposite-sign, same-flavour lepton pair closest to the Z mass, in GeV."""
    return _at_smallest(events.off_z, events.lepton_masses)


def dm_z(events: EventQuantities) -> Event:
    """Distance of that pair's mass from the Z mass in GeV; the Z mass without such a pair."""
    return _smallest(events.off_z, Z_MASS)


def m_ll_ss(events: EventQuantities) -> Event:
    """Mass of the hardest same-sign lepton pair, in GeV."""
    return _first(events.same_sign, events.lepton_masses)


def dr_ll_min(events: EventQuantities) -> Event:
    """Smallest ΔR of two leptons."""
    return _smallest(np.where(events.lepton_pairs, pair_distance(events.leptons), np.inf), 0.0)


def leading_pt(events: EventQuantities, *, collection: str, place: int) -> Event:
    """The pT in GeV of the hardest object of a collection (place 0), the second (place 1), ...

    Args:
        events: the events.
        collection: a key of `LEADING`.
        place: from 0.
    """
    objects = {"jet": lambda: events.jets, "bjet": lambda: events.bjets, "lep": lambda: events.leptons}[collection]()
    return _slot(objects.pt, place)


def m_jets(events: EventQuantities) -> Event:
    """Mass of all jets together, in GeV."""
    return total_mass(events.jets)


def m_bb(events: EventQuantities) -> Event:
    """Mass of the two hardest b-jets, in GeV."""
    return _first(events.bjet_pairs, pair_mass(events.bjets))


def dr_bb_min(events: EventQuantities) -> Event:
    """Smallest ΔR of two b-jets."""
    return _smallest(np.where(events.bjet_pairs, events.bjet_distances, np.inf), 0.0)


def dr_bb_mean(events: EventQuantities) -> Event:
    """Mean ΔR of the pairs of b-jets."""
    pairs = events.bjet_pairs
    mean: NDArray[np.float64] = (events.bjet_distances * pairs).sum(axis=(1, 2)) / np.maximum(pairs.sum(axis=(1, 2)), 1)
    return mean


#: The observables by name, in the order of the BDT's columns.
OBSERVABLES: dict[str, Callable[[EventQuantities], Event]] = {
    "n_jet": n_jet,
    "n_bjet": n_bjet,
    "n_lep": n_lep,
    "n_electron": n_electron,
    "n_muon": n_muon,
    "n_photon": n_photon,
    "charge": charge,
    "n_ss": n_ss,
    "HT": ht,
    "HT_jet": ht_jet,
    "HT_lep": ht_lep,
    "ST": st,
    "MET": met,
    "phi_MET": phi_met,
    "mT": m_t,
    "m_ll_os_sf": m_ll_os_sf,
    "dm_Z": dm_z,
    "m_ll_ss": m_ll_ss,
    "dr_ll_min": dr_ll_min,
    **{
        f"pt_{collection}{place + 1}": partial(leading_pt, collection=collection, place=place)
        for collection, count in LEADING.items()
        for place in range(count)
    },
    "m_jets": m_jets,
    "m_bb": m_bb,
    "dr_bb_min": dr_bb_min,
    "dr_bb_mean": dr_bb_mean,
}


def observables(objects: Objects, met: Event, phi_met: Event) -> dict[str, NDArray[np.float64]]:
    r"""All variables of every event by name; multiplicities and charges are whole numbers in float64.

    `OBSERVABLES` has a function for each of them, for those who need a few.

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
    events = EventQuantities(PaddedObjects(objects), met, phi_met)
    return {name: compute(events) for name, compute in OBSERVABLES.items()}


def _number(events: EventQuantities, kinds: tuple[int, ...]) -> NDArray[np.float64]:
    return events.source.count(kinds).astype(np.float64)


def _pairs(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each pair of real objects once: the harder first."""
    return np.triu(mask[:, :, None] & mask[:, None, :], k=1)


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
    exists = np.isfinite(np.take_along_axis(key, best, axis=1))
    chosen: NDArray[np.float64] = np.where(exists, np.take_along_axis(values, best, axis=1), 0.0)[:, 0]
    return chosen


def _smallest(key: NDArray[np.float64], otherwise: float) -> NDArray[np.float64]:
    """The smallest key of each event, or `otherwise` where all are infinite."""
    smallest = _flat(key).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(smallest), smallest, otherwise)
