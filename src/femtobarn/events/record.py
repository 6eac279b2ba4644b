"""Events: what nature did, columnar and ragged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import vector
from numpy.typing import NDArray

from femtobarn.events.arrays import check_event_columns, context_columns, event_column, flat_objects
from femtobarn.events.combine import contributions_of, treat, treatments
from femtobarn.events.faults import wrap_phi
from femtobarn.events.generation import Combine, merge
from femtobarn.events.selection.cuts import select

vector.register_awkward()

#: What every particle carries.
KINEMATICS = ("pt", "eta", "phi", "E", "kind")

#: What the constituents of jets may carry besides: electric charge, impact parameters and their errors (mm; 0 for
#: particles without a track). Anything else (truth_id, prompt, ...) is truth, which models do not receive.
TRACKS = ("charge", "d0", "d0_error", "dz", "dz_error")

#: What the context of every event holds at least.
MISSING_MOMENTUM = ("MET", "phi_MET")

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
            photons that do not come from a hadron). An event may also be one jet, its particles the constituents;
            these may have `TRACKS`.
        context: one record per event with `MET` (GeV), `phi_MET` and further numbers of the event; a
            jet alone has a MET of 0.
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
    process: NDArray[Any]  # of str; beartype would take NDArray[np.str_] for empty strings alone
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
        absent = [name for name in MISSING_MOMENTUM if name not in self.context.fields]
        if absent:
            raise ValueError(f"context lacks {', '.join(absent)}; it has {', '.join(self.context.fields) or 'nothing'}")

    @classmethod
    def from_arrays(
        cls,
        *,
        pt: Any,
        eta: Any,
        phi: Any,
        kind: Any,
        E: Any = None,
        mass: Any = None,
        mask: Any = None,
        MET: Any = None,
        phi_MET: Any = None,
        weight: Any = 1.0,
        process: Any = "data",
        number: Any = None,
        hard: Any = None,
        luminosity: float = 100.0,
        tracks: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Events:
        """Events from plain arrays: ragged awkward arrays, or padded arrays of NumPy.

        Arrays of objects have the shape (events, objects). In rectangular arrays without `mask`, objects with a pT of
        0 or NaN are padding. A single number holds for all objects or all events.

        Args:
            pt: transverse momentum in GeV.
            eta: pseudorapidity.
            phi: azimuth in radians.
            kind: codes of `femtobarn.physics.objects`: 1 jet, 2 b-jet, 3 e-, 4 e+, 5 mu-, 6 mu+, 7 photon, 8 charged
                hadron, 9 neutral hadron, 10 particle, 11 gluon, 12 Z, 13 incoming parton.
            E: energy in GeV; or give `mass`.
            mass: mass in GeV.
            mask: True where an object is real.
            MET: missing transverse momentum of each event in GeV; optional where no object is a jet.
            phi_MET: its azimuth in radians.
            weight: expected number of events at `luminosity` that each event stands for.
            process: name of the process, one for all or one per event.
            number: event number, unique within its process; by default the row.
            hard: number of the hard-scattering event; by default `number`.
            luminosity: integrated luminosity of the weights in 1/fb.
            tracks: columns of `TRACKS` by name, in mm.
            context: further columns with one number per event.

        Returns:
            the events, with objects in the order given.

        Raises:
            ValueError: arrays that do not fit together, or impossible values; it names array, event and remedy.

        Example:
            >>> import numpy as np
            >>> events = Events.from_arrays(
            ...     pt=np.array([[120.0, 45.0], [80.0, 0.0]]),
            ...     eta=np.array([[0.3, -1.2], [0.8, 0.0]]),
            ...     phi=np.array([[0.1, 2.9], [-2.0, 0.0]]),
            ...     mass=np.array([[10.0, 0.0], [8.0, 0.0]]),
            ...     kind=np.array([[2, 5], [1, 0]]),
            ...     MET=np.array([60.0, 35.0]),
            ...     phi_MET=np.array([-3.0, 1.1]),
            ...     process="ttW",
            ... )
            >>> events
            Events(2 events, 1 process, 100 fb-1)
            >>> events.particles.kind.tolist()
            [[2, 5], [1]]
        """
        if (E is None) == (mass is None):
            raise ValueError("give either E or mass of the objects, in GeV")
        arrays = {"pt": pt, "eta": eta, "phi": phi, **({"mass": mass} if E is None else {"E": E}), "kind": kind}
        objects, counts = flat_objects(arrays | dict(tracks or {}), mask)
        n_events = len(counts)
        columns = context_columns(MET, phi_MET, objects["kind"], n_events)
        columns |= {name: event_column(name, values, n_events) for name, values in (context or {}).items()}
        weights = event_column("weight", weight, n_events)
        check_event_columns(weights, columns)
        numbers = event_column("number", np.arange(n_events) if number is None else number, n_events, np.int64)
        return cls(
            particles=ak.unflatten(ak.zip(objects, with_name="Momentum4D"), counts),
            context=ak.zip(columns | {"phi_MET": wrap_phi(columns["phi_MET"])}),
            weight=weights,
            process=event_column("process", process, n_events, np.str_),
            number=numbers,
            hard=numbers if hard is None else event_column("hard", hard, n_events, np.int64),
            luminosity=luminosity,
        )

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def n_events(self) -> int:
        """Number of events, as `len` gives it."""
        return len(self)

    def __repr__(self) -> str:
        n_processes = len(self.processes)
        events = f"{len(self)} event{'' if len(self) == 1 else 's'}"
        processes = f"{n_processes} process{'' if n_processes == 1 else 'es'}"
        return f"Events({events}, {processes}, {self.luminosity:g} fb-1)"

    def __getitem__(self, index: NDArray[Any] | Sequence[int] | slice | int) -> Events:
        """The events at a boolean mask, at indices, in a slice, or the one event at an index; weights do not change.

        Raises:
            IndexError: no such event.
        """
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"event {index} of {len(self)} events")
            index = np.array([index])
        elif not isinstance(index, slice):
            index = np.asarray(index)
            index = index if len(index) else index.astype(np.int64)
        return replace(self, **{name: getattr(self, name)[index] for name in COLUMNS})

    @property
    def processes(self) -> tuple[str, ...]:
        """Names of the processes present, sorted."""
        return tuple(str(name) for name in np.unique(self.process))

    def expected(self, luminosity: float) -> NDArray[np.float64]:
        """Weights at another luminosity in 1/fb: they sum to the expected number of events."""
        return self.weight * (luminosity / self.luminosity)

    def select(self, expression: str) -> Events:
        """The events that pass a selection, as in `femtobarn.events.selection`: `events.select("n_jet >= 6")`.

        Raises:
            SelectionError: the expression cannot be understood.
        """
        return self[select(self, expression)]

    @property
    def tracks(self) -> tuple[str, ...]:
        """Which of `TRACKS` the particles have: none, the charge, or all."""
        fields = self.particles.fields
        return TRACKS if set(TRACKS) <= set(fields) else TRACKS[:1] if TRACKS[0] in fields else ()

    def padded(self, slots: int | None = None) -> Padded:
        """Objects as rectangular arrays (events, slots), by falling pT; without `slots` none is dropped."""
        columns, counts = self._rectangular(KINEMATICS, slots)
        width = columns["pt"].shape[1]
        return Padded(
            pt=columns["pt"].astype(np.float64),
            eta=columns["eta"].astype(np.float64),
            phi=columns["phi"].astype(np.float64),
            E=columns["E"].astype(np.float64),
            kind=columns["kind"].astype(np.int64),
            mask=np.arange(width) < counts[:, None],
        )

    def padded_tracks(self, slots: int | None = None) -> NDArray[np.float64]:
        """What the particles have of `TRACKS`, in the slots of `padded`: (events, slots, 0, 1 or 5)."""
        if not self.tracks:
            return np.zeros((len(self), slots or 0, 0))
        columns, _ = self._rectangular(self.tracks, slots)
        return np.stack([column.astype(np.float64) for column in columns.values()], axis=-1)

    def _rectangular(
        self, names: Sequence[str], slots: int | None
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.integer[Any]]]:
        ordered = self.particles[ak.argsort(self.particles.pt, ascending=False, stable=True)]
        counts = ak.to_numpy(ak.num(ordered, axis=1))
        width = int(counts.max(initial=0)) if slots is None else slots
        columns: dict[str, NDArray[Any]] = {}
        for name in names:
            filled = ak.fill_none(ak.pad_none(ordered[name], width, axis=1, clip=True), 0)
            columns[name] = ak.to_numpy(filled).reshape(len(self), width)
        return columns, counts


def concatenate(parts: Sequence[Events], combine: Combine = "average") -> Events:
    """Several samples as one; they must have weights for the same luminosity.

    Samples of different processes, and parts of one sample, keep their weights. Different productions of one process
    (two runs of a generator), of which the provenance states cross section and generated events, are normalised by
    themselves: they are averaged, weighted by their generated events, so that the expected events stay what each of
    them expects. What complements one another (decay channels) is put together with `combine="add"`.

    Truth and context columns that only some samples have are left out, and named in `provenance["left_out"]`:
    inventing values for them would be worse. The provenance keeps the files, cross sections and cut flows of all.

    Args:
        parts: the samples.
        combine: `average` or `add` different productions of one process.

    Raises:
        ValueError: no sample given, or luminosities differ.
        EventError: productions that are to be averaged have different cross sections, open decays or yields.
    """
    if not parts:
        raise ValueError("nothing to concatenate")
    if len({part.luminosity for part in parts}) > 1:
        raise ValueError(f"weights for different luminosities: {sorted({part.luminosity for part in parts})} 1/fb")
    if len(parts) == 1:
        return parts[0]
    labelled = [(_label(part, at), part) for at, part in enumerate(parts, 1)]
    treated = treatments(contributions_of(labelled), combine, parts[0].luminosity)
    return join([treat(part, treatment) for part, treatment in zip(parts, treated, strict=True)], combine)


def _label(part: Events, at: int) -> str:
    files = part.provenance.get("files", [])
    return str(files[0]["path"]) if files else f"sample {at}"


def join(parts: Sequence[Events], combine: Combine = "average") -> Events:
    """Several samples as one, with the weights that they have; see `concatenate`."""
    if len(parts) == 1:
        return parts[0]
    particles, without = _shared([part.particles for part in parts])
    context, lost = _shared([part.context for part in parts])
    provenance = merge([part.provenance for part in parts], combine)
    if without or lost:
        provenance["left_out"] = sorted({*provenance.get("left_out", []), *without, *lost})
    return Events(
        particles=ak.with_name(ak.concatenate(particles), "Momentum4D"),
        context=ak.concatenate(context),
        weight=np.concatenate([part.weight for part in parts]),
        process=np.concatenate([part.process for part in parts]),
        number=np.concatenate([part.number for part in parts]),
        hard=np.concatenate([part.hard for part in parts]),
        luminosity=parts[0].luminosity,
        provenance=provenance,
    )


def _shared(arrays: Sequence[ak.Array]) -> tuple[list[ak.Array], list[str]]:
    """The arrays with the fields that all of them have, and the names of the others."""
    fields = [name for name in arrays[0].fields if all(name in array.fields for array in arrays)]
    others = sorted({name for array in arrays for name in array.fields} - set(fields))
    return [array[fields] for array in arrays], others
