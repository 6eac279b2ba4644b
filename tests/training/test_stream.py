"""Trainings on prepared events: to the numbers of memory, of any number of readers, and of an unbroken training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import awkward as ak
import numpy as np
import pytest
import torch
from torch import Tensor

from femtobarn.events import Events, split, write_parquet
from femtobarn.events.shards.index import Index
from femtobarn.events.shards.sharded_split import ShardedSplit
from femtobarn.events.shards.writing import write_shards
from femtobarn.experiments import experiment
from femtobarn.experiments.document import ConfigError
from femtobarn.inputs import make_batch
from femtobarn.inputs.datasets import InMemoryDataset, ShardedDataset
from femtobarn.inputs.event_columns import numeric_column
from femtobarn.runs import run
from femtobarn.runs.splits import load_splits
from femtobarn.studies import study
from femtobarn.studies.estimate import pace
from femtobarn.tasks.classification.scores import Scores
from femtobarn.training import EpochResult, TrainingConfig, fit
from femtobarn.training.dataloader import Loader, make_loader
from femtobarn.training.distributed import DistributedNetwork
from tests.events.test_shards import SHARES
from tests.support.sample import make_events
from tests.support.training_sample import Classify, Regress, Toy, data

SETTINGS = TrainingConfig(epochs=3, batch_size=32, lr=3e-3, ema=0.9, warmup=3, threads=1)


@pytest.fixture(scope="module")
def events() -> Events:
    made = make_events(1200)
    made.weight[:] *= np.random.default_rng(1).uniform(0, 1, len(made)) ** 3  # far from equal
    made.weight[::7] *= -1
    return replace(made, context=ak.with_field(made.context, np.sin(made.number), "height"))


@pytest.fixture(scope="module")
def folder(events: Events, tmp_path_factory) -> Path:
    """Prepared events beside the file they are from."""
    path: Path = tmp_path_factory.mktemp("data")
    write_parquet(events, path / "events.parquet")
    write_shards([events], path / "set", SHARES, shards=4, max_group_events=41)
    return path


def configured(folder: Path, prepared: bool, **changes: Any) -> experiment.Experiment:
    source = {"prepared": "set"} if prepared else {"files": "events.parquet"}
    tree = {
        "data": source | changes.pop("data", {}),
        "model": {"name": "pfn", "dropout": 0.1},
        "task": {"signal": ["tttt"], "background": ["ttW", "ttH", "ttZ"]},  # ttWW takes no part
        "training": {"epochs": 2, "batch_size": 64, "threads": 1, "device": "cpu", "num_workers": 0} | changes,
        "evaluation": {"bootstrap": 10},
    }
    return experiment.build(tree, "test", folder)


CLASSES = {"ttH": 0, "ttW": 1, "ttWW": 1, "ttZ": 0}
TASK, REGRESS = Classify(CLASSES), Regress(CLASSES)
CPU = torch.device("cpu")


def stored(folder: Path, name: str = "train") -> ShardedDataset:
    return ShardedDataset(ShardedSplit.open(folder / "set", name, 8), tuple(CLASSES), {})


def trained(folder: Path, task: Classify | None = None, **more: Any) -> tuple[list[EpochResult], dict[str, Tensor]]:
    network = Toy()
    settings = TrainingConfig(**(SETTINGS.model_dump() | {"cache": str(folder / "cache")} | more))
    return [
        *fit(network, task or TASK, stored(folder), stored(folder, "validation"), settings, seed=5)
    ], network.state_dict()


def numbers(history: list[EpochResult]) -> list[EpochResult]:
    return [replace(epoch, seconds=0.0) for epoch in history]


def test_the_sample_is_that_of_memory(folder, events):
    memory, disk = (load_splits(configured(folder, prepared, data={"fraction": 0.6})) for prepared in (False, True))
    assert disk.task.names == memory.task.names
    for name, total in memory.yields.items():
        assert disk.yields[name] == pytest.approx(total)
        assert cast(Any, disk.task).yields[name] == pytest.approx(cast(Any, memory.task).yields[name])
    settings = SETTINGS.model_copy(update={"cache": False, "num_workers": 0, "batch_size": 100})
    for name in SHARES:
        sharded, held = getattr(disk, name), getattr(memory, name)
        assert isinstance(sharded, ShardedDataset)
        assert len(sharded) == len(held) == len(sharded.events)
        order = np.argsort(sharded.events.number), np.argsort(held.events.number)
        assert np.array_equal(sharded.events.number[order[0]], held.events.number[order[1]])
        weights = sharded.head().columns(disk.task).weight, held.columns(memory.task).weight
        np.testing.assert_allclose(weights[0][order[0]], weights[1][order[1]], rtol=1e-12)
        np.testing.assert_allclose(
            held.columns(memory.task).weight, cast(Any, memory.task).weights(held.events), rtol=1e-12
        )
        assert_same_targets(make_loader(sharded, disk.task, settings, CPU), held.targets(memory.task))


def assert_same_targets(loader: Loader, expected: tuple[Tensor, ...]) -> None:
    """In whatever order."""
    rows = torch.cat([torch.cat([t.reshape(len(t), -1).double() for t in ts], 1) for _, ts in loader.batches(0)])
    expected_rows = torch.cat([target.reshape(len(target), -1).double() for target in expected], 1)
    np.testing.assert_allclose(sorted(rows.tolist()), sorted(expected_rows.tolist()), rtol=1e-6)


def test_targets_from_other_columns_are_those_of_memory_and_cached(folder, events, tmp_path):
    sides = split(events[np.isin(events.process, list(CLASSES)) & (events.weight != 0)], SHARES)
    held = InMemoryDataset(sides.train, make_batch(sides.train, 8))
    expected = held.targets(REGRESS)
    assert expected[0].shape == (len(held), 2)
    for n_workers, n_files in ((0, len(stored(folder).split.groups)), (1, 2 * len(stored(folder).split.groups))):
        for task, targets in ((REGRESS, expected), (TASK, held.targets(TASK))):
            settings = SETTINGS.model_copy(update={"cache": str(tmp_path), "num_workers": n_workers})
            loader = make_loader(stored(folder), task, settings, CPU)
            assert_same_targets(loader, targets)
            loader.close()
        assert len(list(tmp_path.glob("*/*.bin"))) >= n_files
    with pytest.raises(ValueError, match=r"set has no numeric column 'mass'; there are .*MET.*height.*prepare"):
        stored(folder).split.with_columns(["mass"])
    with pytest.raises(ValueError, match=r"the events have no column 'mass'; there are .*height.*weight"):
        numeric_column(events, "mass")


def test_a_run_is_judged_on_the_events_of_memory_and_to_the_same_scores(folder, tmp_path):
    folders = [tmp_path / "memory", tmp_path / "disk"]
    for prepared, place in enumerate(folders):
        run.train(configured(folder, bool(prepared), epochs=1, lr=1e-9, optimizer="sgd"), place)
        run.evaluate(place)
    memory, disk = (Scores.read(place / "predictions.parquet") for place in folders)
    order = [np.argsort(scores.number) for scores in (memory, disk)]
    assert np.array_equal(memory.number[order[0]], disk.number[order[1]])
    assert np.array_equal(memory.process[order[0]], disk.process[order[1]])
    np.testing.assert_allclose(memory.weight[order[0]], disk.weight[order[1]])
    np.testing.assert_allclose(memory.score[order[0]], disk.score[order[1]], rtol=1e-3)
    histories = [json.loads((place / "history.json").read_text()) for place in folders]
    metas = [json.loads((place / "meta.json").read_text()) for place in folders]
    for name in ("train_loss", "valid_loss"):
        assert histories[1][0][name] == pytest.approx(histories[0][0][name], rel=2e-4)
    assert metas[0]["events"] == metas[1]["events"]
    assert metas[1]["inputs"]["fingerprint"] == Index.read(folder / "set").fingerprint
    assert metas[1]["calibration"]["temperature"] == pytest.approx(metas[0]["calibration"]["temperature"], rel=1e-2)
    assert list((folder / "set" / "cache").iterdir())  # the second epoch would come from there


def test_trees_grow_on_prepared_events_in_memory(folder, tmp_path):
    tree = configured(folder, True).model_dump(mode="json") | {
        "model": {"name": "bdt", "n_estimators": 3},
        "label": "bdt",
    }
    place = run.train(experiment.build(tree, "test", folder), tmp_path / "bdt")
    assert run.evaluate(place)["settings"]["bootstrap"] == 10


def test_a_study_of_sizes_estimates_its_time(folder, tmp_path):
    base = {"data": {"prepared": str(folder / "set")}, "task": {"signal": ["tttt"]}, "training": {"num_workers": 0}}
    tree = {"base": base, "models": {"PFN": {"model": {"name": "pfn"}}}, "sizes": [0.3]}
    plan = study.plan(study.load(tree), tmp_path)
    assert pace(plan[0].experiment).events == len(load_splits(plan[0].experiment).train)


def test_the_numbers_do_not_depend_on_the_readers(folder):
    alone, with_two = trained(folder, epochs=2), trained(folder, num_workers=2, epochs=2)
    assert numbers(alone[0]) == numbers(with_two[0])
    assert all(torch.equal(alone[1][name], tensor) for name, tensor in with_two[1].items())


def test_the_validation_loss_is_that_of_one_call(folder):
    (epoch,), state = trained(folder, epochs=1, batch_size=17, ema=None)
    network = Toy().eval()
    network.load_state_dict(state)
    loader = make_loader(stored(folder, "validation"), TASK, SETTINGS.model_copy(update={"batch_size": 10_000}), CPU)
    ((batch, targets),) = loader.batches(0)
    expected = TASK.loss(DistributedNetwork(network), batch, targets).item()
    assert epoch.valid_loss == pytest.approx(expected, rel=1e-6)


class Killed(Exception):
    pass


class Counted:
    """Task that counts its losses, and is killed at one of them."""

    def __init__(self, task: Classify, killed_at: int = 0) -> None:
        self.task, self.n_losses, self.killed_at = task, 0, killed_at
        self.columns, self.weight_factors, self.targets = task.columns, task.weight_factors, task.targets

    def loss(self, *arguments: Any) -> Tensor:
        self.n_losses += 1
        if self.n_losses == self.killed_at:
            raise Killed
        return self.task.loss(*arguments)


@pytest.mark.parametrize(
    ("on_disk", "at", "regression"),
    [(True, 7, False), (True, 32, True), (True, 58, False), (False, 7, True), (False, 14, False)],
)
def test_killed_within_an_epoch_it_goes_on_to_the_same_numbers(folder, tmp_path, on_disk, at, regression):
    sharded = stored(folder), stored(folder, "validation")
    train, valid = sharded if on_disk else (data(), data(100, 1))
    classes = CLASSES if on_disk else {"a": 0, "b": 1}
    task = Regress(classes) if regression else Classify(classes)
    settings = SETTINGS.model_copy(update={"save_minutes": 0.0})
    path = tmp_path / "checkpoint.safetensors"
    unbroken, broken, resumed = Toy(), Toy(), Toy()
    counted, rest = Counted(task), Counted(task)
    history = list(fit(unbroken, counted, train, valid, settings, seed=5, reseed_interval=4))
    with pytest.raises(Killed):
        list(fit(broken, Counted(task, at), train, valid, settings, seed=5, checkpoint=path, reseed_interval=4))
    for parameter in resumed.parameters():  # the file decides, not the start
        parameter.data.normal_()
    again = list(fit(resumed, rest, train, valid, settings, seed=5, checkpoint=path, reseed_interval=4))
    assert numbers(again) == numbers(history)
    for weight, expected in zip(resumed.state_dict().values(), unbroken.state_dict().values(), strict=True):
        assert torch.equal(weight, expected)
    assert counted.n_losses - at - 1 <= rest.n_losses <= counted.n_losses - at + 4  # little is done again


def test_mistakes_in_the_configuration_are_named(folder):
    with pytest.raises(ValueError, match="no process is called 'ttx'"):
        load_splits(configured(folder, True, data={"sampling_rates": {"ttx": 0.5}}))
    with pytest.raises(ConfigError, match="sampling_rates: only for prepared events"):
        configured(folder, False, data={"sampling_rates": {"tttt": 0.5}})
    with pytest.raises(ConfigError, match="selection: fixed in the folder"):
        configured(folder, True, data={"selection": "n_jet > 5"})
    with pytest.raises(ConfigError, match="set exactly one of prepared, sample"):
        configured(folder, True, data={"sample": "four-top"})
    with pytest.raises(FileNotFoundError, match=r"no index\.json"):
        load_splits(configured(folder, True, data={"prepared": "elsewhere"}))
    drawn_never = load_splits(configured(folder, True, data={"sampling_rates": {"tttt": 1e-6}}))
    with pytest.raises(
        ValueError, match=r"data\.sampling_rates: with the rate of tttt, none of its \d+ events is drawn; raise"
    ):
        make_loader(drawn_never.train, drawn_never.task, SETTINGS, CPU)


def test_more_events_than_fit_into_memory_are_refused(folder):
    with pytest.raises(ValueError, match=r"\d+ events of .*set are not loaded into memory for this; at most 100 are;"):
        _ = replace(stored(folder), max_events_in_memory=100).events


def test_rates_are_part_of_the_run(folder, tmp_path):
    place = run.train(configured(folder, True, data={"sampling_rates": {"ttW": 0.5, "tttt": 2.0}}, epochs=1), tmp_path)
    assert experiment.load(place / "config.yaml").data.sampling_rates == {"ttW": 0.5, "tttt": 2.0}
    meta = json.loads((place / "meta.json").read_text())
    assert meta["events"]["train"] == len(load_splits(configured(folder, True)).train)
