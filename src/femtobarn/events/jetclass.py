"""JetClass: ROOT trees of jets with momenta, types, charges and impact parameters of their particles.

Qu, Li and Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772; data: doi:10.5281/zenodo.6619768.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.jets import flat, jets
from femtobarn.events.record import Events
from femtobarn.physics.objects import ANTIMUON, CHARGED, ELECTRON, MUON, NEUTRAL, PARTICLE, PHOTON, POSITRON

#: Name of the tree.
TREE = "tree"

MOMENTA = {"px": "part_px", "py": "part_py", "pz": "part_pz", "E": "part_energy"}
TRACKS = {
    "charge": "part_charge",
    "d0": "part_d0val",
    "d0_error": "part_d0err",
    "dz": "part_dzval",
    "dz_error": "part_dzerr",
}

#: Branch of each type, with its code for no or negative and for positive charge.
TYPES = {
    "part_isChargedHadron": (CHARGED, CHARGED),
    "part_isNeutralHadron": (NEUTRAL, NEUTRAL),
    "part_isPhoton": (PHOTON, PHOTON),
    "part_isElectron": (ELECTRON, POSITRON),
    "part_isMuon": (MUON, ANTIMUON),
}


def read_jetclass(path: str | Path) -> Events:
    """Jets with tracks; their process is the name of the label that is set: `QCD`, `Hbb`, `Tbqq`, ...

    A particle of no type counts as one of no known type. Further branches with one number a jet (`jet_pt`,
    `jet_sdmass`, `jet_tau1`, ...) become context columns; `jet_mass` is the mass of the constituents' sum.

    Raises:
        EventError: no such tree, a missing branch, a jet of no or two labels, a particle of two types, impossible
            numbers, with the row.
        FileNotFoundError: no such file.
        RuntimeError: uproot is not installed.
    """
    arrays, extra = _arrays(path)
    labels = [name for name in arrays if name.startswith("label_")]
    flags = np.stack([np.asarray(arrays[name], dtype=np.int64) for name in labels], axis=1)
    odd = np.flatnonzero((flags != 0).sum(axis=1) != 1)
    if len(odd):
        what = f"{int((flags[odd[0]] != 0).sum())} of its labels {', '.join(labels)} are set"
        raise EventError(path, what, row=int(odd[0]), remedy="a jet has one label")
    names = np.array([name.removeprefix("label_") for name in labels])
    counts = ak.to_numpy(ak.num(arrays["part_px"])).astype(np.int64)
    for name in (*MOMENTA.values(), *TRACKS.values(), *TYPES):
        other = ak.to_numpy(ak.num(arrays[name]))
        if not np.array_equal(other, counts):
            row = int(np.flatnonzero(other != counts)[0])
            what = f"{other[row]} values of {name} where part_px has {counts[row]}"
            raise EventError(path, what, row=row, remedy="the lists of one jet must be of one length")
    tracks = {name: flat(arrays[branch]) for name, branch in TRACKS.items()}
    return jets(
        path,
        counts,
        {name: flat(arrays[branch]) for name, branch in MOMENTA.items()},
        _kinds(path, {name: flat(arrays[name]) != 0 for name in TYPES}, tracks["charge"], counts),
        names[(flags != 0).argmax(axis=1)],
        tracks=tracks,
        context=extra,
    )


def _kinds(
    path: str | Path, flags: dict[str, NDArray[np.bool_]], charge: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.int8]:
    several = np.flatnonzero(sum((flag.astype(np.int64) for flag in flags.values()), np.zeros(len(charge))) > 1)
    if len(several):
        row = int(np.searchsorted(np.cumsum(counts), several[0], side="right"))
        both = " and ".join(name for name, flag in flags.items() if flag[several[0]])
        raise EventError(path, f"a particle with {both}", row=row, remedy="a particle has one type")
    kind = np.full(len(charge), PARTICLE, dtype=np.int8)
    for name, (negative, positive) in TYPES.items():
        kind[flags[name]] = np.where(charge[flags[name]] > 0, positive, negative)
    return kind


def _arrays(path: str | Path) -> tuple[dict[str, ak.Array], dict[str, NDArray[np.float64]]]:
    """The branches of constituents and labels, and the further numbers of each jet."""
    try:
        import uproot
    except ImportError:
        raise RuntimeError("uproot is missing; pip install 'femtobarn[jets]'") from None
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    try:
        with uproot.open(path) as file:
            trees = [name.split(";")[0] for name in file.keys(recursive=False)]
            if TREE not in trees:
                told = f"the file holds {', '.join(trees) or 'nothing'}"
                raise EventError(path, f"has no tree called {TREE!r}", remedy=told)
            tree: Any = file[TREE]
            there = list(tree.keys())
            labels = [name for name in there if name.startswith("label_")]
            needed = [*MOMENTA.values(), *TRACKS.values(), *TYPES]
            absent = [name for name in needed if name not in there] or ([] if labels else ["label_..."])
            if absent:
                raise EventError(path, f"has no branch {absent[0]!r}", remedy=f"it has {', '.join(there[:30])}")
            found = {name: tree[name].array() for name in (*needed, *labels)}
            more = {name: tree[name].array() for name in there if name.startswith("jet_")}
    except EventError:
        raise
    except Exception as error:  # uproot's errors have no common class of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        what = f"cannot be read as ROOT ({reason})"
        raise EventError(path, what, remedy="it may be cut short or of another format") from error
    return found, {name: np.asarray(values, dtype=np.float64) for name, values in more.items() if values.ndim == 1}
