"""Jets in public layouts: what their readers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.formats.conversion import plain
from femtobarn.events.formats.row_checks import Raw, RowChecks, row_numbers, validate, with_file
from femtobarn.events.reader_settings import Unit
from femtobarn.events.record import Events
from femtobarn.events.storage.files import checksum
from femtobarn.physics.constants import TINY_PT

#: Name of each class of top-tagging and quark/gluon data, by its label.
TOP_NAMES = ("QCD", "top")
QUARK_NAMES = ("gluon", "quark")

#: Remedy where the energies are too large for GeV.
UNIT_REMEDY = "if the file is in MeV, read it with --unit MeV (data.unit: MeV)"

#: How to name the process of a file without labels.
NAME_IT = "name the process of all its jets with --process NAME (data.files: {NAME: FILE})"

Flat = NDArray[np.float64]


def jets(
    checks: RowChecks,
    counts: NDArray[np.int64],
    momenta: Mapping[str, Flat],
    kind: NDArray[np.integer[Any]],
    process: NDArray[Any],  # of str
    *,
    tracks: Mapping[str, Flat] | None = None,
    context: Mapping[str, NDArray[Any]] | None = None,
    unit: Unit | None = None,
) -> Events:
    """Jets as events, once nothing in them is impossible: constituents as particles, no MET, every weight 1.

    Numbers are the rows of the file, below 31 bits of its checksum: jets of several files keep different ones. The
    context has `jet_pt, jet_eta, jet_phi, jet_mass` of the sum of the constituents, in GeV and radians.

    Args:
        checks: bad rows of the file so far.
        counts: constituents of each jet; those of all jets stand one after another in the other columns.
        momenta: px, py, pz, E.
        kind: codes of `femtobarn.physics.objects`.
        process: name of the class of each jet.
        tracks: columns of `femtobarn.events.record.TRACKS`.
        context: further numbers of each jet.
        unit: of the momenta; GeV by default.

    Raises:
        EventError: NaN, negative, impossible or too large energies, an empty jet, with the row.
    """
    if not len(counts):
        raise EventError(checks.path, "holds no jets", remedy="a file of jets has at least one")
    checks.refuse((counts == 0) & ~checks.bad, lambda row: "a jet without constituents")
    row = np.repeat(np.arange(len(counts)), counts)
    columns = _finite_columns(checks, row, momenta)
    tracks = _finite_columns(checks, row, tracks or {})
    scale = 1000.0 if unit == "MeV" else 1.0
    px, py, pz, energy = (columns[name] / scale for name in ("px", "py", "pz", "E"))
    with np.errstate(over="ignore", invalid="ignore"):  # bad rows that are left out, and what is refused below
        pt = np.hypot(px, py)
        eta, phi = np.arcsinh(pz / np.maximum(pt, TINY_PT)), np.arctan2(py, px)
        objects = {"pt": pt, "eta": eta, "phi": phi, "E": energy, "kind": kind, **tracks}
        sums = _of_jets([np.bincount(row, column, len(counts)).astype(np.float64) for column in (px, py, pz, energy)])
    digest = checksum(checks.path)
    numbers = row_numbers(len(counts), digest)
    nothing = np.zeros(len(counts))
    raw = Raw(
        counts=counts.astype(np.int64),
        objects=objects,
        context={"MET": nothing, "phi_MET": nothing, **sums, **(context or {})},
        weight=np.ones(len(counts)),
        process=process,
        number=numbers,
        hard=numbers,
        luminosity=100.0,
        provenance={},
    )
    events = validate(raw, checks, unit_remedy=UNIT_REMEDY)
    return with_file(events, checks.record(digest, len(events)))


def _finite_columns(checks: RowChecks, row: NDArray[np.int64], columns: Mapping[str, Flat]) -> dict[str, Flat]:
    """Columns of constituents as float64; NaN and infinity make their row bad.

    Args:
        checks: bad rows of the file so far.
        row: of each constituent.
        columns: by name.
    """
    finite: dict[str, Flat] = {}
    for name, values in columns.items():
        finite[name] = column = np.asarray(values, dtype=np.float64)

        def describe(at: int, name: str = name, column: Flat = column) -> str:
            return f"NaN or infinity: {name} of a constituent is {plain(column[at])}"

        checks.refuse_entries(~np.isfinite(column), row, describe)
    return finite


def _of_jets(momenta: Sequence[Flat]) -> dict[str, Flat]:
    """Kinematics of the sums of constituents."""
    px, py, pz, energy = momenta
    pt = np.hypot(px, py)
    return {
        "jet_pt": pt,
        "jet_eta": np.arcsinh(pz / np.maximum(pt, TINY_PT)),
        "jet_phi": np.arctan2(py, px),
        "jet_mass": np.sqrt(np.maximum(energy**2 - pt**2 - pz**2, 0)),
    }


def names_of(checks: RowChecks, labels: NDArray[Any], names: tuple[str, str]) -> NDArray[Any]:
    """Names of labels 0 and 1.

    Raises:
        EventError: another label, with its row, or labels that are no numbers.
    """
    allowed = f"{names[0]} is 0 and {names[1]} is 1"
    if labels.dtype.kind not in "iufb":
        raise EventError(checks.path, f"its labels are {labels.dtype}, no numbers", remedy=f"{allowed}; or {NAME_IT}")
    wrong = (labels != 0) & (labels != 1)  # NaN among them
    checks.refuse(wrong, lambda row: f"the label {plain(labels[row])} is unknown", allowed)
    return np.array(names)[np.where(wrong, 0, labels).astype(np.int64)]


def all_named(process: str, n_jets: int) -> NDArray[Any]:
    """The same name for all jets."""
    return np.full(n_jets, process)


def flat(array: ak.Array) -> Flat:
    """All values of a ragged column one after another, NaN where one is missing."""
    values = ak.flatten(array, axis=1)
    return np.asarray(ak.to_numpy(ak.fill_none(values, np.nan)), dtype=np.float64)
