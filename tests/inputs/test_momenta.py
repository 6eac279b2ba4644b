"""Networks that keep Lorentz symmetry get momenta in float64 wherever batches are made; all others get float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import femtobarn
from femtobarn.events import Events, write_parquet
from femtobarn.events.shards.prefetch import PrefetchWorkers
from femtobarn.events.shards.sharded_split import ShardedSplit
from femtobarn.events.shards.shuffle import EpochSpec
from femtobarn.events.shards.writing import write_shards
from femtobarn.experiments import experiment
from femtobarn.inputs import Batch, Features, Inputs, make_batch
from femtobarn.inputs.batch import batch_from_arrays, concatenate_batches
from femtobarn.inputs.datasets import ShardedDataset
from femtobarn.models import MODELS, Network, model_spec, networks, published_sizes
from femtobarn.physics import lorentz
from femtobarn.runs import explain as explanation
from femtobarn.runs import run, splits, systematics
from femtobarn.runs.event_cache import EventCache
from femtobarn.runs.irc_safety import evaluate_irc_safety
from femtobarn.runs.predictor import Predictor
from femtobarn.runs.trained_model import NetworkModel, build
from femtobarn.training.dataloader import make_loader
from tests.events.test_shards import SHARES
from tests.support.jets import jet_events
from tests.support.sample import make_events

SLOTS = 48


def test_who_gets_float64():
    theirs = {name for name in (*MODELS, *published_sizes()) if model_spec(name).momenta_dtype == torch.float64}
    assert theirs == {
        "lorentznet",
        "lgatr",
        "lgatr-slim",
        "lloca-transformer",
        "lloca-part",
        "lloca-particlenet",
        "mlp-i",
        "mlp-i-momenta",
        "dsi",
    }
    with pytest.raises(ValueError, match="no model is called 'lorenznet'"):
        model_spec("lorenznet")


def test_a_published_size_gets_what_its_model_gets(monkeypatch):
    lite = replace(MODELS["lorentznet"], published={"lorentznet-lite": {"blocks": 1}})
    monkeypatch.setitem(MODELS, "lorentznet", lite)
    assert model_spec("lorentznet-lite").momenta_dtype == torch.float64
    assert model_spec("particlenet-lite").momenta_dtype == torch.float32


def configured(model: str, data: dict[str, Any], folder: Path, **inputs: Any) -> experiment.Experiment:
    tree = {
        "data": data,
        "inputs": inputs,
        "model": {"name": model, **model_spec(model).small},
        "task": {"signal": ["top" if inputs else "tttt"]},
        "training": {"epochs": 1, "batch_size": 256, "threads": 1, "device": "cpu", "num_workers": 0},
        "evaluation": {"bootstrap": 10},
    }
    return experiment.build(tree, "test", folder)


@pytest.fixture(scope="module")
def jets() -> Events:
    return femtobarn.load_sample("top-tagging")[::40]


@pytest.fixture(scope="module")
def folder(jets: Events, tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("momenta")
    write_parquet(jets, path / "jets.parquet")
    write_shards([jets], path / "jets", SHARES, shards=2)
    events = make_events(200)
    write_parquet(events, path / "events.parquet")
    write_shards([events], path / "events", SHARES, shards=2)
    return path


@pytest.mark.parametrize("data", [{"files": "jets.parquet"}, {"prepared": "jets"}], ids=["memory", "disk"])
def test_real_jets_are_scored_with_all_digits_of_their_momenta(folder, data):
    """Against momenta made here; in float32 some jets are off by more than the spread of the logits."""
    chosen = configured("lloca-transformer", data, folder, features="kin", slots=SLOTS)
    found = splits.load_splits(chosen)
    network = build(chosen, found.task.outputs)
    network.inputs.fit(found.train.batch)
    with torch.no_grad():
        network.train()(found.train.batch)
    model = NetworkModel(chosen, found.task.outputs)
    model.network = network.eval()
    trained = Predictor(chosen, found.task, model, {})

    held_out = found.test.events
    objects = held_out.padded(SLOTS)
    exact = Batch(
        lorentz.from_ptetaphie(*(torch.from_numpy(column) for column in objects[:4])),
        torch.from_numpy(objects.kind),
        torch.from_numpy(objects.mask),
        torch.zeros(len(held_out), 2, dtype=torch.float64),
        torch.zeros(*objects.mask.shape, 0, dtype=torch.float64),
    )
    with torch.no_grad():
        expected = network(exact)
        rounded = network(exact.replace(momenta=exact.momenta.float()))
    assert expected.dtype == torch.float32

    def off(logits: Tensor) -> float:
        return float(((logits - expected).abs() / expected.std(0)).max())

    assert off(rounded) > 0.01  # or it would not matter
    assert off(trained.predict_logits(held_out)) < 2e-5
    np.testing.assert_allclose(trained.predict(held_out)["score"], found.task.predict(expected)["score"], atol=2e-6)
    judged, said = model.predict_dataset(found.test, EventCache())
    places = {number: at for at, number in enumerate(zip(judged.process, judged.number, strict=True))}
    order = [places[one] for one in zip(held_out.process, held_out.number, strict=True)]
    assert off(said[order]) < 2e-5


@pytest.fixture
def seen(monkeypatch) -> set[tuple[torch.dtype, torch.dtype]]:
    """Precisions of the momenta and of the features of all batches that any network looks at."""
    found: set[tuple[torch.dtype, torch.dtype]] = set()
    forward = Inputs.forward

    def noted(self: Inputs, batch: Batch) -> Features:
        encoded = forward(self, batch)
        found.update((batch.momenta.dtype, each.dtype) for each in (encoded.particles, encoded.pairs, encoded.context))
        return encoded

    monkeypatch.setattr(Inputs, "forward", noted)
    return found


@pytest.mark.parametrize(("model", "precision"), [("lorentznet", torch.float64), ("pfn", torch.float32)])
def test_every_way_to_a_network_keeps_the_precision(folder, tmp_path, seen, model, precision):
    expected = {(precision, torch.float32)}

    def told(step: str) -> None:
        assert seen == expected, step
        seen.clear()

    for name, data in (("memory", {"files": "events.parquet"}), ("disk", {"prepared": "events"})):
        place = run.train(configured(model, data, folder), tmp_path / name)
        told(f"training, {name}")
        run.evaluate(place)
        told(f"evaluating, {name}")
        systematics.vary_run(place, ["met_up"])
        told(f"systematics, {name}")
        explanation.explain(place, events=20)
        told(f"explanation, {name}")
    run.predict(tmp_path / "memory", make_events(30, seed=8))
    told("scoring")
    place = run.train(configured(model, {"files": "jets.parquet"}, folder, features="kin", slots=20), tmp_path / "jets")
    seen.clear()
    evaluate_irc_safety(place, events=20)
    told("safety")


def test_models_of_both_kinds_share_the_events(folder):
    data = {"files": "events.parquet"}
    cache = EventCache()
    first, second = (splits.load_splits(configured(model, data, folder), cache) for model in ("lorentznet", "pfn"))
    assert first.train.events is second.train.events
    assert first.task.state() == second.task.state()
    assert (first.train.batch.momenta.dtype, second.train.batch.momenta.dtype) == (torch.float64, torch.float32)


def test_what_is_cached_in_one_precision_is_not_read_in_the_other(folder):
    data = {"prepared": "events"}
    for model in ("lorentznet", "pfn", "lorentznet"):
        chosen = configured(model, data, folder)
        found = splits.load_splits(chosen)
        assert isinstance(found.train, ShardedDataset)
        loader = make_loader(found.train, found.task, chosen.training, torch.device("cpu"))
        drawn = concatenate_batches([batch for batch, _ in loader.batches(0)])
        assert drawn.momenta.dtype == drawn.context.dtype == model_spec(model).momenta_dtype
        assert set(drawn.momenta.flatten().tolist()) == set(found.train.batch.momenta.flatten().tolist())
        loader.close()
    assert len(list((folder / "events" / "cache").iterdir())) == 2


def test_prepared_events_have_the_numbers_of_memory_in_float64_from_workers_too(folder, jets):
    split = ShardedSplit.open(folder / "jets", "train", SLOTS, double=True)
    workers = PrefetchWorkers(split, [1.0, 1.0], 1)
    places = {number: at for at, number in enumerate(zip(jets.process, jets.number, strict=True))}
    for arrays, _ in workers.batches(EpochSpec(100)):
        names = np.array(split.index.processes)[arrays["process"]]
        selected = jets[np.array([places[event] for event in zip(names, arrays["number"], strict=True)])]
        batch, expected = batch_from_arrays(arrays), make_batch(selected, SLOTS, torch.float64)
        assert all(torch.equal(*columns) for columns in zip(batch.tensors(), expected.tensors(), strict=True))
    workers.close()


@pytest.mark.parametrize("name", [name for name in networks() if model_spec(name).is_equivariant])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_networks_compute_in_the_precision_of_their_weights(name, precision):
    torch.manual_seed(1)
    batch = make_batch(jet_events(20), 24, torch.float64)
    inputs = Inputs(("mass", "kt") if model_spec(name).takes_pairs else (), "full").fit(batch)
    network = Network(inputs, model_spec(name).build(inputs.sizes(2), **model_spec(name).small)).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        encoded, logits = network.inputs(batch), network(batch)
    assert {each.dtype for each in (encoded.particles, encoded.pairs, encoded.context)} == {torch.float32}
    assert logits.dtype == precision
    logits.float().square().sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in network.parameters())


def test_apples_gpus_get_float32(monkeypatch):
    """They have nothing else; none is here, so that nothing moves."""
    monkeypatch.setattr(Tensor, "to", lambda self, device, **how: self)
    batch = make_batch(jet_events(3), 5, torch.float64)
    moved = batch.to("mps").tensors()
    assert {column.dtype for column in moved} == {torch.float32, torch.int64, torch.bool}
    assert batch.to("cpu").momenta.dtype == torch.float64
