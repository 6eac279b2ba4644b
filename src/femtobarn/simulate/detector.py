"""A parametrised detector: stable particles in, reconstructed jets, leptons, photons and missing momentum out.

The formulas follow the published performance of ATLAS; each names its source. There is no pile-up and no magnetic
deflection: a particle's direction is measured at the vertex. Rates that a paper shows only as a figure are rounded to
a simple function that passes through the values it quotes in the text.

Sources:
    Calorimeters, magnet: ATLAS, JINST 3 (2008) S08003.
    Jets: ATLAS, arXiv:2007.02645 (resolution 24 % at 20 GeV, 6 % at 300 GeV).
    b-tagging: ATL-PHYS-PUB-2015-022 and arXiv:1907.05120 (70 % working point), in femtobarn.physics.jets.
    Electrons: ATLAS, arXiv:1902.04655 and arXiv:1908.00005. Photons: arXiv:1908.00005.
    Muons: ATLAS, arXiv:1603.05598 (resolution) and arXiv:2012.00578 (efficiency).
    Tracks: efficiencies of the ATLAS card of Delphes, arXiv:1307.6346.
    Missing momentum: ATLAS, arXiv:1802.08168 (track-based soft term).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import vector
from numpy.typing import NDArray
from particle import PDGID

from femtobarn.physics import objects
from femtobarn.physics.angles import delta_phi
from femtobarn.physics.jets import JET_PT, TAG_ETA, b_tag_efficiency

vector.register_awkward()

Array = NDArray[Any]

#: A probability or resolution as a function of pT (GeV) and eta.
Response = Callable[[Array, Array], Array]

#: Objects are kept above these transverse momenta (GeV; jets above `JET_PT`) and within these pseudorapidities.
JET_ETA = 2.8
LEPTON_PT = 15.0
ELECTRON_ETA = 2.47
MUON_ETA = 2.5
PHOTON_PT = 20.0
PHOTON_ETA = 2.37
CRACK_ETA = (1.37, 1.52)  # between barrel and endcap calorimeter: no electrons, no photons
CALORIMETER_ETA = 4.9
TRACK_ETA = 2.5
TRACK_PT = 0.5
#: Charged particles below this pT curl up in the solenoid, 0.3 B[T] r[m] / 2 with B = 2 T and r = 1.15 m.
CURL_PT = 0.3 * 2.0 * 1.15 / 2


def jet_resolution(pt: Array, eta: Array) -> Array:
    r"""Relative momentum resolution of a jet.

    .. math:: \sigma/p_T = 3.4/p_T \oplus 0.74/\sqrt{p_T} \oplus 0.04 \quad (|\eta| < 1.7)

    passes through the measured 24 % at 20 GeV and 6 % at 300 GeV (arXiv:2007.02645). Beyond, the stochastic term is a
    function of the energy and scales with that of the calorimeter for pions (JINST 3 S08003: tile 52 %, hadronic
    endcap 71 %, forward 100 % / sqrt(E)), as does the forward constant term (9.4 %).

    Args:
        pt: transverse momentum in GeV.
        eta: pseudorapidity.
    """
    absolute = np.abs(eta)
    energy = pt * np.cosh(eta)
    stochastic = np.select(
        [absolute < 1.7, absolute < 3.2],
        [0.74 / np.sqrt(pt), 0.74 * (0.706 / 0.5205) / np.sqrt(energy)],
        0.74 * (1.0 / 0.5205) / np.sqrt(energy),
    )
    constant = np.where(absolute < 3.2, 0.04, 0.094)
    return np.asarray(np.sqrt((3.4 / pt) ** 2 + stochastic**2 + constant**2))


def electromagnetic_resolution(energy: Array, eta: Array) -> Array:
    r"""Relative energy resolution of electrons and photons, :math:`10.1\%/\sqrt{E} \oplus 0.7\%` in the barrel.

    The constant term is 1.2 % in the endcap (:math:`|\eta| > 1.52`); energies in GeV. Source: JINST 3 S08003 (test
    beam), arXiv:1908.00005 (constant terms).
    """
    return np.asarray(np.sqrt(0.101**2 / energy + np.where(np.abs(eta) < CRACK_ETA[1], 0.007, 0.012) ** 2))


def muon_resolution(pt: Array, eta: Array) -> Array:
    r"""Relative momentum resolution of combined muons, 2.3 % for muons of Z decays and 2.9 % at :math:`|\eta| > 2.2`.

    .. math:: \sigma/p_T = a \oplus 10^{-4} p_T

    with :math:`a` from those two values at 45 GeV (arXiv:1603.05598) and the design's 10 % at 1 TeV
    (JINST 3 S08003).
    """
    measured = np.where(np.abs(eta) < 2.2, 0.023, 0.029)
    return np.sqrt(measured**2 - (1e-4 * 45) ** 2 + (1e-4 * pt) ** 2)


def electron_efficiency(pt: Array, eta: Array) -> Array:
    r"""Probability to reconstruct and identify (medium) a prompt electron: 97 % times :math:`0.93 - 0.35 e^{-p_T/20}`.

    Gives 88 % identification at 40 GeV; 5 % less in the endcaps, none in the crack (arXiv:1902.04655, 1908.00005).
    """
    absolute = np.abs(eta)
    identified = 0.97 * (0.93 - 0.35 * np.exp(-pt / 20)) * np.where(absolute < CRACK_ETA[0], 1.0, 0.95)
    outside = (absolute > ELECTRON_ETA) | ((absolute > CRACK_ETA[0]) & (absolute < CRACK_ETA[1]))
    return np.where(outside, 0.0, identified)


def muon_efficiency(pt: Array, eta: Array) -> Array:
    """Probability to reconstruct and identify (medium) a muon: 98 %, 70 % in the service gap at |eta| < 0.1.

    Source: arXiv:2012.00578; it does not depend on pT above 10 GeV.
    """
    absolute = np.abs(eta)
    return np.where(absolute > MUON_ETA, 0.0, np.where(absolute < 0.1, 0.70, 0.98)) * (pt > 0)


def photon_efficiency(pt: Array, eta: Array) -> Array:
    r"""Probability to identify (tight) an isolated photon, :math:`0.96 - 0.45 e^{-p_T/25}`.

    That is 76 % at 20 GeV and 95 % at 100 GeV (arXiv:1908.00005); none in the crack.
    """
    absolute = np.abs(eta)
    outside = (absolute > PHOTON_ETA) | ((absolute > CRACK_ETA[0]) & (absolute < CRACK_ETA[1]))
    return np.where(outside, 0.0, 0.96 - 0.45 * np.exp(-pt / 25))


def charge_flip(pt: Array, eta: Array) -> Array:
    """Probability to measure the wrong charge of an electron: per mille in the barrel, per cent at the edge.

    It grows with the material crossed and with pT (straighter tracks): 0.02, 0.05, 0.1, 0.3, 1 % below |eta| = 0.6,
    1.1, 1.52, 2.2 and beyond, doubled above 60 GeV and again above 130 GeV. Source: arXiv:1902.04655, rounded.
    Muons do not flip.
    """
    absolute = np.abs(eta)
    rate = np.select([absolute < 0.6, absolute < 1.1, absolute < 1.52, absolute < 2.2], [2e-4, 5e-4, 1e-3, 3e-3], 1e-2)
    return rate * np.where(pt > 130, 4, np.where(pt > 60, 2, 1))


def track_efficiency(pt: Array, eta: Array) -> Array:
    """Probability to find the track of a charged particle: 70 % below 1 GeV, 95 % above; 10 % less in the endcaps.

    None below 0.5 GeV or beyond |eta| = 2.5. Source: arXiv:1307.6346.
    """
    absolute = np.abs(eta)
    low = np.where(absolute < 1.5, 0.70, 0.60)
    high = np.where(absolute < 1.5, 0.95, 0.85)
    return np.where((absolute > TRACK_ETA) | (pt < TRACK_PT), 0.0, np.where(pt < 1, low, high))


def smear(generator: np.random.Generator, resolution: Array) -> Array:
    """Factors around 1 with a relative Gaussian resolution, cut at 4 sigma and never below 0.1."""
    return np.asarray(np.maximum(1 + resolution * np.clip(generator.standard_normal(len(resolution)), -4, 4), 0.1))


def delta_r(a: ak.Array, b: ak.Array) -> ak.Array:
    """Distance in (eta, phi) of every object of `a` to every object of `b` of the same event, (event, a, b)."""
    left, right = ak.unzip(ak.cartesian([a[["eta", "phi"]], b[["eta", "phi"]]], axis=1, nested=True))
    return np.sqrt((left.eta - right.eta) ** 2 + delta_phi(left.phi, right.phi) ** 2)


def near(a: ak.Array, b: ak.Array, radius: float) -> ak.Array:
    """Whether each object of `a` has any object of `b` within a distance in (eta, phi)."""
    return ak.any(delta_r(a, b) < radius, axis=2)


def keep(generator: np.random.Generator, candidates: ak.Array, probability: Any) -> ak.Array:
    """The candidates that a detector with this efficiency finds."""
    counts = ak.num(candidates, axis=1)
    return candidates[ak.unflatten(generator.random(int(ak.sum(counts))) < probability, counts)]


def flat(array: ak.Array) -> Array:
    """All values of a ragged column, one after the other."""
    return np.asarray(ak.to_numpy(ak.flatten(array)), dtype=np.float64)


def isolated(candidates: ak.Array, tracks: ak.Array, deposits: ak.Array) -> ak.Array:
    r"""Leptons and photons with little around them: tracks below 15 % and calorimeter below 20 % of their pT.

    Tracks above 1 GeV are summed in a cone of :math:`\min(10\,\mathrm{GeV}/p_T, 0.3)`, deposits in a cone of 0.2, the
    candidate itself left out (arXiv:1902.04655, section 7; arXiv:2012.00578).

    Args:
        candidates: records pt, eta, phi, index.
        tracks: charged particles that have a track, records pt, eta, phi, index.
        deposits: particles seen by the calorimeters, likewise.
    """

    def around(others: ak.Array, cone: Any) -> ak.Array:
        lepton, other = ak.unzip(ak.cartesian([candidates.index, others.index], axis=1, nested=True))
        _, momentum = ak.unzip(ak.cartesian([candidates.pt, others.pt], axis=1, nested=True))
        return ak.sum(momentum * ((delta_r(candidates, others) < cone) & (lepton != other)), axis=2)

    cone = np.minimum(10 / candidates.pt, 0.3)
    return (around(tracks[tracks.pt > 1], cone) < 0.15 * candidates.pt) & (around(deposits, 0.2) < 0.20 * candidates.pt)


def reconstruct(particles: ak.Array, generator: np.random.Generator, responses: int = 1) -> tuple[ak.Array, ak.Array]:
    """What the detector makes of generated events: objects by falling pT, and the missing transverse momentum.

    Electrons, muons and photons are found, smeared and isolated; anti-kt jets with R = 0.4 are clustered from what the
    calorimeters see, smeared and b-tagged by the flavour of the hadrons in them; overlaps are resolved (an electron
    removes the jet within 0.2, a remaining jet removes the leptons within 0.4, a photon removes the jet within 0.4);
    the missing momentum balances all objects and the tracks outside them.

    Args:
        particles: all particles of each event as `femtobarn.simulate.generator.Generated` holds them, in GeV.
        generator: source of all randomness.
        responses: how often the detector answers to each event; the answers stand one after the other, first all
            events once, then all events again.

    Returns:
        Records (pt, eta, phi, E, kind, truth_id, prompt) per object and (MET, phi_MET) per event.
    """
    leptons, charged, deposits, jets = (ak.concatenate([part] * responses) for part in visible_parts(particles))
    tracks = keep(generator, charged, track_efficiency(flat(charged.pt), flat(charged.eta)))

    def lepton(code: int, minimum: float, efficiency: Response, resolution: Callable[[ak.Array], Array]) -> ak.Array:
        """Isolated candidates of one PDG number, found and smeared."""
        candidates = leptons[abs(leptons.id) == code]
        candidates = keep(generator, candidates, efficiency(flat(candidates.pt), flat(candidates.eta)))
        candidates = scaled(candidates, smear(generator, resolution(candidates)))
        candidates = candidates[candidates.pt > minimum]
        return candidates[isolated(candidates, tracks, deposits)]

    def of_energy(candidates: ak.Array) -> Array:
        return electromagnetic_resolution(flat(candidates.E), flat(candidates.eta))

    electrons = lepton(11, LEPTON_PT, electron_efficiency, of_energy)
    muons = lepton(13, LEPTON_PT, muon_efficiency, lambda muon: muon_resolution(flat(muon.pt), flat(muon.eta)))
    photons = lepton(22, PHOTON_PT, photon_efficiency, of_energy)
    jets = scaled(jets, smear(generator, jet_resolution(flat(jets.pt), flat(jets.eta))))
    jets = jets[jets.pt > JET_PT]
    tagged = generator.random(len(flat(jets.pt))) < b_tag_efficiency(flat(jets.pt), flat(jets.truth_id))
    jets = ak.with_field(jets, ak.unflatten(tagged, ak.num(jets, axis=1)) & (abs(jets.eta) < TAG_ETA), "tagged")

    jets, electrons, muons, photons = remove_overlaps(jets, electrons, muons, photons)
    flipped = generator.random(len(flat(electrons.pt))) < charge_flip(flat(electrons.pt), flat(electrons.eta))
    negative = (electrons.id > 0) != ak.unflatten(flipped, ak.num(electrons, axis=1))
    measured = ak.concatenate(
        [
            record(jets, ak.where(jets.tagged, objects.BJET, objects.JET), jets.truth_id, ak.zeros_like(jets.tagged)),
            record(electrons, ak.where(negative, objects.ELECTRON, objects.POSITRON), electrons.id),
            record(muons, ak.where(muons.id > 0, objects.MUON, objects.ANTIMUON), muons.id),
            record(photons, ak.full_like(photons.id, objects.PHOTON), photons.id),
        ],
        axis=1,
    )
    missing = missing_momentum(measured, tracks)
    is_jet = (measured.kind == objects.JET) | (measured.kind == objects.BJET)
    accepted = measured[~is_jet | (abs(measured.eta) < JET_ETA)]
    return accepted[ak.argsort(accepted.pt, axis=1, ascending=False, stable=True)], missing


def visible_parts(particles: ak.Array) -> tuple[ak.Array, ak.Array, ak.Array, ak.Array]:
    """What a detector can see of generated events, the same for all responses to one event.

    Returns:
        Candidates for leptons and photons, charged particles that may have a track, deposits near the tracker, and
        jets with the flavour of their hadrons, each as small as possible: they are copied for further responses.
    """
    particles = with_angles(particles)
    kind = abs(particles.id)
    is_visible = particles.final
    for invisible in objects.INVISIBLE_PDG:
        is_visible = is_visible & (kind != invisible)
    stable = particles[is_visible]
    charged = charge_of(stable.id) != 0
    bent = charged & (stable.pt < CURL_PT)
    deposits = stable[(abs(stable.eta) < CALORIMETER_ETA) & (abs(stable.id) != 13) & ~bent]
    jets = cluster(deposits)
    jets = ak.with_field(jets, jet_flavour(jets, particles), "truth_id")
    bright = (abs(stable.id) == 11) | (abs(stable.id) == 13) | (abs(stable.id) == 22)
    leptons = stable[bright & (stable.pt > 0.7 * LEPTON_PT)]
    charged = stable[charged & (stable.pt > TRACK_PT) & (abs(stable.eta) < TRACK_ETA)]
    return leptons, charged, deposits[abs(deposits.eta) < TRACK_ETA + 0.5], jets


def remove_overlaps(
    jets: ak.Array, electrons: ak.Array, muons: ak.Array, photons: ak.Array
) -> tuple[ak.Array, ak.Array, ak.Array, ak.Array]:
    """Objects without those that are part of another, in the order of ATLAS's standard overlap removal."""
    jets = jets[~near(jets, electrons, 0.2)]
    electrons = electrons[~near(electrons, jets, 0.4)]
    muons = muons[~near(muons, jets, 0.4)]
    photons = photons[~near(photons, electrons, 0.4) & ~near(photons, muons, 0.4)]
    return jets[~near(jets, photons, 0.4)], electrons, muons, photons


