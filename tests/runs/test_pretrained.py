"""Trainings that begin with weights learned elsewhere: what is taken over, how fast it learns, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from femtobarn.events import write_parquet
from femtobarn.experiments import experiment
from femtobarn.experiments import search_space as space
from femtobarn.experiments.document import ConfigError
from femtobarn.experiments.experiment import Experiment
from femtobarn.models import model_spec, networks
from femtobarn.runs import run
from femtobarn.runs.pretrained import apply_pretrained, load_pretrained, output_layer_names, read_pretrained
from femtobarn.runs.trained_model import build
from femtobarn.studies import study
from femtobarn.studies import tuning_task as search
from femtobarn.training.optimizers import optimizer
from femtobarn.training.pretrained import PretrainedParameters
from tests.models.test_weaver import LAYERS, TheirParT, TheirParticleNet, disturbed
from tests.support.jets import jet_events
from tests.support.training_sample import Toy, train

MODEL: dict[str, Any] = {"name": "particlenet", "k": 5, "blocks": [list(each) for each in LAYERS], "fc": [9]}
NEW = {"architecture.fc.3.weight", "architecture.fc.3.bias"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Jets of two and of three classes, a checkpoint of weaver-core, and a run on the two classes."""
    folder = tmp_path_factory.mktemp("start")
    write_parquet(jet_events(80, 9, 1), folder / "two.parquet")
    write_parquet(jet_events(90, 9, 2, ("top", "QCD", "W")), folder / "three.parquet")
    torch.manual_seed(3)
    torch.save(disturbed(TheirParticleNet(7)).float().state_dict(), folder / "weaver.pt")
    run.train(configured(folder, model=MODEL), folder / "run")
    return folder


def configured(folder: Path, *overrides: str, model: dict[str, Any], file: str = "two.parquet") -> Experiment:
    plain = {
        "data": {"files": [str(folder / file)]},
        "inputs": {"features": "kin", "slots": 9},
        "model": model,
        "task": {"signal": ["top"]},
        "training": {"epochs": 2, "batch_size": 32, "threads": 1},
        "evaluation": {"bootstrap": 10},
    }
    return experiment.load(plain, overrides)


def from_weaver(folder: Path, *overrides: str, **changes: Any) -> Experiment:
    return configured(
        folder, *overrides, model=MODEL | {"fill": True, "init_from": str(folder / "weaver.pt")} | changes
    )


def from_run(folder: Path, *overrides: str, file: str = "three.parquet", **changes: Any) -> Experiment:
    return configured(folder, *overrides, model=MODEL | {"init_from": str(folder / "run")} | changes, file=file)


def initialized(
    one: Experiment, classes: tuple[str, ...]
) -> tuple[dict[str, Tensor], dict[str, Tensor], PretrainedParameters]:
    """The state of the network as it was built, as it begins, and what is said of it."""
    network = build(one, len(classes))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pretrained = load_pretrained(one)
    assert pretrained is not None
    copied = apply_pretrained(network, pretrained, classes)
    return before, network.state_dict(), copied


def test_the_body_comes_from_weaver_and_the_last_layer_is_new(folder):
    before, after, start = initialized(from_weaver(folder), ("top", "QCD"))
    assert {name for name, value in after.items() if torch.equal(value, before[name])} >= NEW
    body = read_pretrained(folder / "weaver.pt").weights
    names = {name for name in after if not name.startswith("inputs.") and "num_batches" not in name}
    assert names - set(body) == set()
    for name in names - NEW:
        assert torch.equal(after[name], body[name])
    parameters = dict(build(from_weaver(folder), 2).named_parameters())
    assert start.names == set(parameters) - NEW


