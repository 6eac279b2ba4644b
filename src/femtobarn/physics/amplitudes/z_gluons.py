"""Tree amplitudes of q qbar -> Z + n g."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.physics.amplitudes import colour
from femtobarn.physics.amplitudes.couplings import COUPLINGS, Couplings
from femtobarn.physics.amplitudes.currents import GluonCurrents, Word, linear_polarizations, square, total
from femtobarn.physics.amplitudes.legs import energy_first
from femtobarn.physics.amplitudes.spinors import left_spinor

#: Weak isospin and electric charge of each quark.
QUARKS = {"u": (1 / 2, 2 / 3), "d": (-1 / 2, -1 / 3)}


class QuarkLine:
    """A left-handed quark line that absorbs gluons: spinors behind and before the Z boson.

    Args:
        quark: momentum of the incoming quark, shape (4, points), components (E, px, py, pz), positive energy.
        antiquark: momentum of the incoming antiquark.
        gluons: currents of the outgoing gluons.
    """

    def __init__(self, quark: Tensor, antiquark: Tensor, gluons: GluonCurrents) -> None:
        self.gluons = gluons
        ones = [1] * gluons.n_gluons
        self._quark, self._antiquark = (p.reshape(4, *ones, -1) for p in (quark, antiquark))
        self._forward: dict[Word, Tensor] = {(): left_spinor(quark).reshape(2, *ones, -1)}
        self._backward: dict[Word, Tensor] = {(): left_spinor(antiquark).conj().reshape(2, *ones, -1)}

    def forward(self, word: Word) -> Tensor:
        """ψ(w): the incoming quark after it radiated the gluons of a word."""
        if word not in self._forward:
            k = self._quark - self.gluons.momentum(word)
            radiated = total(
                _from_right(self.gluons.current(word[at:]), 1, self.forward(word[:at])) for at in range(len(word))
            )
            self._forward[word] = _from_right(k, -1, radiated) / square(k)
        return self._forward[word]

    def backward(self, word: Word) -> Tensor:
        """φ(w): the incoming antiquark, which radiates the gluons of a word."""
        if word not in self._backward:
            k = self.gluons.momentum(word) - self._antiquark
            radiated = total(
                _from_left(self.backward(word[at:]), self.gluons.current(word[:at]), 1)
                for at in range(1, len(word) + 1)
            )
            self._backward[word] = _from_left(radiated, k, -1) / square(k)
        return self._backward[word]

    def z_current(self, word: Word) -> Tensor:
        """V^mu(w) = sum over splits w = ab of φ(b) σbar^mu ψ(a), components (E, px, py, pz)."""
        return total(self._current(self.forward(word[:at]), self.backward(word[at:])) for at in range(len(word) + 1))

    @staticmethod
    def _current(quark: Tensor, antiquark: Tensor) -> Tensor:
        """φ σbar^mu ψ with σbar = (1, -σ)."""
        first, second = antiquark[0] * quark[0], antiquark[1] * quark[1]
        cross, back = antiquark[0] * quark[1], antiquark[1] * quark[0]
        return torch.stack([first + second, -(cross + back), 1j * (cross - back), second - first])


def _matrix(vector: Tensor, sign: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The 2 x 2 matrix E + sign p.σ: sign 1 is p.σbar, sign -1 is p.σ."""
    energy, px, py, pz = vector
    off = torch.complex(px, -py)
    return energy + sign * pz, sign * off, sign * off.conj(), energy - sign * pz


def _from_right(vector: Tensor, sign: int, spinor: Tensor) -> Tensor:
    a, b, c, d = _matrix(vector, sign)
    return torch.stack([a * spinor[0] + b * spinor[1], c * spinor[0] + d * spinor[1]])


def _from_left(spinor: Tensor, vector: Tensor, sign: int) -> Tensor:
    a, b, c, d = _matrix(vector, sign)
    return torch.stack([spinor[0] * a + spinor[1] * c, spinor[0] * b + spinor[1] * d])


def z_currents(momenta: Tensor, polarizations: Tensor) -> Tensor:
    """Colour-ordered currents V^mu that couple to the Z boson, for all orders of the gluons, without couplings.

    Args:
        momenta: quark, antiquark, Z, gluons; shape (legs, 4, points), components (E, px, py, pz), positive energies.
        polarizations: of the gluons, shape (gluons, 4, states, points).

    Returns:
        complex, shape (orders, 4, states..., points).
    """
    gluons = GluonCurrents(momenta[3:], polarizations)
    line = QuarkLine(momenta[0], momenta[1], gluons)
    return torch.stack([line.z_current(order) for order in colour.orders(gluons.n_gluons)])


def z_gluons(
    momenta: Float[Tensor, "points particles 4"], quark: str = "u", couplings: Couplings = COUPLINGS
) -> Float[Tensor, " points"]:
    """Squared amplitude of q qbar -> Z + n g at tree level and full colour.

    Averaged over spins and colours of the quarks, summed over those of the gluons and the Z, times 1/n! for identical
    gluons. Quarks are massless, the Z is stable.

    Args:
        momenta: (px, py, pz, E) in GeV of quark, antiquark, Z and gluons, all with positive energies; float64.
        quark: `u` or `d`.
        couplings: values of alpha_s, alpha and the weak mixing angle.

    Returns:
        in GeV^(2 - 2n).

    Source: Berends and Giele, Nucl. Phys. B 306 (1988) 759.
    """
    p = energy_first(momenta, incoming=0)
    n_gluons = len(p) - 3
    currents = z_currents(p, torch.stack([linear_polarizations(leg) for leg in p[3:]]))
    # the sum over polarisations of the Z is -V.V*, because its momentum times V vanishes
    signs = torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=p.dtype, device=p.device)
    flat = torch.view_as_real(currents.flatten(2, -2)).movedim(-1, 1)
    rotated = torch.as_tensor(colour.quark_line(n_gluons)).to(p) @ flat.flatten(1)
    squared = (flat * rotated.reshape(flat.shape)).sum((0, 1, 3))
    strengths = couplings.strong**n_gluons * couplings.z_coupling(*QUARKS[quark])
    return strengths / 36 / math.factorial(n_gluons) * (signs @ squared)
