"""Processes whose matrix elements are computed here, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.physics.amplitudes.couplings import COUPLINGS, Couplings
from femtobarn.physics.amplitudes.diphoton import diphoton, diphoton_gluon
from femtobarn.physics.amplitudes.gluons import gluons
from femtobarn.physics.amplitudes.phase_space import Cuts
from femtobarn.physics.amplitudes.z_gluons import z_gluons
from femtobarn.physics.objects import GLUON, INCOMING, PHOTON, Z_BOSON

#: Types of the outgoing legs by their symbol in a process.
OUTGOING = {"z": Z_BOSON, "a": PHOTON, "g": GLUON}

#: Order of perturbation theory without loops.
TREE = "tree"

#: A rotation about the axis (1, 2, 2)/3 that moves all coordinates, by an angle with the cosine 7/25.
ROTATION = ((9 / 25, -12 / 25, 20 / 25), (20 / 25, 15 / 25, 0.0), (-12 / 25, 16 / 25, 15 / 25))

#: Squared amplitudes of points by the name of their column: the amplitude, for gluons also at leading colour.
Amplitudes = dict[str, Tensor]


@dataclass(frozen=True)
class Process:
    """A process of two partons with its squared amplitude.

    Args:
        name: in the notation of MadGraph: `u u~ > z g g`.
        order: order of perturbation theory.
        evaluate: squared amplitudes by column, for momenta in the order of the legs.
        batch_size: points that are computed at once: enough to hide the cost of calls, few enough to stay in cache.
        source: of the formulas.
    """

    name: str
    order: str
    evaluate: Callable[[Tensor, Couplings], Amplitudes]
    batch_size: int
    source: str

    @property
    def legs(self) -> tuple[str, ...]:
        """Symbols of the legs, the two incoming ones first."""
        return tuple(self.name.replace(">", " ").split())

    @property
    def kinds(self) -> tuple[int, ...]:
        """Codes of `femtobarn.physics.objects` of the legs."""
        return (INCOMING, INCOMING, *(OUTGOING[leg] for leg in self.legs[2:]))

    @property
    def has_loop(self) -> bool:
        """Whether its lowest order is a loop, whose formulas lose digits near singular points."""
        return self.order != TREE

    def masses(self, couplings: Couplings = COUPLINGS) -> tuple[float, ...]:
        """Masses of the outgoing legs in GeV."""
        return tuple(couplings.m_z if leg == "z" else 0.0 for leg in self.legs[2:])

    def passed(self, momenta: Float[Tensor, "points particles 4"], cuts: Cuts) -> Tensor:
        """Whether each point passes the cuts."""
        gluons, photons = (
            momenta[:, [place for place, leg in enumerate(self.legs) if leg == symbol and place > 1]]
            for symbol in ("g", "a")
        )
        return cuts.passed(gluons, photons)

    def amplitudes(
        self, momenta: Float[Tensor, "points particles 4"], couplings: Couplings = COUPLINGS
    ) -> dict[str, Tensor]:
        """Squared amplitudes of points by the name of their column.

        Averaged over spins and colours of the incoming legs, summed over those of the outgoing ones, with 1/n! for n
        identical particles.

        Args:
            momenta: (px, py, pz, E) in GeV in the order of the legs, all with positive energies; float64.
            couplings: coupling constants and masses.

        Returns:
            `amplitude`; of gluons `amplitude_lc` at leading colour, too; in GeV^(4 - 2n) for n outgoing legs.

        Raises:
            ValueError: momenta with another number of legs.
        """
        if momenta.shape[1] != len(self.legs):
            raise ValueError(f"{self.name} has {len(self.legs)} legs, the momenta have {momenta.shape[1]}")
        pieces = [self.evaluate(piece, couplings) for piece in torch.split(momenta, self.batch_size)]
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}

    def rotation_difference(
        self, momenta: Float[Tensor, "points particles 4"], amplitude: Float[Tensor, " points"], couplings: Couplings
    ) -> Float[Tensor, " points"]:
        """Relative difference of the amplitude of the rotated event: an estimate of rounding errors.

        Args:
            momenta: (px, py, pz, E) in GeV in the order of the legs.
            amplitude: the squared amplitude of these momenta.
            couplings: those that it was computed with.
        """
        rotation = torch.tensor(ROTATION, dtype=momenta.dtype, device=momenta.device)
        rotated = torch.cat([momenta[..., :3] @ rotation, momenta[..., 3:]], dim=-1)
        return (self.amplitudes(rotated, couplings)["amplitude"] / amplitude - 1).abs()


def _z(quark: str) -> Callable[[Tensor, Couplings], Amplitudes]:
    return lambda momenta, couplings: {"amplitude": z_gluons(momenta, quark, couplings)}


def _gluons(momenta: Tensor, couplings: Couplings) -> Amplitudes:
    full, leading = gluons(momenta, couplings)
    return {"amplitude": full, "amplitude_lc": leading}


def _processes() -> dict[str, Process]:
    giele = "Berends and Giele, Nucl. Phys. B 306 (1988) 759"
    # points per batch, by the number of gluons; the fastest of those tried on one core
    sizes = {1: 16384, 2: 8192, 3: 2048, 4: 1024}
    processes = [
        Process(f"{quark} {quark}~ > z {' '.join('g' * n)}", TREE, _z(quark), sizes[n], giele)
        for quark in ("u", "d")
        for n in (1, 2, 3, 4)
    ]
    processes += [
        Process(f"g g > {' '.join('g' * n)}", TREE, _gluons, {2: 8192, 3: 2048, 4: 512}[n], giele) for n in (2, 3, 4)
    ]
    loop = {
        "g g > a a": (lambda momenta, couplings: {"amplitude": diphoton(momenta, couplings)}, 16384, "hep-ph/0109078"),
        "g g > a a g": (
            lambda momenta, couplings: {"amplitude": diphoton_gluon(momenta, couplings)},
            8192,
            "hep-ph/9302280, hep-ph/0206194",
        ),
    }
    processes += [
        Process(name, "one loop, five massless quarks", function, size, source)
        for name, (function, size, source) in loop.items()
    ]
    return {process.name: process for process in processes}


PROCESSES = _processes()


def process(name: str) -> Process:
    """A process by its name; spaces do not matter.

    Raises:
        ValueError: no such process; the message lists those there are.

    Example:
        >>> process("u u~ > z g g").legs
        ('u', 'u~', 'z', 'g', 'g')
    """
    given = " ".join(name.lower().replace(">", " > ").replace("->", " > ").split())
    if given not in PROCESSES:
        close = get_close_matches(given, PROCESSES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"no matrix element for {name!r}{hint}; there are {', '.join(PROCESSES)}")
    return PROCESSES[given]
