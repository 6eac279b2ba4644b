"""Fits: limits in which they are known, the schema of the workspace, and a run folder from end to end."""

from __future__ import annotations

import builtins
import json
import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from femtobarn.cli import app
from femtobarn.evaluation.bootstrap import effective, hard_events
from femtobarn.evaluation.measurement import Metric
from femtobarn.events.storage.files import checksum
from femtobarn.runs.fit import fit_run, variations
from femtobarn.tasks.classification.comparison import compare, load_run
from femtobarn.tasks.classification.likelihood import BINS, Histogram, fill, fit, histogram, workspace
from femtobarn.tasks.classification.sections import fit_section
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.significance import asimov
from tests.support.fake_runs import make_runs, make_scores
from tests.support.sample import make_events

pytest.importorskip("iminuit")
pyhf = pytest.importorskip("pyhf")


def filled(signal: Any, background: Any, error: float = 0.0) -> Histogram:
    s, b = (np.atleast_1d(np.asarray(values, dtype=float)) for values in (signal, background))
    return Histogram(
        edges=np.linspace(0, 1, len(s) + 1),
        yields={"s": s[None], "b": b[None]},
        errors={"s": np.zeros_like(s), "b": error * b},
        effective=np.full(len(s), 100.0),
        signal=("s",),
    )


def test_one_bin_is_a_counting_experiment():
    assert fit(filled(20, 100), 0.0).discovery[0] == pytest.approx(asimov(20.0, 100.0), rel=1e-6)
    # a log-normal or Gaussian constraint instead of a side band: the same for small uncertainties
    for delta in (0.02, 0.05):
        assert fit(filled(20, 100), delta).discovery[0] == pytest.approx(asimov(20.0, 100.0, delta), rel=0.01)
        counted = fit(filled(20, 100, delta), 0.0).discovery[0]
        assert counted == pytest.approx(asimov(20.0, 100.0, delta), rel=0.01)


@pytest.mark.parametrize(("s", "b", "delta"), [(20.0, 100.0, 0.1), (5.0, 3.0, 0.3), (60.0, 400.0, 0.05)])
def test_the_counting_formula_is_that_of_pyhf(s, b, delta):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = pyhf.simplemodels.uncorrelated_background([s], [b], [delta * b])  # a side band
        config = model.config
        data = model.expected_data(config.suggested_init())
        bounds = config.suggested_bounds(), config.suggested_fixed()
        q = pyhf.infer.test_statistics.q0(0.0, data, model, config.suggested_init(), *bounds)
    assert asimov(s, b, delta) == pytest.approx(math.sqrt(q), rel=1e-4)


def test_without_uncertainties_bins_add_in_quadrature():
    s, b = np.array([1.0, 5.0, 12.0]), np.array([100.0, 40.0, 9.0])
    assert fit(filled(s, b), 0.0).discovery[0] == pytest.approx(math.sqrt((asimov(s, b) ** 2).sum()), rel=1e-6)
    twice = fit(filled([20, 20], [100, 100]), 0.0)
    once = fit(filled(20, 100), 0.0)
    assert twice.discovery[0] == pytest.approx(math.sqrt(2) * once.discovery[0], rel=1e-6)
    # independent statistical errors of equal bins do so too, a common normalisation does not
    assert fit(filled([20, 20], [100, 100], 0.1), 0.0).discovery[0] == pytest.approx(
        math.sqrt(2) * fit(filled(20, 100, 0.1), 0.0).discovery[0], rel=1e-4
    )
    alone = fit(filled(20, 100), 0.2).discovery[0]
    assert fit(filled([20, 20], [100, 100]), 0.2).discovery[0] < 1.2 * alone


def test_a_bin_without_signal_tells_how_much_background_there_is():
    alone = fit(filled(20, 100), 0.2).discovery[0]
    helped = fit(filled([20, 0], [100, 10_000]), 0.2).discovery[0]
    assert alone < 0.8 * helped
    assert helped == pytest.approx(asimov(20.0, 100.0, 0.01), rel=0.01)


