"""Every registered network exports to ONNX and agrees with the file; registering one is enough to have it tested."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from femtobarn.export import Columns, Facts, Scorer
from femtobarn.inputs import make_batch
from femtobarn.models import Depth, model_spec, networks
from femtobarn.tasks.classification.classifier import Classifier, classifier_of
from femtobarn.tasks.classification.config import ClassificationConfig
from tests.models.test_contract import INTERACTIONS, build
from tests.support.sample import in_single, make_events

pytest.importorskip("onnxscript")

from femtobarn.export.columns import particle_columns, select_events
from femtobarn.export.graph import Graph
from femtobarn.export.synthetic import synthetic_events
from femtobarn.runs.export import write_validated

#: More than `MIN_SLOTS`, fewer than the fullest event has objects, and no number of anything else.
SLOTS = 19


#: One file of each network, for they take long to write: every other one with pairwise features if it may choose.
CASES = [
    (name, "pairs" if model_spec(name).needs_pairs or (at % 2 and model_spec(name).takes_pairs) else "plain")
    for at, name in enumerate(networks())
]

#: Networks of which every part is in the file of another: frames and transport of lloca-transformer, blocks of part.
REPEATED = ("lloca-part",)


#: Networks whose blocks are all alike: one block has every operator of the graph, and is traced in half the time.
ONE_BLOCK = {"lloca-part", "lloca-transformer", "part", "sett", "transformer"}

#: Depths of each network beside the outputs; one of them in every run, the others when slow.
DEPTHS = [
    pytest.param(name, depth, marks=() if name == "pfn" else pytest.mark.slow)
    for name in networks()
    for depth in model_spec(name).depths
    if depth != "outputs"
]


def export_facts(name: str, task: Classifier, interactions: tuple[str, ...], depth: Depth = "outputs") -> Facts:
    return Facts(
        label=name,
        model=name,
        seed=1,
        signal=task.signal,
        background=task.background,
        classes=tuple(task.names),
        slots=SLOTS,
        interactions=interactions,
        temperature=float(task.temperature),
        weights="",
        data="",
        version="",
        types={},
        units={},
        depth=depth,
    )


@pytest.mark.parametrize(("name", "depth"), DEPTHS)
def test_exported_depths_agree_with_pytorch(name, depth, tmp_path):
    interactions = INTERACTIONS["pairs"] if model_spec(name).takes_pairs else ()
    network = build(name, interactions, torch.float32)
    events = in_single(make_events(60, seed=5, processes=("tttt", "ttH", "ttW"), first=SLOTS + 3))
    task = classifier_of(ClassificationConfig(signal=("tttt",)), events)
    facts, columns = export_facts(name, task, interactions, depth), Columns.of(events)
    validation = write_validated(
        Graph(network, task, SLOTS, depth), facts, tmp_path / "model.onnx", {"events": columns}
    )
    assert max(result.largest for result in validation) < 1e-3
    scorer = Scorer.load(tmp_path / "model.onnx")
    assert scorer.facts.depth == depth
    with pytest.raises(ValueError, match=f"the file computes {depth}, not scores"):
        scorer.score(events)
    (array,) = scorer.predict(columns)
    assert array.shape[:-1] == (columns.type.shape if depth == "objects" else columns.type.shape[:1])
    assert array.reshape(-1, array.shape[-1]).std(0).max() > 1e-4
    if depth == "objects":  # in the slots of the columns
        order = np.random.default_rng(1).permutation(columns.type.shape[1])
        moved = columns._replace(**{key: getattr(columns, key)[:, order] for key in particle_columns(columns)})
        np.testing.assert_allclose(scorer.predict(moved)[0], array[:, order], atol=1e-4 * np.abs(array).max())


@pytest.mark.parametrize(
    ("name", "key"),
    [pytest.param(*case, marks=pytest.mark.slow if case[0] in REPEATED else ()) for case in CASES],
    ids=map("-".join, CASES),
)
def test_it_exports_and_agrees_with_the_file(name, key, tmp_path):
    """With cross-entropy for the pairs, with the focal loss without them; calibrated."""
    settings = {"blocks": 1} if name in ONE_BLOCK else {}
    network = build(name, INTERACTIONS[key], torch.float32, **settings)
    focal: dict[str, Any] = {"loss": "focal", "alpha": 0.75, "gamma": 3.0} if key == "plain" else {}
    events = in_single(make_events(300, seed=5, processes=("tttt", "ttH", "ttW"), first=SLOTS + 3))
    task = classifier_of(ClassificationConfig(signal=("tttt",), **focal), events)
    task.temperature.fill_(1.7)
    facts = export_facts(name, task, INTERACTIONS[key])
    columns = {"events": Columns.of(events), "synthetic": synthetic_events(100, 25, np.random.default_rng(2))}
    validation = write_validated(Graph(network, task, SLOTS), facts, tmp_path / "model.onnx", columns)
    scorer = Scorer.load(tmp_path / "model.onnx")
    assert scorer.facts == facts

    scores = scorer.score(events)
    with torch.no_grad():
        expected = task.predict(network(make_batch(events, SLOTS, model_spec(name).momenta_dtype)))
    assert scores.keys() == expected.keys()
    for column in scores:
        np.testing.assert_allclose(scores[column], expected[column], atol=2e-5, rtol=0)
    assert scores["score"].std() > 1e-3  # or everything would be equal

    nothing = scorer.run(select_events(Columns.of(events), slice(0)))  # an operator that cannot would end the process
    assert [len(each) for each in nothing] == [0, 0]

    assert {result.n_events for result in validation} >= {1, 300, 2 * (SLOTS + 2)}
    assert max(result.largest for result in validation) < 1e-5