def test_a_run_gives_its_standardisation_and_keeps_a_last_layer_of_the_same_classes(folder):
    pairs = configured(folder, "inputs.interactions=[kt]", model=MODEL)
    run.train(pairs, folder / "pairs")
    model = MODEL | {"init_from": str(folder / "pairs" / "weights.safetensors")}
    saved = load_file(folder / "pairs" / "weights.safetensors")
    assert saved["inputs.pair_mean"].abs() > 0.1
    for file, classes, kept in (("two.parquet", ("QCD", "top"), True), ("three.parquet", ("QCD", "W", "top"), False)):
        one = configured(folder, "inputs.interactions=[kt]", model=model, file=file)
        names = json.loads((folder / "pairs" / "meta.json").read_text())["classes"]
        given = tuple(names) if kept else classes
        _, after, start = initialized(one, given)
        assert torch.equal(after["inputs.pair_mean"], saved["inputs.pair_mean"])
        same = {name for name in after if torch.equal(after[name], saved[name])}
        assert same >= NEW if kept else same.isdisjoint(NEW)
        assert start.names >= NEW if kept else start.names.isdisjoint(NEW)


def test_fine_tuning_from_a_run_ends_in_a_run_that_knows_its_origin(folder, tmp_path):
    one = from_run(folder, "training.ema=0.9")
    run.train(one, tmp_path / "fine")
    meta = json.loads((tmp_path / "fine" / "meta.json").read_text())
    assert meta["start"] == {
        "file": "weights.safetensors",
        "of": "particlenet seed 1",
        "sha256": read_pretrained(folder / "run").sha256,
    }
    assert set(meta["classes"]) == {"top", "QCD", "W"}
    assert run.evaluate(tmp_path / "fine")["auc"]["total"]
    was, now = (load_file(where / "weights.safetensors") for where in (folder / "run", tmp_path / "fine"))
    body = "architecture.blocks.0.first.weight"
    assert 0 < (now[body] - was[body]).abs().max() < 0.01 < (was[body]).abs().max()


def test_new_weights_learn_fifty_times_faster_than_the_others():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for share in (0.02, 0.5):
        opt = optimizer("sgd", network, 0.1, 0.0, ("0.weight", "0.bias"), share)
        before = [p.detach().clone() for p in network.parameters()]
        for p in network.parameters():
            p.grad = torch.ones_like(p)
        opt.step()
        moved = [float((a - b.detach()).abs().max()) for a, b in zip(before, network.parameters(), strict=True)]
        assert moved[0] == pytest.approx(moved[2] * share, rel=1e-3)
        assert moved[1] == pytest.approx(moved[3] * share, rel=1e-3)


def test_the_loop_keeps_the_ratio_through_the_schedule():
    changes: dict[str, Any] = {
        "ema": None,
        "optimizer": "sgd",
        "weight_decay": 0.0,
        "clip": None,
        "epochs": 2,
        "lr": 1e-3,
    }
    body = "layers.0.weight"

    def trained(**more: Any) -> tuple[float, list[float]]:
        network = Toy()
        before = dict(network.named_parameters())[body].detach().clone()
        rates = [epoch.lr for epoch in train(network, **changes, **more)]
        return float((dict(network.named_parameters())[body].detach() - before).norm()), rates

    start = PretrainedParameters("there", frozenset({body}))
    usual, rates = trained()
    for backbone_lr, expected in ((None, 0.02), (5e-4, 0.5)):
        moved, told = trained(pretrained=start, backbone_lr=backbone_lr)
        assert moved == pytest.approx(expected * usual, rel=0.1)
        assert told == rates  # those of the new weights


def test_a_checkpoint_of_another_origin_is_refused(tmp_path):
    start = PretrainedParameters("one file", frozenset({"layers.0.weight"}))
    epochs = train(Toy(), tmp_path / "checkpoint", pretrained=start)
    next(epochs)
    epochs.close()
    with pytest.raises(ValueError, match="start was one file there and is another here"):
        next(train(Toy(), tmp_path / "checkpoint", pretrained=PretrainedParameters("another", start.names)))
    with pytest.raises(ValueError, match="start was one file there and is None here"):
        next(train(Toy(), tmp_path / "checkpoint"))