def test_limits_are_those_of_pyhf():
    spec = workspace(filled([4, 10], [60, 30], 0.05), 0.1)
    found = fit(filled([4, 10], [60, 30], 0.05), 0.1)
    assert list(found.band) == sorted(found.band)
    assert found.limit[0] == found.band[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = pyhf.Workspace(spec).model()
        start = model.config.suggested_init()
        start[model.config.poi_index] = 0.0
        data = model.expected_data(start)
        for order, strength in zip(range(5), found.band, strict=True):
            _, expected = pyhf.infer.hypotest(strength, data, model, return_expected_set=True)
            assert float(expected[order]) == pytest.approx(0.05, rel=0.01)


def test_weak_signals_have_limits_too():
    found = fit(filled(0.1, 1000), 0.0)
    # √q = μ s/√b for small signals; CLs of 5 % at 1.96
    assert found.limit[0] == pytest.approx(1.96 * math.sqrt(1000) / 0.1, rel=0.04)


def test_shapes_may_vary():
    s, b = np.array([2.0, 20.0]), np.array([500.0, 100.0])
    nominal = fit(filled(s, b), 0.0).discovery[0]
    tilt = {"tilt": {"b": (b * [1.0, 1.3], b * [1.0, 0.7])}}
    spec = workspace(filled(s, b), 0.0, variations=tilt)
    assert spec["channels"][0]["samples"][1]["modifiers"] == [
        {"name": "tilt", "type": "histosys", "data": {"hi_data": [500.0, 130.0], "lo_data": [500.0, 70.0]}}
    ]
    varied = fit(filled(s, b), 0.0, variations=tilt).discovery[0]
    assert varied < 0.7 * nominal
    assert varied == pytest.approx(math.hypot(asimov(20.0, 100.0, 0.3), asimov(2.0, 500.0)), rel=0.1)


def test_bins_hold_enough_background_and_every_event():
    scores = make_scores(make_events(3000), 0.9)
    found = histogram(scores, least=40.0, replicas=3)
    assert 2 < len(found.effective) <= BINS
    assert found.effective.min() >= 40
    group = hard_events(scores)
    last = (scores.score >= found.edges[-2]) & ~scores.is_signal
    assert found.effective[-1] == pytest.approx(effective(scores.weight[last], group[last]))
    for name in scores.processes:
        mine = scores.process == name
        np.testing.assert_allclose(found.yields[name].sum(axis=1), scores.weight[mine].sum())
        last = mine & (scores.score >= found.edges[-2])
        sums = np.bincount(group[last], weights=scores.weight[last])
        assert found.errors[name][-1] == pytest.approx(math.sqrt((sums**2).sum()))
    single = histogram(scores, least=800.0)
    assert len(single.effective) == 1
    with pytest.raises(ValueError, match="fewer than 1e"):
        histogram(scores, least=1e6)
    np.testing.assert_array_equal(fill(scores, found.edges).yields["ttH"], found.yields["ttH"][:1])


def test_copies_of_hard_events_make_bins_wider():
    scores = make_scores(make_events(3000), 0.9)
    copies = replace(scores, hard=scores.hard // 100)
    assert len(histogram(copies, least=30.0).effective) < len(histogram(scores, least=30.0).effective)


def test_a_fit_is_better_than_a_cut(tmp_path):
    runs = make_runs(tmp_path, make_events(1500), models={"a": 0.4, "b": 0.7}, seeds=1)
    said = CliRunner().invoke(app, ["fit", str(tmp_path), "--least", "60", "--replicas", "3"], env={"COLUMNS": "200"})
    assert said.exit_code == 0, said.output
    assert "limit on" in said.output  # headings may be broken into lines
    for run in runs:
        spec = json.loads((run / "workspace.json").read_text())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pyhf.schema.validate(spec, "workspace.json")
        told = load_run(run).fit
        assert told is not None
        assert told["discovery"]["error"] > 0
    comparison = compare(runs)
    assert comparison.fitted
    assert [column.heading for column in fit_section(comparison).columns][-2:] == [
        "fit to the score",
        "95 % CLs limit on μ",
    ]
    best = comparison.best(Metric("fit", "limit"))
    assert best is not None
    assert best.label == "b"
    for row in comparison.rows:
        cut = row.replicas[Metric("significance", "asimov_systematic", at="0.7")][0]
        assert row.replicas[Metric("fit", "discovery")][0] > cut
    # judged anew, the fit is out of date
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    metrics["settings"] = ClassificationEvaluationConfig(bootstrap=50, systematic=0.3).model_dump(mode="json")
    (runs[0] / "metrics.json").write_text(json.dumps(metrics))
    assert load_run(runs[0]).fit is None


def test_variations_of_the_detector_become_systematics_of_the_fit(tmp_path):
    (run,) = make_runs(tmp_path, make_events(1500), models={"a": 0.6}, seeds=1)
    plain = fit_run(run, least=100.0, replicas=2)
    scores = load_run(run).scores
    factor = np.where(scores.process == "ttH", 1 + 0.5 * scores.score, 1.0)
    (run / "shifts").mkdir()
    for name, by in (("btag_up", factor), ("btag_down", 1 / factor), ("jes_up", factor**0), ("jes_down", factor)):
        replace(scores, weight=scores.weight * by, probabilities={}).write(run / "shifts" / f"{name}.parquet")
    told: dict[str, Any] = {
        "scores": checksum(run / "scores.parquet"),
        "shifts": dict.fromkeys(("btag_up", "btag_down")),
    }
    (run / "shifts.json").write_text(json.dumps(told))
    shifted = fit_run(run, least=100.0, replicas=2)
    assert shifted["systematics"] == ["btag"]
    assert shifted["discovery"]["value"] < plain["discovery"]["value"]
    samples = json.loads((run / "workspace.json").read_text())["channels"][0]["samples"]
    shapes = {one["name"]: [m["data"] for m in one["modifiers"] if m["name"] == "btag"] for one in samples}
    np.testing.assert_allclose(shapes["tttt"][0]["hi_data"], samples[0]["data"])
    mine = scores.process == "ttH"
    last = mine & (scores.score >= shifted["edges"][-2])
    assert shapes["ttH"][0]["hi_data"][-1] == pytest.approx((scores.weight * factor)[last].sum())
    told["shifts"] |= dict.fromkeys(("jes_up", "jes_down"))
    (run / "shifts.json").write_text(json.dumps(told))
    filled = histogram(scores, least=100.0)
    up, down = variations(run, filled)["jes"]["ttH"]
    np.testing.assert_allclose(up + down, 2 * filled.yields["ttH"][0])  # mirrored
    (run / "shifts.json").write_text(json.dumps(told | {"scores": "of another training"}))
    assert variations(run, filled) == {}


def test_without_pyhf_the_remedy_is_told(tmp_path, monkeypatch):
    runs = make_runs(tmp_path, make_events(300), models={"a": 0.4}, seeds=1)
    imported = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "pyhf":
            raise ModuleNotFoundError("No module named 'pyhf'", name="pyhf")
        return imported(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    said = CliRunner().invoke(app, ["fit", str(runs[0])], env={"COLUMNS": "200"})
    assert said.exit_code == 2
    assert "pip install 'femtobarn[stat]'" in said.output
    assert not (runs[0] / "fit.json").exists()
