"""Prepared events are those of the files, on the same sides; what comes from disk is what memory would hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from femtobarn.events import EventError, Events, concatenate, read, split, subset, write_parquet
from femtobarn.events.shards.decode import Arrays
from femtobarn.events.shards.index import Index
from femtobarn.events.shards.prefetch import PrefetchWorkers
from femtobarn.events.shards.sharded_split import ShardedSplit
from femtobarn.events.shards.shuffle import GROUPS_PER_BLOCK, EpochSpec, ShufflePlan
from femtobarn.events.shards.writing import write_shards
from femtobarn.inputs import make_batch
from femtobarn.inputs.batch import batch_from_arrays
from femtobarn.inputs.datasets import ShardedDataset
from femtobarn.training import TrainingConfig
from femtobarn.training.dataloader import make_loader
from tests.support.fuzzing import N_MUTANTS, fuzz
from tests.support.jets import jet_events
from tests.support.sample import make_events
from tests.support.training_sample import Classify

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
SLOTS = 6  # fewer than many events have objects


@pytest.fixture(scope="module")
def events() -> Events:
    made = make_events(3000)
    made.weight[::97] = 0
    return made


@pytest.fixture(scope="module")
def folder(events: Events, tmp_path_factory) -> Path:
    """Small row groups, so that there are many."""
    path: Path = tmp_path_factory.mktemp("prepared") / "set"
    pieces = (events[at : at + 700] for at in range(0, len(events), 700))
    write_shards(pieces, path, SHARES, shards=5, max_group_events=37, max_buffer_bytes=100_000)
    return path


def workers(folder: Path, name: str = "train", num_workers: int = 0, **more) -> PrefetchWorkers:
    split = ShardedSplit.open(folder, name, SLOTS, **more)
    return PrefetchWorkers(split, [1.0] * len(split.index.processes), num_workers)


def read_batches(reading: PrefetchWorkers, size: int = 64, **spec) -> list[Arrays]:
    batches = [arrays for arrays, _ in reading.batches(EpochSpec(size, **spec))]
    reading.close()
    return batches


def same(first: list[Arrays], second: list[Arrays]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(batch[name], other[name]) for batch, other in zip(first, second, strict=True) for name in batch
    )


def key(process, number) -> list[tuple[str, int]]:
    return list(zip(np.asarray(process).tolist(), np.asarray(number).tolist(), strict=True))


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.21])
@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_every_event_is_on_its_side_and_in_its_subset_with_the_tensors_of_memory(events, folder, side, fraction):
    expected = getattr(split(events, SHARES), side)
    if side != "test":
        expected = subset(expected[expected.weight != 0], fraction)
    part = ShardedSplit.open(folder, side, SLOTS, fraction=1.0 if side == "test" else fraction)
    names = np.array(part.index.processes)
    batches = read_batches(PrefetchWorkers(part, [1.0] * len(names), 0), 100)
    merged = {name: np.concatenate([arrays[name] for arrays in batches]) for name in batches[0]}
    keys = key(names[merged["process"]], merged["number"])
    order = {event: at for at, event in enumerate(key(expected.process, expected.number))}
    assert sorted(keys) == sorted(order)
    expected = expected[np.array([order[event] for event in keys])]
    for values, column in zip(batch_from_arrays(merged).tensors(), make_batch(expected, SLOTS).tensors(), strict=True):
        assert torch.equal(values, column)
    assert np.array_equal(merged["weight"], expected.weight)
    assert np.array_equal(merged["hard"], expected.hard)
    sums = [np.abs(expected.weight[expected.process == name]).sum() for name in names]
    np.testing.assert_allclose(part.absolute_weights, sums, rtol=1e-12)


def test_a_shard_is_a_file_of_events_like_any_other(events, folder):
    index = Index.read(folder)
    back = concatenate([read(folder / shard.file) for shards in index.sides.values() for shard in shards])
    kept = events[(events.weight != 0) | np.isin(events.number, split(events, SHARES).test.number)]
    assert sorted(key(back.process, back.number)) == sorted(key(kept.process, kept.number))
    order = np.argsort(back.number), np.argsort(kept.number)
    assert np.array_equal(back.padded(9).pt[order[0]], kept.padded(9).pt[order[1]])
    for side in SHARES:
        weights = index.weights(side)
        expected = getattr(split(events, SHARES), side)
        for name in events.processes:
            assert weights[name] == pytest.approx(expected.weight[expected.process == name].sum())


def test_jets_keep_their_tracks_and_compact_files_their_resolution(tmp_path):
    jets = jet_events(300)
    write_shards([jets], tmp_path / "jets", SHARES)
    write_shards([jets], tmp_path / "small", SHARES, compact=True)
    write_parquet(jets, tmp_path / "small.parquet", compact=True)
    for name, events in (("jets", jets), ("small", read(tmp_path / "small.parquet"))):
        (arrays,) = read_batches(workers(tmp_path / name), 1000)
        batch = batch_from_arrays(arrays)
        expected = split(events, SHARES).train
        order = np.lexsort((arrays["number"], arrays["process"])), np.lexsort((expected.number, expected.process))
        assert batch.tracks.shape[-1] == 5
        for decoded, column in zip(batch.tensors(), make_batch(expected, SLOTS).tensors(), strict=True):
            assert torch.equal(decoded[order[0]], column[order[1]])


def test_order_of_events_is_a_function_of_seed_and_epoch_for_any_number_of_workers(folder, tmp_path):
    alone = read_batches(workers(folder), seed=1, epoch=2)
    assert [len(arrays["kind"]) for arrays in alone[:-1]] == [64] * (len(alone) - 1)
    assert sum(len(arrays["kind"]) for arrays in alone) == workers(folder).split.counts.sum()
    for num_workers in (0, 2):
        reading = workers(folder, num_workers=num_workers, cache=tmp_path / "cache")
        first = [arrays for arrays, _ in reading.batches(EpochSpec(64, 1, 2))]
        unfinished = reading.batches(EpochSpec(64, 1, 5))
        next(unfinished)
        unfinished.close()  # what was read ahead is dropped
        assert same(first, alone)
        assert same(read_batches(reading, seed=1, epoch=2), alone)
    assert len(list((tmp_path / "cache").iterdir())) == len(workers(folder).split.groups)
    orders = [read_batches(workers(folder), seed=seed, epoch=epoch) for seed, epoch in ((1, 2), (1, 3), (2, 2))]
    assert not any(same(order, other) for at, order in enumerate(orders) for other in orders[:at])


def test_prefetch_worker_reports_damage_and_its_end(folder, tmp_path):
    broken = Path(shutil.copytree(folder, tmp_path / "set"))
    reading = workers(broken, num_workers=1)
    next(reading.batches(EpochSpec(64)))
    (broken / "train" / "0002.parquet").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"0002.parquet.*cannot be read"):
        read_batches(reading)
    reading = workers(folder, num_workers=1)
    batches = reading.batches(EpochSpec(64))
    next(batches)
    reading.processes[0].kill()
    with pytest.raises(RuntimeError, match="a process that reads prepared events was killed"):
        list(batches)


def test_epoch_resumes_at_any_batch_without_reading_the_earlier_ones(folder, monkeypatch):
    batches = read_batches(workers(folder), seed=3)
    for first in (1, len(batches) // 2, len(batches) - 1, len(batches)):
        assert same(read_batches(workers(folder), seed=3, first=first), batches[first:])
    groups: list[int] = []
    read_group = ShardedSplit.read_group

    def record(part: ShardedSplit, number: int):
        groups.append(number)
        return read_group(part, number)

    monkeypatch.setattr(ShardedSplit, "read_group", record)
    read_batches(workers(folder), seed=3, first=len(batches) - 1)
    assert len(groups) <= 2 * GROUPS_PER_BLOCK < len(workers(folder).split.groups)


@pytest.mark.parametrize("n_shares", [2, 3])
def test_shares_of_every_batch_make_the_batch(folder, n_shares):
    batches = read_batches(workers(folder), seed=3, size=50)
    shares = [read_batches(workers(folder), seed=3, size=50, share=(n, n_shares)) for n in range(n_shares)]
    for batch, *parts in zip(batches, *shares, strict=True):
        lengths = [len(part["kind"]) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        for name, column in batch.items():
            assert np.array_equal(np.concatenate([part[name] for part in parts]), column)


def test_events_of_all_row_groups_and_processes_are_mixed(events, folder):
    """The files hold one process after the other; every batch is a sample of all."""
    ordered = np.argsort(events.process, kind="stable")
    index = Index.read(folder)
    share = index.counts("train").sum(0) / index.counts("train").sum()
    assert len(ordered) == len(events)
    groups = index.counts("train")
    expected = groups.sum(1, keepdims=True) * share
    assert ((groups - expected) ** 2 / expected).sum() / (groups.size - len(groups)) < 1.4  # chi2 / ndf


@pytest.mark.parametrize("rate", [0.25, 0.5, 1.7, 3.0])
def test_sampling_rates_thin_and_repeat_without_bias(folder, rate):
    index = Index.read(folder)
    classes = {name: number for number, name in enumerate(index.processes)}
    dataset = ShardedDataset(ShardedSplit.open(folder, "train", SLOTS), tuple(classes), {index.processes[0]: rate})
    settings = TrainingConfig(batch_size=64, cache=False, num_workers=0)
    loader = make_loader(dataset, Classify(classes), settings, torch.device("cpu"), seed=1)
    counts = index.counts("train").sum(0)
    n_drawn = [round(rate * counts[0]), *counts[1:]]
    assert loader.n_events == sum(n_drawn)
    sums, momenta = [], set()
    for epoch in range(8):
        batches = list(loader.batches(epoch))
        labels, weights = (torch.cat([targets[at] for _, targets in batches]) for at in (0, 1))
        assert [int((labels == at).sum()) for at in range(len(classes))] == n_drawn
        momenta |= set(torch.cat([batch.momenta for batch, _ in batches])[labels == 0][:, 0, 0].tolist())
        sums.append(float(weights[labels == 0].sum()))
    assert len(momenta) == counts[0] if rate >= 1 else len(momenta) > 0.9 * counts[0]
    error = np.std(sums) / np.sqrt(len(sums))
    totals = index.magnitudes("train")
    expected = loader.n_events * totals[index.processes[0]] / sum(totals.values())
    assert abs(np.mean(sums) - expected) < 4 * error + 1e-5 * expected


def test_events_drawn_per_epoch_do_not_depend_on_its_order():
    counts = np.random.default_rng(0).integers(0, 40, (30, 3))
    rates = np.array([0.3, 1.0, 2.6])
    specs = (EpochSpec(16), EpochSpec(16, 1, 1), EpochSpec(16, 1, 2))
    plans = [ShufflePlan(counts, rates, spec) for spec in specs]
    assert {tuple(plan.quotas.sum(0).tolist()) for plan in plans} == {
        tuple(np.floor(rates * counts.sum(0) + 0.5).astype(int).tolist())
    }
    assert all(plan.block(at)[0] <= plan.max_block_events for plan in plans for at in plan.blocks)


def test_a_cache_file_that_is_cut_short_is_made_again(folder, tmp_path):
    cache = tmp_path / "cache"
    before = read_batches(workers(folder, cache=cache))
    for path in sorted(cache.iterdir())[:3]:
        path.write_bytes(path.read_bytes()[:-1])
    assert same(read_batches(workers(folder, cache=cache)), before)
    assert same(read_batches(workers(folder, cache=Path("/proc/nowhere"))), before)  # nothing can be written there


def test_damage_is_named(folder, tmp_path):
    def copy(name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    with pytest.raises(FileNotFoundError, match=r"no index\.json"):
        ShardedSplit.open(tmp_path, "train", SLOTS)
    (copy("a") / "index.json").write_text("{")
    with pytest.raises(EventError, match="is no index of prepared events"):
        ShardedSplit.open(tmp_path / "a", "train", SLOTS)
    (copy("b") / "train" / "0001.parquet").unlink()
    with pytest.raises(EventError, match=r"0001.parquet.*is missing"):
        ShardedSplit.open(tmp_path / "b", "test", SLOTS)
    shard = copy("c") / "train" / "0000.parquet"
    content = bytearray(shard.read_bytes())
    content[100:2000] = bytes(1900)
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"0000.parquet.*cannot be read"):
        read_batches(workers(tmp_path / "c"), seed=1)
    content = json.loads((copy("d") / "index.json").read_text())
    (tmp_path / "d" / "index.json").write_text(json.dumps(content | {"version": 99}))
    with pytest.raises(EventError, match="later version"):
        Index.read(tmp_path / "d")


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_damaged_index_is_refused(folder, tmp_path, n_mutants):
    """Every count, weight and name in it counts."""
    shutil.copytree(folder, tmp_path / "set")
    expected = Index.read(folder)

    def same_index(result: Index, _: bytes) -> None:
        assert result == expected

    content = (folder / "index.json").read_bytes()
    path = tmp_path / "set" / "index.json"
    fuzz(lambda path: Index.read(path.parent), content, path, n_mutants, check=same_index)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
@pytest.mark.parametrize("with_cache", [False, True], ids=["shard", "cache"])
def test_damaged_shard_is_refused_and_damaged_cache_made_again(folder, tmp_path, n_mutants, with_cache):
    copied = Path(shutil.copytree(folder, tmp_path / "set"))
    cache = tmp_path / "cache" if with_cache else None
    index = Index.read(copied)

    def read_group(_: Path) -> dict[str, list[object]]:
        arrays, rows = ShardedSplit.open(copied, "train", SLOTS, index=index, cache=cache).read_group(1)
        return {name: column.tolist() for name, column in arrays.items()} | {"rows": rows.tolist()}

    before = read_group(copied)
    path = tmp_path / "cache" / "train-0000-0001.bin" if with_cache else copied / "train" / "0000.parquet"

    def same_arrays(result: dict[str, list[object]], _: bytes) -> None:
        assert result == before

    report = fuzz(read_group, path.read_bytes(), path, n_mutants, check=same_arrays)
    assert report.n_accepted == n_mutants if with_cache else report.n_refused > 0.9 * n_mutants


def test_cache_of_other_contents_is_made_again(folder, tmp_path):
    """A file of the right size is not enough: it has to be of this row group, and of these columns."""
    cache = tmp_path / "cache"
    before = read_batches(workers(folder, cache=cache))
    files = sorted(cache.glob("train-0000-*.bin"))
    same_size = [path for path in files if path.stat().st_size == files[0].stat().st_size]
    shutil.copy(same_size[1], same_size[0])
    zeros = same_size[2]
    zeros.write_bytes(bytes(zeros.stat().st_size))
    assert same(read_batches(workers(folder, cache=cache)), before)
    assert same_size[0].read_bytes() != same_size[1].read_bytes()
    assert any(zeros.read_bytes())


def test_shard_that_changes_while_it_is_used_is_noticed(folder, tmp_path):
    copied = Path(shutil.copytree(folder, tmp_path / "set"))
    part = ShardedSplit.open(copied, "train", SLOTS)
    part.read_group(0)
    shard = copied / "train" / "0000.parquet"
    content = bytearray(shard.read_bytes())
    content[-12] ^= 1  # of what says how to read the pages
    shard.write_bytes(content)
    with pytest.raises(EventError, match=r"0000.parquet.*cannot be read as it was written"):
        part.read_group(0)
    with pytest.raises(EventError, match=r"0000.parquet.*cannot be read as it was written"):
        ShardedSplit.open(copied, "train", SLOTS, fraction=0.1)


def test_parquet_of_events_has_page_checksums_that_are_verified(tmp_path):
    """Some flips of a bit are silent where the checksums of pages are off, and none is where they are on."""
    path = tmp_path / "events.parquet"
    write_parquet(make_events(200), path)
    content = path.read_bytes()
    metadata = pq.ParquetFile(path).metadata.row_group(0)
    weight = next(
        metadata.column(at) for at in range(metadata.num_columns) if metadata.column(at).path_in_schema == "MET"
    )
    end = weight.data_page_offset + weight.total_compressed_size
    n_silent = 0
    for back in range(1, 40):
        changed = bytearray(content)
        changed[end - back] ^= 1
        path.write_bytes(changed)
        with pytest.raises(EventError, match=r"events\.parquet.*cannot be read as Parquet"):
            read(path)
        try:
            pq.read_table(path)
            n_silent += 1
        except OSError:
            continue
    assert n_silent > 10
