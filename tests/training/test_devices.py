"""What networks compute on a GPU is what they compute on a processor: the paths they take there, on any machine."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from femtobarn.nn import attention, dropout
from femtobarn.training import fit
from tests.models.test_contract import CASES, INTERACTIONS, build, events
from tests.support.elsewhere import NAME, Held, elsewhere, here, moved
from tests.support.training_sample import SETTINGS, TASK, Toy, data


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_outputs_and_gradients_are_the_same_on_another_device(case, training):
    name, key = case
    batch = events()
    torch.manual_seed(1)
    network = build(name, INTERACTIONS[key]).train(training)
    outputs = network(batch)
    outputs.square().sum().backward()
    copy = build(name, INTERACTIONS[key]).train(training)
    torch.manual_seed(1)
    with elsewhere():
        moved(copy)
        with torch.set_grad_enabled(training):
            other = copy(batch.map(Held))
        if training:
            other.square().sum().backward()
    torch.testing.assert_close(here(other), outputs, rtol=1e-9, atol=1e-12)
    if training:
        pairs = zip(network.parameters(), copy.parameters(), strict=True)
        gradients = [(parameter.grad, other.grad) for parameter, other in pairs]
        largest = max(float(gradient.abs().max()) for gradient, _ in gradients if gradient is not None)
        for gradient, other in gradients:
            assert (gradient is None) == (other is None)
            if gradient is not None and other is not None:
                torch.testing.assert_close(here(other), gradient, rtol=1e-9, atol=1e-12 * largest)


def test_attention_there_is_the_fused_one(monkeypatch):
    asked = []
    fused = functional.scaled_dot_product_attention

    def counted(*arguments):
        asked.append(arguments)
        return fused(*arguments)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    network, blocks = build("part", INTERACTIONS["pairs"], blocks=3), 3
    network(events())
    assert not asked
    with elsewhere():
        moved(network)
        network(events_there := events().map(Held))
        assert len(asked) == blocks
        with attention.record_attention(lambda *_: None):  # whoever listens wants weights, which it does not have
            network(events_there)
    assert len(asked) == blocks


def test_tensors_of_two_devices_do_not_meet():
    ones = torch.ones(3)
    with elsewhere():
        held = Held(ones)
        assert held.device != ones.device
        assert here(held + 1).sum() == 6
        assert here(held + torch.tensor(1.0)).sum() == 6
        assert held.to("cpu").sum() == 3
        with pytest.raises(RuntimeError, match="two devices"):
            held + ones
        with pytest.raises(RuntimeError, match="two devices"):
            held.index_select(0, torch.arange(2))


def test_dropout_there_keeps_the_mean():
    torch.manual_seed(1)
    with elsewhere():
        kept = here(dropout(Held(torch.ones(20000)), 0.25))
    assert sorted(set(kept.tolist())) == pytest.approx([0.0, 4 / 3])
    assert kept.mean() == pytest.approx(1.0, abs=0.02)


class Smooth(Toy):
    """Without dropout, whose numbers each device draws for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers[3] = nn.Identity()


def test_a_training_there_is_the_training_here(monkeypatch):
    settings = SETTINGS.model_copy(update={"optimizer": "nadam", "clip": 1.0})  # AdamW asks for the name of the device
    histories = [list(fit(network := Smooth(), TASK, data(), data(100, 1), settings, seed=5))]
    monkeypatch.setattr("femtobarn.training.loop.resolve_device", lambda _: torch.device(NAME))
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with elsewhere():
            histories.append(list(fit(other := Smooth(), TASK, data(), data(100, 1), settings, seed=5)))
            # it comes back to where it was
            assert {value.device.type for value in other.state_dict().values()} == {"cpu"}
            weights = [here(value) if isinstance(value, Held) else value for value in other.state_dict().values()]
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    for epoch, other_epoch in zip(*histories, strict=True):
        losses = (other_epoch.train_loss, other_epoch.valid_loss)
        assert (epoch.train_loss, epoch.valid_loss) == pytest.approx(losses, rel=1e-6)
    for weight, other_weight in zip(network.state_dict().values(), weights, strict=True):
        torch.testing.assert_close(other_weight, weight, rtol=1e-5, atol=1e-6)
