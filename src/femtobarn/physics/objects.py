"""The objects of an event: their integer codes, in the order of the Standard Model interaction matrices."""

PADDING, JET, BJET, ELECTRON, POSITRON, MUON, ANTIMUON, PHOTON = range(8)

#: Display names, by code.
NAMES = ("padding", "jet", "b-jet", "e-", "e+", "mu-", "mu+", "photon")

#: Electric charge of each code; a jet's is not measured.
CHARGES = (0, 0, 0, -1, 1, -1, 1, 0)

ELECTRONS = (ELECTRON, POSITRON)
MUONS = (MUON, ANTIMUON)
LEPTONS = (*ELECTRONS, *MUONS)
JETS = (JET, BJET)

#: Slots of each kind, as in arXiv:2211.05143: 12 in all, the hardest of each kind first; a j is a jet without b-tag.
SLOTS = {
    "j": (JET, 4),
    "b": (BJET, 4),
    "electron": (ELECTRON, 1),
    "positron": (POSITRON, 1),
    "muon": (MUON, 1),
    "antimuon": (ANTIMUON, 1),
}
