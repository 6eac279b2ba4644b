"""Folders of shards as they are written: complete or not at all, in pieces, without duplicates."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
from typer.testing import CliRunner

from femtobarn.cli import app
from femtobarn.events import EventError, write_darkmachines, write_parquet
from femtobarn.events.shards.index import Index
from femtobarn.events.shards.writing import write_shards
from femtobarn.events.storage.atomic import partial_path
from femtobarn.experiments import experiment
from femtobarn.runs.prepare import prepare_shards
from femtobarn.runs.splits import load_events
from tests.events.test_shards import SHARES
from tests.support.sample import make_events


def test_preparing_follows_no_link_and_leaves_nothing_of_killed_processes(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / f".set.{os.getpid()}.partial").symlink_to(tmp_path / "victim")
    with subprocess.Popen(["true"]) as process:
        process.wait()
    dead = tmp_path / partial_path(tmp_path / "set").name.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    (dead / "spool").mkdir(parents=True)
    write_shards([make_events(50)], tmp_path / "set", SHARES)
    assert not dead.exists()
    assert not list((tmp_path / "victim").iterdir())
    assert Index.read(tmp_path / "set")


def test_mistakes_of_preparing_are_named(tmp_path):
    few = make_events(50)
    with pytest.raises(EventError, match="comes twice"):
        write_shards([few, few], tmp_path / "set", SHARES)
    with pytest.raises(ValueError, match="no events to prepare"):
        write_shards([], tmp_path / "set", SHARES)
    assert not list(tmp_path.iterdir())
    write_shards([few], tmp_path / "set", SHARES)
    with pytest.raises(ValueError, match="is there already"):
        write_shards([few], tmp_path / "set", SHARES)


def test_the_verb_reads_any_files_in_pieces_and_leaves_out_what_only_some_have(tmp_path):
    first, second = make_events(400, seed=1), make_events(300, seed=2)
    second.number[:] += 1000
    second.hard[:] = second.number
    write_parquet(first, tmp_path / "a.parquet")
    write_darkmachines(second, tmp_path / "b.csv")
    (tmp_path / "fit.yaml").write_text("data: {files: ['*.parquet', '*.csv'], split: {train: 0.5, validation: 0.3}}\n")
    call = ["prepare", str(tmp_path / "fit.yaml"), "-o", str(tmp_path / "set"), "data.selection=n_jet >= 1"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    index = Index.read(tmp_path / "set")
    data = experiment.data(tmp_path / "fit.yaml", ["data.selection=n_jet >= 1"])
    selected = load_events(data)
    by_pieces = prepare_shards(data, tmp_path / "pieces", piece_events=100)
    assert by_pieces.provenance == index.provenance
    assert all(np.array_equal(by_pieces.counts(name).sum(0), index.counts(name).sum(0)) for name in SHARES)
    texts = [f"{sum(index.counts(side).sum(0))} events" for side in index.sides]
    assert all(text in done.output for text in texts)
    assert sum(index.counts(side).sum() for side in index.sides) == len(selected)
    assert index.selection == "n_jet >= 1"
    assert [file["events"] for file in index.provenance["files"]] == [400, 300]
    again = CliRunner().invoke(app, call)
    assert again.exit_code == 2
    assert "is there already" in again.output
