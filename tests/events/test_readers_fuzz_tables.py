"""Fuzzing of the readers of tables: damaged bytes, and odd values in sound files."""

from __future__ import annotations

import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from femtobarn.events import Events, Mapping, read, read_parquet, write_parquet
from femtobarn.physics.objects import BJET, JET
from tests.events.test_readers_jets import quark_gluon, top_tagging
from tests.support.fuzzing import N_MUTANTS, fuzz
from tests.support.jets import jet_events
from tests.support.sample import make_events

#: Errors of the writers where a format cannot hold a mutant.
UNWRITABLE = (pa.ArrowException, TypeError, ValueError, OverflowError, KeyError, AttributeError, IndexError)

MAPPING = Mapping.model_validate(
    {
        "objects": {
            "jet": {"pt": "jet_pt", "eta": "jet_eta", "phi": "jet_phi", "mass": "jet_m", "btag": "jet_btag"},
            "electron": {"pt": "el{}_pt", "eta": "el{}_eta", "phi": "el{}_phi", "charge": "el{}_q"},
            "photon": {"pt": "photon.pt", "eta": "photon.eta", "phi": "photon.phi", "E": "photon.E"},
        },
        "MET": "met",
        "phi_MET": "met_phi",
        "weight": "w",
        "process": "sample",
        "number": "id",
        "context": ["pileup"],
    }
)

