"""Tree amplitudes of g g -> n g, at full and at leading colour."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.physics.amplitudes import colour
from femtobarn.physics.amplitudes.couplings import COUPLINGS, Couplings
from femtobarn.physics.amplitudes.currents import GluonCurrents, dot, linear_polarizations
from femtobarn.physics.amplitudes.legs import energy_first


def color_ordered(momenta: Tensor, polarizations: Tensor) -> Tensor:
    """Colour-ordered amplitudes A(1, s, N) of N gluons for all (N-2)! orders s of the middle ones, without couplings.

    Args:
        momenta: outgoing momenta, shape (gluons, 4, points), components (E, px, py, pz) in GeV.
        polarizations: polarisation vectors, shape (gluons, 4, states, points).

    Returns:
        shape (orders, states..., points), in the order of `femtobarn.physics.amplitudes.colour.orders`.
    """
    n_gluons = len(momenta)
    currents = GluonCurrents(momenta, polarizations)
    last = currents.current((n_gluons - 1,))
    amplitudes = [
        dot(currents.amputated((0, *(label + 1 for label in order))), last) for order in colour.orders(n_gluons - 2)
    ]
    return torch.stack(amplitudes)


def gluons(
    momenta: Float[Tensor, "points particles 4"], couplings: Couplings = COUPLINGS
) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"]]:
    r"""Squared amplitude of g g -> n g, at full colour and at leading colour.

    Averaged over spins and colours of the incoming gluons, summed over those of the outgoing ones, times 1/n! for
    identical gluons. Leading colour keeps the diagonal of the trace basis with the highest power of the number of
    colours: :math:`4 g_s^{2N-4} (N_c/2)^N \sum |A|^2` over all (N-1)! orders.

    Args:
        momenta: (px, py, pz, E) in GeV, the two incoming gluons first, all with positive energies; float64.
        couplings: value of alpha_s.

    Returns:
        full and leading colour, in GeV^(4 - 2n).

    Source: Berends and Giele, Nucl. Phys. B 306 (1988) 759; Del Duca, Dixon and Maltoni, hep-ph/9910563.
    """
    p = energy_first(momenta, incoming=2)
    n_gluons = len(p)
    polarizations = torch.stack([linear_polarizations(leg) for leg in p])
    amplitudes = color_ordered(p, polarizations)
    flat = amplitudes.flatten(1)
    normalization = couplings.strong ** (n_gluons - 2) / 256 / math.factorial(n_gluons - 2)
    matrices = (
        colour.gluon_line(n_gluons),
        4 * (colour.N_COLORS / 2) ** n_gluons * colour.kleiss_kuijf(n_gluons).T @ colour.kleiss_kuijf(n_gluons),
    )
    full, leading = (
        (flat * (torch.as_tensor(matrix).to(flat) @ flat)).reshape(amplitudes.shape).flatten(0, -2).sum(0)
        for matrix in matrices
    )
    return normalization * full, normalization * leading
