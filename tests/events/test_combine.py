"""Several files of one process: runs are averaged, parts and channels add up, and what disagrees is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from femtobarn.events import EventError, Events, concatenate, inspect, read, stream, write_parquet
from femtobarn.events.combine import Tally, tally
from femtobarn.events.shards.index import Index
from femtobarn.experiments.data import DataConfig
from femtobarn.runs import prepare as preparation
from femtobarn.runs import splits
from tests.support.sample import make_events

SECTION = 0.5  # pb


def lhe(path: Path, count: int, section: float = SECTION, error: float = 0.01, seed: int = 1) -> Path:
    """A Les Houches file of dijets."""
    pt = np.random.default_rng(seed).uniform(30, 200, count)
    lines = ['<LesHouchesEvents version="3.0">', "<init>", "2212 2212 6500 6500 0 0 1 1 3 1"]
    lines += [f"{section} {error} 1 1", "</init>"]
    for value in pt.tolist():
        lines += ["<event>", "4 1 1 100 0.0075 0.118"]
        lines += [f"21 -1 0 0 1 2 0 0 {sign * value} {value} 0 0 9" for sign in (1, -1)]
        lines += [f"21 1 1 2 1 2 {sign * value} 0 0 {value} 0 0 9" for sign in (1, -1)]
        lines += ["</event>"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "</LesHouchesEvents>"]) + "\n")
    return path


def simulated(count: int, seed: int, generated: int, source: str | None = "0" * 64, **record: Any) -> Events:
    """Events of two processes as `femtobarn simulate` leaves them: normalised by themselves, counted from 0."""
    events = make_events(count, seed, ("ttH", "ttW"))
    weight = np.full(count, SECTION * 1000 * 100 / generated)
    origin = {
        "cross_section_pb": SECTION,
        "cross_section_error_pb": 0.01,
        "generated": generated,
        "simulation": {"seed": seed},
        "source_sha256": source,
        "cut_flow": [
            {"cut": "cross section x luminosity", "events": generated, "yield": SECTION * 1e5},
            {"cut": "reconstructed", "events": count // 2, "yield": weight[: count // 2].sum()},
        ],
    } | record
    return replace(events, weight=weight, provenance={"processes": {"ttH": origin, "ttW": origin | {"branching": 1.0}}})


def yields(events: Events) -> dict[str, float]:
    return {name: float(events.weight[events.process == name].sum()) for name in events.processes}


def test_runs_of_one_generation_expect_what_one_of_them_does(tmp_path):
    files = [lhe(tmp_path / f"run_{n}" / "events.lhe", 10 * n, seed=n) for n in (1, 2, 3)]
    events = read(files)
    assert yields(events) == {"events": pytest.approx(SECTION * 1000 * 100)}
    np.testing.assert_allclose(events.weight, SECTION * 1e5 / 60)  # as if it were one file
    record = events.provenance["processes"]["events"]
    assert (record["generated"], record["combine"], len(record["samples"])) == (60, "average", 3)
    assert record["cross_section_pb"] == pytest.approx(SECTION)
    assert record["cross_section_error_pb"] == pytest.approx(0.01)  # one measurement, printed three times
    assert len(np.unique(events.number)) == 60
    # names decide: two processes are two samples
    both = concatenate([read(files[0], process="a"), read(files[1], process="b")])
    assert yields(both) == pytest.approx({"a": SECTION * 1e5, "b": SECTION * 1e5})


def test_averaged_cross_sections_are_weighted_by_generated_events(tmp_path):
    files = [lhe(tmp_path / "a" / "x.lhe", 10, 0.50, 0.01), lhe(tmp_path / "b" / "x.lhe", 30, 0.52, 0.005, 2)]
    record = read(files).provenance["processes"]["x"]
    assert record["cross_section_pb"] == pytest.approx(0.25 * 0.50 + 0.75 * 0.52)
    assert record["cross_section_error_pb"] == pytest.approx(np.hypot(0.25 * 0.01, 0.75 * 0.005))
    assert read(files).weight.sum() == pytest.approx(record["cross_section_pb"] * 1e5)
    added = read(files, combine="add")
    assert added.weight.sum() == pytest.approx(1.02e5)
    assert added.provenance["processes"]["x"]["cross_section_pb"] == pytest.approx(1.02)


@pytest.mark.parametrize(
    ("sections", "errors", "agrees"),
    [
        ((0.5, 0.56), (0.01, 0.01), True),
        ((0.5, 0.6), (0.01, 0.01), False),
        ((0.5, 0.505), (0.0, 0.0), True),
        ((0.5, 0.52), (0.0, 0.0), False),
        ((0.5, 0.5004), (1e-6, 1e-6), True),
    ],
)
def test_cross_sections_are_compared_within_their_errors(tmp_path, sections, errors, agrees):
    files = [
        lhe(tmp_path / f"{n}" / "x.lhe", 10, section, error, n)
        for n, (section, error) in enumerate(zip(sections, errors, strict=True))
    ]
    if agrees:
        read(files)
        return
    message = (
        rf"1/x\.lhe: the cross section of x is {sections[1]}.* pb, and {sections[0]}.* pb in .*0/x\.lhe; .*combine: add"
    )
    with pytest.raises(EventError, match=message):
        read(files)
    read(files, combine="add")


def test_parts_of_one_production_add_up(tmp_path):
    events = read(lhe(tmp_path / "x.lhe", 200))
    for n, part in enumerate((events[:80], events[80:])):
        write_parquet(part, tmp_path / f"part{n}.parquet")
    both = read([tmp_path / "part0.parquet", tmp_path / "part1.parquet"])
    np.testing.assert_array_equal(both.weight, events.weight)
    assert both.provenance["processes"] == events.provenance["processes"]
    # beside another run they are one production still
    other = lhe(tmp_path / "run_2" / "x.lhe", 200, seed=2)
    three = read([tmp_path / "part0.parquet", tmp_path / "part1.parquet", other])
    np.testing.assert_allclose(three.weight, events.weight[0] / 2)
    # one of them alone is not a run
    with pytest.raises(EventError, match=r"expected at 100/fb are .*and 2.* in .*part0\.parquet.*all parts"):
        read([tmp_path / "part0.parquet", lhe(tmp_path / "run_3" / "x.lhe", 4000, seed=3)])


def test_simulations_with_two_seeds_are_one_sample_in_memory_and_on_disk(tmp_path):
    """`generated` differs, numbers repeat, and luminosities are those of each file."""
    write_parquet(simulated(400, 1, 4000), tmp_path / "a.parquet")
    second = simulated(600, 2, 6000)
    write_parquet(replace(second, weight=second.weight * 0.36, luminosity=36.0), tmp_path / "b.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    events = read(files)
    np.testing.assert_allclose(events.weight, SECTION * 1e5 / 10_000)
    flow = events.provenance["processes"]["ttH"]["cut_flow"]
    assert [step["events"] for step in flow] == [10_000, 500]
    assert [step["yield"] for step in flow] == pytest.approx([SECTION * 1e5, SECTION * 1e5 * 0.05])
    for name in ("ttH", "ttW"):
        numbers = events.number[events.process == name]
        assert len(np.unique(numbers)) == len(numbers)
    assert events.number[:400].tolist() == list(range(400))  # the first one keeps its numbers
    assert events.hard[400:].tolist() == second.hard.tolist()  # of the same Les Houches file
    pieces = [piece for _, piece in stream(files, size=70)]
    for column in ("weight", "number", "hard", "process"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(piece, column) for piece in pieces]), getattr(events, column)
        )
    data = DataConfig(files=tuple(map(str, files)), selection="n_jet >= 3")
    index = preparation.prepare_shards(data, tmp_path / "prepared")
    in_memory = splits.load_events(data)
    stored = splits.load_events(DataConfig(prepared=str(tmp_path / "prepared")))
    ours, theirs = (np.lexsort((part.number, part.process)) for part in (in_memory, stored))
    np.testing.assert_array_equal(in_memory.weight[ours], stored.weight[theirs])
    np.testing.assert_array_equal(in_memory.number[ours], stored.number[theirs])
    assert index.provenance["processes"] == in_memory.provenance["processes"]
    assert Index.read(tmp_path / "prepared").fingerprint == index.fingerprint


def test_hard_events_of_different_sources_are_different_ones(tmp_path):
    for name, source in (("a", "1" * 64), ("b", "2" * 64), ("c", None)):
        write_parquet(simulated(300, 1, 3000, source), tmp_path / f"{name}.parquet")
    events = read(str(tmp_path / "*.parquet"))
    alone = inspect(read(tmp_path / "a.parquet")).processes["ttH"]
    assert inspect(events).processes["ttH"].hard == 3 * alone.hard
    assert inspect(events).processes["ttH"].repeated == 0
    assert events.hard[:300].tolist() == read(tmp_path / "a.parquet").hard.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branching": 0.3}, "share of the decays of ttH that was generated is 0.3, and 1 in"),
        (
            {"cut_flow": [], "scale": 2},
            r"the events of ttH expected at 100/fb are .* ± .*, and .* ± .* in .*a\.parquet",
        ),
        ({"cross_section_pb": None}, "does not state cross section and generated events of ttH, which"),
    ],
)
def test_what_is_no_run_of_the_same_generation_is_refused(tmp_path, changes, message):
    write_parquet(simulated(400, 1, 4000), tmp_path / "a.parquet")
    other = simulated(400, 2, 4000, **changes)
    write_parquet(replace(other, weight=other.weight * changes.get("scale", 1)), tmp_path / "b.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for reading in (read, lambda paths: list(stream(paths))):
        with pytest.raises(EventError, match=rf"b\.parquet: .*{message}.*combine: add"):
            reading(files)
    assert len(read(files, combine="add")) == 800


def test_a_production_within_another_is_refused(tmp_path):
    write_parquet(simulated(400, 1, 4000), tmp_path / "a.parquet")
    write_parquet(simulated(400, 2, 4000), tmp_path / "b.parquet")
    write_parquet(read(str(tmp_path / "*.parquet")), tmp_path / "both.parquet")
    with pytest.raises(EventError, match=r"both\.parquet: holds events of ttH of the same production as .*a\.parquet"):
        read([tmp_path / "a.parquet", tmp_path / "both.parquet"])
    # averages of averages are averages of all
    write_parquet(simulated(200, 4, 2000), tmp_path / "d.parquet")
    joined = read([tmp_path / "both.parquet", tmp_path / "d.parquet"]).provenance["processes"]["ttH"]
    assert [record["simulation"]["seed"] for record in joined["samples"]] == [1, 2, 4]
    assert joined["generated"] == 10_000


def test_few_events_of_a_small_run_agree_with_many_of_a_large_one():
    small, large = simulated(0, 1, 100), simulated(2000, 2, 1_000_000)
    together = concatenate([small, large])
    np.testing.assert_allclose(together.weight, large.weight * 1_000_000 / 1_000_100)


def test_the_variance_of_a_sum_counts_copies_of_a_hard_event_once():
    random = np.random.default_rng(5)
    hard = np.repeat(np.arange(20_000), 3)
    weight = random.exponential(1.0, len(hard))
    sums = tally(weight, np.arange(len(hard)), hard)
    halves: list[Tally] = [
        tally(weight[at], np.arange(len(hard))[at], hard[at]) for at in (slice(30_000), slice(30_000, None))
    ]
    expected = np.sum(np.bincount(hard, weight) ** 2)
    assert sums.variance == pytest.approx(expected, rel=0.1)
    assert sums.total == pytest.approx(weight.sum())
    np.testing.assert_allclose((halves[0] + halves[1]).groups, sums.groups)
    assert (halves[0] + halves[1]).numbers == (0, len(hard) - 1)


def test_files_that_state_nothing_add_up():
    events = make_events(100)
    both = concatenate([events[:50], replace(events[50:], provenance={"seed": 1})])
    np.testing.assert_array_equal(both.weight, events.weight)
