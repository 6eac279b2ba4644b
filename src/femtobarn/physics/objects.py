"""The objects of an event and the constituents of a jet: their integer codes, those of the Standard Model interaction
matrices first.
"""

PADDING, JET, BJET, ELECTRON, POSITRON, MUON, ANTIMUON, PHOTON = range(8)

#: Constituents of jets that are none of these; a particle is one whose type nobody tells.
CHARGED, NEUTRAL, PARTICLE = range(8, 11)

#: Legs of a hard process besides photons: outgoing gluons and Z bosons, and the partons that collide.
GLUON, Z_BOSON, INCOMING = range(11, 14)

#: Display names of the objects of an event, by code.
NAMES = ("padding", "jet", "b-jet", "e-", "e+", "mu-", "mu+", "photon")

#: Display names of all there is, by code.
KINDS = (*NAMES, "charged hadron", "neutral hadron", "particle", "gluon", "Z", "incoming parton")

#: Display names of the objects of an event and the constituents of a jet, by code.
JET_KINDS = KINDS[: PARTICLE + 1]

#: Electric charge of each code; a jet's is not measured.
CHARGES = (0, 0, 0, -1, 1, -1, 1, 0)

ELECTRONS = (ELECTRON, POSITRON)
MUONS = (MUON, ANTIMUON)
LEPTONS = (*ELECTRONS, *MUONS)
JETS = (JET, BJET)

#: PDG numbers of what leaves a detector without a trace: neutrinos, dark matter of spin 0, 1/2 and 1, and the stable
#: ones among supersymmetric particles, neutralino and gravitino. Source: Monte Carlo numbering scheme of the Review of
#: Particle Physics, Phys. Rev. D 110 (2024) 030001.
INVISIBLE_PDG = (12, 14, 16, 51, 52, 53, 1000022, 1000039)

#: Slots of each kind, as in arXiv:2211.05143: 12 in all, the hardest of each kind first; a j is a jet without b-tag.
SLOTS = {
    "j": (JET, 4),
    "b": (BJET, 4),
    "electron": (ELECTRON, 1),
    "positron": (POSITRON, 1),
    "muon": (MUON, 1),
    "antimuon": (ANTIMUON, 1),
}