def with_angles(particles: ak.Array) -> ak.Array:
    """Particles with pt, eta and phi beside their momenta, and their position in the event as `index`."""
    pt = np.maximum(np.sqrt(particles.px**2 + particles.py**2), 1e-9)
    columns = {name: particles[name] for name in particles.fields}
    angles = {"pt": pt, "eta": np.arcsinh(particles.pz / pt), "phi": np.arctan2(particles.py, particles.px)}
    return ak.zip({**columns, **angles, "index": ak.local_index(particles.px, axis=1)})


def cluster(deposits: ak.Array) -> ak.Array:
    """Anti-kt jets with R = 0.4 above half of the threshold that they meet after smearing, |eta| < 4.5.

    Cacciari, Salam and Soyez, arXiv:0802.1189 and arXiv:1111.6097 (FastJet).
    """
    import fastjet

    inputs = ak.zip({name: deposits[name] for name in ("px", "py", "pz", "E")}, with_name="Momentum4D")
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, 0.4)
    clustered = fastjet.ClusterSequence(inputs, definition).inclusive_jets(min_pt=JET_PT / 2)
    jets = ak.zip({"pt": clustered.pt, "eta": clustered.eta, "phi": clustered.phi, "E": clustered.E})
    return jets[abs(jets.eta) < 4.5]


