"""Tasks that the package does not know, and regression, go through all steps of a run; in memory and from disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from femtobarn.evaluation.runs import load_run
from femtobarn.events import Events, write_parquet
from femtobarn.events.shards.writing import write_shards
from femtobarn.experiments.document import ConfigError
from femtobarn.experiments.experiment import build
from femtobarn.runs import run
from femtobarn.tasks.registry import TASKS
from femtobarn.tasks.results import compare, markdown, report, tables
from tests.events.test_shards import SHARES
from tests.support.sample import make_events

PFN = {"name": "pfn"}
TASK_SECTIONS: dict[str, dict[str, Any]] = {
    "sum": {"kind": "sum"},
    "regression": {"kind": "regression", "target": "sum_pt", "transform": "log"},
}


@pytest.fixture(scope="module")
def events() -> Events:
    """With the sum of the momenta as a column."""
    made = make_events(1000)
    return replace(made, context=ak.with_field(made.context, ak.sum(made.particles.pt, axis=1), "sum_pt"))


@pytest.fixture(scope="module")
def folder(events: Events, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("data")
    write_parquet(events, path / "events.parquet")
    write_shards([events], path / "set", SHARES, shards=2, max_group_events=64)
    return path


@pytest.fixture(autouse=True)
def _toy_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "sum", "tests.tasks.toy_task")


def configured(folder: Path, task_name: str, source: dict[str, str] | None = None, **changes: Any) -> Any:
    tree = {
        "data": source or {"files": "events.parquet"},
        "model": PFN,
        "task": TASK_SECTIONS[task_name],
        "training": {"epochs": 10, "batch_size": 64, "lr": 3e-3, "threads": 1, "device": "cpu", "num_workers": 0},
        "evaluation": {"bootstrap": 20},
    }
    return build(tree | changes, "test", folder)


@pytest.mark.parametrize("task", TASK_SECTIONS)
def test_any_task_is_trained_evaluated_compared_and_reported(folder, events, tmp_path, task):
    folders = []
    for seed in (1, 2):
        folders.append(run.train(configured(folder, task, seed=seed), tmp_path / f"seed-{seed}"))
        run.evaluate(folders[-1])
    first = load_run(folders[0])
    assert first.task == task
    columns = first.predictions.columns
    true, predicted = (
        columns.get("true", columns.get("true_sum_pt")),
        columns.get("predicted", columns.get("predicted_sum_pt")),
    )
    assert true is not None
    assert predicted is not None
    assert np.corrcoef(true, predicted)[0, 1] > 0.5
    # other events are predicted as the held-out ones
    held_out = events[np.isin(events.number, first.predictions.number) & np.isin(events.process, ["tttt"])]
    again = run.predict(folders[0], held_out)
    stored = dict(zip(zip(first.predictions.process, first.predictions.number, strict=True), predicted, strict=True))
    name = next(name for name in again.columns if name.startswith("predicted"))
    for process, number, value in zip(again.process, again.number, again.columns[name], strict=True):
        assert stored.get((process, number), value) == pytest.approx(value, rel=1e-4)
    comparison = compare([tmp_path])
    assert comparison.rows[0].seeds == (1, 2)
    assert comparison.rows[0].measurements[comparison.headline].seeds is not None
    assert tables(comparison)[0].title in markdown(comparison)
    page = report([tmp_path], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Result" in page


@pytest.mark.parametrize("task", TASK_SECTIONS)
def test_prepared_events_give_the_predictions_of_events_in_memory(folder, tmp_path, task):
    """As far as the order of the batches allows: the trained scale and the true values are the same."""
    results = []
    for name, source in {"memory": {"files": "events.parquet"}, "disk": {"prepared": "set"}}.items():
        place = run.train(configured(folder, task, source), tmp_path / name)
        run.evaluate(place)
        results.append(load_run(place).predictions)
    columns = []
    for predictions in results:
        order = np.lexsort((predictions.number, predictions.process))
        columns.append({name: column[order] for name, column in predictions.columns.items()})
    for name in columns[0]:
        if name.startswith("true"):
            np.testing.assert_allclose(columns[0][name], columns[1][name], rtol=1e-6)
        else:
            assert np.corrcoef(columns[0][name], columns[1][name])[0, 1] > 0.9


def test_runs_of_different_tasks_are_not_compared(folder, tmp_path):
    for task in TASK_SECTIONS:
        run.evaluate(run.train(configured(folder, task), tmp_path / task))
    with pytest.raises(ValueError, match=r"is a run of task regression, .* of task sum; compare runs of one task"):
        compare([tmp_path])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task": {"kind": "regresion", "target": "x"}},
            r"task.kind: unknown task 'regresion'; did you mean regression",
        ),
        ({"task": {"kind": "regression"}}, r"task.targets"),
        ({"model": {"name": "bdt"}}, r"trained for classification only"),
        ({"evaluation": {"luminosity": 100}}, r"evaluation.luminosity"),
    ],
)
def test_wrong_settings_of_a_task_are_named(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        configured(folder, "regression", **changes)


def test_missing_target_is_named_with_the_columns_there_are(folder, tmp_path):
    section = {"kind": "regression", "target": "sum_pz"}
    with pytest.raises(ValueError, match=r"no column 'sum_pz'; there are .*sum_pt"):
        run.train(configured(folder, "regression", task=section), tmp_path / "run")


def test_scale_of_the_targets_is_in_the_file_of_the_weights(folder, events, tmp_path):
    from safetensors.numpy import load_file

    place = run.train(configured(folder, "regression"), tmp_path / "run")
    weights = load_file(place / "weights.safetensors")
    sums = np.log(np.asarray(events.context["sum_pt"]))
    assert abs(weights["task.mean"][0] - sums.mean()) < 4 * sums.std() / np.sqrt(len(sums) * 0.6)
    assert weights["task.std"][0] == pytest.approx(sums.std(), rel=0.1)
    assert json.loads((place / "meta.json").read_text())["task"] == {"processes": sorted(set(events.process.tolist()))}
