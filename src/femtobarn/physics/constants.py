"""Numbers of nature that more than one file needs."""

import math

#: Mass of the Z boson in GeV, the scale at which the couplings are given. Source: Particle Data Group.
Z_MASS = 91.1876

#: A transverse momentum below this (GeV) counts as this, so that |eta| stays finite in the beam: 23 for 6.5 TeV.
TINY_PT = 1e-6

TWO_PI = 2 * math.pi
