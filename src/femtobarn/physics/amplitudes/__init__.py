"""Squared amplitudes of Standard Model processes, computed from Feynman rules without a generator."""

from femtobarn.physics.amplitudes.couplings import COUPLINGS, Couplings
from femtobarn.physics.amplitudes.phase_space import Cuts, incoming, massless_volume, rambo
from femtobarn.physics.amplitudes.processes import PROCESSES, Process, process

__all__ = [
    "COUPLINGS",
    "PROCESSES",
    "Couplings",
    "Cuts",
    "Process",
    "incoming",
    "massless_volume",
    "process",
    "rambo",
]
