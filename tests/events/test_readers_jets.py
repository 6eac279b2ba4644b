"""Public layouts of jets: files written as they are published, read back; and an error for what can go wrong."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from femtobarn.events import EventError, Events, inspect, read, read_parquet, write_parquet
from femtobarn.events.inspect import tables
from femtobarn.inputs.feature_sets import check_features
from femtobarn.physics.objects import ANTIMUON, CHARGED, ELECTRON, NEUTRAL, PARTICLE, PHOTON
from tests.support.jets import jet_events, make_jets
from tests.support.same_events import assert_same


def top_tagging(path: Path, count: int = 12, **changes: Any) -> dict[str, Any]:
    """An HDF5 table as pandas' to_hdf(format="table") lays it out: blocks of columns, their names pickled beside."""
    h5py = pytest.importorskip("h5py")
    momenta, mask = make_jets(count, max_particles=20, seed=1)
    order = np.where(mask, -np.hypot(momenta[..., 0], momenta[..., 1]), 1).argsort(axis=1)
    momenta = np.take_along_axis(np.where(mask[..., None], momenta, 0), order[..., None], axis=1)
    names = [f"{name}_{slot}" for slot in range(20) for name in ("E", "PX", "PY", "PZ")]
    values = momenta[..., [3, 0, 1, 2]].reshape(count, 80).astype(np.float32)
    columns = dict(zip(names, values.T, strict=True)) | {"truthE": np.ones(count, np.float32)}
    labels = {"ttv": np.arange(count) % 3, "is_signal_new": np.arange(count) % 2} | changes.pop("labels", {})
    columns = {name: column for name, column in (columns | changes).items() if column is not None}
    labels = {name: column for name, column in labels.items() if column is not None}
    blocks = [np.stack(list(block.values()), axis=1) for block in (columns, labels)]
    kinds = ("<f4", "<i8")
    dtype = [("index", "<i8")] + [(f"values_block_{i}", kinds[i], (blocks[i].shape[1],)) for i in range(2)]
    rows = np.zeros(count, dtype=dtype)
    rows["index"] = np.arange(count) + 375
    for i in range(2):
        rows[f"values_block_{i}"] = blocks[i]
    with h5py.File(path, "w") as file:
        table = file.create_dataset("table/table", data=rows)
        for i, block in enumerate((columns, labels)):
            table.attrs[f"values_block_{i}_kind"] = np.bytes_(pickle.dumps(list(block), protocol=0))
    return {"momenta": momenta, "labels": labels}


def test_top_tagging_jets_agree_with_their_constituents(tmp_path):
    written = top_tagging(tmp_path / "test.h5")
    events = read(tmp_path / "test.h5")
    assert events.process.tolist() == ["QCD", "top"] * 6
    assert events.context.ttv.tolist() == [0, 1, 2] * 4
    assert ak.all(events.particles.kind == PARTICLE)
    for row in range(12):
        momenta = written["momenta"][row]
        momenta = momenta[momenta[:, 3] > 0]
        components = np.stack([getattr(events.particles[row], name) for name in ("px", "py", "pz", "E")], axis=-1)
        np.testing.assert_allclose(components, momenta, rtol=1e-5, atol=1e-4)
        jet = momenta.sum(axis=0)
        assert events.context.jet_pt[row] == pytest.approx(math.hypot(jet[0], jet[1]), rel=1e-5)
    assert len(set(events.number.tolist())) == 12
    check_features(events, "kin")
    assert len(events.select("ttv == 0")) == 4


def test_jets_of_several_files_have_numbers_of_their_own(tmp_path):
    for name, first in (("train", 0), ("val", 1)):
        top_tagging(tmp_path / f"{name}.h5", labels={"is_signal_new": (np.arange(12) + first) % 2})
    both = read([tmp_path / "train.h5", tmp_path / "val.h5"])
    assert len(set(both.number.tolist())) == 24
    again = read(tmp_path / "val.h5")
    np.testing.assert_array_equal(again.number, both.number[12:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"E_3": None}, "has no column 'E_19'|has no column 'E_3'"),
        ({"E_0": None}, "has no column 'E_0'"),
        ({"labels": {"is_signal_new": None}}, "has no column 'is_signal_new'; it has E_0, PX_0"),
        ({"labels": {"is_signal_new": np.arange(12)}}, "row 2: the label 2 is unknown; QCD is 0 and top is 1"),
        ({"PX_0": np.full(12, 1e12), "E_0": np.full(12, 1e12)}, r"row 0: energy above 1e\+09 GeV"),
        ({f"{name}_0": np.zeros(12) for name in ("E", "PX", "PY", "PZ")}, "stands for no object, in front of entry"),
        ({"E_0": np.full(12, np.nan)}, "row 0: NaN or infinity: E of a constituent"),
        ({"E_0": np.full(12, 1e-3)}, r"row 0: energy below \|p\|"),
        ({"E_0": np.full(12, -1.0)}, "row 0: negative energy"),
    ],
)
def test_mistakes_in_top_tagging_files_are_refused(tmp_path, change, message):
    top_tagging(tmp_path / "test.h5", **change)
    with pytest.raises(EventError, match=message):
        read(tmp_path / "test.h5")


