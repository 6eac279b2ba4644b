"""Every registered network exports to ONNX and agrees with the file; registering one is enough to have it tested."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from femtobarn.export import Columns, Facts, Scorer
from femtobarn.inputs import make_batch
from femtobarn.models import model_spec, networks
from femtobarn.tasks.classification.classifier import ClassificationConfig
from tests.models.test_contract import INTERACTIONS, build
from tests.support.sample import in_single, make_events

pytest.importorskip("onnxscript")

from femtobarn.export.graph import Graph
from femtobarn.export.proof import made
from femtobarn.runs.export import write_proved

#: More than `MIN_SLOTS`, fewer than the fullest event has objects, and no number of anything else.
SLOTS = 19


#: One file of each network, for they take long to write: every other one with pairwise features if it may choose.
CASES = [
    (name, "pairs" if model_spec(name).needs_pairs or (at % 2 and model_spec(name).takes_pairs) else "plain")
    for at, name in enumerate(networks())
]


@pytest.mark.parametrize(("name", "key"), CASES, ids=map("-".join, CASES))
def test_it_exports_and_agrees_with_the_file(name, key, tmp_path):
    """With cross-entropy for the pairs, with the focal loss without them; calibrated."""
    network = build(name, INTERACTIONS[key], torch.float32)
    focal: dict[str, Any] = {"loss": "focal", "alpha": 0.75, "gamma": 3.0} if key == "plain" else {}
    events = in_single(make_events(300, seed=5, processes=("tttt", "ttH", "ttW"), first=SLOTS + 3))
    task = ClassificationConfig(signal=("tttt",), **focal).classifier(events)
    task.temperature.fill_(1.7)
    facts = Facts(
        label=name,
        model=name,
        seed=1,
        signal=task.signal,
        background=task.background,
        classes=task.names,
        slots=SLOTS,
        interactions=INTERACTIONS[key],
        temperature=1.7,
        weights="",
        data="",
        version="",
        types={},
        units={},
    )
    columns = {"events": Columns.of(events), "made-up": made(100, 25, np.random.default_rng(2))}
    trials = write_proved(Graph(network, task, SLOTS), facts, tmp_path / "model.onnx", columns)
    scorer = Scorer.load(tmp_path / "model.onnx")
    assert scorer.facts == facts

    said = scorer.score(events)
    with torch.no_grad():
        expected = task.scores(network(make_batch(events, SLOTS, model_spec(name).momenta_dtype)))
    assert said.keys() == expected.keys()
    for column in said:
        np.testing.assert_allclose(said[column], expected[column], atol=2e-5, rtol=0)
    assert said["score"].std() > 1e-3  # or everything would be equal

    nothing = scorer.run(Columns.of(events).part(slice(0)))  # an operator that cannot would end the process
    assert [len(each) for each in nothing] == [0, 0]

    assert {trial.events for trial in trials} >= {1, 300, 2 * (SLOTS + 2)}
    assert max(trial.worst for trial in trials) < 1e-5
