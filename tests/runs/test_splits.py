"""Samples of an experiment: repeated numbers, empty selections and empty splits are errors before any training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from femtobarn.events import EventError, Events, write, write_parquet
from femtobarn.events.split import assign_split
from femtobarn.experiments import experiment
from femtobarn.experiments.experiment import Experiment
from femtobarn.runs import prepare as preparation
from femtobarn.runs import splits
from femtobarn.runs.split_checks import cuts_of
from tests.support.sample import make_events

TWO = ("ttH", "tttt")


def configured(files: Any, *overrides: str, **task: Any) -> Experiment:
    plain = {"data": {"files": files}, "model": {"name": "bdt"}, "task": {"signal": ["tttt"]} | task}
    return experiment.load(plain, overrides)


def prepared(files: Any, folder: Path, *overrides: str, **task: Any) -> Experiment:
    """The same experiment on prepared events."""
    preparation.prepare_shards(configured(files, *overrides, **task).data, folder)
    plain = {"data": {"prepared": str(folder)}, "model": {"name": "bdt"}, "task": {"signal": ["tttt"]} | task}
    return experiment.load(plain)


def text(events: Events, path: Path) -> str:
    write(events, path)
    return str(path)


def test_repeated_numbers_stop_a_training_and_a_preparation_with_count_files_and_remedy(tmp_path):
    first, second = make_events(60, 1, TWO), make_events(80, 2, TWO)
    files = [text(first, tmp_path / "a.csv"), text(second, tmp_path / "b.csv")]
    message = r"b\.csv: 30 event numbers of ttH are in .*a\.csv too, 0 for instance; .*data\.renumber: true"
    with pytest.raises(EventError, match=message):
        splits.load_splits(configured(files))
    with pytest.raises(EventError, match=message):
        preparation.prepare_shards(configured(files).data, tmp_path / "prepared")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".") or path.is_dir()] == []
    # the remedy helps, and events keep their side when the files lie elsewhere
    everything = splits.load_events(configured(files, "data.renumber=true").data)
    assert len(everything) == 140
    splits.load_splits(configured(files, "data.renumber=true"))
    (tmp_path / "moved").mkdir()
    moved = [str(Path(file).rename(tmp_path / "moved" / Path(file).name)) for file in files]
    again = splits.load_events(configured(moved, "data.renumber=true").data)
    np.testing.assert_array_equal(everything.hard, again.hard)
    stored = prepared(moved, tmp_path / "prepared", "data.renumber=true")
    assert sorted(splits.load_events(stored.data).number) == sorted(everything.number)


def test_the_same_events_in_two_files(tmp_path):
    events = make_events(60, 1, TWO)
    files = [text(events[:40], tmp_path / "a.csv"), text(events[30:], tmp_path / "b.csv")]
    for work in (
        lambda: splits.load_splits(configured(files)),
        lambda: preparation.prepare_shards(configured(files).data, tmp_path / "x"),
    ):
        with pytest.raises(EventError, match=r"5 event numbers of ttH .*30 for instance: the same events again; give"):
            work()
    # of processes that take no part it does not matter
    for seed in (2, 3):
        write_parquet(make_events(60, seed, ("x",)), tmp_path / f"x{seed}.parquet")
    write_parquet(events, tmp_path / "good.parquet")
    splits.load_splits(configured(str(tmp_path / "*.parquet"), background=["ttH"]))


def test_a_selection_that_leaves_nothing_is_told_with_its_cuts(tmp_path):
    events = make_events(100, 1, TWO)
    write_parquet(events, tmp_path / "a.parquet")
    file = str(tmp_path / "a.parquet")
    left = len(events.select("n_jet >= 2"))
    message = (
        rf"data\.selection: none of the 100 events in .*a\.parquet \(50 ttH, 50 tttt\) passes n_jet >= 2 and "
        rf"n_jet >= 90; one after another, {left} pass n_jet >= 2, then 0 pass n_jet >= 90"
    )
    cut = "data.selection=n_jet >= 2 and n_jet >= 90"
    with pytest.raises(ValueError, match=message):
        splits.load_splits(configured(file, cut))
    with pytest.raises(ValueError, match=message):
        preparation.prepare_shards(configured(file, cut).data, tmp_path / "x")
    only = "data.selection=process == 'ttH'"
    message = "task.signal: none of the 50 events of tttt passes data.selection process == 'ttH'; events of ttH do"
    with pytest.raises(ValueError, match=message):
        splits.load_splits(configured(file, only))
    with pytest.raises(ValueError, match=message):
        splits.load_splits(prepared(file, tmp_path / "prepared", only))


@pytest.mark.parametrize(
    ("selection", "cuts"),
    [
        ("n_jet >= 6", ["n_jet >= 6"]),
        (" HT > 5 and (n_lep == 2 or MET > 3) and not n_bjet ", ["HT > 5", "n_lep == 2 or MET > 3", "not n_bjet"]),
        ("n_jet >= 6 or MET > 2", ["n_jet >= 6 or MET > 2"]),
    ],
)
def test_cuts_of_a_selection(selection, cuts):
    assert cuts_of(selection) == (cuts if len(cuts) > 1 else [selection])


def sided(side: int, weight: float = 1.0) -> Events:
    """Events of which ttH has few, and on one side of the split none or only such with this weight."""
    events = make_events(4000, 1, ("tttt", "ttH"))
    events = replace(events, hard=events.number)
    where = assign_split(events, {"train": 0.6, "validation": 0.2, "test": 0.2})
    of_process = (events.process == "ttH") & (where == side)
    if weight == 1.0:
        return events[~of_process]
    return replace(events, weight=np.where(of_process, weight, events.weight))


@pytest.mark.parametrize("side", [0, 1, 2])
@pytest.mark.parametrize("classes", ["process", "binary"])
def test_a_class_without_events_on_a_side_is_told_before_the_training(tmp_path, side, classes):
    name = ("train", "validation", "test")[side]
    group = "class background" if classes == "binary" and side else "ttH"
    for weight, message in (
        (
            1.0,
            rf"data\.split: no events of {group} .* left for {name} \(events by split: .*{name} 0.*\); give more",
        ),
        (0.0, rf"no events of {group} with a weight are left for {name}|weights of {group} sum to 0 in test"),
        (
            -1.0,
            rf"the weights of {group} sum to -\d+ in {name}, and a yield must be positive \(events by split: train \d+",
        ),
    ):
        write_parquet(sided(side, weight), tmp_path / f"{weight}.parquet")
        file = str(tmp_path / f"{weight}.parquet")
        with pytest.raises(ValueError, match=message):
            splits.load_splits(configured(file, classes=classes))
        with pytest.raises(ValueError, match=message):
            splits.load_splits(prepared(file, tmp_path / f"{weight}", classes=classes))


def test_a_small_fraction_without_a_class_names_the_fraction(tmp_path):
    write_parquet(make_events(40, 1, TWO), tmp_path / "a.parquet")
    few = configured(str(tmp_path / "a.parquet"), "data.fraction=0.01")
    with pytest.raises(ValueError, match=r"left for train .*raise data\.fraction \(now 0\.01\)"):
        splits.load_splits(few)
    on_disk = prepared(str(tmp_path / "a.parquet"), tmp_path / "prepared")
    small = experiment.load(json.loads(on_disk.model_dump_json()), ["data.fraction=0.01"])
    with pytest.raises(ValueError, match=r"left for train .*raise data\.fraction \(now 0\.01\)"):
        splits.load_splits(small)
