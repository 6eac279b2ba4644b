"""Couplings and masses of the matrix elements."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Couplings:
    """Parameters of the Standard Model at tree level, in the scheme (alpha, m_W, m_Z); widths are 0.

    Args:
        alpha_s: strong coupling.
        alpha: electromagnetic coupling at the Z mass.
        m_z: mass of the Z boson in GeV.
        m_w: mass of the W boson in GeV; sin²θ_W = 1 - m_W²/m_Z².
    """

    alpha_s: float = 0.118
    alpha: float = 1 / 132.507
    m_z: float = 91.188
    m_w: float = 80.41900244575616

    @property
    def strong(self) -> float:
        """g_s² = 4π alpha_s."""
        return 4 * math.pi * self.alpha_s

    @property
    def electric(self) -> float:
        """e² = 4π alpha."""
        return 4 * math.pi * self.alpha

    @property
    def sin2_theta_w(self) -> float:
        """Squared sine of the weak mixing angle."""
        return 1 - self.m_w**2 / self.m_z**2

    def z_coupling(self, isospin: float, charge: float) -> float:
        """g_L² + g_R² of a quark with the Z boson.

        Args:
            isospin: third component of the weak isospin, 1/2 or -1/2.
            charge: electric charge in units of e.
        """
        sin2 = self.sin2_theta_w
        unit = self.electric / (sin2 * (1 - sin2))
        return unit * ((isospin - charge * sin2) ** 2 + (charge * sin2) ** 2)


#: Values of the reference numbers, near those of the Review of Particle Physics.
COUPLINGS = Couplings()

#: Sum of the squared charges of the five quarks that are massless in a loop: u, d, s, c, b.
SUM_OF_SQUARED_CHARGES = 11 / 9
