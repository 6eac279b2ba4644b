"""Variants of the public layouts of jets: padding, missing branches and labels, particles, headers that lie."""

from __future__ import annotations

import zipfile
from typing import Any

import awkward as ak
import numpy as np
import pytest

from femtobarn.events import EventError, read
from femtobarn.inputs.feature_sets import check_features
from femtobarn.physics.objects import ANTIMUON, CHARGED, ELECTRON, NEUTRAL
from tests.events.test_readers_jets import FLAGS, jetclass, quark_gluon, top_tagging


@pytest.mark.parametrize(
    ("number", "mass", "kind", "charge"),
    [
        (3312, 1.32171, CHARGED, -1),
        (-3312, 1.32171, CHARGED, 1),
        (1000010020, 1.875613, CHARGED, 1),
        (-311, 0.497611, NEUTRAL, 0),
    ],
)
def test_pdg_table_has_hyperons_kaons_and_nuclei(tmp_path, number, mass, kind, charge):
    quark_gluon(tmp_path / "jets.npz", X=np.tile([10.0, 0.3, 1.0, number], (10, 2, 1)))
    particles = read(tmp_path / "jets.npz").particles
    assert set(ak.flatten(particles.kind)) == {kind}
    assert set(ak.flatten(particles.charge)) == {charge}
    np.testing.assert_allclose(ak.flatten(particles.mass), mass, rtol=1e-5)


def test_pdg_table_looks_up_other_hadrons(tmp_path):
    pytest.importorskip("particle")
    quark_gluon(tmp_path / "jets.npz", X=np.tile([10.0, 0.3, 1.0, -411], (10, 2, 1)))  # D-
    particles = read(tmp_path / "jets.npz").particles
    np.testing.assert_allclose(ak.flatten(particles.mass), 1.8697, rtol=1e-4)
    assert set(ak.flatten(particles.charge)) == {-1}


@pytest.mark.parametrize("filler", [np.nan, -999.0, 0.0])
@pytest.mark.parametrize("name", ["jets.h5", "jets.npz", "jets.root"])
def test_padding_of_jets_is_no_constituent(tmp_path, name, filler):
    writer: Any = {"jets.h5": top_tagging, "jets.npz": quark_gluon, "jets.root": jetclass}[name]
    writer(tmp_path / name)
    expected = read(tmp_path / name)
    width = int(ak.max(ak.num(expected.particles)))
    written = writer(tmp_path / name)
    if name == "jets.npz":
        x = written["X"]
        quark_gluon(tmp_path / name, X=np.where((x == 0).all(axis=2, keepdims=True), filler, x))
    elif name == "jets.h5":
        momenta = np.where(written["momenta"].any(axis=-1, keepdims=True), written["momenta"], filler)
        slots = {f"{c}_{i}": momenta[:, i, at] for i in range(20) for at, c in enumerate(("PX", "PY", "PZ", "E"))}
        top_tagging(tmp_path / name, **slots)
    else:
        particles = written.particles
        columns = {"px": particles.px, "py": particles.py, "pz": particles.pz, "energy": particles.E}
        columns |= {"charge": particles.charge, "d0val": particles.d0, "d0err": particles.d0_error}
        columns |= {"dzval": particles.dz, "dzerr": particles.dz_error}
        columns |= {
            kind[5:]: sum(ak.values_astype(particles.kind == code, np.int32) for code in FLAGS[kind[5:]])
            for kind in (f"part_{flag}" for flag in FLAGS)
        }
        fill = {column: filler if column in ("px", "py", "pz", "energy") else 0 for column in columns}
        padded = {
            f"part_{column}": ak.to_regular(ak.fill_none(ak.pad_none(values, width), fill[column]))
            for column, values in columns.items()
        }
        jetclass(tmp_path / name, **padded)
    jets = read(tmp_path / name)
    assert ak.num(jets.particles).tolist() == ak.num(expected.particles).tolist()
    np.testing.assert_allclose(ak.flatten(jets.particles.E), ak.flatten(expected.particles.E), rtol=1e-6)
    slots_ = len(expected) * {"jets.h5": 20, "jets.npz": 15}.get(name, width)
    assert jets.provenance["files"][0]["padded"] == slots_ - int(ak.sum(ak.num(expected.particles)))


