"""Reading many files of many formats as one sample, and writing by suffix."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from femtobarn.events import EventError, ReaderSettings, concatenate, read, stream, write
from femtobarn.events.read import find, read_paths
from femtobarn.experiments.data import read_mapping
from femtobarn.experiments.document import ConfigError
from tests.support.same_events import assert_same
from tests.support.sample import make_events


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One file for each process: two formats."""
    monkeypatch.chdir(tmp_path)
    events = make_events(100)
    for name in events.processes:
        suffix = "csv.gz" if name == "ttW" else "csv" if name == "ttH" else "parquet"
        write(events[events.process == name], tmp_path / f"{name}.{suffix}")
    return tmp_path


def test_read_joins_files_of_globs_and_formats(folder):
    events = read(["tt*.parquet", folder / "ttH.csv", "*.csv.gz"])
    expected = make_events(100)
    assert events.processes == expected.processes
    for name in ("tttt", "ttH", "ttW"):
        ours, theirs = (sample[sample.process == name] for sample in (events, expected))
        assert_same(theirs, ours, ("weight", "process", "number"), truth=False)
    paths = ["ttWW.parquet", "ttZ.parquet", "tttt.parquet", str(folder / "ttH.csv"), "ttW.csv.gz"]
    assert [file["path"] for file in events.provenance["files"]] == paths
    for file in events.provenance["files"]:
        assert file["sha256"] == hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest()


def test_weights_follow_the_luminosity(folder):
    at_100, at_36 = read("tttt.parquet"), read("tttt.parquet", luminosity=36.0)
    np.testing.assert_allclose(at_36.weight, at_100.weight * 0.36)
    assert at_36.luminosity == 36


def test_read_applies_selection_and_process_name(folder):
    events = read("*.parquet", selection="n_jet >= 4", process="signal")
    assert events.processes == ("signal",)
    assert 0 < len(events) < 60
    kinds = events.padded().kind
    assert ((kinds == 1) | (kinds == 2)).sum(axis=1).min() >= 4


def test_tolerant_reading_counts_what_it_leaves_out(folder):
    good = (folder / "ttH.csv").read_text()
    (folder / "bad.csv").write_text(good.replace("ttH", "x") + "oops\n")
    with pytest.raises(EventError, match=r"bad\.csv:21: truncated line: 'oops'"):
        read("*.csv")
    events = read("*.csv", tolerant=True)
    assert [file["skipped"] for file in events.provenance["files"]] == [1, 0]


def test_read_refuses_no_match_duplicates_and_unknown_suffixes(folder):
    with pytest.raises(FileNotFoundError, match=r"no file matches 'none\*\.csv'"):
        read(["ttH.csv", "none*.csv"])
    with pytest.raises(FileNotFoundError, match="no file given"):
        read([])
    with pytest.raises(EventError, match=r"is matched by 'ttH.csv' and '\*\.csv'"):
        read(["ttH.csv", "*.csv"])
    (folder / "copy.csv").write_bytes((folder / "ttH.csv").read_bytes())
    with pytest.raises(EventError, match=r"ttH\.csv: holds the same as copy\.csv"):
        read("*.csv")
    (folder / "events.xyz").write_bytes(b"root")
    with pytest.raises(EventError, match=r"events\.xyz: has a suffix of no known format; .*\.parquet"):
        read("events.xyz")
    with pytest.raises(EventError, match="lhe files are only read"):
        write(make_events(2), folder / "x.lhe")
    (folder / "named.dat").write_bytes((folder / "ttH.csv").read_bytes())
    assert len(read("named.dat", format="darkmachines")) == 20


def test_provenance_lists_files_that_written_events_were_read_from(folder):
    write(read(["ttH.csv", "ttW.csv.gz"]), folder / "both.parquet")
    files = read("both.parquet").provenance["files"]
    assert [file["path"] for file in files] == ["both.parquet"]
    assert [file["path"] for file in files[0]["made_of"]] == ["ttH.csv", "ttW.csv.gz"]


def test_samples_of_different_luminosity_do_not_mix():
    events = make_events(10)
    with pytest.raises(ValueError, match=r"different luminosities: \[36.0, 100.0\]"):
        concatenate([events, replace(events, luminosity=36.0)])


MAPPING = {
    "objects": {"jet": {"pt": "pt", "eta": "eta", "phi": "phi"}},
    "MET": "met",
    "phi_MET": "met_phi",
    "process_name": "ttH",
}


def flat(path: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    columns = {name: random.uniform(30, 90, (25, 2)).tolist() for name in ("pt",)}
    columns |= {name: random.uniform(-1, 1, (25, 2)).tolist() for name in ("eta", "phi")}
    columns |= {"met": random.uniform(0, 90, 25).tolist(), "met_phi": random.uniform(-1, 1, 25).tolist()}
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("place", [(), ("mapping",), ("data", "mapping")])
def test_flat_tables_are_read_and_streamed_by_a_mapping_in_yaml(tmp_path, place):
    files = [flat(tmp_path / f"{seed}.parquet", seed) for seed in (1, 2)]
    tree = MAPPING
    for key in reversed(place):
        tree = {key: tree}
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(tree))
    mapping = read_mapping(tmp_path / "mapping.yaml")
    events = read(files, mapping=mapping)
    assert len(np.unique(events.number)) == 50  # rows of two files
    assert events.weight.sum() == 50  # which state nothing
    pieces = [piece for _, piece in stream(files, ReaderSettings(mapping=mapping), size=10)]
    for column in ("number", "weight", "process"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(piece, column) for piece in pieces]), getattr(events, column)
        )
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump({"mapping": MAPPING | {"MTE": "x"}}))
    with pytest.raises(ConfigError, match=r"mapping\.yaml: 1 mistake\s+mapping\.MTE: .*MET"):
        read_mapping(tmp_path / "mapping.yaml")


@pytest.mark.parametrize("terminal", [True, False])
def test_reading_large_files_shows_progress(folder, monkeypatch, capsys, terminal):
    monkeypatch.setenv("FORCE_COLOR", "1") if terminal else monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert len(read_paths(find("tt*.*"), ReaderSettings(), progress_bytes=1)) == 100
    assert ("reading" in capsys.readouterr().err) or terminal