def scaled(particles: ak.Array, factor: Array) -> ak.Array:
    """Objects with transverse momentum and energy multiplied, one factor an object."""
    factors = ak.unflatten(factor, ak.num(particles, axis=1))
    return ak.with_field(ak.with_field(particles, particles.pt * factors, "pt"), particles.E * factors, "E")


def record(particles: ak.Array, kind: ak.Array, truth: ak.Array, prompt: ak.Array | None = None) -> ak.Array:
    """Objects of one type in the columns that all share."""
    return ak.zip(
        {
            **{name: particles[name] for name in ("pt", "eta", "phi", "E")},
            "kind": ak.values_astype(kind, np.int8),
            "truth_id": ak.values_astype(truth, np.int32),
            "prompt": ak.values_astype(~particles.hadronic if prompt is None else prompt, np.bool_),
        }
    )


def missing_momentum(particles: ak.Array, tracks: ak.Array) -> ak.Array:
    """MET (GeV) and phi_MET: what balances all objects (jets above 20 GeV, any eta) and the tracks outside them."""
    soft = tracks[~near(tracks, particles, 0.4)]
    transverse = ak.zip({"pt": particles.pt, "phi": particles.phi}, with_name="Momentum2D")
    balance = {name: -ak.sum(getattr(transverse, name), axis=1) - ak.sum(soft[name], axis=1) for name in ("px", "py")}
    missing = ak.zip(balance, with_name="Momentum2D")
    return ak.zip({"MET": missing.pt, "phi_MET": missing.phi})


