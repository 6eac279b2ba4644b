"""One-loop amplitudes of g g -> gamma gamma and g g -> gamma gamma g through massless quarks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.physics.amplitudes import colour
from femtobarn.physics.amplitudes.couplings import COUPLINGS, SUM_OF_SQUARED_CHARGES, Couplings
from femtobarn.physics.amplitudes.currents import square, total
from femtobarn.physics.amplitudes.legs import energy_first
from femtobarn.physics.amplitudes.quark_loop import QuarkLoop

#: Legs of g g -> gamma gamma g: the gluons 0, 1, 4 and the photons 2, 3.
GLUONS, PHOTONS = (0, 1, 4), (2, 3)


def diphoton(
    momenta: Float[Tensor, "points particles 4"], couplings: Couplings = COUPLINGS
) -> Float[Tensor, " points"]:
    r"""Squared amplitude of g g -> gamma gamma through five massless quarks.

    Averaged over spins and colours of the gluons, summed over helicities, times 1/2 for identical photons:

    .. math:: \frac{8}{256} (4 \alpha \alpha_s \sum Q^2)^2 \sum |m|^2 \cdot \frac12

    Args:
        momenta: (px, py, pz, E) in GeV of the gluons and the photons, all with positive energies; float64.
        couplings: values of alpha and alpha_s.

    Returns:
        without a unit.

    Source: Bern, De Freitas and Dixon, hep-ph/0109078; Bern, Dixon and Schmidt, hep-ph/0206194.
    """
    p = energy_first(momenta)
    s, t, u = (square(p[0] + p[leg]) for leg in (1, 2, 3))
    unequal = _unequal(t, u, s)
    crossed = _crossed(t, s, u), _crossed(u, s, t)
    # ++++, ---- and the eight with one unequal helicity are 1 in size
    squared = 10 + 2 * unequal.square() + sum(2 * (amplitude.abs() ** 2) for amplitude in crossed)
    charge = 4 * couplings.alpha * couplings.alpha_s * SUM_OF_SQUARED_CHARGES
    return 8 / 256 * charge**2 / 2 * squared


def _unequal(t: Tensor, u: Tensor, s: Tensor) -> Tensor:
    """m(--++), where no invariant of the logarithms changes sign."""
    log = (t / u).log()
    return -(t.square() + u.square()) / (2 * s.square()) * (log.square() + math.pi**2) - (t - u) / s * log - 1


def _crossed(t: Tensor, s: Tensor, u: Tensor) -> Tensor:
    """m(-+-+) with invariants exchanged: ln(t/s) = ln(-t/s) + iπ, so that ln² + π² becomes L² + 2πi L."""
    log = (-t / s).log()
    square_log = torch.complex(log.square(), 2 * math.pi * log)
    full_log = torch.complex(log, torch.full_like(log, math.pi))
    return -(t.square() + s.square()) / (2 * u.square()) * square_log - (t - s) / u * full_log - 1


def diphoton_gluon(
    momenta: Float[Tensor, "points particles 4"], couplings: Couplings = COUPLINGS
) -> Float[Tensor, " points"]:
    r"""Squared amplitude of g g -> gamma gamma g through five massless quarks.

    Averaged over spins and colours of the incoming gluons, summed over helicities, 1/2 for identical photons included:

    .. math:: \frac{e^4 g_s^6}{(4\pi)^4} \frac{N_c}{N_c^2 - 1} (\sum Q^2)^2 \sum |\sum a|^2

    The inner sum is over the twelve cyclic orders that keep the cycle of the gluons: charge conjugation leaves only
    the colour structure f^abc.

    Args:
        momenta: (px, py, pz, E) in GeV of two gluons, two photons and a gluon, all with positive energies; float64.
        couplings: values of alpha and alpha_s.

    Returns:
        in GeV^-2.

    Source: Bern, Dixon and Kosower, hep-ph/9302280; de Florian and Kunszt, hep-ph/9905283; hep-ph/0206194, eq. 8.
    """
    loop = QuarkLoop(energy_first(momenta, incoming=0))
    squared = torch.zeros(len(momenta), dtype=momenta.dtype, device=momenta.device)
    for helicities in itertools.product((1, -1), repeat=5):
        amplitude = total(loop.amplitude(order, helicities) for order in photon_orders())
        squared = squared + amplitude.real.square() + amplitude.imag.square()
    strength = couplings.electric**2 * couplings.strong**3 / (4 * math.pi) ** 4
    color = colour.N_COLORS / colour.N_GLUON_STATES
    return strength * color * SUM_OF_SQUARED_CHARGES**2 * squared


def photon_orders() -> Iterator[tuple[int, ...]]:
    """The twelve cyclic orders of five legs in which the gluons keep their cycle."""
    first, second = PHOTONS
    for place in range(3):
        four = (*GLUONS[: place + 1], first, *GLUONS[place + 1 :])
        for other in range(4):
            yield (*four[: other + 1], second, *four[other + 1 :])