def test_empty_jets_and_empty_files_are_refused(tmp_path):
    nothing: dict[str, Any] = {f"{name}_{slot}": np.zeros(12) for slot in range(20) for name in ("E", "PX", "PY", "PZ")}
    top_tagging(tmp_path / "empty.h5", **nothing)
    with pytest.raises(EventError, match="row 0: a jet without constituents"):
        read(tmp_path / "empty.h5")
    top_tagging(tmp_path / "none.h5", count=0)
    with pytest.raises(EventError, match="holds no jets"):
        read(tmp_path / "none.h5")


def test_names_in_the_file_are_read_without_loading_a_pickle(tmp_path):
    """A pickle that would run code when loaded is read as the texts in it, and they are no columns."""
    h5py = pytest.importorskip("h5py")
    top_tagging(tmp_path / "test.h5")
    with h5py.File(tmp_path / "test.h5", "r+") as file:
        file["table/table"].attrs["values_block_1_kind"] = np.bytes_(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(EventError, match="has no column 'is_signal_new'"):
        read(tmp_path / "test.h5")


PDG = {22: PHOTON, 211: CHARGED, -321: CHARGED, 130: NEUTRAL, 2112: NEUTRAL, 11: ELECTRON, -13: ANTIMUON}
MASS = {22: 0.0, 211: 0.13957, -321: 0.493677, 130: 0.497611, 2112: 0.939565, 11: 0.000511, -13: 0.105658}


def quark_gluon(path: Path, count: int = 10, **changes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    x = np.zeros((count, 15, 4))
    for row in range(count):
        n_particles = int(rng.integers(1, 16))
        angles = rng.normal(0, 0.2, n_particles) + 0.5, rng.uniform(0, 2 * np.pi, n_particles)
        x[row, :n_particles] = np.stack(
            [rng.exponential(10, n_particles) + 0.1, *angles, rng.choice(list(PDG), n_particles)], axis=1
        )
    arrays = {"X": x, "y": np.arange(count) % 2} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return arrays


def test_quark_gluon_jets_agree_with_their_archive(tmp_path):
    written = quark_gluon(tmp_path / "QG_jets.npz")
    events = read(tmp_path / "QG_jets.npz")
    assert events.process.tolist() == ["gluon", "quark"] * 5
    for row in range(10):
        rows = written["X"][row][written["X"][row][:, 0] > 0]
        particles = events.particles[row]
        np.testing.assert_allclose(particles.pt, rows[:, 0], rtol=1e-12)
        np.testing.assert_allclose(particles.rapidity, rows[:, 1], atol=1e-9)
        np.testing.assert_allclose(np.cos(particles.phi - rows[:, 2]), 1)
        np.testing.assert_allclose(particles.mass, [MASS[int(number)] for number in rows[:, 3]], atol=2e-5)
        assert particles.kind.tolist() == [PDG[int(number)] for number in rows[:, 3]]
        assert particles.charge.tolist() == [{211: 1, -321: -1, 11: -1, -13: 1}.get(int(n), 0) for n in rows[:, 3]]
    check_features(events, "kinpid")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": None}, "has no array 'X'; it has y"),
        ({"y": np.arange(10)}, "row 2: the label 2 is unknown; gluon is 0 and quark is 1"),
        ({"y": np.full(10, 0.7)}, "row 0: the label 0.7 is unknown; gluon is 0 and quark is 1"),
        ({"y": np.zeros(3)}, r"X has the shape \(10, 15, 4\) and y \(3,\)"),
        ({"X": np.full((10, 3, 4), 17.0)}, "row 0: a particle of PDG number 17"),
        ({"X": np.full((10, 3, 4), np.nan)}, "a particle of PDG number nan"),
        ({"X": np.tile([5.0, 0, 0, -1.9], (10, 3, 1))}, "row 0: a particle of PDG number -1.9; PDG numbers are whole"),
        ({"X": np.tile([5.0, 0, 0, 12.0], (10, 3, 1))}, "row 0: a particle of PDG number 12; known are photons"),
        ({"X": np.tile([5.0, 0, 99.0, 22.0], (10, 3, 1))}, "row 0: phi outside ±4π"),
        ({"X": np.tile([-5.0, 0, 0, 22.0], (10, 3, 1))}, "row 0: negative pT: a particle has -5"),
        ({"X": np.tile([np.nan, 0, 0, 22.0], (10, 3, 1))}, "row 0: NaN or infinity"),
        ({"X": np.zeros((10, 3, 4))}, "row 0: a jet without constituents"),
    ],
)
def test_mistakes_in_quark_gluon_archives_are_refused(tmp_path, change, message):
    quark_gluon(tmp_path / "jets.npz", **change)
    with pytest.raises(EventError, match=message):
        read(tmp_path / "jets.npz")


