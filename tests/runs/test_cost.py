"""What a model costs: operations against closed counts and a published one, and what is told of them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

import femtobarn
from femtobarn.evaluation.cost_table import cost_table
from femtobarn.evaluation.rounding import format_si
from femtobarn.experiments.experiment import load
from femtobarn.inputs import Batch, Inputs, make_batch
from femtobarn.inputs.batch import concatenate_batches
from femtobarn.models import Network, model_spec
from femtobarn.runs.cost import COUNTED, _sample_multiplicities, _single_events, cost
from femtobarn.runs.operations import operations
from femtobarn.runs.run import train
from femtobarn.runs.trained_model import NetworkModel
from femtobarn.tasks.classification.classifier import classifier_of
from femtobarn.tasks.classification.comparison import compare
from femtobarn.tasks.results import markdown
from tests.support.fake_runs import make_runs
from tests.support.sample import make_events


class Straight(nn.Module):
    """A linear net of known cost on the momenta of all slots: d -> 7 with GELU, 7 -> 3."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 7), nn.Linear(7, 3)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.second(nn.functional.gelu(self.first(batch.momenta))).sum(1)  # type: ignore[no-any-return]


class Looking(nn.Module):
    """The fused attention of torch, 2 heads of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.all_three = nn.Linear(4, 3 * 16)

    def forward(self, batch: Batch) -> torch.Tensor:
        parts = self.all_three(batch.momenta).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        return nn.functional.scaled_dot_product_attention(*parts).flatten(1)


def batch_of(events: int, slots: int) -> Batch:
    return Batch(
        momenta=torch.ones(events, slots, 4),
        kind=torch.ones(events, slots, dtype=torch.int8),
        mask=torch.ones(events, slots, dtype=torch.bool),
        context=torch.zeros(events, 2),
        tracks=torch.zeros(events, slots, 0),
    )


@pytest.mark.parametrize(("events", "slots"), [(1, 5), (3, 11)])
def test_operations_of_a_linear_net(events, slots):
    found = operations(Straight(), batch_of(events, slots))
    assert found == (2 * events * slots * (4 * 7 + 7 * 3), events * slots * 7)


def test_fused_attention_on_a_processor_is_counted():
    products, _ = operations(Looking(), batch_of(2, 9))
    assert products == 2 * (2 * 9 * 4 * 48 + 2 * 2 * (9 * 9 * 8 + 9 * 9 * 8))


class Remembering(nn.Module):
    """A recurrent network with a memory of 5, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(4, 5, batch_first=True)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.memory(batch.momenta)[0][:, -1]  # type: ignore[no-any-return]


def test_recurrent_layers_are_counted():
    products, _ = operations(Remembering(), batch_of(3, 7))
    assert products == 2 * 3 * 7 * 4 * 5 * (4 + 5)


def test_particle_transformer_costs_what_is_published():
    """211 MFLOPs with 50 particles of JetClass: table 2 of arXiv:2512.17011."""
    inputs = Inputs(("kt", "z", "delta", "mass2"), "full")
    settings = {"width": 128, "blocks": 8, "class_blocks": 2, "heads": 8}
    layers = {"embedding": (128, 512), "pair_embedding": (64, 64, 64)}
    network = Network(inputs, model_spec("part").build(inputs.sizes(10), **settings, **layers))
    jets = make_batch(femtobarn.top_tagging()[:200], 50)
    full = jets.mask.all(1)
    products, single = operations(network, jets[full][:1])
    # the class blocks make no keys and values of their own of the objects
    spared = settings["class_blocks"] * 50 * 2 * settings["width"] * 2 * settings["width"]
    assert products + spared == pytest.approx(211e6, rel=0.01)
    assert 0 < single < 0.02 * products


def test_few_events_have_the_mean_multiplicity_of_all():
    """A sixteenth of the work for a mean that is right to two percent."""
    jets = make_batch(femtobarn.top_tagging()[::80], 60)
    inputs = Inputs((), "kin")
    network = Network(inputs, model_spec("transformer").build(inputs.sizes(2), width=16, blocks=1, heads=2))
    typical = [operations(network, one)[0] for one in _single_events(_sample_multiplicities(jets, COUNTED))]
    every = [operations(network, one)[0] for one in _single_events(jets)]
    assert np.mean(typical) == pytest.approx(np.mean(every), rel=0.02)


def test_padding_of_other_events_costs_an_event_nothing(tmp_path):
    """Mean over events with the multiplicity of each."""
    data, task = {"sample": "top-tagging"}, {"signal": "top"}
    tree = {"data": data, "task": task, "inputs": {"features": "kin", "slots": 60}, "model": {"name": "pfn"}}
    experiment = load(tree)
    inputs = Inputs((), "kin")
    network = Network(inputs, model_spec("pfn").build(inputs.sizes(2)))
    jets = femtobarn.top_tagging()[::20]
    classifier = classifier_of(cast(Any, experiment.task), jets)
    batch = make_batch(jets, 60)
    many, few = (batch[chosen][:8] for chosen in _by_multiplicity(batch))
    model = NetworkModel(experiment, classifier.outputs)
    model.network = network
    apart = [cost(model, each)["flops"] for each in (many, few)]
    both = concatenate_batches([many, few])
    assert cost(model, both)["flops"] == pytest.approx(sum(apart) / 2)
    assert apart[0] > 1.5 * apart[1]


def _by_multiplicity(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    counts = batch.mask.sum(1)
    return counts == 60, counts < 30


@pytest.mark.parametrize("model", [{"name": "bdt", "n_estimators": 3}, {"name": "pfn", "phi": [8], "fc": [8]}])
def test_a_run_tells_its_cost(model, tmp_path):
    import json

    from femtobarn.events import write_parquet

    write_parquet(make_events(400), tmp_path / "events.parquet")
    tree = {"data": {"files": str(tmp_path / "events.parquet")}, "task": {"signal": "tttt"}, "model": model}
    folder = train(load({**tree, "training": {"epochs": 1, "threads": 1}}), tmp_path / "run")
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["scored_per_second"] > 0
    if model["name"] == "bdt":
        assert meta["flops"] is None
        assert 3 < meta["leaves"] <= 3 * 5 * 31
    else:
        assert meta["flops"] > meta["parameters"]  # the network of an object is used for each of them
        assert meta["leaves"] is None


def test_costs_stand_beside_the_quality(tmp_path):
    found = compare(make_runs(tmp_path, make_events(300), models={"BDT": 0.4, "ParT": 0.5}))
    table = cost_table(found)
    rows = {row.label: [cell.text for cell in row.cells] for row in table.rows}
    assert list(table.headings) == ["parameters", "FLOPs an event", "events/s in training", "events/s in scoring"]
    assert rows["BDT"][:2] == ["4\u202f321 leaves", "–"]
    assert rows["ParT"] == ["51\u202f234", "1.23 M", "4\u202f920", "98\u202f800"]
    assert "| ParT | 51\u202f234 | 1.23 M | 4\u202f920 | 98\u202f800 |" in markdown(found)


@pytest.mark.parametrize(
    ("number", "text"), [(12.0, "12"), (1234, "1.23 k"), (211e6, "211 M"), (999_600, "1.00 M"), (2.1e13, "21.0 T")]
)
def test_large_numbers_are_shortened(number, text):
    assert format_si(number) == text
