"""Jet taggers export to ONNX, from raw constituents to the score, and agree with the file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from femtobarn.export import Facts, Scorer
from femtobarn.inputs import FEATURES, make_batch
from femtobarn.models import model_spec, networks
from femtobarn.tasks.classification.classifier import classifier_of
from femtobarn.tasks.classification.config import ClassificationConfig
from tests.inputs.test_constituents import network, without
from tests.support.jets import jet_events
from tests.support.sample import in_single

pytest.importorskip("onnxscript")

from femtobarn.export.columns import FORMS, AnyColumns, columns_of
from femtobarn.export.graph import JetGraph
from femtobarn.export.synthetic import keep_particles, synthetic_jets
from femtobarn.physics.objects import JET_KINDS
from femtobarn.runs.export import write_validated

#: Fewer than the jets have constituents.
SLOTS = 21
SETS = tuple(FEATURES)  # every one of them with some network
NAMES = [name for name in networks() if not model_spec(name).by_kind]
#: In every run. A file differs only in its columns from the file of events, which `test_contract.py` tests for every
#: network. A sum over particles for two sets of columns, nearest neighbours for the third, and four-vectors in float64.
FAST = {"pfn", "efn", "particlenet", "lorentznet"}
CASES = [
    pytest.param(name, SETS[at % 3], marks=[] if name in FAST else [pytest.mark.slow]) for at, name in enumerate(NAMES)
]


@pytest.mark.parametrize(("name", "features"), CASES)
def test_a_tagger_exports_and_agrees_with_the_file(name, features, tmp_path):
    tagger = network(name, features).float()
    jets = in_single(jet_events(150, seed=5))
    task = classifier_of(ClassificationConfig(signal=("top",)), jets)
    facts = Facts(
        label=name,
        model=name,
        seed=1,
        signal=task.signal,
        background=task.background,
        classes=task.names,
        slots=SLOTS,
        interactions=tagger.inputs.interactions,
        temperature=1.0,
        weights="",
        data="",
        version="",
        types={},
        units={},
        features=features,
    )
    synthetic = synthetic_jets(60, 30, np.random.default_rng(2), features=features)
    events: dict[str, AnyColumns] = {"jets": columns_of(jets, features), "synthetic": synthetic}
    validation = write_validated(JetGraph(tagger, task, SLOTS), facts, tmp_path / "model.onnx", events)
    assert max(result.largest for result in validation) < 1e-5
    scorer = Scorer.load(tmp_path / "model.onnx")
    assert scorer.facts == facts
    assert [one.name for one in scorer.session.get_inputs()] == list(FORMS[features]._fields)

    scores = scorer.score(jets)
    with torch.no_grad():
        expected = task.predict(tagger(make_batch(jets, SLOTS, model_spec(name).momenta_dtype)))
    for column in scores:
        np.testing.assert_allclose(scores[column], expected[column], atol=2e-5, rtol=0)
    assert scores["score"].std() > 1e-3  # or everything would be equal

    wrong = synthetic._replace(type=np.where(np.arange(60)[:, None] == 3, len(JET_KINDS), synthetic.type))
    assert np.flatnonzero(np.isnan(scorer.run(wrong)[0])).tolist() == [3]
    broken = synthetic._replace(eta=np.where(np.arange(60)[:, None] == 4, np.nan, synthetic.eta).astype(np.float32))
    assert np.flatnonzero(np.isnan(scorer.run(broken)[0])).tolist() == [4]
    assert np.isfinite(scorer.run(keep_particles(synthetic, 0))[0]).all()


def test_columns_that_are_not_there_are_named():
    with pytest.raises(ValueError, match=r"the model needs d0, d0_error, dz, dz_error of every particle"):
        columns_of(without(jet_events(3), ("d0",)), "full")


def test_jets_are_refused_by_files_for_objects_of_collisions():
    with pytest.raises(ValueError, match=r"these events hold charged hadron, neutral hadron.*trained on jets"):
        columns_of(jet_events(3), "objects")
