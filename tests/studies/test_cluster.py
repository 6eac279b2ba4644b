"""Dask workers do what this machine does, in the same order and to the same numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import pytest

from femtobarn.runs.run import Step
from femtobarn.simulate import Plan, run
from femtobarn.studies import study, workers
from femtobarn.studies.cluster import Cluster
from tests.studies.test_study import Silent


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of two workers within this process."""
    distributed: Any = import_module("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=False, dashboard_address=None) as local:
        yield local.scheduler_address


class Noting(Silent):
    def __init__(self) -> None:
        self.said: dict[str, list[str]] = {}

    def started(self, planned: study.PlannedRun) -> None:
        self.said[planned.name] = ["started"]

    def stepped(self, planned: study.PlannedRun, step: Step) -> None:
        self.said[planned.name].append(step.stage)

    def finished(self, planned: study.PlannedRun) -> None:
        self.said[planned.name].append("finished")

    def failed(self, planned: study.PlannedRun, reason: str) -> None:
        self.said[planned.name].append(reason)


@pytest.fixture
def tree() -> dict[str, Any]:
    base = {
        "data": {"sample": "four-top"},
        "task": {"signal": ["tttt"]},
        "training": {"epochs": 2, "device": "cpu"},
        "evaluation": {"bootstrap": 10},
    }
    return {
        "base": base,
        "models": {"BDT": {"model": {"name": "bdt", "n_estimators": 3}}},
        "seeds": [1, 2],
        "sizes": [0.02],
    }


def test_a_study_has_the_numbers_of_this_machine_and_tells_how_it_goes(tree, address, tmp_path):
    here, there = (study.plan(study.load(tree), tmp_path / name) for name in ("here", "there"))
    workers.run_all(here, Silent(), workers=1)
    watcher = Noting()
    with Cluster(address) as cluster:
        assert cluster.workers == 2
        outcome = workers.run_all(there, watcher, cluster=cluster)
    assert not outcome.failures
    assert outcome.finished == tuple(one.folder for one in there)
    for mine, theirs in zip(here, there, strict=True):
        for name in ("metrics.json", "predictions.parquet"):
            assert (mine.folder / name).read_bytes() == (theirs.folder / name).read_bytes()
    for said in watcher.said.values():
        assert said[:2] == ["started", "starting"]
        assert "training" in said
        assert said[-1] == "finished"


def test_a_failure_does_not_stop_the_others(tree, address, tmp_path):
    planned = study.plan(study.load(tree), tmp_path)
    planned[0].folder.mkdir(parents=True)
    (planned[0].folder / "meta.json").write_text("{}")
    watcher = Noting()
    with Cluster(address) as cluster:
        outcome = workers.run_all(planned, watcher, cluster=cluster)
    assert list(outcome.failures) == [planned[0].name]
    assert "holds files of a run, but no config.yaml" in outcome.failures[planned[0].name]
    assert outcome.computed == (planned[1].name,)


def test_production_on_a_cluster_has_the_events_of_this_machine(address, tmp_path):
    plan = Plan(None, "tt", settings=("Top:gg2ttbar = on",), events=40, select=("n_jet >= 2",))
    with Cluster(address) as cluster:
        there = run(plan, tmp_path / "there.parquet", workers=cluster.workers, executor=cluster, unit_size=20)
    with ThreadPoolExecutor(1) as executor:
        here = run(plan, tmp_path / "here.parquet", executor=executor, unit_size=20)
    assert len(here) == len(there) > 0
    assert here.number.tolist() == there.number.tolist()
    assert here.particles.pt.tolist() == there.particles.pt.tolist()
    assert here.weight.tolist() == there.weight.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.parquet", "there.parquet"]


INSIDE: list[int] = []
MOST: list[int] = []


def unit(number: int) -> None:
    """Of this module, so that workers in this process know the same lists."""
    INSIDE.append(number)
    MOST.append(len(INSIDE))
    time.sleep(0.01)  # gives another thread the chance to come in; what is asserted does not depend on it
    INSIDE.remove(number)


def test_one_unit_at_a_time_is_done_in_a_process(address):
    with Cluster(address) as cluster:
        for future in [cluster.submit(unit, number) for number in range(8)]:
            future.result()
    assert MOST == [1] * 8


def test_cluster_without_an_answer_or_with_another_version_is_an_error(address):
    with pytest.raises(OSError, match="Timed out"):
        Cluster("tcp://127.0.0.1:9", timeout=0.5)
    with pytest.raises(ValueError, match=r"femtobarn is 9\.9\.9 here and .* in the cluster"):
        Cluster(address, own_version="9.9.9")
