"""Trainings on prepared events: to the numbers of memory, of any number of readers, and of an unbroken training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from femtobarn.events import Events, write_parquet
from femtobarn.events.shards.index import Index, write_shards
from femtobarn.events.shards.source import Source
from femtobarn.experiments import experiment
from femtobarn.experiments.document import ConfigError
from femtobarn.inputs.stream import Stream
from femtobarn.runs import run
from femtobarn.runs import splits as sample
from femtobarn.runs.datasets import Stored
from femtobarn.studies import study
from femtobarn.studies.estimate import pace
from femtobarn.tasks.classification.scores import Scores
from femtobarn.training import Epoch, TrainingConfig, fit, loop
from femtobarn.training.feeds import Data
from tests.events.test_shards import SHARES
from tests.support.sample import make_events
from tests.support.training_sample import Toy, data

SETTINGS = TrainingConfig(epochs=3, batch_size=32, lr=3e-3, ema=0.9, warmup=3, threads=1)


@pytest.fixture(scope="module")
def events() -> Events:
    made = make_events(1200)
    made.weight[:] *= np.random.default_rng(1).uniform(0, 1, len(made)) ** 3  # far from equal
    made.weight[::7] *= -1
    return made


@pytest.fixture(scope="module")
def folder(events: Events, tmp_path_factory) -> Path:
    """Prepared events beside the file they are from."""
    path: Path = tmp_path_factory.mktemp("data")
    write_parquet(events, path / "events.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("femtobarn.events.shards.index.MOST", 41)
        write_shards([events], path / "set", SHARES, shards=4)
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


def mean(outputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return (nn.functional.cross_entropy(outputs, labels, reduction="none") * weights).mean()


def stream(folder: Path, side: str = "train", readers: int = 0) -> Stream:
    source = Source.open(folder / "set", side, 8, cache=folder / "cache")
    processes = len(source.index.processes)
    return Stream(source, [0, 1, 1, 0, -1], [1 / source.magnitude.sum()] * processes, readers=readers)


def trained(folder: Path, readers: int = 0, **more: Any) -> tuple[list[Epoch], dict[str, Tensor]]:
    network = Toy()
    settings = TrainingConfig(**(SETTINGS.model_dump() | more))
    streams = stream(folder, readers=readers), stream(folder, "validation")
    return [*fit(network, mean, *streams, settings, seed=5)], network.state_dict()


def numbers(history: list[Epoch]) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in history]


def test_the_sample_is_that_of_memory(folder, events):
    memory, disk = (sample.prepare(configured(folder, prepared, data={"fraction": 0.6})) for prepared in (False, True))
    assert disk.task.names == memory.task.names
    for name, total in memory.yields.items():
        assert disk.yields[name] == pytest.approx(total)
        assert disk.task.yields[name] == pytest.approx(memory.task.yields[name])
    settings = SETTINGS.model_copy(update={"cache": False, "num_workers": 0})
    for side in ("train", "validation", "test"):
        mine, theirs = getattr(disk, side), getattr(memory, side)
        assert isinstance(mine, Stored)
        assert len(mine) == len(theirs) == len(mine.events)
        order = np.argsort(mine.events.number), np.argsort(theirs.events.number)
        assert np.array_equal(mine.events.number[order[0]], theirs.events.number[order[1]])
        weights = [
            some.weights(task)[at]
            for some, task, at in zip((mine.head(), theirs), (disk.task, memory.task), order, strict=True)
        ]
        np.testing.assert_allclose(weights[0] * len(theirs), weights[1], rtol=1e-12)
        found: list[list[float]] = [[], []]
        for _, (labels, weight), _ in mine.data(disk.task, settings).deal(100):
            found[0] += labels.tolist()
            found[1] += weight.tolist()
        expected = [column.tolist() for column in theirs.targets(memory.task)]
        pairs = [sorted(zip(*columns, strict=True)) for columns in (found, expected)]
        np.testing.assert_allclose(np.array(pairs[0]), np.array(pairs[1]), rtol=1e-6)


def test_a_run_is_judged_on_the_events_of_memory_and_to_the_same_scores(folder, tmp_path):
    folders = [tmp_path / "memory", tmp_path / "disk"]
    for prepared, place in enumerate(folders):
        run.train(configured(folder, bool(prepared), epochs=1, lr=1e-9, optimizer="sgd"), place)
        run.evaluate(place)
    memory, disk = (Scores.read(place / "predictions.parquet") for place in folders)
    order = [np.argsort(one.number) for one in (memory, disk)]
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
    assert pace(plan[0].experiment).events == len(sample.prepare(plan[0].experiment).train)


def test_the_numbers_do_not_depend_on_the_readers(folder):
    alone, with_two = trained(folder, epochs=2), trained(folder, readers=2, epochs=2)
    assert numbers(alone[0]) == numbers(with_two[0])
    assert all(torch.equal(alone[1][name], tensor) for name, tensor in with_two[1].items())


def test_the_validation_loss_is_that_of_one_call(folder):
    (epoch,), state = trained(folder, epochs=1, batch_size=17, ema=None)
    network = Toy().eval()
    network.load_state_dict(state)
    ((batch, targets, _),) = stream(folder, "validation").deal(10_000)
    assert epoch.valid_loss == pytest.approx(mean(network(batch), *targets).item(), rel=1e-6)


class Killed(Exception):
    pass


@pytest.mark.parametrize(("stored", "at"), [(True, 7), (True, 32), (True, 58), (False, 7), (False, 14)])
def test_killed_within_an_epoch_it_goes_on_to_the_same_numbers(folder, tmp_path, monkeypatch, stored, at):
    monkeypatch.setattr(loop, "SPAN", 4)
    settings = SETTINGS.model_copy(update={"save_minutes": 0.0})
    calls = 0

    def feeds() -> tuple[Data, Data]:
        return (stream(folder), stream(folder, "validation")) if stored else (data(), data(100, 1))

    def counted(*arguments: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed
        return mean(*arguments)

    path = tmp_path / "checkpoint.safetensors"
    whole, broken, resumed = Toy(), Toy(), Toy()
    history = list(fit(whole, mean, *feeds(), settings, seed=5))
    with pytest.raises(Killed):
        list(fit(broken, counted, *feeds(), settings, seed=5, checkpoint=path))
    for parameter in resumed.parameters():  # the file decides, not the start
        parameter.data.normal_()
    begun: list[int] = []
    deal = Stream.deal

    def noted(self: Stream, size: int, **more: Any) -> Any:
        begun.append(more["first"])
        return deal(self, size, **more)

    monkeypatch.setattr(Stream, "deal", noted)
    assert numbers(list(fit(resumed, mean, *feeds(), settings, seed=5, checkpoint=path))) == numbers(history)
    for mine, theirs in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    if stored:
        assert begun[0] > 0  # what was done is not done again


def test_mistakes_in_the_configuration_are_named(folder):
    with pytest.raises(ValueError, match="no process is called 'ttx'"):
        sample.prepare(configured(folder, True, data={"sampling_rates": {"ttx": 0.5}}))
    with pytest.raises(ConfigError, match="sampling_rates: only for prepared events"):
        configured(folder, False, data={"sampling_rates": {"tttt": 0.5}})
    with pytest.raises(ConfigError, match="selection: fixed in the folder"):
        configured(folder, True, data={"selection": "n_jet > 5"})
    with pytest.raises(ConfigError, match="set exactly one of prepared, sample"):
        configured(folder, True, data={"sample": "four-top"})
    with pytest.raises(FileNotFoundError, match=r"no index\.json"):
        sample.prepare(configured(folder, True, data={"prepared": "elsewhere"}))
    one = sample.prepare(configured(folder, True, data={"sampling_rates": {"tttt": 1e-6}}))
    with pytest.raises(ValueError, match="the rate of tttt deals none"):
        one.train.data(one.task, SETTINGS)


def test_what_is_too_much_for_memory_is_refused(folder, monkeypatch):
    monkeypatch.setattr("femtobarn.runs.datasets.MOST", 100)
    sample.forget()
    with pytest.raises(ValueError, match="are not taken into memory for this, 100 would be"):
        _ = sample.prepare(configured(folder, True)).test.events


def test_rates_are_part_of_the_run(folder, tmp_path):
    place = run.train(configured(folder, True, data={"sampling_rates": {"ttW": 0.5, "tttt": 2.0}}, epochs=1), tmp_path)
    assert experiment.load(place / "config.yaml").data.sampling_rates == {"ttW": 0.5, "tttt": 2.0}
    meta = json.loads((place / "meta.json").read_text())
    assert meta["events"]["train"] == len(sample.prepare(configured(folder, True)).train)
