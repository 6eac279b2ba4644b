"""Columns: an event, or a jet, as a decision tree sees it, one row of numbers with names."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from femtobarn.inputs.batch import Batch
from femtobarn.inputs.constituents import NEEDS, OBJECTS
from femtobarn.inputs.interactions import INTERACTIONS, check
from femtobarn.physics import lorentz, substructure
from femtobarn.physics.object_arrays import ObjectArrays, select_objects
from femtobarn.physics.objects import PADDING, SLOTS
from femtobarn.physics.observables import observables

#: What stands in the columns of each slot: GeV and radians.
KINEMATICS = ("E", "pt", "eta", "phi")


#: Tracks of a jet whose impact parameters are columns of their own, the most significant first.
DISPLACED = 3


def columns(
    batch: Batch, interactions: Sequence[str] = (), features: str = OBJECTS
) -> tuple[list[str], Float[np.ndarray, "events columns"]]:
    """Names and float32 values of what a BDT gets: its slots, MET, the observables, and the interactions of slot pairs.

    A slot without an object, and every pair it is in, is NaN, which LightGBM takes as missing and sends to the better
    side of each cut (a zero would count as a soft, central object). Observables are those of all objects in the batch,
    which should hold 18 slots or more; photons enter through them only. Interactions stand as they are: no cut feels a
    logarithm.

    A jet has the observables of its constituents (`femtobarn.physics.substructure`) in place of all that: those of the
    momenta, with `kinpid` those of types and charges, with `full` the significances of the impact parameters.

    Args:
        batch: events with raw physics; on any device.
        interactions: names from `INTERACTIONS`.
        features: as for `Inputs`; what trees see of constituents is made of the same numbers.

    Raises:
        ValueError: an unknown or repeated interaction.
    """
    check(interactions)
    if features != OBJECTS:
        return _stacked(_jet(batch, features))
    objects = _objects(batch)
    met, phi_met = batch.context.double().cpu().numpy().T
    slots = [select_objects(objects, (kind,), max_objects) for kind, max_objects in SLOTS.values()]
    merged = ObjectArrays(*(np.concatenate(column, axis=1) for column in zip(*slots, strict=True)))
    labels = [
        f"{name}{slot + 1}" if max_objects > 1 else name
        for name, (_, max_objects) in SLOTS.items()
        for slot in range(max_objects)
    ]
    table: dict[str, NDArray[np.float64]] = {}
    for index, label in enumerate(labels):
        for name in KINEMATICS:
            table[f"{name}_{label}"] = np.where(merged.mask[:, index], getattr(merged, name)[:, index], np.nan)
    table |= observables(objects, met, phi_met)
    table |= _pair_columns(merged, batch.context, labels, interactions)
    return _stacked(table)


def _stacked(table: dict[str, NDArray[np.float64]]) -> tuple[list[str], NDArray[np.float32]]:
    return list(table), np.stack(list(table.values()), axis=1).astype(np.float32)


def _jet(batch: Batch, features: str) -> dict[str, NDArray[np.float64]]:
    mask = batch.mask.cpu().numpy()
    momenta = batch.momenta.detach().double().cpu().numpy()
    table = substructure.kinematic(momenta, mask)
    if NEEDS[features] > 0:
        tracks = np.where(mask[..., None], batch.tracks.double().cpu().numpy(), 0.0)
        table |= substructure.identified(momenta, mask, batch.kind.long().cpu().numpy())
        table |= substructure.charges(momenta, mask, tracks[..., 0])
    if NEEDS[features] > 1:
        for name, (value, error) in {"d0": (1, 2), "dz": (3, 4)}.items():
            is_measured = tracks[..., error] > 0
            size = np.divide(
                np.abs(tracks[..., value]), tracks[..., error], out=np.zeros(mask.shape), where=is_measured
            )
            ordered = -np.sort(-np.pad(size, ((0, 0), (0, DISPLACED))), axis=1)
            table |= {f"{name}_significance{number + 1}": ordered[:, number] for number in range(DISPLACED)}
    return table


def _objects(batch: Batch) -> ObjectArrays:
    momenta = batch.momenta.detach().double()
    mask = batch.mask
    numbers = (lorentz.pt(momenta), lorentz.eta(momenta), lorentz.phi(momenta), momenta[..., 3])
    pt, eta, phi, energy = (torch.where(mask, number, 0.0).cpu().numpy() for number in numbers)
    kind = torch.where(mask, batch.kind, PADDING).long().cpu().numpy()
    return ObjectArrays(pt, eta, phi, energy, kind, mask.cpu().numpy())


def _pair_columns(
    merged: ObjectArrays, context: torch.Tensor, labels: Sequence[str], interactions: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    pt, eta, phi, energy = (torch.from_numpy(column) for column in merged[:4])
    mask = torch.from_numpy(merged.mask)
    momenta = lorentz.from_ptetaphie(pt, eta, phi, energy)
    slots = Batch(momenta, torch.from_numpy(merged.kind), mask, context.cpu(), momenta[..., :0])
    both = merged.mask[:, :, None] & merged.mask[:, None, :]
    table: dict[str, NDArray[np.float64]] = {}
    for name in interactions:
        values = np.where(both, INTERACTIONS[name].value(slots).numpy(), np.nan)
        for (i, first), (j, second) in itertools.combinations(enumerate(labels), 2):
            table[f"{name}_{first}_{second}"] = values[:, i, j]
    return table
