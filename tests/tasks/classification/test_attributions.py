"""Figures of what models look at show the numbers of explain.json, and only those that were measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from femtobarn.explain import EXPLAIN, Tally, explain_network, explain_trees
from femtobarn.inputs import Inputs, columns, make_batch
from femtobarn.models import BDT, Network, model_spec
from femtobarn.tasks.classification.classifier import Classifier
from femtobarn.tasks.classification.comparison import compare, load_run
from femtobarn.tasks.classification.config import ClassificationConfig
from femtobarn.tasks.classification.figures.attributions import COLUMNS, draw_attributions
from tests.support.fake_runs import make_runs
from tests.support.sample import PROCESSES, make_events


@pytest.fixture(scope="module")
def events():
    return make_events(300, seed=2)


@pytest.fixture(scope="module")
def explained(events, tmp_path_factory):
    """A comparison of a network of each sort and trees, with what they look at in their folders."""
    folders = make_runs(
        tmp_path_factory.mktemp("runs"), events, seeds=1, models={"BDT": 0.8, "cnn": 0.7, "part_SM": 1.0}
    )
    background = [name for name in PROCESSES if name != "tttt"]
    task = Classifier(ClassificationConfig(signal=("tttt",)), ("tttt",), background, dict.fromkeys(PROCESSES, 1.0))
    tally = Tally(events.process, events.hard, events.weight, ("tttt",))
    batch = make_batch(events, 18)
    found = {}
    for folder in folders:
        label = folder.name.rpartition("-")[0]
        torch.manual_seed(0)
        if label == "BDT":
            names, x = columns(batch)
            trees, y = BDT(Inputs().sizes(5), **model_spec("bdt").small), task.labels(events)
            trees.fit(x, y, np.ones(300), x, y, np.ones(300), names, seed=1, threads=1)
            mine = explain_trees(trees, task.log_odds, names, x, tally)
        else:
            inputs = Inputs(("mass", "sm_const") if "SM" in label else ()).fit(batch)
            name = label.partition("_")[0]
            network = Network(inputs, model_spec(name).build(inputs.sizes(5), **model_spec(name).small)).eval()
            mine = explain_network(network, task.log_odds, batch, tally, lambda step, done: None)
        counts = {name: int((events.process == name).sum()) for name in PROCESSES}
        found[label] = {"label": label, "signal": ["tttt"], "events": counts, "seed": 1, **mine}
        (folder / EXPLAIN).write_text(json.dumps(found[label], allow_nan=False), encoding="utf-8")
    comparison = compare([load_run(folder) for folder in folders])
    return comparison, found, {picture.name: picture for picture in draw_attributions(comparison, comparison.rows)}


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_every_finding_has_its_figure(explained):
    _, _, drawn = explained
    assert list(drawn) == ["look_relevance", "look_features", "look_attention", "look_u", "look_columns"]
    for picture in drawn.values():
        assert picture.inline.startswith("data:image/svg+xml")
        assert picture.caption.endswith(".")


def test_points_are_the_relevance_that_was_found(explained):
    _, found, drawn = explained
    left, right = drawn["look_relevance"].figure.axes
    entries = found["cnn"]["relevance"]["type"]["tttt"]
    points = left.get_lines()[0].get_xdata()
    np.testing.assert_allclose(points, [np.nan if e["mean"] is None else e["mean"] for e in entries.values()])
    # ranks that hardly any event has are not drawn
    ranks = [label.get_text() for label in right.get_xticklabels()]
    measured = [
        name
        for name in found["cnn"]["relevance"]["rank"]["tttt"]
        if any(found["cnn"]["relevance"]["rank"][process][name]["mean"] is not None for process in PROCESSES)
    ]
    assert ranks == measured
    assert len(ranks) < 18


def test_shares_are_written_out(explained):
    _, found, drawn = explained
    (axes,) = drawn["look_features"].figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cnn", "part_SM"]
    share = found["part_SM"]["gradient"]["feature"]["pair"]["tttt"]["sm_const"]["share"]
    assert f"{100 * share:.1f}" in texts(axes)
    # what a network does not get has no cell
    entries = [
        part["tttt"] for each in found.values() if "gradient" in each for part in each["gradient"]["feature"].values()
    ]
    assert len(texts(axes)) == sum(entry["share"] > 0 for part in entries for entry in part.values())


def test_attention_and_couplings_are_written_out(explained):
    _, found, drawn = explained
    signal, background = drawn["look_attention"].figure.axes
    value = found["part_SM"]["attention"]["objects"]["tttt"]["values"][0][1]
    assert f"{value:.2f}" in texts(signal)
    assert "all backgrounds" in (background.get_title(), background.get_title(loc="left"))
    couplings = drawn["look_u"].figure.axes[-1]
    assert {"1.22", "0.76", "0.00"} <= set(texts(couplings))


def test_columns_stand_by_their_share(explained):
    _, found, drawn = explained
    left = drawn["look_columns"].figure.axes[0]
    names = [label.get_text() for label in left.get_yticklabels()]
    shares = {name: entry["share"] for name, entry in found["BDT"]["contributions"]["column"]["tttt"].items()}
    assert len(names) == COLUMNS
    assert names == sorted(shares, key=lambda name: -shares[name])[:COLUMNS]


def test_runs_that_were_not_explained_have_no_figures(events, tmp_path):
    comparison = compare([load_run(folder) for folder in make_runs(tmp_path, events, seeds=1)])
    assert draw_attributions(comparison, comparison.rows) == []
