"""Jets with constituents and truth labels: the boosted top, W, Z and Higgs, quarks, gluons and the QCD background.

One hard process of Pythia for each kind of jet, cut on the transverse momentum that it gives (`SOURCES`); anti-kt jets
of the stable visible particles, or of what a parametrised tracker and calorimeter make of them
(`femtobarn.simulate.particleflow`); labels by the partons of the generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.record import TRACKS
from femtobarn.physics.angles import delta_phi
from femtobarn.simulate.generated_jets import MIN_PT_SHARE, generated_jet_columns
from femtobarn.simulate.particleflow import candidates, visible

Array = NDArray[Any]

#: Pythia's processes for each kind of jet; the decays that make a jet of two or three prongs are left open.
HADRONIC_W = ("24:onMode = off", "24:onIfAny = 1 2 3 4 5")
SOURCES: dict[str, tuple[str, ...]] = {
    "top": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *HADRONIC_W),
    "W": ("WeakDoubleBoson:ffbar2WW = on", *HADRONIC_W),
    "Z": (
        "WeakDoubleBoson:ffbar2gmZgmZ = on",
        "WeakZ0:gmZmode = 2",
        "23:onMode = off",
        "23:onIfAny = 1 2 3 4 5",
    ),
    "Higgs": (
        "HiggsSM:ffbar2HZ = on",
        "25:onMode = off",
        "25:onIfMatch = 5 -5",
        "23:onMode = off",
        "23:onIfAny = 12 14 16",
    ),
    "quark": ("HardQCD:qq2qq = on",),
    "gluon": ("HardQCD:gg2gg = on",),
    "QCD": ("HardQCD:all = on",),
}

#: PDG number of the resonance behind a jet, and how many quarks it decays to.
RESONANCES = {"top": (6, 3), "W": (24, 2), "Z": (23, 2), "Higgs": (25, 2)}

#: PDG numbers of the parton behind a jet.
PARTONS = {"quark": (1, 2, 3), "gluon": (21,)}

#: The hard process reaches from this share of the lowest pT of a jet to this one of the highest: radiation moves jets
#: in both directions.
MIN_PT_MARGIN = 0.94
MAX_PT_MARGIN = 1.2

#: Largest number of jets of one event that are kept, the hardest.
MAX_JETS_PER_EVENT = 2


@dataclass(frozen=True)
class Jets:
    """Which jets to make of the generated events.

    Args:
        kind: a name in `SOURCES`, and the process of the jets.
        low, high: transverse momentum in GeV.
        eta: largest pseudorapidity.
        radius: R of anti-kt.
        detector: whether the constituents are those of a parametrised detector, not the generated particles.
    """

    kind: str
    low: int | float = 500
    high: int | float = 600
    eta: float = 2.0
    radius: float = 0.8
    detector: bool = True

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            raise ValueError(f"no jets are called {self.kind!r}; there are {', '.join(SOURCES)}")
        if not 0 < self.low < self.high:
            raise ValueError(f"jets have a pT from {self.low:g} to {self.high:g} GeV; the second must be the larger")

    @property
    def settings(self) -> tuple[str, ...]:
        """Lines for Pythia: 13 TeV, the process, and the transverse momentum it gives."""
        low, high = MIN_PT_MARGIN * self.low, MAX_PT_MARGIN * self.high
        span = (f"PhaseSpace:pTHatMin = {low:g}", f"PhaseSpace:pTHatMax = {high:g}")
        # else the rare event above the estimated largest cross section has a weight of its own
        return ("Beams:eCM = 13000.", "PhaseSpace:increaseMaximum = on", *SOURCES[self.kind], *span)


def find_jets(
    particles: ak.Array, wanted: Jets, generator: np.random.Generator
) -> tuple[ak.Array, ak.Array, NDArray[np.int64], NDArray[np.int64]]:
    """The jets of generated events that carry the label.

    Args:
        particles: all particles of each event with their history: id, final, px, py, pz, E (GeV), x, y, z (mm), status,
            mother1.
        wanted: which jets.
        generator: source of all randomness of the detector.

    Returns:
        Constituents of each jet (pt, eta, phi, E, kind, charge, d0, d0_error, dz, dz_error), one record a jet
        (MET, phi_MET, jet_pt, jet_eta, jet_phi, jet_mass, and the truth of `femtobarn.simulate.generated_jets`), the
        event of each jet, and its place among those kept.
    """
    stable = visible(particles, wanted.eta + 2 * wanted.radius)
    particles_in = candidates(stable, generator) if wanted.detector else stable
    inside = cluster(particles_in, wanted.radius, wanted.low)
    sums = {name: ak.sum(inside[name], axis=2) for name in ("px", "py", "pz", "E")}
    jets = ak.zip(sums, with_name="Momentum4D")
    pt, eta, phi = jets.pt, jets.eta, jets.phi
    good = (pt >= wanted.low) & (pt < wanted.high) & (abs(eta) < wanted.eta)
    good = good & labelled(particles, wanted, eta, phi)
    order = ak.argsort(ak.where(good, pt, -1.0), axis=1, ascending=False, stable=True)[:, :MAX_JETS_PER_EVENT]
    kept = good[order]
    mass = np.sqrt(np.maximum(jets.mass2, 0))
    columns = {"jet_pt": pt, "jet_eta": eta, "jet_phi": phi, "jet_mass": mass}
    flat = {name: ak.to_numpy(ak.flatten(column[order][kept])) for name, column in columns.items()}
    nothing = np.zeros(len(flat["jet_pt"]))
    chosen = ak.with_name(ak.flatten(inside[order][kept], axis=1), "Momentum4D")
    constituents = ak.zip(
        {
            **{name: getattr(chosen, name) for name in ("pt", "eta", "phi", "E")},
            "kind": ak.values_astype(chosen.kind, np.int8),
            **{name: chosen[name] for name in TRACKS},
        },
        with_name="Momentum4D",
    )
    counts = ak.to_numpy(ak.sum(kept, axis=1))
    event = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
    generated = cluster(stable, wanted.radius, MIN_PT_SHARE * wanted.low) if wanted.detector else inside
    truth = generated_jet_columns(generated, event, flat["jet_eta"], flat["jet_phi"], wanted.radius)
    context = ak.zip({"MET": nothing, "phi_MET": nothing, **flat, **truth})
    return constituents, context, event, place


def cluster(particles: ak.Array, radius: float, low: int | float) -> ak.Array:
    """The constituents of every anti-kt jet above a transverse momentum in GeV: (events, jets, constituents).

    Cacciari, Salam and Soyez, arXiv:0802.1189 and arXiv:1111.6097 (FastJet).
    """
    import fastjet

    inputs = ak.zip({name: particles[name] for name in ("px", "py", "pz", "E")}, with_name="Momentum4D")
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    index = fastjet.ClusterSequence(inputs, definition).constituent_index(min_pt=low)
    counts = ak.num(index, axis=2)
    flat = particles[ak.flatten(index, axis=2)]
    return ak.unflatten(flat, ak.flatten(counts, axis=None), axis=1)


def labelled(particles: ak.Array, wanted: Jets, eta: ak.Array, phi: ak.Array) -> ak.Array:
    """Whether each jet is of the wanted kind; every QCD jet is.

    A resonance is behind a jet if all quarks it decays to lie within R of the axis; a quark or gluon, if the outgoing
    parton of the hard process nearest to the axis is one and lies within R/2.

    Args:
        particles: with their history, as for `find_jets`.
        eta, phi: of the jets' axes, (events, jets).
    """
    if wanted.kind not in RESONANCES and wanted.kind not in PARTONS:
        return ak.ones_like(eta) > 0
    # 23 outgoing from the hard process or from the decay of a resonance, later copies have other codes
    outgoing = (abs(particles.status) == 23) & ((abs(particles.id) < 6) | (particles.id == 21))
    partons = particles[outgoing]
    height = np.arcsinh(partons.pz / np.maximum(np.hypot(partons.px, partons.py), 1e-9))
    azimuth = np.arctan2(partons.py, partons.px)
    axis, other = ak.unzip(ak.cartesian([eta, height], axis=1, nested=True))
    around, turn = ak.unzip(ak.cartesian([phi, azimuth], axis=1, nested=True))
    distance = np.hypot(axis - other, delta_phi(around, turn))
    if wanted.kind in PARTONS:
        _, identity = ak.unzip(ak.cartesian([eta, abs(partons.id)], axis=1, nested=True))
        # the nearest parton is of one of these if the nearest of these is nearer than any other
        is_parton = ak.zeros_like(identity) > 0
        for code in PARTONS[wanted.kind]:
            is_parton = is_parton | (identity == code)
        right, wrong = (
            ak.fill_none(ak.min(ak.where(chosen, distance, np.inf), axis=2), np.inf)
            for chosen in (is_parton, ~is_parton)
        )
        return (right < wrong) & (right < wanted.radius / 2)
    code, needed = RESONANCES[wanted.kind]
    _, origin = ak.unzip(ak.cartesian([eta, ancestors(particles, outgoing, code)], axis=1, nested=True))
    has_label = ak.zeros_like(eta) > 0
    for number in (1, 2):  # there are no more
        is_decay_product = origin == number
        n_inside = ak.sum((distance < wanted.radius) & is_decay_product, axis=2)
        has_label = has_label | ((n_inside == needed) & (ak.sum(is_decay_product, axis=2) == needed))
    return has_label


def ancestors(particles: ak.Array, chosen: ak.Array, resonance: int) -> ak.Array:
    """Which resonance of each event the chosen particles descend from: 1 or 2 in the order of the event, 0 for none.

    Args:
        particles: id, mother1 of each event.
        chosen: which particles to ask for.
        resonance: PDG number of either sign.
    """
    counts = ak.to_numpy(ak.num(particles.id))
    offset = np.repeat(np.cumsum(counts) - counts, counts)
    mother = ak.to_numpy(ak.flatten(particles.mother1)).astype(np.int64) + offset
    size = np.abs(ak.to_numpy(ak.flatten(particles.id)))
    is_one = size == resonance
    rows = np.flatnonzero(ak.to_numpy(ak.flatten(chosen)))
    first = np.full(len(rows), -1, dtype=np.int64)
    place = rows.copy()
    while True:
        above = mother[place]
        first = np.where(is_one[above], above, first)  # the earliest copy is met last
        if np.array_equal(above, place):
            break
        place = above
    resonances = np.unique(first[first >= 0])
    event = np.searchsorted(np.cumsum(counts), resonances, side="right")
    number = 1 + np.arange(len(resonances)) - np.searchsorted(event, event)
    carriers = np.zeros(len(rows), dtype=np.int64)
    carriers[first >= 0] = number[np.searchsorted(resonances, first[first >= 0])]
    return ak.unflatten(carriers, ak.to_numpy(ak.sum(chosen, axis=1)))