def test_a_stopped_fine_tuning_goes_on_to_the_same_numbers_from_the_same_file_alone(folder, tmp_path):
    weights = (folder / "weaver.pt").read_bytes()
    file = tmp_path / "mine.pt"
    file.write_bytes(weights)
    one = from_weaver(folder, "training.ema=0.9", "training.epochs=2", init_from=str(file))
    run.train(one, tmp_path / "unbroken")

    class Stop(Exception):
        pass

    def stop(step):
        if step.done == 1:
            raise Stop

    with pytest.raises(Stop):
        run.train(one, tmp_path / "broken", progress=stop)
    other = disturbed(TheirParticleNet(7)).float()
    nn.init.zeros_(other.bn_fts.weight)  # type: ignore[arg-type, union-attr]
    torch.save(other.state_dict(), file)
    with pytest.raises(ValueError, match=r"is of another training: start was [0-9a-f]{64} there"):
        run.train(one, tmp_path / "broken")
    file.write_bytes(weights)
    run.train(one, tmp_path / "broken")
    same = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("broken", "unbroken")]
    assert same[0] == same[1]
    file.unlink()  # what is finished needs it no more
    run.train(one, tmp_path / "broken")
    assert run.evaluate(tmp_path / "broken")["auc"]


def test_weights_of_another_network_are_refused_with_the_keys(folder):
    for one, lines in (
        (
            from_weaver(folder, fill=False, fc=[8]),
            [
                "model.fc: [9] in the weights, [8] here",
                "model.fill: true in the weights, false here",
            ],
        ),
        (from_weaver(folder, "inputs.features=full"), ["inputs.features: kin in the weights, full here"]),
        (
            from_weaver(folder, "inputs.interactions=[kt]"),
            ['inputs.interactions: [] in the weights, ["kt"] here'],
        ),
        (from_run(folder, k=4, dropout=0.3), ["model.k: 5 in the weights, 4 here"]),
        (
            configured(folder, model={"name": "pfn", "init_from": str(folder / "run")}),
            ["model.name: particlenet in the weights, pfn here"],
        ),
    ):
        with pytest.raises(ValueError, match="does not match this experiment") as caught:
            load_pretrained(one)
        assert str(caught.value).splitlines()[1:] == [f"  {line}" for line in lines]


def test_part_is_checked_by_its_shapes(folder, tmp_path):
    torch.save(disturbed(TheirParT(7, True)).float().state_dict(), tmp_path / "part.pt")
    right = {"width": 12, "blocks": 2, "class_blocks": 1, "heads": 3, "embedding": [16], "pair_embedding": [8]}
    pairs = "inputs.interactions=[kt,z,delta,mass2]"
    model = {"name": "part", "self_pairs": True, "init_from": str(tmp_path / "part.pt"), **right}
    _, after, _ = initialized(configured(folder, pairs, model=model), ("top", "QCD"))
    assert torch.equal(
        after["architecture.class_blocks.0.contract.bias"],
        read_pretrained(tmp_path / "part.pt").weights["architecture.class_blocks.0.contract.bias"],
    )
    with pytest.raises(
        ValueError, match=r"model.width: 12 in the weights, 24 here\n  model.blocks: 2 in the weights, 1 here"
    ):
        load_pretrained(configured(folder, pairs, model=model | {"width": 24, "blocks": 1}))
    with pytest.raises(
        ValueError, match=r'inputs.interactions: \["kt", "z", "delta", "mass2"\] in the weights, \["kt"\] here'
    ):
        load_pretrained(configured(folder, "inputs.interactions=[kt]", model=model))


