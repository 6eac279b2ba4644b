"""JetClass: ROOT trees of jets with momenta, types, charges and impact parameters of their particles.

Qu, Li and Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772; data: doi:10.5281/zenodo.6619768.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError, shorten
from femtobarn.events.formats.conversion import context, floats, plain
from femtobarn.events.formats.jets import NAME_IT, all_named, flat, jets
from femtobarn.events.formats.padding import cartesian_padding, first_entries, real_entries
from femtobarn.events.formats.row_checks import RowChecks
from femtobarn.events.formats.sizes import check_size
from femtobarn.events.reader_settings import Unit
from femtobarn.events.record import Events
from femtobarn.physics.objects import ANTIMUON, CHARGED, ELECTRON, MUON, NEUTRAL, PARTICLE, PHOTON, POSITRON

#: Name of the tree in the data set; another one is taken if it alone has the branches.
TREE = "tree"

MOMENTA = {"px": "part_px", "py": "part_py", "pz": "part_pz", "E": "part_energy"}
TRACKS = {
    "charge": "part_charge",
    "d0": "part_d0val",
    "d0_error": "part_d0err",
    "dz": "part_dzval",
    "dz_error": "part_dzerr",
}

#: Branch of each type, with its code for negative and for positive charge.
TYPES = {
    "part_isChargedHadron": (CHARGED, CHARGED),
    "part_isNeutralHadron": (NEUTRAL, NEUTRAL),
    "part_isPhoton": (PHOTON, PHOTON),
    "part_isElectron": (ELECTRON, POSITRON),
    "part_isMuon": (MUON, ANTIMUON),
}

#: Energies among the numbers of a jet, which have the unit of the momenta.
JET_ENERGIES = ("jet_pt", "jet_energy", "jet_mass", "jet_sdmass")

#: What to do with ROOT files of other layouts.
OTHER = (
    "femtobarn reads ROOT as JetClass has it (part_px, part_py, part_pz, part_energy, label_...); write other trees, "
    "such as NanoAOD and Delphes, to Parquet (with uproot and awkward) and describe their columns with `data.mapping`"
)


@dataclass(frozen=True)
class Branches:
    """Branches of a tree: lists with a value per particle, labels, and further numbers of each jet."""

    lists: dict[str, ak.Array]
    labels: dict[str, NDArray[Any]]
    jets: dict[str, NDArray[Any]]


def read_jetclass(
    path: str | Path, *, process: str | None = None, unit: Unit | None = None, tolerant: bool = False
) -> Events:
    """Jets with what the tree has of types and tracks; their process is the label that is set: `QCD`, `Hbb`, ...

    Only the momenta must be there. A particle of no type counts as one of no known type; so does a lepton in a tree
    without charges. Further branches with one number a jet (`jet_pt`, `jet_sdmass`, `jet_tau1`, ...) become context
    columns; `jet_mass` is the mass of the constituents' sum.

    Args:
        process: name for all jets; labels are not needed then.
        unit: unit of the momenta; GeV by default.
        tolerant: leave out bad jets and count them.

    Raises:
        EventError: no such tree, a missing branch, a jet of no or two labels, a particle of two types, impossible
            numbers, with the row.
        FileNotFoundError: no such file.
        RuntimeError: uproot is not installed.
    """
    branches = _branches(path, process is None)
    n_jets = len(branches.lists["part_px"])
    checks = RowChecks(path, n_jets, tolerant=tolerant)
    names = _labels(checks, branches.labels) if process is None else all_named(process, n_jets)
    counts, values = _particles(checks, branches.lists)
    momenta = {name: values[branch] for name, branch in MOMENTA.items()}
    energy = momenta["E"]
    zero = np.logical_and.reduce([column == 0 for column in momenta.values()])
    padding = first_entries(cartesian_padding(*momenta.values()), zero, counts)
    real = real_entries(padding, counts, checks, lambda at: f"a particle has part_energy {plain(energy[at])}")
    row = np.repeat(np.arange(n_jets), counts)[real]
    values = {name: column[real] for name, column in values.items()}
    tracks = {name: values[branch] for name, branch in TRACKS.items() if branch in values}
    numbers = {name: context(column, name, checks) for name, column in branches.jets.items()}
    scale = 1000.0 if unit == "MeV" else 1.0
    return jets(
        checks,
        np.bincount(row, minlength=n_jets).astype(np.int64),
        {name: values[branch] for name, branch in MOMENTA.items()},
        _kinds(checks, values, row),
        names,
        tracks=tracks,
        context=numbers | {name: numbers[name] / scale for name in JET_ENERGIES if name in numbers},
        unit=unit,
    )


def _labels(checks: RowChecks, labels: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Name of the one label that is set for each jet."""
    flags = np.stack([floats(values, name, checks, truth=True) for name, values in labels.items()], axis=1)
    for name, column in zip(labels, flags.T, strict=True):
        _refuse_flags(checks, column, name, None)
    n_set = (flags != 0).sum(axis=1)
    checks.refuse(
        n_set != 1,
        lambda row: f"{n_set[row]} of its labels {', '.join(labels)} are set",
        f"a jet has one label; or {NAME_IT}",
    )
    names: NDArray[Any] = np.array([name.removeprefix("label_") for name in labels])
    first: NDArray[Any] = names[(flags != 0).argmax(axis=1)]
    return first