def test_jets_with_a_process_name_need_no_labels(tmp_path):
    top_tagging(tmp_path / "jets.h5", labels={"is_signal_new": None})
    quark_gluon(tmp_path / "jets.npz", y=None)
    jetclass(tmp_path / "jets.root", label_QCD=None, label_Hbb=None, label_Tbl=None)
    for name in ("jets.h5", "jets.npz", "jets.root"):
        with pytest.raises(EventError, match=r"--process NAME \(data.files: {NAME: FILE}\)"):
            read(tmp_path / name)
        assert read(tmp_path / name, process="ttbar").processes == ("ttbar",)
    jetclass(tmp_path / "jets.root", label_QCD=np.zeros(9, np.int32), label_Hbb=np.full(9, 0.7))
    assert read(tmp_path / "jets.root", process="ttbar").processes == ("ttbar",)
    with pytest.raises(EventError, match=r"row 0: label_Hbb is 0.7; a flag is 0 or 1"):
        read(tmp_path / "jets.root")


def test_features_ask_for_what_a_tree_lacks(tmp_path):
    tracks = ("charge", "d0val", "d0err", "dzval", "dzerr")
    types = tuple(FLAGS)
    lacking = {
        "tracks": (tracks[1:], "full needs d0, d0_error, dz, dz_error of every particle", ["kin", "kinpid"]),
        "one track": (tracks[1:2], "full needs d0, d0_error, dz, dz_error of every particle", ["kin", "kinpid"]),
        "charge": (tracks, "kinpid needs charge of every particle", ["kin"]),
        "types": (types, "kinpid needs the types of particles", ["kin"]),
    }
    for absent, (branches, message, fitting) in lacking.items():
        changes: Any = {f"part_{name}": None for name in branches}
        jetclass(tmp_path / "jets.root", **changes)
        events = read(tmp_path / "jets.root")
        for name in fitting:
            check_features(events, name)
        with pytest.raises(ValueError, match=message):
            check_features(events, "full" if "full" in message else "kinpid")
        assert absent != "charge" or not set(ak.flatten(events.particles.kind)) & {ELECTRON, ANTIMUON}


def test_trees_of_other_names_are_read_and_other_layouts_refused(tmp_path):
    uproot = pytest.importorskip("uproot")
    jetclass(tmp_path / "jets.root")
    with uproot.open(tmp_path / "jets.root") as file:
        names = file["tree"].keys()
        branches = {name: file["tree"][name].array() for name in names if not name.startswith("n")}
    with uproot.recreate(tmp_path / "events.root") as file:
        file.mktree("Events", {name: str(array.type).split(" * ", 1)[-1] for name, array in branches.items()})
        file["Events"].extend(branches)
    assert len(read(tmp_path / "events.root")) == 9
    with uproot.recreate(tmp_path / "nano.root") as file:
        file.mktree("Events", {"Jet_pt": "var * float32", "MET_pt": "float32"})
        file["Events"].extend({"Jet_pt": ak.Array([[1.0]]), "MET_pt": np.ones(1)})
    with pytest.raises(
        EventError, match=r"no branch 'part_px'; its tree 'Events' has nJet_pt, Jet_pt.*`data\.mapping`"
    ):
        read(tmp_path / "nano.root")


def test_headers_that_promise_more_than_the_file_holds_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    quark_gluon(tmp_path / "jets.npz")
    with zipfile.ZipFile(tmp_path / "jets.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    x = members["X.npy"]
    for shape, message in (("(556000000000000,)", "'X' would take 4.45 PB"), ("(11, 15, 4)     ", "cannot be read")):
        header = x[:128].replace(b"(10, 15, 4), }" + b" " * (len(shape) - 11), f"{shape}, }}".encode())
        assert len(header) == 128
        assert header != x[:128]
        with zipfile.ZipFile(tmp_path / "jets.npz", "w") as archive:
            archive.writestr("X.npy", header + x[128:])
            archive.writestr("y.npy", members["y.npy"])
        with pytest.raises(EventError, match=message):
            read(tmp_path / "jets.npz")
    with zipfile.ZipFile(tmp_path / "jets.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("y.npy", members["y.npy"])
        with archive.open("X.npy", "w") as file:
            for _ in range(300):
                file.write(bytes(1_000_000))
    with pytest.raises(EventError, match="'X' would take 300 MB"):
        read(tmp_path / "jets.npz")
    with h5py.File(tmp_path / "jets.h5", "w") as file:
        columns = np.dtype([("index", "<i8"), ("values_block_0", "<f4", (800,))])
        file.create_dataset("table/table", shape=(10**12,), dtype=columns, chunks=(1000,))
    with pytest.raises(EventError, match=r"would take 3.21 PB, and the file holds 0 bytes"):
        read(tmp_path / "jets.h5")


def test_other_layouts_of_hdf5_are_described(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "salt.h5", "w") as file:
        file["jets"] = np.zeros(3, dtype=[("pt", "<f4"), ("eta", "<f4")])
        file["tracks"] = np.zeros((3, 40))
    message = r"it holds jets of shape \(3,\) with pt, eta; tracks of shape \(3, 40\); .*`data\.mapping`"
    with pytest.raises(EventError, match=message):
        read(tmp_path / "salt.h5")