FOREIGN: dict[str, Any] = {
    "jet_pt": [[50.0, 30.0, -999.0], [0.0, 0.0, 0.0], [40.0, 0.0, 0.0]],
    "jet_eta": [[0.0, 1.0, -999.0], [0.0, 0.0, 0.0], [-2.0, 0.0, 0.0]],
    "jet_phi": [[1.0, 3.0, -999.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]],
    "jet_m": [[5.0, 3.0, -999.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
    "jet_btag": [[0.9, 0.1, -1.0], [0.0, 0.0, 0.0], [0.8, 0.0, 0.0]],
    "photon": [[], [{"pt": 20.0, "eta": 0.0, "phi": 0.5, "E": 20.0}], []],
    "el1_pt": [25.0, None, 30.0],
    "el1_eta": [0.5, None, 0.1],
    "el1_phi": [0.0, None, 0.2],
    "el1_q": [1, None, -1],
    "el2_pt": [None, None, 20.0],
    "el2_eta": [None, None, 1.5],
    "el2_phi": [None, None, -0.2],
    "el2_q": [None, None, 1],
    "met": [100.0, 0.0, 5.0],
    "met_phi": [0.0, -3.0, 2.0],
    "w": [0.1, -0.2, 0.3],
    "sample": ["a", "b", "b"],
    "id": [7, 8, 9],
    "pileup": [20, 30, 40],
}


def write_table(path: Path, columns: Any, metadata: Any = None) -> None:
    """A Parquet file of lists."""
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    if metadata is not None:
        table = table.replace_schema_metadata({b"femtobarn": json.dumps(metadata).encode()})
    pq.write_table(table, path, write_page_checksum=True)


def write_own(path: Path, content: Any) -> None:
    write_table(path, content["columns"], content["metadata"])


def own_layout(path: Path) -> dict[str, Any]:
    """A small file of the package's own layout as a structure."""
    write_parquet(make_events(4, max_objects=4), path)
    table = pq.read_table(path)
    return {"columns": table.to_pydict(), "metadata": json.loads(table.schema.metadata[b"femtobarn"])}


def write_archive(path: Path, arrays: Any) -> None:
    np.savez(path, **arrays)


def write_hdf5(path: Path, columns: Any) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # numbers that float32 does not hold
        top_tagging(path, count=3, **columns)


def write_root(path: Path, branches: Any) -> None:
    """A tree of JetClass with few branches."""
    uproot = pytest.importorskip("uproot")
    with warnings.catch_warnings(), uproot.recreate(path) as file:
        warnings.simplefilter("ignore")
        types = {name: str(ak.Array(array).type).split(" * ", 1)[-1] for name, array in branches.items()}
        tree = file.mktree("tree", types)
        tree.extend({name: ak.Array(array) for name, array in branches.items()})


def jetclass_branches() -> dict[str, Any]:
    jets = jet_events(3, max_particles=4, processes=("QCD", "Hbb"))
    columns = {"px": jets.particles.px, "py": jets.particles.py, "pz": jets.particles.pz, "energy": jets.particles.E}
    columns |= {"charge": jets.particles.charge, "isPhoton": (jets.particles.kind == 7) * 1}
    branches: dict[str, Any] = {f"part_{name}": array.tolist() for name, array in columns.items()}
    branches |= {f"label_{name}": (jets.process == name).astype(np.int64) for name in ("QCD", "Hbb")}
    return branches | {"jet_pt": np.full(3, 500.0)}


def same_numbers(values: Any, written: Any, name: str) -> None:
    """A column came back as it was written, whatever its type."""
    assert [float(value) for value in values] == [float(value) for value in written], f"{name} is another"


def objects_of(row: Any) -> list[float]:
    """The pT of a list without the padding behind them."""
    values = [np.nan if value is None else float(value) for value in row]
    while values and (np.isnan(values[-1]) or values[-1] in (0, -1, -999)):
        values.pop()
    return values


def own_values(events: Events, content: Any) -> None:
    """Nothing of an accepted file is lost or changed."""
    columns = content["columns"]
    for name in ("number", "hard", "weight"):
        same_numbers(getattr(events, name), columns[name], name)
    same_numbers(events.context.MET, columns["MET"], "MET")
    assert events.particles.pt.tolist() == [objects_of(row) for row in columns["pt"]], "objects are lost or changed"
    wanted = [list(map(float, row))[: len(pt)] for row, pt in zip(columns["kind"], columns["pt"], strict=True)]
    assert events.particles.kind.tolist() == [
        row[: len(pt)] for row, pt in zip(wanted, events.particles.pt, strict=True)
    ]


def foreign_values(events: Events, columns: Any) -> None:
    """Nothing of an accepted file is lost or changed."""
    for name, column in (("number", "id"), ("weight", "w")):
        same_numbers(getattr(events, name), columns[column], name)
    jets = events.particles[(events.particles.kind == JET) | (events.particles.kind == BJET)]
    assert jets.pt.tolist() == [objects_of(row) for row in columns["jet_pt"]], "jets are lost or changed"
    leptons = [
        sum(bool(objects_of([columns[name][row]])) for name in ("el1_pt", "el2_pt")) for row in range(len(events))
    ]
    assert ak.sum(abs(events.particles.kind - 3.5) < 1, axis=1).tolist() == leptons, "electrons are lost"


def fuzz_tolerantly(original: Any, path: Path, n_mutants: int, **options: Any) -> None:
    """The same with bad rows left out, for a third of the mutants."""
    reader = partial(read, tolerant=True, mapping=MAPPING if original is FOREIGN else None)
    fuzz(reader, original, path, n_mutants // 3, seed=2, unwritable=UNWRITABLE, **options)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_odd_values_in_the_own_layout_are_refused_or_harmless(tmp_path, n_mutants):
    path = tmp_path / "events.parquet"
    original = own_layout(path)
    fuzz(read_parquet, original, path, n_mutants, check=own_values, write=write_own, unwritable=UNWRITABLE)
    fuzz_tolerantly(original, path, n_mutants, write=write_own)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_odd_values_in_foreign_tables_are_refused_or_harmless(tmp_path, n_mutants):
    path, reader = tmp_path / "events.parquet", partial(read, mapping=MAPPING)
    fuzz(reader, FOREIGN, path, n_mutants, check=foreign_values, write=write_table, unwritable=UNWRITABLE)
    fuzz_tolerantly(FOREIGN, path, n_mutants, write=write_table)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_odd_values_in_quark_gluon_archives_are_refused_or_harmless(tmp_path, n_mutants):
    path = tmp_path / "jets.npz"
    original = quark_gluon(path, count=4)
    fuzz(read, original, path, n_mutants, write=write_archive, unwritable=UNWRITABLE)
    fuzz_tolerantly(original, path, n_mutants, write=write_archive)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_odd_values_in_top_tagging_tables_are_refused_or_harmless(tmp_path, n_mutants):
    columns = {"E_0": np.full(3, 1e4), "PX_0": np.full(3, 5e3), "PY_0": np.full(3, -5e3), "PZ_0": np.full(3, 1e3)}
    original = columns | {"labels": {"is_signal_new": np.arange(3) % 2, "ttv": np.arange(3)}}
    fuzz(read, original, tmp_path / "jets.h5", n_mutants, write=write_hdf5, unwritable=UNWRITABLE)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_odd_values_in_jetclass_trees_are_refused_or_harmless(tmp_path, n_mutants):
    unwritable = (*UNWRITABLE, AssertionError, NotImplementedError, RuntimeError)
    n_mutants //= 3  # writing a tree takes longer than reading it
    fuzz(read, jetclass_branches(), tmp_path / "jets.root", n_mutants, write=write_root, unwritable=unwritable)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
@pytest.mark.parametrize("name", ["own.parquet", "foreign.parquet", "jets.npz", "jets.h5", "jets.root"])
def test_damaged_bytes_are_refused_or_harmless(tmp_path, name, n_mutants):
    path = tmp_path / name
    match name:
        case "own.parquet":
            write_parquet(make_events(4, max_objects=4), path)
        case "foreign.parquet":
            write_table(path, FOREIGN)
        case "jets.npz":
            quark_gluon(path, count=4)
        case "jets.h5":
            top_tagging(path, count=3)
        case _:
            write_root(path, jetclass_branches())
    reader = partial(read, mapping=MAPPING) if name == "foreign.parquet" else read
    fuzz(reader, path.read_bytes(), path, n_mutants)
