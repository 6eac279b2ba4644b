"""Jets in public layouts: what their readers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.files import checksum
from femtobarn.events.mapping import Raw
from femtobarn.events.parquet import checked
from femtobarn.events.record import Events
from femtobarn.physics.constants import TINY_PT

#: Name of each class of top-tagging and quark/gluon data, by its label.
TOP, QUARK = ("QCD", "top"), ("gluon", "quark")

Flat = NDArray[np.float64]


def jets(
    path: str | Path,
    counts: NDArray[np.int64],
    momenta: Mapping[str, Flat],
    kind: NDArray[np.int8],
    process: NDArray[Any],  # of str
    *,
    tracks: Mapping[str, Flat] | None = None,
    context: Mapping[str, Flat] | None = None,
) -> Events:
    """Jets as events, once nothing in them is impossible: constituents as particles, no MET, every weight 1.

    Numbers are the rows of the file, below 31 bits of its checksum: jets of several files keep different ones. The
    context has `jet_pt, jet_eta, jet_phi, jet_mass` of the sum of the constituents, in GeV and radians.

    Args:
        path: the file, for its checksum and for messages.
        counts: constituents of each jet; those of all jets stand one after another in the other columns.
        momenta: px, py, pz, E in GeV.
        kind: codes of `femtobarn.physics.objects`.
        process: name of the class of each jet.
        tracks: columns of `femtobarn.events.record.TRACKS`.
        context: further numbers of each jet.

    Raises:
        EventError: NaN, negative or impossible energies, an empty jet, with the row.
    """
    if not len(counts):
        raise EventError(path, "holds no jets", remedy="a file of jets has at least one")
    row = np.repeat(np.arange(len(counts)), counts)
    if not counts.all():
        empty = int(np.flatnonzero(counts == 0)[0])
        raise EventError(path, "a jet without constituents", row=empty, remedy="mend or drop the row")
    px, py, pz, energy = (np.asarray(momenta[name], dtype=np.float64) for name in ("px", "py", "pz", "E"))
    for name, column in {**momenta, **(tracks or {})}.items():
        wrong = ~np.isfinite(column)
        if wrong.any():
            at = int(row[np.flatnonzero(wrong)[0]])
            raise EventError(path, f"NaN or infinity: {name} of a constituent", row=at, remedy="mend or drop the row")
    pt = np.hypot(px, py)
    whole = [np.bincount(row, column, len(counts)) for column in (px, py, pz, energy)]
    jet_pt = np.hypot(whole[0], whole[1])
    numbers = np.arange(len(counts), dtype=np.int64)
    digest = checksum(path)
    numbers += (int(digest[:8], 16) >> 1) << 32
    raw = Raw(
        counts=counts.astype(np.int64),
        objects={
            "pt": pt,
            "eta": np.arcsinh(pz / np.maximum(pt, TINY_PT)),
            "phi": np.arctan2(py, px),
            "E": energy,
            "kind": kind,
            **{name: np.asarray(column, dtype=np.float64) for name, column in (tracks or {}).items()},
        },
        context={
            "MET": np.zeros(len(counts)),
            "phi_MET": np.zeros(len(counts)),
            "jet_pt": jet_pt,
            "jet_eta": np.arcsinh(whole[2] / np.maximum(jet_pt, TINY_PT)),
            "jet_phi": np.arctan2(whole[1], whole[0]),
            "jet_mass": np.sqrt(np.maximum(whole[3] ** 2 - jet_pt**2 - whole[2] ** 2, 0)),
            **(context or {}),
        },
        weight=np.ones(len(counts)),
        process=process,
        number=numbers,
        hard=numbers,
        luminosity=100.0,
        provenance={},
    )
    record = {"path": str(path), "sha256": digest, "events": len(counts)}
    return replace(checked(raw, path), provenance={"files": [record]})


def named(path: str | Path, labels: NDArray[Any], names: tuple[str, str]) -> NDArray[Any]:
    """Names of labels 0 and 1.

    Raises:
        EventError: another label, with its row.
    """
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if len(wrong):
        told = f"{names[0]} is 0 and {names[1]} is 1"
        raise EventError(path, f"the label {labels[wrong[0]]} is unknown", row=int(wrong[0]), remedy=told)
    return np.array(names)[labels.astype(np.int64)]


def flat(array: ak.Array) -> Flat:
    """All values of a ragged column, one after another."""
    return np.asarray(ak.to_numpy(ak.flatten(array, axis=1)), dtype=np.float64)