def test_objects_in_an_archive_are_not_loaded(tmp_path):
    np.savez(tmp_path / "jets.npz", X=np.array([{"a": 1}], dtype=object), y=np.zeros(1))
    with pytest.raises(EventError, match="cannot be read as a NumPy archive"):
        read(tmp_path / "jets.npz")


FLAGS = {"isChargedHadron": (8,), "isNeutralHadron": (9,), "isPhoton": (7,), "isElectron": (3, 4), "isMuon": (5, 6)}


def jetclass(path: Path, count: int = 9, **changes: Any) -> Events:
    """A tree as the data set has it, of the jets that are given back."""
    uproot = pytest.importorskip("uproot")
    events = jet_events(count, processes=("Hbb", "QCD", "Tbl"))
    particles = events.particles
    branches = {
        "part_px": particles.px,
        "part_py": particles.py,
        "part_pz": particles.pz,
        "part_energy": particles.E,
        "part_deta": particles.eta * 0,
        "part_dphi": particles.eta * 0,
        "part_charge": particles.charge,
        "part_d0val": particles.d0,
        "part_d0err": particles.d0_error,
        "part_dzval": particles.dz,
        "part_dzerr": particles.dz_error,
    }
    branches = {name: ak.values_astype(array, np.float32) for name, array in branches.items()}
    for name, codes in FLAGS.items():
        of_type = sum(ak.values_astype(particles.kind == code, np.int32) for code in codes)
        branches[f"part_{name}"] = of_type
    branches |= {f"label_{name}": (events.process == name).astype(np.int32) for name in ("QCD", "Hbb", "Tbl")}
    branches |= {"jet_pt": np.full(count, 600.0, np.float32), "jet_tau2": np.arange(count, dtype=np.float32)}
    branches = {name: array for name, array in (branches | changes).items() if array is not None}
    types = {name: array.dtype if isinstance(array, np.ndarray) else array.type for name, array in branches.items()}
    with uproot.recreate(path) as file:
        tree = file.mktree("tree", {name: str(kind).split(" * ", 1)[-1] for name, kind in types.items()})
        tree.extend(branches)
    return events


def test_jetclass_jets_agree_with_their_tree(tmp_path):
    written = jetclass(tmp_path / "jets.root")
    events = read(tmp_path / "jets.root")
    assert events.process.tolist() == written.process.tolist()
    assert events.context.jet_pt.tolist() == [600.0] * 9
    assert events.context.jet_tau2.tolist() == list(range(9))
    for name in ("kind", "charge", "pt", "E", "d0", "d0_error", "dz", "dz_error"):
        values, expected_values = ak.flatten(events.particles[name]), ak.flatten(written.particles[name])
        np.testing.assert_allclose(values, expected_values, rtol=1e-5, atol=1e-6, err_msg=name)
    check_features(events, "full")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part_energy": None}, "has no branch 'part_energy'; its tree 'tree' has npart_px, part_px"),
        ({"label_QCD": np.ones(9, np.int32)}, "row 0: 2 of its labels label_QCD, label_Hbb, label_Tbl are set"),
        ({"label_QCD": np.zeros(9, np.int32)}, "row 1: 0 of its labels"),
    ],
)
def test_mistakes_in_jetclass_trees_are_refused(tmp_path, change, message):
    jetclass(tmp_path / "jets.root", **change)
    with pytest.raises(EventError, match=message):
        read(tmp_path / "jets.root")


def test_jetclass_particles_have_one_type_at_most(tmp_path):
    kind = jet_events(9, processes=("Hbb", "QCD", "Tbl")).particles.kind
    photon = ak.values_astype((kind == PHOTON) | (ak.local_index(kind) < 1), np.int32)
    jetclass(tmp_path / "two.root", part_isPhoton=photon)
    with pytest.raises(EventError, match=r"row \d: a particle with part_is.* and part_is"):
        read(tmp_path / "two.root")
    jetclass(tmp_path / "none.root", part_isPhoton=ak.values_astype(kind < 0, np.int32))
    jets = read(tmp_path / "none.root")
    np.testing.assert_array_equal(ak.flatten(jets.particles.kind == PARTICLE), ak.flatten(kind == PHOTON))


@pytest.mark.parametrize("name", ["jets.h5", "jets.npz", "jets.root"])
def test_damaged_and_missing_jet_files_are_refused(tmp_path, name):
    writer = {"jets.h5": top_tagging, "jets.npz": quark_gluon, "jets.root": jetclass}[name]
    writer(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"nothing of the kind"):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(EventError, match=r"cannot be read as"):
            read(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError):
        read(tmp_path / name)


def test_jets_are_written_and_read_as_parquet_with_their_tracks(tmp_path):
    events = jet_events(30)
    write_parquet(events, tmp_path / "jets.parquet")
    assert_same(events, read_parquet(tmp_path / "jets.parquet"))


def test_inspection_counts_constituents():
    inspection = inspect(jet_events(20))
    assert {"charged hadron", "neutral hadron"} <= set(inspection.processes["top"].objects)
    titles = [[str(column.header) for column in table.columns] for table in tables(inspection)]
    assert any("charged hadron" in columns for columns in titles)