def _refuse_flags(
    checks: RowChecks, values: NDArray[np.float64], name: str, row: NDArray[np.integer[Any]] | None
) -> None:
    checks.refuse_entries(
        (values != 0) & (values != 1), row, lambda at: f"{name} is {plain(values[at])}", "a flag is 0 or 1"
    )


def _particles(
    checks: RowChecks, lists: dict[str, ak.Array]
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Particles of each jet, padding included, and their columns one after another."""
    lengths = {name: ak.to_numpy(ak.fill_none(ak.num(array), -1)).astype(np.int64) for name, array in lists.items()}
    counts = lengths["part_px"]
    for name, other in lengths.items():

        def describe(row: int, name: str = name, other: NDArray[np.int64] = other) -> str:
            return f"{other[row]} values of {name} where part_px has {counts[row]}"

        checks.refuse(other < 0, lambda row, name=name: f"{name} is missing")  # type: ignore[misc]
        checks.refuse(other != counts, describe, "the lists of one jet must be of one length")
    good = ~checks.bad
    counts = np.where(good, counts, 0)
    return counts, {name: flat(ak.drop_none(array[good], axis=0)) for name, array in lists.items()}


def _kinds(checks: RowChecks, values: dict[str, NDArray[np.float64]], row: NDArray[np.int64]) -> NDArray[np.int8]:
    """Code of the type of each particle."""
    kind = np.full(len(row), PARTICLE, dtype=np.int8)
    flags = {name: values[name] for name in TYPES if name in values}
    for name, column in flags.items():
        _refuse_flags(checks, column, name, row)
    several = sum(((column != 0).astype(np.int64) for column in flags.values()), np.zeros(len(row))) > 1

    def describe(at: int) -> str:
        return f"a particle with {' and '.join(name for name, column in flags.items() if column[at] != 0)}"

    checks.refuse_entries(several, row, describe, "a particle has one type")
    charge = values.get(TRACKS["charge"])
    for name, column in flags.items():
        negative, positive = TYPES[name]
        of_type = column != 0
        if negative == positive:
            kind[of_type] = negative
        elif charge is not None:
            checks.refuse_entries(
                of_type & (np.abs(charge) != 1),
                row,
                lambda at, name=name: f"a particle with {name} of charge {plain(charge[at])}",  # type: ignore[misc]
                "a charged lepton has charge 1 or -1",
            )
            kind[of_type] = np.where(charge[of_type] > 0, positive, negative)
    return kind


def _branches(path: str | Path, labelled: bool) -> Branches:
    """The branches of particles and labels, and the further numbers of each jet."""
    try:
        import uproot
    except ImportError:
        raise RuntimeError("uproot is missing; pip install 'femtobarn[jets]'") from None
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    try:
        with uproot.open(path) as file:
            tree = _tree(path, file)
            names = list(tree.keys())
            labels = [name for name in names if name.startswith("label_")] if labelled else []
            if labelled and not labels:
                remedy = f"{NAME_IT}; its branches are {', '.join(names[:30])}"
                raise EventError(path, "has no labels: no branch 'label_...'", remedy=remedy)
            wanted = [*MOMENTA.values(), *TRACKS.values(), *TYPES]
            lists = [name for name in wanted if name in names]
            more = [name for name in names if name.startswith("jet_")]
            _check_size(path, tree, [*lists, *labels, *more])
            return Branches(
                {name: _list(path, tree[name].array(), name) for name in lists},
                {name: _number(path, tree[name].array(), name) for name in labels},
                {name: np.asarray(ak.to_numpy(array)) for name in more if _is_number(array := tree[name].array())},
            )
    except EventError:
        raise
    except Exception as error:  # uproot's errors have no common class of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        problem = f"cannot be read as ROOT ({shorten(reason, 200)[1:-1]})"
        raise EventError(path, problem, remedy="it may be cut short or of another format") from error


def _tree(path: str | Path, file: Any) -> Any:
    """The one tree (or RNTuple) with the momenta of particles."""
    trees = {}
    for key in dict.fromkeys(name.split(";")[0] for name in file.keys(recursive=True)):
        entry = file[key]
        if hasattr(entry, "num_entries") and hasattr(entry, "keys"):
            trees[key] = entry
    if not trees:
        raise EventError(path, f"has no tree; it holds {', '.join(file.keys()) or 'nothing'}", remedy=OTHER)
    fitting = [name for name, tree in trees.items() if set(MOMENTA.values()) <= set(tree.keys())]
    if TREE in fitting or len(fitting) == 1:
        return trees[TREE if TREE in fitting else fitting[0]]
    if fitting:
        problem = f"has {len(fitting)} trees of jets: {', '.join(fitting)}"
        raise EventError(path, problem, remedy=f"name one of them {TREE!r}")
    nearest = TREE if TREE in trees else next(iter(trees))
    names = list(trees[nearest].keys())
    absent = [name for name in MOMENTA.values() if name not in names]
    problem = f"has no branch {absent[0]!r}; its tree {nearest!r} has {', '.join(names[:30]) or 'no branches'}"
    others = [name for name in trees if name != nearest]
    if others:
        problem += f", and there are the trees {', '.join(others)}"
    raise EventError(path, problem, remedy=OTHER)


def _check_size(path: str | Path, tree: Any, names: list[str]) -> None:
    """Compares what the branches say of their sizes with the file."""
    stored = Path(path).stat().st_size
    check_size(path, f"tree {tree.name!r}", int(tree.num_entries) * 4 * len(names), stored)
    for name in names:
        check_size(path, f"branch {name!r}", int(getattr(tree[name], "uncompressed_bytes", 0) or 0), stored)


def _is_number(array: ak.Array) -> bool:
    """Whether a branch has one number per jet."""
    return array.ndim == 1 and getattr(ak.type(array).content, "primitive", None) is not None


def _number(path: str | Path, array: ak.Array, name: str) -> NDArray[Any]:
    if not _is_number(array):
        raise EventError(path, f"branch {name!r} holds {array.type.content}, no number per jet", remedy=OTHER)
    return np.asarray(ak.to_numpy(array))


def _list(path: str | Path, array: ak.Array, name: str) -> ak.Array:
    if array.ndim != 2 or np.asarray(ak.to_numpy(ak.flatten(array[:0], axis=None))).dtype.kind not in "iufb":
        raise EventError(path, f"branch {name!r} holds {array.type.content}, no list of numbers", remedy=OTHER)
    return array