@pytest.mark.parametrize("name", networks())
def test_the_last_layer_is_found_in_every_network(name, folder):
    """Two matrices or fewer, and never a large part of the network."""
    plain = {
        "data": {"sample": "four-top"},
        "model": {"name": name, **model_spec(name).small},
        "task": {"signal": ["tttt"]},
    }
    one = experiment.load(plain, ["inputs.interactions=[mass]"] if model_spec(name).needs_pairs else [])
    network = build(one, 5)
    found, state = output_layer_names(network), network.state_dict()
    other = build(one, 3).state_dict()
    assert found == {label for label, value in state.items() if value.shape != other[label].shape}
    assert found
    assert sum(state[label].ndim > 1 for label in found) == 1
    assert all(state[label].shape[0] == 5 for label in found)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none", "there is no file or run folder"),
        (lambda folder: folder, r"there is no config\.yaml beside the weights in .*; it is no run folder"),
        (lambda folder: folder / "two.parquet", r"two\.parquet is not a file of weights that torch\.save wrote"),
        (lambda folder: folder / "lonely.safetensors", "weights alone do not define their network"),
    ],
)
def test_what_holds_no_weights_is_refused(make, message, folder):
    (folder / "lonely.safetensors").touch()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_pretrained(make(folder))


def test_trees_neither_give_nor_take_weights(folder, tmp_path):
    trees = {"name": "bdt", "n_estimators": 3, "num_leaves": 4}
    run.train(configured(folder, model=trees), tmp_path / "trees")
    with pytest.raises(ValueError, match="holds boosted trees, no network"):
        read_pretrained(tmp_path / "trees")
    with pytest.raises(ConfigError, match=r"model bdt takes no pretrained weights; leave out model\.init_from"):
        configured(folder, model=trees | {"init_from": str(folder / "run")})


def test_the_path_belongs_to_the_folder_of_the_yaml(folder, monkeypatch):
    tree = f"""
    data: {{files: two.parquet}}
    inputs: {{features: kin}}
    model: {{name: particlenet, k: 5, blocks: {MODEL["blocks"]}, fc: [9], init_from: run}}
    task: {{signal: top}}
    """
    (folder / "fine.yaml").write_text(tree)
    monkeypatch.chdir("/")
    one = experiment.load(folder / "fine.yaml")
    assert one.model.init_from == str(folder / "run")
    assert "init_from" not in one.model.settings
    assert experiment.load(one.model_dump(mode="json")) == one
    assert load_pretrained(one) is not None
    with pytest.raises(
        ConfigError,
        match=r"model\.strat: no such key \(did you mean init_from\?\); allowed keys are name, init_from, k",
    ):
        experiment.load(folder / "fine.yaml", ["model.strat=run"])


def test_studies_and_searches_know_it(folder, tmp_path):
    tree: dict[str, Any] = {
        "base": {
            "data": {"files": [str(folder / "two.parquet")]},
            "inputs": {"features": "kin"},
            "task": {"signal": "top"},
        },
        "models": {
            "scratch": {"model": MODEL},
            "fine": {"model": MODEL | {"init_from": "run"}},
            "pfn": {"model": {"name": "pfn"}},
        },
    }
    tree["base"]["model"] = {"name": "particlenet", "init_from": "elsewhere"}
    (folder / "study.yaml").write_text(json.dumps(tree))
    planned = {one.label: one.experiment.model for one in study.plan(study.load(folder / "study.yaml"), tmp_path)}
    assert planned["fine"].init_from == str(folder / "run")
    assert planned["scratch"].init_from == str(folder / "elsewhere")
    assert planned["pfn"].init_from is None  # another model takes over no weights either
    found = search.tuning_tasks(folder / "study.yaml")
    assert [one.shared for one in found] == [("scratch",), ("fine",), ("pfn",)]
    (tmp_path / "space.yaml").write_text("particlenet: {model.init_from: [a, b]}")
    with pytest.raises(ConfigError, match="only settings of training and model can be searched"):
        space.load(tmp_path / "space.yaml")


def test_no_model_has_a_setting_of_that_name():
    assert all("init_from" not in model_spec(name).schema.model_fields for name in networks())
