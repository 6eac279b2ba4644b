"""The public face: one import for a day's work, arrays in and arrays out, and a scikit-learn-like classifier."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import femtobarn as fb
from tests.support.sample import make_events

TRAINING = {"epochs": 3, "batch_size": 128, "lr": 3e-3, "threads": 1, "device": "cpu", "num_workers": 0}


@pytest.fixture(scope="module")
def events() -> fb.Events:
    return make_events(400)


@pytest.fixture(scope="module")
def classifier(events: fb.Events) -> fb.Classifier:
    return fb.Classifier("pfn", signal="tttt", training=TRAINING).fit(events, events.process)


def test_public_names_are_loaded_when_used_and_nothing_else_is_shown():
    code = "import femtobarn, sys; print(dir(femtobarn), 'torch' in sys.modules, 'numpy' in sys.modules)"
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert shown.strip() == f"{sorted(fb.__all__)} False False"
    assert all(getattr(fb, name) is not None for name in fb.__all__)
    with pytest.raises(AttributeError, match="no attribute 'shipped'"):
        _ = fb.shipped


def test_probabilities_of_a_classifier_sum_to_one_and_beat_chance(events, classifier):
    probabilities = classifier.predict_proba(events)
    assert classifier.classes_[0] == "tttt"
    assert probabilities.shape == (len(events), 5)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    predicted = classifier.predict(events)
    assert classifier.score(events, events.process) == np.mean(predicted == events.process)
    assert classifier.score(events, predicted) == 1
    assert classifier.score(events, events.process) > 0.25
    score = classifier.decision_function(events)
    assert score[events.process == "tttt"].mean() > score[events.process != "tttt"].mean()


def test_labels_may_join_processes_whose_event_numbers_repeat(events):
    labels = np.where(np.isin(events.process, ["tttt", "ttH"]), "signal", "rest")
    fitted = fb.Classifier("pfn", training=TRAINING | {"epochs": 1}).fit(events, labels, np.ones(len(events)))
    assert fitted.classes_ == ("signal", "rest")
    assert fitted.run_folder is not None
    assert fb.evaluate(fitted.run_folder)["auc"]["total"]["value"] > 0


def test_classifier_is_cloned_by_scikit_learn(classifier):
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params()
    with pytest.raises(ValueError, match="not fitted"):
        copy.predict_proba(make_events(3))
    with pytest.raises(ValueError, match="no parameter 'depth'"):
        copy.set_params(depth=3)


def test_wrong_labels_are_refused(events):
    with pytest.raises(ValueError, match="3 labels for"):
        fb.Classifier().fit(events, ["a", "b", "c"])
    with pytest.raises(ValueError, match="needs at least two classes"):
        fb.Classifier().fit(events, ["a"] * len(events))


def test_plain_arrays_are_predicted_as_their_events(events, classifier):
    particles, run = events.particles, Path(classifier.run_folder)
    columns = fb.predict(run, events)
    arrays = {name: particles[name] for name in ("pt", "eta", "phi", "E", "kind")}
    plain = fb.predict(fb.load(run), **arrays, MET=events.context.MET, phi_MET=events.context.phi_MET)
    assert list(plain) == list(columns) == ["score", *(f"probability_{name}" for name in classifier.classes_)]
    np.testing.assert_allclose(plain.to_numpy(), columns.to_numpy(), atol=1e-6)
    assert columns.to_arrow().num_rows == len(events)
    assert repr(columns).startswith(f"PredictionColumns({len(events)} events: score")
    with pytest.raises(KeyError, match="no column 'probability'; there are score"):
        columns["probability"]
    with pytest.raises(ValueError, match="either events or plain arrays"):
        fb.predict(run)
