"""Jets: the b-tag efficiency of the simulated detector, and how well an experiment knows jet energies and b-tags."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Jets of the simulated detector are kept above this transverse momentum (GeV).
JET_PT = 20.0
#: Jets can be b-tagged within this pseudorapidity, as far as there are tracks.
TAG_ETA = 2.5

#: Flavours of jets, as the truth column `truth_id` has them; 15 is a hadronic tau.
LIGHT, CHARM, BOTTOM, TAU = 0, 4, 5, 15


def b_tag_efficiency(pt: Array, flavour: Array) -> Array:
    r"""Probability that a jet of hadron flavour 5, 4, 15 (hadronic tau) or 0 carries a b-tag at the 70 % working point.

    .. math::
        \epsilon_b = \frac{24 \tanh(0.003\,p_T)}{1 + 0.086\,p_T}, \quad
        \epsilon_c = \frac{0.2 \tanh(0.02\,p_T)}{1 + 0.0034\,p_T}, \quad
        \epsilon_\mathrm{light} = 0.002 + 7.3 \times 10^{-6}\,p_T

    with pT in GeV, after ATL-PHYS-PUB-2015-022 as parametrised for Delphes (arXiv:1307.6346); one tau in 36
    (arXiv:1907.05120).
    """
    b = 24 * np.tanh(0.003 * pt) / (1 + 0.086 * pt)
    c = 0.2 * np.tanh(0.02 * pt) / (1 + 0.0034 * pt)
    return np.select(
        [flavour == BOTTOM, flavour == CHARM, flavour == TAU], [b, c, np.full_like(pt, 1 / 36)], 0.002 + 7.3e-6 * pt
    )


def energy_uncertainty(pt: Array, eta: Array) -> Array:
    r"""Relative uncertainty of the energy scale of a jet, one standard deviation.

    .. math:: u = 1\% \oplus 4.9\% \cdot \frac{20\,\mathrm{GeV}}{p_T} \oplus f(|\eta|)

    passes through what ATLAS quotes for central jets (arXiv:2007.02645): 5 % at 20 GeV, 1 % from 250 GeV to 2 TeV;
    above, it rises linearly to the 3.5 % of 2.5 TeV. f is the further uncertainty of forward jets: none below
    :math:`|\eta| = 0.8`, where the calibration by dijets begins, then linearly up to its largest value, 2 % at
    :math:`|\eta| = 2.3` (arXiv:1703.09665), which is kept beyond. The shapes between these values are this package's.

    Args:
        pt: transverse momentum in GeV.
        eta: pseudorapidity.
    """
    central = np.hypot(0.01 + 0.025 * np.clip((pt - 2000) / 500, 0, 1), 0.049 * 20 / pt)
    return np.hypot(central, 0.02 * np.clip((np.abs(eta) - 0.8) / 1.5, 0, 1))


def b_tag_uncertainty(pt: Array, flavour: Array) -> Array:
    r"""Relative uncertainty of `b_tag_efficiency`, one standard deviation.

    - b-jets: :math:`1\% \oplus 7.9\% \cdot (20\,\mathrm{GeV}/p_T)^2`, which spans the measured 8 % to 1 % from 20 GeV
      to 100 GeV and above (arXiv:1907.05120: "1 to 8 % depending on the jet transverse momentum"; the shape is this
      package's, and has no rise at several hundred GeV);
    - jets with charm and hadronic taus: 10 %, inside of the measured 3 % to 17 % (arXiv:2109.10627);
    - light jets: 30 %.

    The last two are the sizes that an ATLAS analysis of the same final states quotes (arXiv:1712.08895).

    Args:
        pt: transverse momentum in GeV.
        flavour: 5, 4, 15 or 0.
    """
    bottom = np.hypot(0.01, 0.079 * (20 / pt) ** 2)
    heavy = (flavour == CHARM) | (flavour == TAU)
    return np.where(flavour == BOTTOM, bottom, np.where(heavy, 0.10, 0.30))
