"""Exported files with float64 columns: networks that keep Lorentz symmetry score as their run does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import vector

from femtobarn.events import Events
from femtobarn.export import Facts, Scorer
from femtobarn.inputs import make_batch
from femtobarn.models import model_spec
from femtobarn.tasks.classification.classifier import classifier_of
from femtobarn.tasks.classification.config import ClassificationConfig
from tests.models.test_contract import build
from tests.support.sample import make_events

pytest.importorskip("onnxscript")

from femtobarn.export.columns import columns_of
from femtobarn.export.graph import Graph
from femtobarn.export.synthetic import synthetic_events
from femtobarn.export.validation import ValidationError
from femtobarn.runs.export import write_validated

SLOTS = 9


def boosted(events: Events, gamma: float) -> Events:
    """The same events from a frame in which they are fast: objects nearly parallel, their masses small differences."""
    velocity = vector.obj(x=np.sqrt(1 - gamma**-2), y=0.0, z=0.0)
    moved = events.particles.boost(velocity)
    columns = {"pt": moved.pt, "eta": moved.eta, "phi": moved.phi, "E": moved.E, "kind": events.particles.kind}
    return replace(events, particles=ak.zip(columns, with_name="Momentum4D"))


def test_float64_columns_score_fast_events_as_the_run_does(tmp_path):
    """float32 columns do not, or this would show nothing."""
    network = build("lorentznet", (), torch.float32)
    events = boosted(make_events(200, seed=5, processes=("tttt", "ttH", "ttW")), 100.0)
    task = classifier_of(ClassificationConfig(signal=("tttt",)), events)
    with torch.no_grad():
        expected = task.predict(network(make_batch(events, SLOTS, model_spec("lorentznet").momenta_dtype)))["score"]
    differences = {}
    for precision in ("float64", "float32"):
        facts = facts_of("lorentznet", task, precision)
        columns: dict[str, Any] = {"events": columns_of(events, "objects", precision)}
        write_validated(Graph(network, task, SLOTS), facts, tmp_path / "model.onnx", columns)
        scorer = Scorer.load(tmp_path / "model.onnx")
        assert scorer.facts.precision == precision
        assert {value.type for value in scorer.session.get_inputs()} == {TYPES[precision], "tensor(int64)"}
        differences[precision] = np.abs(scorer.score(events)["score"] - expected).max()
    assert differences["float64"] < 1e-5 < 1e-3 < differences["float32"]


def test_local_frames_are_found_in_float64_where_float32_is_not_close_enough(tmp_path, monkeypatch):
    written: list[bool] = []

    def validate(*_: object) -> list[object]:
        if not written[-1]:
            raise ValidationError("the file and PyTorch differ")
        return []

    monkeypatch.setattr("femtobarn.runs.export.write", lambda *_, double_frames=False: written.append(double_frames))
    monkeypatch.setattr("femtobarn.runs.export.Scorer.load", lambda path: None)
    monkeypatch.setattr("femtobarn.runs.export.validate_onnx", validate)
    events = make_events(20)
    task = classifier_of(ClassificationConfig(signal=("tttt",)), events)
    columns: dict[str, Any] = {"synthetic events": synthetic_events(5, 5, np.random.default_rng(1))}

    def write_small(name: str) -> None:
        network = build(name, (), torch.float32)
        write_validated(Graph(network, task, SLOTS), facts_of(name, task, "float32"), tmp_path / "model.onnx", columns)

    write_small("lloca-particlenet")
    assert written == [False, True]
    with pytest.raises(ValidationError):
        write_small("fcn")
    assert written == [False, True, False]


#: As onnxruntime calls them.
TYPES = {"float32": "tensor(float)", "float64": "tensor(double)"}


def facts_of(name: str, task: Any, precision: str) -> Facts:
    return Facts(
        label=name,
        model=name,
        seed=1,
        signal=task.signal,
        background=task.background,
        classes=task.names,
        slots=SLOTS,
        interactions=(),
        temperature=1.0,
        weights="",
        data="",
        version="",
        types={},
        units={},
        precision=precision,
    )
