"""The page: whole in itself, true to the numbers, and drawn without noise or leftovers."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import rgb_to_hsv, to_rgb
from rich.console import Console

from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.rounding import rounded
from femtobarn.evaluation.tables import trainings
from femtobarn.report.style import DASHES, FAMILY_COLORS, literal, model_styles, process_styles
from femtobarn.report.text import duration, listing
from femtobarn.runs.fit import fit_run
from femtobarn.tasks.classification.comparison import compare, load_run
from femtobarn.tasks.classification.figures.curves import GRID, curve
from femtobarn.tasks.classification.figures.distributions import histograms
from femtobarn.tasks.classification.figures.event_display import choose, draw_events
from femtobarn.tasks.classification.figures.reliability import calibration_table, calibrations
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig
from femtobarn.tasks.classification.summary import summary
from femtobarn.tasks.classification.tables import tables
from femtobarn.tasks.results import markdown, report
from tests.support.fake_runs import make_run, make_runs, make_scores
from tests.support.sample import make_events

MODELS = {"BDT": 0.4, "ParT": 0.45, "ParT_int_SM": 0.6}


class Page(HTMLParser):
    """What a browser would make of the page: its text, its tags and what they refer to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = {name: value or "" for name, value in attrs}
        self.links += [values[name] for name in ("src", "href") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            self.images.append(values)
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def events():
    return make_events(1200)


@pytest.fixture(scope="module")
def study(events, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    make_runs(folder, events, models=MODELS)
    return folder


@pytest.fixture(scope="module")
def page(study, events, tmp_path_factory):
    steps: list[str] = []
    folder = tmp_path_factory.mktemp("page")
    path = report([study], folder / "deep" / "report.html", baseline="BDT", events=events, progress=steps.append)
    assert path == folder / "deep" / "report.html"
    assert [found.name for found in path.parent.iterdir()] == ["report.html"]
    assert steps[0] == "reading and comparing runs"
    assert "drawing curves" in steps
    return path


def test_page_needs_nothing_else(page):
    html = page.read_text(encoding="utf-8")
    found = Page(html)
    assert found.open == []
    assert all(link.startswith(("data:", "#")) for link in found.links)
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert len(set(found.ids)) == len(found.ids)
    assert "<script" not in html
    assert "url(" not in html
    assert "@import" not in html
    for image in found.images:
        kind, _, payload = image["src"].partition(";base64,")
        assert kind == "data:image/svg+xml"
        assert b"</svg>" in base64.b64decode(payload)
        assert len(image["alt"]) > 20
    assert re.findall(r"https?://[^\s\"<]+", html) == []


def test_page_tells_the_numbers_of_the_comparison(page, study):
    comparison = compare([path.parent for path in sorted(study.rglob("config.yaml"))], baseline="BDT")
    text = Page(page.read_text(encoding="utf-8")).text
    for sentence in summary(comparison):
        assert sentence in text
    for row in comparison.rows:
        assert row.label in text
        assert trainings(row) in text
        gain = row.measurements[Metric("gain", "plain", at="0.7")].value
        assert row.label == "BDT" or f"{gain:.1f}" in text
    assert "Every model against BDT" in text
    assert "Significance by counting" in text
    assert "Run femtobarn fit" in text
    assert "Where the others differ" in text
    assert "inputs.interactions: []" in text
    assert "femtobarn study four-top.yaml --output study" in text
    assert "ab" * 32 in text
    assert str(study) not in text


def test_page_tells_how_the_events_were_made(page):
    text = Page(page.read_text(encoding="utf-8")).text
    assert text.count("decays left open") == 1  # a step of one process: a line of the one cut flow
    assert text.index("cross section x luminosity") < text.index("decays left open") < text.index("n_jet >= 6")
    assert "1.234e+04" in text or "1.235e+04" in text
    assert "ttW.lhe.gz" in text
    assert "120\u202f000" in text
    assert "generator: none" in text  # what has no table is told as it is


def test_nothing_is_left_in_pyplot(page):
    assert plt.get_fignums() == []


def test_single_run_of_a_binary_classifier(events, tmp_path):
    folder, scores = tmp_path / "ParT(FL)", make_scores(events, 0.5, kind="binary")
    run = make_run(folder, "ParT", scores, settings=ClassificationEvaluationConfig(bootstrap=10))
    path = report([run], tmp_path / "report.html", title="Only <one>", figures=tmp_path / "figures")
    names = {"curves", "backgrounds", "scores", "confusion", "loss_curves", "reliability", "significance"}
    assert {found.name for found in (tmp_path / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("pdf", "png")
    }
    text = Page(path.read_text(encoding="utf-8")).text
    assert "Only <one>" in text
    assert "femtobarn train 'ParT(FL)/config.yaml'" in text  # brackets are the shell's own
    assert "One model was trained" in text
    assert "Luminosity that ParT needs" not in text
    assert "Part of each process that passes" in text
    assert "Three events" not in text


#: Names that are markup of figures, pages, tables and terminals.
HOSTILE = {"tttt": "$x^$", "ttH": "a_b$", "ttW": r"\frac\$", "ttWW": "_<b>|*", "ttZ": "[/x]\x07" + 60 * "w"}


def test_names_are_never_markup(events, tmp_path):
    """Process names come from files, and are drawn, written and printed as they are."""
    names = np.array([HOSTILE[name] for name in events.process])
    renamed, runs = replace(events, process=names), []
    for place, label in enumerate(("$y^$", "_m|<i>*", "[/red]")):
        scores = make_scores(events, 0.4 + 0.1 * place, place)
        probabilities = {HOSTILE[name]: column for name, column in scores.probabilities.items()}
        scores = replace(scores, process=names, signal=(HOSTILE["tttt"],), probabilities=probabilities)
        runs.append(
            make_run(tmp_path / str(place), label, scores, settings=ClassificationEvaluationConfig(bootstrap=10))
        )
    path = report(runs, tmp_path / "report.html", events=renamed, figures=tmp_path / "figures")
    html = path.read_text(encoding="utf-8")
    assert "_<b>" not in html
    assert all(name in Page(html).text for name in ("$x^$", "a_b$", r"\frac\$", "_<b>|*", "$y^$", "_m|<i>*", "[/red]"))
    assert (tmp_path / "figures" / "events.png").is_file()
    comparison = compare(runs)
    stream = io.StringIO()
    for table in tables(comparison, detailed=True):
        Console(file=stream, width=400).print(table.terminal())
    assert all(name in stream.getvalue() for name in ("$y^$", "_m|<i>*", "[/red]", "a_b$"))
    lines = [line for line in markdown(comparison).splitlines() if line.startswith("|")]
    pipes = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    head = 0
    for line, count in zip(lines, pipes, strict=True):
        head = count if line.startswith("| model") else head
        assert count == head, line


@pytest.mark.parametrize("name", ["$x^$", "a$b", "a$b$c$", "\\$", "\\", "x\\", "\\frac", "_a", "%s", "{0}", "x\ny"])
def test_texts_of_figures_show_names_as_they_are(name):
    figure = plt.figure()
    for text in (literal(name), rf"$\epsilon_S$ ({literal(name)})"):
        figure.text(0, 0, text).get_window_extent(FigureCanvasAgg(figure).get_renderer())  # type: ignore[no-untyped-call]
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label=literal(name))
    handles, labels = axes.get_legend_handles_labels()
    assert labels
    figure.legend(handles, labels)
    figure.canvas.draw()
    plt.close(figure)


def test_fits_and_calibration_are_told(events, tmp_path):
    pytest.importorskip("pyhf")
    runs = make_runs(tmp_path / "runs", events, models={"a": 0.4, "b": 0.6}, seeds=1)
    told = [fit_run(run, least=60.0, replicas=2) for run in runs]
    found = Page(report(runs, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "figure-fit" in found.ids
    assert "Significance by fit" in found.text
    assert "b, which has the largest AUC, against the others" in found.text
    assert f"{told[1]['discovery']['value']:.1f}" in found.text
    comparison = compare(runs)
    row = next(row for row in calibration_table(comparison, calibrations(comparison)).rows if row.label == "a")
    metrics = load_run(runs[0]).metrics["calibration"]
    for cell, number in ((row.cells[1], metrics["score"]["ece"]), (row.cells[3], metrics["surprise"])):
        assert float(cell.value) == pytest.approx(number["value"], abs=0.1 * number["error"])


def test_sizes_of_the_training_set_get_their_figure(events, tmp_path):
    for fraction in (0.1, 1.0):
        for path in make_runs(tmp_path / f"{fraction}", events, models={"a": 0.4 + 0.1 * fraction, "b": 0.5}, seeds=1):
            config = yaml.safe_load((path / "config.yaml").read_text())
            config["data"]["fraction"] = fraction
            (path / "config.yaml").write_text(yaml.safe_dump(config))
    html = report([tmp_path], tmp_path / "report.html", baseline="b").read_text(encoding="utf-8")
    found = Page(html)
    assert "Does more data help?" in found.text
    assert "figure-sizes" in found.ids
    assert "Luminosity that b needs to match" in found.text


def test_no_background_left_still_makes_a_page(events, tmp_path):
    runs = make_runs(tmp_path / "runs", events, models={"plain": 0.5, "perfect": 30.0}, seeds=1)
    text = Page(report(runs, tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "perfect separates them best" in text
    assert "–" in text
    assert "nan" not in text.split("What the words mean")[0].split("How it was made")[0].replace("finance", "")


def test_unfinished_run_is_named(study, events, tmp_path):
    make_runs(tmp_path, events, models={"a": 0.4}, seeds=1)
    (tmp_path / "a-0" / "metrics.json").unlink()
    with pytest.raises(ValueError, match="a-0 is an unfinished run"):
        report([study, tmp_path], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_curves_are_those_of_the_test_events(study):
    comparison = compare([path.parent for path in sorted(study.rglob("config.yaml"))])
    row = comparison["ParT"]
    found = curve(row, comparison)
    for index, point in enumerate((0.3, 0.7)):
        place = int(np.abs(GRID - point).argmin())
        assert GRID[place] == pytest.approx(point)
        number = row.measurements[Metric("background_efficiency", "total", at=f"{point:g}")]
        assert found.mean["total"][0, place] == pytest.approx(number.value), index
        assert found.mean["total"][1:, place].std(ddof=1) == pytest.approx(number.statistical)
        assert found.trainings["total"][:, place].std(ddof=1) == pytest.approx(number.seeds)


def test_histograms_hold_every_event(events):
    scores = make_scores(events)
    scores.score[:5] = 1.0
    for name, filled in histograms(scores).items():
        mine = scores.process == name
        assert filled.values().sum() == pytest.approx(scores.weight[mine].sum())
        assert np.sum(np.asarray(filled.variances())) == pytest.approx((scores.weight[mine] ** 2).sum())


def test_events_are_found_by_process_and_number(events):
    scores = make_scores(events)
    shuffled = events[np.random.default_rng(2).permutation(len(events))]
    chosen = choose(scores)
    assert scores.process[chosen[0].index] == "tttt"
    assert scores.score[chosen[0].index] == scores.score[scores.is_signal].max()
    assert scores.score[chosen[1].index] == scores.score[~scores.is_signal].max()
    figure = draw_events(scores, shuffled)
    titles = [axes.get_title("left") or axes.get_title() for axes in figure.axes]
    first = chosen[0].index
    assert f"{scores.process[first]} {scores.number[first]}, score {scores.score[first]:.3f}" in titles[0]
    with pytest.raises(ValueError, match="is 0 times among the 10 events given"):
        draw_events(scores, events[np.arange(10)])


def test_looks_differ():
    styles = model_styles([str(number) for number in range(50)])
    assert len({(look.color, str(look.dash)) for look in styles.values()}) == 50
    few = list(styles.values())[: len(DASHES)]
    assert len({str(look.dash) for look in few}) == len(few)
    assert len({look.color for look in process_styles("abcdefgh").values()}) == 8


def test_kinds_of_models_have_colours_and_all_looks_differ():
    labels = [f"{family}{number}" for family in ("bdt", "part") for number in range(6)]
    styles = model_styles([*labels, "cnn"], [*(label[:-1] for label in labels), "cnn"])
    assert len({(look.color, str(look.dash)) for look in styles.values()}) == 13
    lightness = [sum(to_rgb(styles[f"part{number}"].color)) for number in range(6)]
    assert lightness == sorted(lightness, reverse=True)
    hues = {label: rgb_to_hsv(to_rgb(look.color))[0] for label, look in styles.items()}
    assert np.ptp([hues[f"bdt{number}"] for number in range(6)]) < 0.02
    assert styles["cnn"].color == FAMILY_COLORS[2]


def test_ratios_are_drawn_against_baseline_trees_and_particlenet(events, tmp_path):
    runs = make_runs(tmp_path / "runs", events, models={"ParT": 0.5, "BDT": 0.4, "BDT_SM": 0.45}, seeds=1)
    found = Page(report(runs, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Rejection compared with ParT" in found.text
    assert "Rejection compared with BDT" in found.text
    assert "Rejection compared with BDT_SM" not in found.text
    assert {"figure-ratios", "figure-ratios_2"} <= set(found.ids)


def test_words():
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert [duration(seconds) for seconds in (4.21, 42.0, 185.0, 7800.0)] == [
        "4.2 s",
        "42 s",
        "3 min 5 s",
        "2 h 10 min",
    ]


def test_summary_says_when_models_are_equal(events, tmp_path):
    twins = compare(make_runs(tmp_path / "twins", events, models={"worse": 0.3, "one": 0.6, "other": 0.601}))
    best = twins.best(AUC)
    assert best is not None
    other = {"one": "other", "other": "one"}[best.label]
    said = " ".join(summary(twins))
    assert f"{other} can't be told from it" in said
    assert rounded(best.measurements[AUC].value, *best.measurements[AUC].errors) in said
    single = " ".join(summary(compare(make_runs(tmp_path / "single", events, models={"a": 0.3, "b": 0.6}, seeds=1))))
    assert "b separates them best" in single
    assert "is significant" in single
    assert "With one training each" in single
    baseline = compare(make_runs(tmp_path / "reverse", events, models={"good": 0.6, "bad": 0.3}))
    assert "no model is worth more luminosity than the baseline good" in " ".join(summary(baseline))


def test_template_travels_with_the_package():
    import femtobarn.report as room

    folder = Path(room.__file__).parent
    assert {"page.html.jinja", "page.css"} <= {path.name for path in folder.iterdir()}
