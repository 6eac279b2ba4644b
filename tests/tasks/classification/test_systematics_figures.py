"""The report's section on systematic variations: shown if all trainings of a model have them, with their numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from femtobarn.events.storage.files import checksum
from femtobarn.report.style import model_styles
from femtobarn.tasks.classification.comparison import compare, load_run
from femtobarn.tasks.classification.figures.systematics import draw_systematics, systematics_of, systematics_tables
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.systematics import evaluate_systematics
from femtobarn.tasks.results import report
from tests.support.fake_runs import make_runs
from tests.support.sample import make_events

FACTORS = {"btag_up": 1.2, "btag_down": 0.8}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two trainings of two models, in which b-tags change the yield of one background."""
    folders = make_runs(tmp_path_factory.mktemp("runs"), make_events(600), models={"BDT": 0.4, "ParT": 0.6})
    for folder in folders:
        write(folder)
    return folders


def write(folder: Path) -> None:
    run = load_run(folder)
    settings = ClassificationEvaluationConfig.model_validate(run.metrics["settings"])
    chosen = run.scores.process == "ttZ"
    shifted = {
        name: replace(run.scores, weight=run.scores.weight * np.where(chosen, factor, 1.0))
        for name, factor in FACTORS.items()
    }
    shifted["jes_down"] = replace(run.scores, weight=np.where(run.scores.score < 0.05, 0, run.scores.weight))
    about = {"settings": run.metrics["settings"], "scores": checksum(folder / "scores.parquet")}
    (folder / "shifts.json").write_text(json.dumps(about | evaluate_systematics(run.scores, shifted, settings)))


def test_page_shows_them(runs, tmp_path):
    html = report(runs[::2], tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="figure-shifts"' in html
    assert 'href="#shifts"' in html
    section = html[html.index('<section id="shifts">') :].split("</section>")[0]
    text = re.sub(r"<[^>]+>", " ", section)
    assert "Events that leave the selection" in text
    assert all(name in text for name in ("btag up", "btag down", "jes down", "BDT", "ParT"))


def test_tables_hold_the_mean_over_trainings(runs):
    found = systematics_of(compare(runs))
    assert [len(trainings) for trainings in found.values()] == [2, 2]
    tables = {table.title: table for table in systematics_tables(found)}
    table = tables["Change of the background yield in percent, cut at ε_S = 70 %"]
    place = list(table.headings).index("btag up")
    for model, cells in ((row.label, row.cells) for row in table.rows):
        values = [each["shifts"]["btag_up"]["background"]["0.7"]["change"] for each in found[model]]
        assert float(cells[place].value) == pytest.approx(100 * np.mean(values), abs=0.5)
        assert cells[place].errors.count("±") == 2


def test_figure_has_a_point_for_every_variation(runs):
    found = systematics_of(compare(runs))
    figure = draw_systematics(found, model_styles(list(found)))
    points = [len(axes.containers) for axes in figure.axes]
    assert points == [2, 4, 2, 4]  # jet energies went down only; area above, background below
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["BDT", "ParT"]


def test_models_without_or_with_stale_variations_are_left_out(runs, tmp_path):
    folders = make_runs(tmp_path, make_events(600), models={"BDT": 0.4, "ParT": 0.6}, seeds=2)
    assert systematics_of(compare(folders)) == {}
    for folder in folders[:3]:
        write(folder)
    assert list(systematics_of(compare(folders))) == ["BDT"]
    replace(load_run(folders[0]).scores, score=load_run(folders[1]).scores.score).write(folders[0] / "scores.parquet")
    assert systematics_of(compare(folders)) == {}
