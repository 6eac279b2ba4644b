"""Generated collisions: Pythia 8 decays, showers and hadronises a hard process.

Bierlich et al., *A comprehensive guide to the physics and usage of PYTHIA 8.3*, arXiv:2203.11601.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import pythia8mc as pythia8
from numpy.typing import NDArray

from femtobarn.physics.objects import INVISIBLE_PDG

#: Hard processes between two looks at the result; all that survive the vetoes are in memory at once.
BATCH_SIZE = 5000
#: Of events with their history, which are jets' and rarely vetoed, fewer.
HISTORY_BATCH_SIZE = 500

#: Margins of the vetoes: what an object may gain between generation and measurement;
#: tests/simulate/test_simulate.py compares yields with and without vetoes.
LEPTON_PT = 10.0  # GeV
TAU_PT = 16.0  # GeV
LEPTON_ETA = 2.7
PARTON_PT = 15.0  # GeV
PARTON_ETA = 3.2
#: Pythia's number for the showers of resonance decays in `doVetoPT`.
DECAYS = 4
EVOLUTION_PT = 10.0  # GeV
EVOLUTION_PARTON_PT = 12.0  # GeV
EVOLUTION_HT_FRACTION = 0.9
HT_FRACTION = 0.95


@dataclass(frozen=True)
class Preselection:
    """Cuts that the analysis will make, so that hopeless events are dropped before the expensive steps.

    Args:
        same_sign: two leptons (e, mu) of one charge or three leptons, from bosons and taus, not from hadrons.
        jets: least number of jets.
        ht: least scalar sum of the transverse momenta of jets and leptons, in GeV.
    """

    same_sign: bool = False
    jets: int = 0
    ht: float = 0.0


class Veto(pythia8.UserHooks):  # type: ignore[misc]
    """Stops the generation of an event as soon as it cannot pass the preselection.

    Once after the decays of the resonances, by their leptons: a tau counts if it decays to a lepton, which is drawn
    here and then imposed on Pythia's decay table. What is imposed holds for all taus of that charge in the event, the
    few from heavy hadrons included, and overrides settings of the tau's channels. Once when the evolution of radiation
    and multiparton interactions has come down to 10 GeV, long before its end, by its partons and those of the decays.
    Once after the parton shower, before hadronisation, by parton jets.
    """

    def __init__(self, pythia: Any, preselection: Preselection) -> None:
        super().__init__()
        self.pythia = pythia
        self.preselection = preselection
        self.hadrons = preselection.jets > 0 or preselection.ht > 0
        self.after_leptons = 0
        self.tau = pythia.particleData.findParticle(15)
        channels = [self.tau.channel(index) for index in range(self.tau.sizeChannels())]
        self.channels = [
            (channel, any(abs(channel.product(i)) in (11, 13) for i in range(channel.multiplicity())))
            for channel in channels
        ]
        total = sum(channel.bRatio() for channel in channels)
        self.leptonic = sum(channel.bRatio() for channel, leptonic in self.channels if leptonic) / total
        self.open = True
        visible, all_masses = 2, 1
        self.decayed: list[float] = []  # pT of the quarks that resonances decayed to
        self.other = 0.0  # scalar sum of the pT of leptons and photons
        self.jets = pythia8.SlowJet(-1, 0.4, PARTON_PT, PARTON_ETA, visible, all_masses)

    def canVetoProcessLevel(self) -> bool:
        return True

    def doVetoProcessLevel(self, process: Any) -> bool:
        leptons = [0, 0]  # negative, positive
        taus: list[list[float]] = [[], []]
        self.decayed, self.other = [], 0.0
        for index in range(5, process.size()):
            particle = process[index]
            kind = particle.idAbs()
            if not particle.isFinal() or kind in INVISIBLE_PDG or abs(particle.eta()) > PARTON_ETA:
                continue
            if kind < 6 or kind == 21:
                # daughters of the beams' partons are in the evolving event too, and counted there
                if particle.mother1() > 4:
                    self.decayed.append(particle.pT())
                continue
            self.other += particle.pT()
            if kind in (11, 13, 15) and abs(particle.eta()) < LEPTON_ETA:
                sign = int(particle.id() < 0)
                if kind == 15:
                    taus[sign].append(particle.pT())
                elif particle.pT() > LEPTON_PT:
                    leptons[sign] += 1
        if not self.preselection.same_sign:
            return False
        # a forced decay mode holds for all taus of one charge, so where there are two they stay free and may count
        fates: list[bool | None] = [None, None]
        for sign in (0, 1):
            if len(taus[sign]) == 1:
                fates[sign] = self.pythia.rndm.flat() < self.leptonic
            leptons[sign] += sum(pt > TAU_PT for pt in taus[sign]) if fates[sign] is not False else 0
        if max(leptons) < 2 and sum(leptons) < 3:
            return True
        self.impose(fates)
        self.after_leptons += 1
        return False

    def impose(self, fates: Sequence[bool | None]) -> None:
        """Leptonic, hadronic or any (None) decays for tau- and tau+."""
        if self.open and fates == [None, None]:
            return
        for channel, leptonic in self.channels:
            negative, positive = (fate is None or fate == leptonic for fate in fates)
            # Pythia: 0 off, 1 on, 2 on for the particle only, 3 on for the antiparticle only
            channel.onMode(1 if negative and positive else 2 if negative else 3 if positive else 0)
        self.open = fates == [None, None]

    def canVetoPT(self) -> bool:
        return self.hadrons

    def scaleVetoPT(self) -> float:
        return EVOLUTION_PT

    def doVetoPT(self, stage: int, event: Any) -> bool:
        # asked again at every decay of a resonance, when partons have radiated below the margin: too late to decide
        if stage >= DECAYS:
            return False
        momenta = list(self.decayed)
        for index in range(5, event.size()):
            particle = event[index]
            # t, W, Z and H are still to decay here; their quarks are known from the process
            coloured = particle.idAbs() < 6 or particle.idAbs() == 21
            if particle.isFinal() and coloured and abs(particle.eta()) < PARTON_ETA:
                momenta.append(particle.pT())
        hard = [momentum for momentum in momenta if momentum > EVOLUTION_PARTON_PT]
        few = len(hard) < self.preselection.jets
        return few or sum(hard) + self.other < EVOLUTION_HT_FRACTION * self.preselection.ht

    def canVetoPartonLevel(self) -> bool:
        return self.hadrons

    def doVetoPartonLevel(self, event: Any) -> bool:
        self.jets.analyze(event)  # leptons and photons count as jets here
        momenta = [self.jets.pT(index) for index in range(self.jets.sizeJet())]
        # two leptons count among the jets, but one may lie in another's cone
        jets = self.preselection.jets + self.preselection.same_sign
        return len(momenta) < jets or sum(momenta) < HT_FRACTION * self.preselection.ht


class Generated(NamedTuple):
    """Hard processes turned into particles."""

    particles: ak.Array  # all particles of each surviving event: id, final, hadronic, px, py, pz, E; or its history
    hard: NDArray[np.int64]  # position in the run of the hard process of each surviving event
    branching: NDArray[np.float64]  # share of the decays of each surviving event's resonances that was left open


class Generator:
    """Pythia 8 with its vetoes, for one run of hard processes.

    Args:
        settings: lines in Pythia's language, such as `Beams:LHEF = file` or `Top:gg2ttbar = on`.
        seed: 1 to 900 000 000.
        preselection: cuts of the analysis.
        history: add the origin of each particle: status, mother1 and the point x, y, z in mm.

    Raises:
        ValueError: Pythia does not accept a setting, or cannot start.
    """

    def __init__(
        self, settings: Sequence[str], seed: int, preselection: Preselection, *, history: bool = False
    ) -> None:
        self.pythia = pythia8.Pythia("", False)
        # a veto ends next(), so that its calls and the hard processes are in step
        for line in (
            *("Print:quiet = on", "Check:abortIfVeto = on", "Random:setSeed = on", f"Random:seed = {seed}"),
            *settings,
        ):
            if not self.pythia.readString(line):
                raise ValueError(f"Pythia does not understand the setting {line!r}")
        self.veto = Veto(self.pythia, preselection)
        self.pythia.setUserHooksPtr(self.veto)
        if not self.pythia.init():
            raise ValueError(f"Pythia cannot start with the settings {', '.join(settings)}")
        self.history = history
        self.survived = 0
        self.weights: set[float] = set()

    def run(self, count: int) -> Iterator[Generated]:
        """The next `count` hard processes, batch by batch, without those that were vetoed.

        Raises:
            ValueError: the hard processes are weighted.
        """
        batch = HISTORY_BATCH_SIZE if self.history else BATCH_SIZE
        for start in range(0, count, batch):
            events = self.pythia.nextBatch(min(batch, count - start), "none")
            survived = np.flatnonzero(~ak.to_numpy(ak.is_none(events, axis=0)))
            if not len(survived):
                continue
            kept = ak.drop_none(events, axis=0)
            self.weights |= set(kept.info.weights[:, 0].to_list())
            if len(self.weights) > 1:
                examples = " and ".join(f"{weight:g}" for weight in sorted(self.weights)[:2])
                raise ValueError(f"hard processes of weights {examples}; unweight the file, all must have the same")
            record = kept.prt
            more: dict[str, ak.Array] = {"hadronic": hadronic(record)}
            if self.history:
                # Pythia gives no vertex, not one at 0, to particles from the collision itself
                origin = {name: ak.fill_none(record.vProd[f"p{name}"], 0.0) for name in ("x", "y", "z")}
                more = {"status": record.status, "mother1": record.mother1, **origin}
            particles = ak.zip(
                {
                    "id": record.id,
                    "final": record.status > 0,
                    **more,
                    **{name: record.p[name] for name in ("px", "py", "pz")},
                    "E": record.p.e,
                }
            )
            generated = Generated(particles, start + survived, self.branching(record))
            if self.veto.preselection.same_sign:
                left = same_sign(particles)
                generated = Generated(particles[left], generated.hard[left], generated.branching[left])
            self.survived += len(generated.hard)
            if len(generated.hard):
                yield generated

    def ended_early(self) -> bool:
        """Whether a Les Houches file ran out of events before the run was complete."""
        return bool(self.pythia.infoPython().atEndOfFile())

    def branching(self, particles: ak.Array) -> NDArray[np.float64]:
        """Product over the hard process's resonances of the fraction of their decays that the settings leave open."""
        # with the sign: W+ and W- may be left different decays
        resonances = particles.id[(particles.status == -22) & (particles.mother1 == 3)]
        fraction = np.ones(len(particles))
        for kind in np.unique(ak.to_numpy(ak.flatten(resonances))):
            here = ak.to_numpy(ak.sum(resonances == kind, axis=1))
            fraction *= self.pythia.particleData.resOpenFrac(int(kind)) ** here
        return fraction

    def cross_section(self) -> tuple[float, float]:
        """Cross section of the hard process and its error in pb, before any veto; 0 when every event was vetoed.

        That of a process built into Pythia counts only the decays of its resonances that the settings leave open.
        """
        info = self.pythia.infoPython()
        if info.nAccepted() == 0:
            return 0.0, 0.0
        millibarn = info.nSelected() / info.nAccepted() * 1e9
        return info.sigmaGen() * millibarn, info.sigmaErr() * millibarn


