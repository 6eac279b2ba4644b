"""Events: what nature did, columnar and ragged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import vector
from numpy.typing import NDArray

vector.register_awkward()  # type: ignore[no-untyped-call]

#: What every particle carries; anything else (truth_id, prompt, ...) is truth and no model sees it.
KINEMATICS = ("pt", "eta", "phi", "E", "kind")

#: The columns of `Events`, one entry an event.
COLUMNS = ("particles", "context", "weight", "process", "number", "hard")


class Padded(NamedTuple):
    """The objects of many events in rectangular arrays, highest pT first, zeros where there is no object."""

    pt: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]
    E: NDArray[np.float64]
    kind: NDArray[np.int64]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Events:
    """Collision events with their objects, weights and origin.

    Args:
        particles: ragged Momentum4D records `pt, eta, phi, E` (GeV, float64) with `kind` (codes of
            `femtobarn.physics.objects`); simulated events add the truth columns `truth_id` (a jet's flavour 5, 4, 15
            or 0; the PDG number of the generated particle behind a lepton or photon) and `prompt` (leptons and
            photons that do not come from a hadron).
        context: one record an event with `MET` (GeV), `phi_MET` and whatever else belongs to the event as a whole.
        weight: expected number of events at `luminosity` that each event stands for:
            cross section x luminosity / generated.
        process: name of the process of each event.
        number: event number, unique within its process.
        hard: number of the hard-scattering event; copies that were decayed or showered again share it, and the split
            keeps them on one side.
        luminosity: integrated luminosity of the weights in 1/fb.
        provenance: where the events come from (files, checksums, seeds, cross sections, cut flow), plain JSON values.
    """

    particles: ak.Array
    context: ak.Array
    weight: NDArray[np.float64]
    process: NDArray[np.str_]
    number: NDArray[np.int64]
    hard: NDArray[np.int64]
    luminosity: float = 100.0
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        missing = [name for name in KINEMATICS if name not in self.particles.fields]
        if missing:
            raise ValueError(f"particles lack {', '.join(missing)}; they have {', '.join(self.particles.fields)}")

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, where: NDArray[Any] | slice) -> Events:
        """The events at a boolean mask, at indices or in a slice; weights stay what they are."""
        return replace(self, **{name: getattr(self, name)[where] for name in COLUMNS})

    @property
    def processes(self) -> tuple[str, ...]:
        """Names of the processes present, sorted."""
        return tuple(str(name) for name in np.unique(self.process))

    def expected(self, luminosity: float) -> NDArray[np.float64]:
        """Weights at another luminosity in 1/fb: they sum to the expected number of events."""
        return self.weight * (luminosity / self.luminosity)

    def padded(self, slots: int | None = None) -> Padded:
        """Objects as rectangular arrays (events, slots), by falling pT; without `slots` none is dropped."""
        ordered = self.particles[ak.argsort(self.particles.pt, ascending=False, stable=True)]
        counts = ak.to_numpy(ak.num(ordered, axis=1))
        width = int(counts.max(initial=0)) if slots is None else slots
        columns: dict[str, NDArray[Any]] = {}
        for name in KINEMATICS:
            filled = ak.fill_none(ak.pad_none(ordered[name], width, axis=1, clip=True), 0)
            columns[name] = ak.to_numpy(filled).reshape(len(self), width)
        return Padded(
            pt=columns["pt"].astype(np.float64),
            eta=columns["eta"].astype(np.float64),
            phi=columns["phi"].astype(np.float64),
            E=columns["E"].astype(np.float64),
            kind=columns["kind"].astype(np.int64),
            mask=np.arange(width) < counts[:, None],
        )


def concatenate(parts: Sequence[Events]) -> Events:
    """Several samples as one; they must have weights for the same luminosity.

    Raises:
        ValueError: no sample given, or luminosities differ.
    """
    if not parts:
        raise ValueError("nothing to concatenate")
    if len({part.luminosity for part in parts}) > 1:
        raise ValueError(f"weights for different luminosities: {sorted({part.luminosity for part in parts})} 1/fb")
    return replace(
        parts[0],
        particles=ak.concatenate([part.particles for part in parts]),
        context=ak.concatenate([part.context for part in parts]),
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("weight", "process", "number", "hard")
        },
        provenance={"parts": [dict(part.provenance) for part in parts]},
    )