def jet_flavour(jets: ak.Array, particles: ak.Array) -> ak.Array:
    """Hadron flavour of jets: 5, else 4, else 15, if such a hadron or tau above 5 GeV lies within 0.3; else 0.

    The label of ATLAS (arXiv:1907.05120).
    """
    hard = particles[particles.pt > 5]
    number = abs(hard.id)
    digits = {flavour: ((number // 100) % 10 == flavour) | ((number // 1000) % 10 == flavour) for flavour in (4, 5)}
    hadron = (number > 100) & (number < 100_000)
    bottom = near(jets, hard[hadron & digits[5]], 0.3)
    charm = near(jets, hard[hadron & digits[4]], 0.3)
    tau = near(jets, hard[(number == 15) & ~hard.hadronic], 0.3)
    return ak.where(bottom, 5, ak.where(charm, 4, ak.where(tau, 15, 0)))


def charge_of(identity: ak.Array) -> ak.Array:
    """Three times the electric charge of stable particles by PDG number, with sign."""
    numbers, inverse = np.unique(ak.to_numpy(ak.flatten(identity)), return_inverse=True)
    charges = np.array([PDGID(int(number)).three_charge or 0 for number in numbers], dtype=np.int64)
    return ak.unflatten(charges[inverse], ak.num(identity, axis=1))