def same_sign(particles: ak.Array) -> NDArray[np.bool_]:
    """Whether there are two electrons or muons of one charge, or three, that do not come from hadrons.

    Args:
        particles: as in `Generated`.
    """
    pt = np.sqrt(particles.px**2 + particles.py**2)
    light = (abs(particles.id) == 11) | (abs(particles.id) == 13)
    # |eta| < LEPTON_ETA without a logarithm
    leptons = particles[
        particles.final
        & light
        & ~particles.hadronic
        & (pt > LEPTON_PT)
        & (abs(particles.pz) < np.sinh(LEPTON_ETA) * pt)
    ]
    negative, positive = (ak.to_numpy(ak.sum(chosen, axis=1)) for chosen in (leptons.id > 0, leptons.id < 0))
    return np.asarray((negative >= 2) | (positive >= 2) | (negative + positive >= 3))


def hadronic(particles: ak.Array) -> ak.Array:
    """Whether a hadron is among the ancestors of each particle (beam protons do not count).

    Args:
        particles: Pythia's event record: id, status, mother1.
    """
    counts = ak.to_numpy(ak.num(particles, axis=1))
    offset = np.repeat(np.cumsum(counts) - counts, counts)
    mother = ak.to_numpy(ak.flatten(particles.mother1)).astype(np.int64) + offset
    # primary hadrons and decay products carry the status codes 81 to 99
    made = np.abs(ak.to_numpy(ak.flatten(particles.status))) >= 81
    hadron = (np.abs(ak.to_numpy(ak.flatten(particles.id))) > 100) & made
    is_hadronic = hadron[mother]
    # mothers of mothers of mothers ...: each turn doubles the distance that is looked back
    while True:
        further = is_hadronic | is_hadronic[mother]
        mother = mother[mother]
        if np.array_equal(further, is_hadronic) and np.array_equal(mother, mother[mother]):
            return ak.unflatten(further, counts)
        is_hadronic = further
