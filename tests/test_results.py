"""The pages in docs/results are what the tool computed, for any study."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from femtobarn.evaluation.runs import run_folders
from femtobarn.tasks.classification.comparison import compare
from femtobarn.tasks.results import markdown
from tests.support.fake_runs import make_runs
from tests.support.sample import make_events

ROOT = Path(__file__).parents[1]


def imported(name: str):
    """A script of the folder docs."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script():
    return imported("results")


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- results: x -->\nold\n<!-- end of results -->\nb\n")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    events = make_events(600)
    for fraction in (0.1, 1.0):
        models = {"BDT": 0.5 * fraction, "ParT": 0.6 * fraction}
        for path in make_runs(folder / "ours" / f"{fraction}", events, models=models, seeds=1):
            config = yaml.safe_load((path / "config.yaml").read_text())
            config["data"]["fraction"] = fraction
            (path / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "ours"


def test_a_study_gets_its_page_with_all_there_is(script, runs, readme, tmp_path):
    times = {"trained": 4, "workers": 2, "wall_seconds": {"actual": 125.0, "estimated": 100.0}}
    (runs / "estimate.json").write_text(json.dumps(times))
    scan = tmp_path / "scan"
    scan.mkdir()
    (scan / "scan.md").write_text("## Search for better settings of ours.yaml\n")
    script.main(runs, scan, root=tmp_path)
    page = (tmp_path / "docs" / "results" / "ours.md").read_text()
    assert markdown(compare(run_folders([runs]))).strip() in page
    assert "AUC against the part of the training events used" in page
    assert "4 trainings" in page
    assert "Imagined processor at 2 GHz" in page
    assert "abababababababab" in page
    assert "2 min 05 s with 2 worker(s)" in page
    assert "## Search for better settings of ours.yaml" in page
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert pictures == ["ours-overview.png", "ours-sizes.png", "ours-performance_vs_cost.png", "ours-ratios.png"]
    assert {"sizes_rejection", "performance_vs_cost"} <= set(script.FIGURES)  # of taggers
    assert all((tmp_path / "docs" / "results" / name).is_file() for name in pictures)
    assert "old" in readme.read_text()  # only four-top-small goes there


def test_the_readme_shows_the_shipped_study_alone(script, runs, readme, tmp_path, monkeypatch):
    small = tmp_path / "four-top-small"
    shutil.copytree(runs, small)
    monkeypatch.setattr(script, "report", lambda *_, **__: None)  # drawn in the other test
    script.main(small, root=tmp_path)
    told = readme.read_text()
    assert told.startswith("a\n<!-- results: x -->\n`femtobarn study")
    assert told.endswith("<!-- end of results -->\nb\n")
    assert "| ParT |" in told
    assert "\nold\n" not in told
    assert "AUC against each background" not in told


def test_pages_carry_the_fingerprint_of_the_shipped_events():
    script = imported("fingerprints")
    mentions = script.mentions()
    assert len(mentions) >= 10
    assert {mention.sample for mention in mentions} == {"four-top", "top-tagging", "u u~ > z g g"}
    for mention in mentions:
        remedy = f"{mention.page.name}, line {mention.line + 1}: python docs/fingerprints.py --write"
        assert mention.digits == script.today(mention.sample, mention.selection, mention.points), remedy
