"""Run folders: same seed same numbers, weights that matter, resumption, and refusals that say why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch

from femtobarn.events import Events, concatenate, write, write_parquet
from femtobarn.experiments import experiment
from femtobarn.experiments.experiment import Experiment
from femtobarn.inputs import make_batch
from femtobarn.runs import provenance, run, splits
from femtobarn.tasks.classification.scores import Scores
from tests.support.sample import make_events

NETWORK: dict[str, Any] = {"name": "particlenet", "k": 4, "blocks": [[8, 8]], "fc": [8]}
TREES: dict[str, Any] = {"name": "bdt", "n_estimators": 10, "num_leaves": 4, "min_leaf_fraction": 0.01}
FILES = ("config.yaml", "history.json", "meta.json", "metrics.json", "predictions.parquet", "replicas.parquet")


@pytest.fixture(scope="module")
def events():
    return make_events(400, seed=3)


@pytest.fixture
def path(events, tmp_path):
    write_parquet(events, tmp_path / "events.parquet")
    return tmp_path / "events.parquet"


def configured(path: Path, *overrides: str, model: dict[str, Any] = NETWORK) -> Experiment:
    plain = {
        "data": {"files": [str(path)]},
        "model": model,
        "task": {"signal": ["tttt"]},
        "training": {"epochs": 2, "batch_size": 64, "threads": 1},
        "evaluation": {"bootstrap": 10},
    }
    return experiment.load(plain, overrides)


def numbers(one: Experiment, folder: Path) -> dict[str, Any]:
    run.train(one, folder)
    return run.evaluate(folder)


@pytest.mark.parametrize("model", [NETWORK, TREES])
def test_same_seed_same_numbers_other_seed_others(path, tmp_path, model):
    first = numbers(configured(path, model=model), tmp_path / "first")
    assert numbers(configured(path, model=model), tmp_path / "second") == first
    assert numbers(configured(path, "seed=2", model=model), tmp_path / "third")["auc"] != first["auc"]
    weights = "weights.safetensors" if model is NETWORK else "trees.txt"
    assert {entry.name for entry in (tmp_path / "first").iterdir()} == {*FILES, weights}
    assert (tmp_path / "first" / weights).read_bytes() == (tmp_path / "second" / weights).read_bytes()


def test_events_without_weight_have_no_influence(events, path, tmp_path):
    extra = make_events(300, seed=9)
    nothing = replace(extra, weight=np.zeros(300), number=extra.number + 1000, hard=extra.hard + 1000)
    both = tmp_path / "both.parquet"
    write_parquet(concatenate([events, nothing]), both)
    for model in (NETWORK, TREES):
        without = numbers(configured(path, model=model), tmp_path / f"{model['name']}-without")
        with_them = numbers(configured(both, model=model), tmp_path / f"{model['name']}-with")
        for background in without["auc"]:
            assert with_them["auc"][background]["value"] == pytest.approx(without["auc"][background]["value"])
        for point in without["significance"]:
            for kind in ("signal", "background"):
                assert with_them["significance"][point][kind] == pytest.approx(without["significance"][point][kind])


def test_weights_change_training_and_judgement(events, path, tmp_path):
    plain = numbers(configured(path), tmp_path / "plain")
    heavier = np.where((events.process == "ttH") & (events.number % 3 == 0), 20, 1) * events.weight
    other = tmp_path / "heavier.parquet"
    write_parquet(replace(events, weight=heavier), other)
    changed = numbers(configured(other), tmp_path / "changed")
    histories = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("plain", "changed")]
    assert histories[0][0]["train_loss"] != histories[1][0]["train_loss"]
    assert plain["auc"]["total"] != changed["auc"]["total"]
    assert changed["events"]["ttH"]["yield"] == pytest.approx(heavier[events.process == "ttH"].sum())


def test_scores_sum_to_the_full_yield_at_the_luminosity_asked_for(events, path, tmp_path):
    run.train(configured(path, "evaluation.luminosity=300"), tmp_path / "run")
    run.evaluate(tmp_path / "run")
    scores = Scores.read(tmp_path / "run" / "predictions.parquet")
    for name in events.processes:
        assert scores.weight[scores.process == name].sum() == pytest.approx(
            3 * events.weight[events.process == name].sum()
        )
    held_out = splits.load_splits(configured(path)).test.events
    assert set(zip(scores.process, scores.number, strict=True)) == set(
        zip(held_out.process, held_out.number, strict=True)
    )


def test_a_stopped_training_goes_on_to_the_same_numbers(path, tmp_path):
    one = configured(path, "training.epochs=4", "training.ema=0.9")
    unbroken = numbers(one, tmp_path / "unbroken")

    class Stop(Exception):
        pass

    def stop(step):
        if step.done == 2:
            raise Stop

    with pytest.raises(Stop):
        run.train(one, tmp_path / "broken", progress=stop)
    assert not run.is_trained(tmp_path / "broken")
    with pytest.raises(ValueError, match="not finished"):
        run.evaluate(tmp_path / "broken")
    seen: list[int] = []
    run.train(one, tmp_path / "broken", progress=lambda step: seen.append(step.done))
    assert run.evaluate(tmp_path / "broken") == unbroken
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("broken", "unbroken")]
    assert weights[0] == weights[1]
    assert seen == [0, 1, 2, 3, 4]  # two of them read back


def test_a_finished_run_is_never_computed_again(path, tmp_path):
    one = configured(path)
    metrics = numbers(one, tmp_path / "run")
    times = {entry: entry.stat().st_mtime_ns for entry in (tmp_path / "run").iterdir()}
    path.unlink()  # not even the events are needed
    seen: list[run.Step] = []
    run.train(one, tmp_path / "run", progress=seen.append)
    assert run.evaluate(tmp_path / "run", progress=seen.append) == metrics
    assert seen == []
    assert times == {entry: entry.stat().st_mtime_ns for entry in (tmp_path / "run").iterdir()}


def test_a_folder_of_another_experiment_is_refused_with_the_difference(path, tmp_path):
    run.train(configured(path), tmp_path / "run")
    with pytest.raises(ValueError, match=r"(?s)holds another experiment.*training.lr: 0.001 before, 0.002 now"):
        run.train(configured(path, "training.lr=2e-3"), tmp_path / "run")
    run.train(configured(path, "training.threads=2"), tmp_path / "run")  # changes no result
    (tmp_path / "run" / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"but no config.yaml"):
        run.train(configured(path), tmp_path / "run")
    with pytest.raises(ValueError, match="is no run folder"):
        run.evaluate(tmp_path / "run")


def test_events_that_changed_after_the_training_are_noticed(events, path, tmp_path):
    run.train(configured(path), tmp_path / "run")
    write_parquet(make_events(400, seed=4), path)
    with pytest.raises(ValueError, match="the events have changed since the training"):
        run.evaluate(tmp_path / "run")


def test_two_processes_do_not_share_a_folder(path, tmp_path):
    (tmp_path / "run").mkdir()
    with (
        provenance.folder_lock(tmp_path / "run"),
        pytest.raises(RuntimeError, match="another process is working"),
    ):
        run.train(configured(path), tmp_path / "run")


@pytest.mark.parametrize("model", [NETWORK, TREES])
def test_a_trained_model_scores_other_events_and_the_same_ones_alike(path, tmp_path, model):
    one = configured(path, "inputs.interactions=[mass, sm_const]", model=model)
    numbers(one, tmp_path / "run")
    held_out = splits.load_splits(one).test.events
    written = Scores.read(tmp_path / "run" / "predictions.parquet")
    again = Scores.from_predictions(run.predict(tmp_path / "run", held_out))
    np.testing.assert_allclose(again.score, written.score, rtol=1e-6)
    assert again.weight.sum() == pytest.approx(held_out.weight.sum())
    assert len(run.predict(tmp_path / "run", make_events(30, seed=8))) == 30
    if model is NETWORK:
        network = run.load_network(tmp_path / "run")
        trained = run.Predictor.load(tmp_path / "run")
        with torch.inference_mode():
            probabilities = trained.task.predict(network(make_batch(held_out, 18)))
        np.testing.assert_allclose(probabilities["score"], written.score, rtol=1e-5)
    else:
        with pytest.raises(ValueError, match="is no network, but boosted trees"):
            run.load_network(tmp_path / "run")


def test_meta_tells_what_the_run_was_made_with(events, path, tmp_path):
    run.train(configured(path, "label=PN"), tmp_path / "run")
    meta = json.loads((tmp_path / "run" / "meta.json").read_text())
    assert meta["label"] == "PN"
    assert meta["seed"] == 1
    assert sum(meta["events"].values()) == len(events)
    assert meta["parameters"] == sum(p.numel() for p in run.load_network(tmp_path / "run").parameters())
    assert meta["events_per_second"] > 0
    assert {"femtobarn", "python", "torch", "numpy", "lightgbm"} <= set(meta["versions"])
    assert meta["inputs"]["provenance"]["files"][0]["sha256"]
    assert sum(meta["classes"][name] for name in ("ttH", "ttW", "ttWW", "ttZ")) == pytest.approx(1)


def test_the_fingerprint_is_that_of_the_events_not_of_the_file(events, tmp_path):
    write(events, tmp_path / "a.parquet")
    halves: list[Events] = [events[:200], events[200:]]
    write(halves[0], tmp_path / "b1.parquet")
    write(halves[1], tmp_path / "b2.parquet")
    prints = [splits.load_splits(configured(tmp_path / name)).fingerprint for name in ("a.parquet", "b*.parquet")]
    assert prints[0] == prints[1]
    changed = replace(events, weight=events.weight * 1.0000001)
    assert splits.fingerprint(changed) != splits.fingerprint(events)


def test_the_fingerprint_does_not_know_the_machine(events):
    """Energies that another processor computes differ in the last bit; those of other events differ by more."""
    energy = events.particles.E

    def printed(values: ak.Array) -> str:
        return splits.fingerprint(replace(events, particles=ak.with_field(events.particles, values, "E")))

    usual = printed(ak.values_astype(energy, np.float64))
    up = ak.unflatten(np.nextafter(ak.to_numpy(ak.flatten(energy)).astype(np.float64), np.inf), ak.num(energy))
    assert printed(up) == usual
    assert printed(energy * (1 + 3e-6)) != usual


def test_smaller_training_sets_are_contained_in_larger_ones(path):
    sides = {share: splits.load_splits(configured(path, f"data.fraction={share}")) for share in (0.3, 0.6, 1.0)}

    def names(share: float, side: str) -> set[tuple[str, int]]:
        events = getattr(sides[share], side).events
        return set(zip(events.process, events.number, strict=True))

    for side in ("train", "validation"):
        assert names(0.3, side) < names(0.6, side) < names(1.0, side)
    assert len({len(side.test.events) for side in sides.values()}) == 1
    assert sides[0.3].task.state() == sides[1.0].task.state()


def test_selection_and_processes_leave_events_out(events, path):
    chosen = splits.load_splits(configured(path, "data.selection=n_jet >= 6", "task.background=[ttH, ttZ]"))
    everyone = concatenate([side.events for side in (chosen.train, chosen.validation, chosen.test)])
    assert everyone.processes == ("ttH", "ttZ", "tttt")
    assert len(everyone) == len(events.select('n_jet >= 6 and process in ("tttt", "ttH", "ttZ")'))
    with pytest.raises(ValueError, match=r"data\.selection"):
        configured(path, "data.selection=n_jet >=")


def test_files_by_process_and_missing_files(events, tmp_path):
    for name in events.processes:
        write_parquet(events[events.process == name], tmp_path / f"{name}.parquet")
    named = {name: str(tmp_path / f"{name}.parquet") for name in events.processes}
    one = configured(tmp_path / "*.parquet", f"data.files={json.dumps({**named, 'ttll': named['ttZ']})}")
    assert "ttll" in splits.load_splits(one).yields
    with pytest.raises(FileNotFoundError, match="no file matches"):
        splits.load_splits(configured(tmp_path / "absent*.parquet"))


@pytest.mark.parametrize("task", [{"classes": "binary"}, {"loss": "focal", "alpha": 0.75, "gamma": 3}])
def test_other_tasks_run_through(path, tmp_path, task):
    overrides = [f"task.{key}={value}" for key, value in task.items()]
    metrics = numbers(configured(path, *overrides), tmp_path / "run")
    assert 0 < metrics["auc"]["total"]["value"] < 1
    assert set(metrics["auc"]) == {"total", "ttH", "ttW", "ttWW", "ttZ"}
