"""The page of a study of taggers: metrics of the field, costs, learning curves and published numbers."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.runs import run_folders
from femtobarn.evaluation.tables import Column
from femtobarn.report.labels import place_labels
from femtobarn.report.model_families import families
from femtobarn.report.model_points import draw_sizes
from femtobarn.report.performance_vs_cost import draw_performance_vs_cost
from femtobarn.report.style import model_styles
from femtobarn.tasks.classification.comparison import ModelResult, compare, load_run
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.published import TITLE, published_table
from femtobarn.tasks.classification.sections import growth_columns
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.summary import summary
from femtobarn.tasks.results import markdown, report
from tests.support.fake_runs import make_run
from tests.tasks.classification.test_report import Page
from tests.tasks.classification.test_tagging import two_classes

SETTINGS = ClassificationEvaluationConfig(metrics="tagging", bootstrap=12, published="top-tagging")
#: Architecture, sharpness, operations and speed.
TAGGERS = {
    "BDT": ("bdt", 1.4, None, 300.0),
    "PFN": ("pfn", 1.5, 5.5e5, 45_000.0),
    "LorentzNet": ("lorentznet", 1.8, 9e6, 1_000.0),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A made-up study of three taggers with two sizes of the training set."""
    folder = tmp_path_factory.mktemp("study")
    for size in (0.1, 1.0):
        for label, (name, apart, flops, speed) in TAGGERS.items():
            scores = two_classes(900, 0, apart * (0.9 if size < 1 else 1.0))
            path = make_run(folder / label / f"seed-1-size-{size}", label, scores, seed=1, settings=SETTINGS)
            config = yaml.safe_load((path / "config.yaml").read_text())
            config["model"]["name"], config["data"] = name, {"sample": "top-tagging", "fraction": size}
            (path / "config.yaml").write_text(yaml.safe_dump(config))
            meta = json.loads((path / "meta.json").read_text())
            meta |= {"flops": flops, "scored_per_second": speed, "events": {"train": int(6480 * size)}}
            (path / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture(scope="module")
def comparison(study):
    return compare([load_run(folder) for folder in run_folders([study])])


def test_page_of_a_study_of_taggers(study, comparison, tmp_path):
    found = Page(report([study], tmp_path / "report.html").read_text(encoding="utf-8"))
    figures = {name.removeprefix("figure-") for name in found.ids if name.startswith("figure-")}
    assert {"overview", "sizes", "sizes_rejection", "performance_vs_cost", "curves"} <= figures
    assert "significance" not in figures
    assert "fit" not in found.ids
    assert "AUC against the part of the training events used" in found.text
    assert "FLOPs an event" in found.text
    assert f"{TITLE} " in found.text
    assert "arXiv:1902.08570" in found.text
    assert "were trained and evaluated on other and fewer jets (top-tagging): do not compare" in found.text
    said = " ".join(summary(comparison.largest))
    assert said in found.text
    assert "At a signal efficiency of 50 %, LorentzNet keeps one QCD jet out of" in said
    assert "s/√b" not in found.text.split("What the words mean")[0]
    assert "expected with" not in found.text


def test_published_numbers_stand_apart(comparison):
    text = markdown(comparison)
    own, others = text.split(f"**{TITLE}**")
    assert "PELICAN" not in own
    assert "| PELICAN | 0.9426 | 0.9870 | 2250 ± 75 | – | arXiv:2211.00454 |" in others
    assert "| ParticleNet | 0.940 | 0.9858 | 1615 ± 93 | 397 ± 7 | arXiv:1902.08570 |" in others
    assert "(first trained on JetClass, 100 million jets)" in others
    (found,) = published_table(comparison)
    assert len(found.rows) == 12
    runs = [run for row in comparison.rows for run in row.runs]
    silent = compare(runs, settings=SETTINGS.model_copy(update={"published": None}))
    assert published_table(silent) == []
    assert TITLE not in markdown(silent)


def test_learning_curves_of_area_and_rejection(comparison):
    text = markdown(comparison)
    assert "**AUC against the part of the training events used**" in text
    assert "**1/ε_B at ε_S = 50 % against the part of the training events used**" in text
    sizes: dict[str, list[ModelResult]] = {}
    for row in comparison.rows:
        sizes.setdefault(row.model, []).append(row)
    styles, kinds = model_styles(list(sizes)), {name: name for name in sizes}
    column = growth_columns(comparison)[1]
    axes = draw_sizes(sizes, styles, kinds, column, "jets").axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "training jets"
    assert axes.get_xticks().tolist() == [648, 6480]
    drawn = {line.get_label(): line for line in axes.containers}
    assert set(drawn) == set(TAGGERS)
    x, y = drawn["PFN"].lines[0].get_data()  # type: ignore[attr-defined]
    row = comparison["PFN"]
    assert x.tolist() == [648, 6480]
    assert y[1] == pytest.approx(row.measurements[Metric("rejection", "total", at="0.5")].value)


AREA = Column(AUC, "AUC")


def test_quality_against_cost(comparison):
    rows = comparison.largest.rows
    figure = draw_performance_vs_cost(comparison.largest, model_styles([row.label for row in rows]), AREA, "jet")
    assert figure is not None
    operations, speed = figure.axes
    assert {text.get_text() for text in operations.texts} == {"PFN", "LorentzNet"}  # trees multiply no matrices
    assert {text.get_text() for text in speed.texts} == set(TAGGERS)
    assert sorted(float(np.ravel(np.asarray(line.get_xdata()))[0]) for line in operations.lines) == [5.5e5, 9e6]


def test_costs_within_a_power_of_ten_can_be_read_off(comparison):
    rows = [row for row in comparison.largest.rows if row.label in ("BDT", "LorentzNet")]  # 300 and 1000 a second
    some = replace(comparison.largest, rows=tuple(rows))
    figure = draw_performance_vs_cost(some, model_styles([row.label for row in rows]), AREA, "jet")
    assert figure is not None
    (speed,) = figure.axes
    figure.draw_without_rendering()
    low, high = speed.get_xlim()
    ticks = [*speed.xaxis.get_major_ticks(), *speed.xaxis.get_minor_ticks()]
    shown = {tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high}
    assert {"500", "1 k"} <= shown


def test_labels_cover_neither_each_other_nor_points():
    rng = np.random.default_rng(2)
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    x, y = rng.uniform(0, 1, 25), rng.uniform(0, 1, 25) ** 2
    axes.plot(x, y, "o", markersize=6)
    names = [f"model {number}" for number in range(25)]
    place_labels(axes, list(zip(x, y, np.zeros(25), strict=True)), names, ["black"] * 25)
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    boxes = [super(type(text), text).get_window_extent(renderer) for text in axes.texts]
    points = axes.transData.transform(np.stack([x, y], axis=1))
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:place])
        assert not any(box.contains(*point) for point in points)
        assert axes.bbox.contains(*box.get_points().mean(axis=0))
        own = points[names.index(axes.texts[place].get_text())]
        nearest = (max(box.x0, min(own[0], box.x1)), max(box.y0, min(own[1], box.y1)))
        assert math.dist(own, nearest) < 70 * figure.dpi / 72


def test_many_architectures_are_grouped_by_kind(comparison):
    few = [row.family for row in comparison.rows]
    assert families(few) == few
    names = ["bdt", "cnn", "pcnn", "efn", "pfn", "particlenet", "part", "sett", "transformer", "lorentznet", "new"]
    found = families(names)
    assert found[:3] == ["trees", "sequences and images", "sequences and images"]
    assert found[6:9] == ["attention"] * 3
    assert found[9:] == ["Lorentz-equivariant", "new"]
