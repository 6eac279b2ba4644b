"""Runs side by side: means, the two errors, gains, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from femtobarn.evaluation.bootstrap import bootstrap_std
from femtobarn.evaluation.measurement import Measurement, Metric
from femtobarn.evaluation.rounding import decimals, fixed, rounded
from femtobarn.evaluation.runs import run_folders
from femtobarn.evaluation.table import Cell, Row, Table
from femtobarn.evaluation.tables import cells, csv_table, growth_tables
from femtobarn.tasks.classification.comparison import compare, load_run
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.sections import growth_columns, sections
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.tables import tables
from femtobarn.tasks.results import markdown
from tests.support.fake_runs import MODELS, make_run, make_runs, make_scores
from tests.support.sample import make_events


@pytest.fixture(scope="module")
def events():
    return make_events(1500)


@pytest.fixture(scope="module")
def runs(events, tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("study"), events)


@pytest.fixture(scope="module")
def comparison(runs):
    return compare(runs, baseline="BDT")


def test_means_and_errors_come_from_the_runs(runs, comparison):
    assert [row.label for row in comparison.rows] == list(MODELS)
    row = comparison["ParT"]
    assert row.seeds == (0, 1)
    judged = [load_run(path).metrics for path in runs if path.name.startswith("ParT-")]
    values = [metrics["auc"]["total"]["value"] for metrics in judged]
    errors = [metrics["auc"]["total"]["error"] for metrics in judged]
    number = row.measurements[AUC]
    assert number.value == pytest.approx(np.mean(values))
    assert number.seeds == pytest.approx(np.std(values, ddof=1))
    # the same test events for both trainings: their mean is hardly better known than each of them
    assert number.statistical == pytest.approx(np.mean(errors), rel=0.15)
    point = row.measurements[Metric("significance", "systematic", at="0.7")]
    expected = [metrics["significance"]["0.7"]["systematic"]["value"] for metrics in judged]
    assert point.value == pytest.approx(np.mean(expected))


def test_gain_is_the_square_of_the_ratio(comparison):
    for point in comparison.points:
        for kind in ("plain", "systematic"):
            means = [row.measurements[Metric("significance", kind, at=point)].value for row in comparison.rows]
            gains = [row.measurements[Metric("gain", kind, at=point)].value for row in comparison.rows]
            np.testing.assert_allclose(gains, (np.array(means) / means[0]) ** 2)
    assert comparison["BDT"].measurements[Metric("gain", "plain", at="0.3")].errors == (None, None)


def test_difference_of_two_models_is_better_known_than_either(comparison):
    key = AUC
    best, other = comparison["ParT_int_SM"], comparison["BDT"]
    apart = np.hypot(best.measurements[key].statistical, other.measurements[key].statistical)
    assert float(bootstrap_std(best.replicas[key] - other.replicas[key])) < 0.8 * apart
    assert comparison.deviation(best, other, key) == -comparison.deviation(other, best, key) > 2


def test_best_and_its_equals(events, tmp_path):
    twins = {"worse": 0.5, "one": 1.0, "other": 1.001}
    comparison = compare(make_runs(tmp_path, events, models=twins))
    for key in (AUC, Metric("background_efficiency", "total", at="0.7"), Metric("gain", "plain", at="0.7")):
        best = comparison.best(key)
        assert best is not None
        assert {best.label, *comparison.ties(key)} == {"one", "other"}


def test_single_seed_has_no_spread(events, tmp_path):
    comparison = compare(make_runs(tmp_path, events, seeds=1, models={"a": 0.7, "b": 1.0}))
    assert comparison.baseline == "a"
    assert comparison.pooled == {}
    for row in comparison.rows:
        assert all(number.seeds is None for number in row.measurements.values())
    assert rounded(0.5, 0.01, None) == "0.500 ± 0.010"


def test_sizes_of_the_training_set_are_rows_of_their_own(events, tmp_path):
    import yaml

    paths = make_runs(tmp_path, events, models={"a": 0.7, "b": 1.0})
    config = yaml.safe_load((paths[0] / "config.yaml").read_text())
    config["data"]["fraction"] = 0.1
    (paths[0] / "config.yaml").write_text(yaml.safe_dump(config))
    assert [row.label for row in compare(paths).rows] == [
        "a, 10 % of training",
        "a",
        "b",
    ]
    found = compare(paths, baseline="a")
    assert found.baseline == "a"
    assert found.sizes == (0.1, 1.0)
    assert [row.label for row in found.largest.rows] == ["a", "b"]
    # marks of a size compare models of that size: alone at 10 %, a is marked in no way
    (table,) = growth_tables(found, growth_columns(found))
    assert table.headings == ["10 %", "100 %"]
    assert [(row.label, row.cells[0].text != "–") for row in table.rows] == [("a", True), ("b", False)]
    assert not table.rows[0].cells[0].best
    assert table.rows[1].cells[1].best
    said = markdown(found)
    assert "| model | 10 % | 100 % |" in said
    assert "10 % of training |" not in said
    # a baseline that only has a smaller training stays beside the others
    alone = compare([*paths[:1], *paths[2:]], baseline="a")
    assert alone.baseline == "a, 10 % of training"
    assert [row.label for row in alone.largest.rows] == ["a, 10 % of training", "b"]


def test_what_can_not_be_compared_is_refused(runs, events, tmp_path):
    with pytest.raises(ValueError, match="no runs"):
        compare([])
    with pytest.raises(ValueError, match="no model is labelled 'bdt'; there are BDT, ParticleNet"):
        compare(runs, baseline="bdt")
    quick = ClassificationEvaluationConfig(bootstrap=10)
    again = make_run(tmp_path / "again", "BDT", make_scores(events), seed=0, settings=quick)
    with pytest.raises(ValueError, match="use the same settings"):
        compare([*runs, again])
    with pytest.raises(ValueError, match="both BDT with seed 0"):
        compare([*runs, again], settings=quick)
    others = make_run(tmp_path / "others", "new", make_scores(make_events(1000, seed=3)), settings=quick)
    with pytest.raises(ValueError, match="evaluated on different events"):
        compare([runs[0], others])
    (again / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"again is an unfinished run \(metrics.json missing\)"):
        compare([again])
    with pytest.raises(ValueError, match="is no run folder"):
        load_run(tmp_path)
    (others / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json can't be read"):
        load_run(others)
    (others / "meta.json").write_text(json.dumps({"label": "x"}))
    with pytest.raises(ValueError, match=r"meta\.json lacks seed; it has label"):
        load_run(others)


def test_a_study_folder_stands_for_its_runs(runs, tmp_path):
    study = runs[0].parent
    assert run_folders([study]) == sorted(runs)
    assert run_folders([runs[3], study])[0] == runs[3]
    with pytest.raises(ValueError, match="no run in"):
        run_folders([tmp_path])
    with pytest.raises(ValueError, match="is no folder"):
        run_folders([tmp_path / "missing"])


def test_a_study_says_in_which_order_its_models_come(events, tmp_path):
    make_runs(tmp_path, events, models={"a": 0.3, "b": 0.4, "c": 0.5}, seeds=1)
    for label in "abc":
        (tmp_path / f"{label}-0").rename(tmp_path / label)
    (tmp_path / "study.yaml").write_text("models: {c: {}, a: {}, b: {}}")
    assert [folder.name for folder in run_folders([tmp_path])] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("error", "digits"),
    # 0.827 ± 0.119 -> 0.83 ± 0.12 and 0.827 ± 0.367 -> 0.8 ± 0.4 are the examples of the Review of Particle Physics
    [
        (0.119, 2),
        (0.367, 1),
        (0.354, 2),
        (0.355, 1),
        (0.949, 1),
        (0.95, 1),
        (0.0996, 2),
        (35.4, 0),
        (36.0, -1),
        (120.0, -1),
    ],
)
def test_rounding_of_the_particle_data_group(error, digits):
    assert decimals(error) == digits


def test_rounded_numbers():
    assert rounded(0.827, 0.119) == "0.83 ± 0.12"
    assert rounded(0.827, 0.367) == "0.8 ± 0.4"
    assert rounded(0.873218, 0.00121, 0.00008) == "0.8732 ± 0.0012 ± 0.0001"
    assert rounded(14827.0, 367.0) == "14800 ± 400"
    assert rounded(None, 0.1) == "–"
    assert rounded(2.0) == "2.0000"
    assert fixed(2.05, 1) in ("2.0", "2.1")
    with pytest.raises(ValueError, match="only a positive error"):
        decimals(0.0)


@given(st.floats(1e-9, 1e9))
def test_a_rounded_error_keeps_one_or_two_digits(error):
    digits = decimals(error)
    assert abs(round(error, digits) - error) <= 0.15 * error
    assert 0.95 <= round(error, digits) * 10.0**digits < 36


def test_tables_fit_a_terminal(comparison):
    console = Console(width=80, record=True, force_terminal=False, file=io.StringIO())
    for table in tables(comparison, detailed=True):
        console.print(table.terminal())
    text = console.export_text()
    assert "…" not in text
    assert all(name in text for name in MODELS)
    assert f"{comparison['ParT'].measurements[AUC].value:.2f}" in text


def test_markdown_marks_the_best(comparison):
    text = markdown(comparison)
    for section in sections(comparison):
        assert section.title in text
        for column in section.columns:
            made = cells(comparison, column)
            assert sum(cell.best for cell in made) == 1
            assert all(not (cell.best and cell.tied) for cell in made)
    lines = [line for line in text.splitlines() if line.startswith("| ParT_int_SM ")]
    assert "**0." in lines[0]


def test_csv_holds_every_number(comparison):
    rows = list(csv.DictReader(io.StringIO(csv_table(comparison))))
    assert len(rows) == sum(len(row.measurements) for row in comparison.rows)
    one = next(
        row
        for row in rows
        if (row["model"], row["quantity"], row["working_point"], row["which"])
        == ("ParT", "background_efficiency", "0.7", "ttH")
    )
    number = comparison["ParT"].measurements[Metric("background_efficiency", "ttH", at="0.7")]
    assert [float(one[name]) for name in ("value", "statistical", "seeds")] == [number.value, *number.errors]


def test_a_table_says_the_same_in_every_form():
    rows = [
        Row("a|b", [Cell("0.88 ± 0.01", best=True), Cell("–")]),
        Row("<c>", [Cell("0.87 ± 0.02", tied=True), Cell("3")]),
    ]
    table = Table("Quality", ["AUC", "ε_B"], rows, note="of <all>")
    lines = table.markdown().splitlines()
    assert lines[2:6] == [
        "| model | AUC | ε_B |",
        "|---|---:|---:|",
        "| a\\|b | **0.88 ± 0.01** | – |",
        "| \\<c> | ≈ 0.87 ± 0.02 | 3 |",
    ]
    assert list(csv.reader(io.StringIO(table.csv())))[1:] == [["a|b", "0.88 ± 0.01", "–"], ["<c>", "0.87 ± 0.02", "3"]]
    page = table.html()
    assert '<td class="best"><b>0.88</b><small>± 0.01</small></td>' in page
    assert "&lt;c&gt;" in page
    assert "of &lt;all&gt;" in page
    assert "<th>ε<sub>B</sub></th>" in page
    console = Console(width=80, record=True, force_terminal=False, file=io.StringIO())
    console.print(table.terminal())
    assert "* 0.88" in console.export_text()


def test_metrics_and_measurements():
    assert Metric("significance", "plain", at="0.3").path == ("significance", "0.3", "plain")
    assert Metric("signal", at="0.3").path == ("signal", "0.3")
    assert Measurement.finite(math.nan, 1.0, 1.0) == Measurement()
    assert Measurement.finite(1.0, math.inf, 0.5) == Measurement(1.0, None, 0.5)
    assert Measurement(0.87654, 0.0043).scaled(100.0).format() == "87.7 ± 0.4"
    assert [Measurement(above=123.4).format(), Measurement().format()] == ["> 123", "–"]
