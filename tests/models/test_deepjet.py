"""DeepJet: which particle stands in which list, and each list read step by step with the equations of the LSTM."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from femtobarn.inputs import Batch, Sizes, make_batch
from femtobarn.models import DeepJet
from femtobarn.models.deepjet import ListEncoder, softest_first
from femtobarn.physics.objects import (
    ANTIMUON,
    BJET,
    CHARGED,
    ELECTRON,
    JET,
    MUON,
    NEUTRAL,
    PARTICLE,
    PHOTON,
    POSITRON,
)
from tests.inputs.test_constituents import network
from tests.models.test_contract import build, events
from tests.models.test_part import random, some_mask
from tests.support.jets import jet_events


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def memory(inputs: int, state: int) -> int:
    """Four gates of inputs and state, with two constants as torch has them."""
    return 4 * state * (inputs + state + 2)


def test_the_layers_are_those_of_the_paper():
    """Section 4: 64, 32, 32, 8 and 32, 16, 4 for particles, memories of 150 and 50, 200 and seven times 100 behind."""
    built: Any = DeepJet(Sizes(16, 0, 0, 6))
    charged, neutral = built.lists
    assert [each.weight.shape for each in charged.layers if isinstance(each, nn.Linear)] == [
        (64, 16),
        (32, 64),
        (32, 32),
        (8, 32),
    ]
    assert [each.out_features for each in neutral.layers if isinstance(each, nn.Linear)] == [32, 16, 4]
    assert (count(charged.memory), count(neutral.memory)) == (memory(8, 150), memory(4, 50))
    dense = [each for each in built.fc if isinstance(each, nn.Linear)]
    assert [each.out_features for each in dense] == [200, *[100] * 7, 6]
    assert dense[0].in_features == 200


def test_lists_are_turned_around_and_closed_up():
    x, mask = random(3, 5, 2), some_mask()
    found = softest_first(x, mask)
    for event in range(3):
        listed = x[event][mask[event]].flip(0)
        torch.testing.assert_close(found[event, : len(listed)], listed)
        assert not found[event, len(listed) :].any()


def step(lstm: Any, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Hochreiter and Schmidhuber with a forget gate, one particle."""
    gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
    i, f, g, o = gates.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def test_a_list_is_read_from_the_softest_to_the_hardest():
    torch.manual_seed(2)
    reader: Any = ListEncoder(4, (6, 5), 7, 0.0).double().eval()
    for seed, norm in enumerate(each for each in reader.modules() if isinstance(each, nn.BatchNorm1d)):
        assert norm.running_mean is not None
        norm.running_mean += 0.1 * random(norm.num_features, seed=seed)
    x, mask = random(3, 5, 4), some_mask()
    mask[2] = False  # a list without particles
    found = reader(x, mask)
    for event in range(3):
        h = c = torch.zeros(7, dtype=torch.float64)
        for slot in reversed(mask[event].nonzero().flatten().tolist()):
            h, c = step(reader.memory, reader.layers(x[event, slot][None])[0], h, c)
        expected = reader.after(h[None])[0] if mask[event].any() else torch.zeros_like(h)
        torch.testing.assert_close(found[event], expected)


@pytest.mark.parametrize(
    ("of_jet", "first", "second"),
    [
        (True, (CHARGED, ELECTRON, POSITRON, MUON, ANTIMUON, PARTICLE), (NEUTRAL, PHOTON)),
        (False, (JET, BJET), (ELECTRON, POSITRON, MUON, ANTIMUON, PHOTON)),
    ],
)
def test_who_stands_in_which_list(of_jet, first, second):
    tagger: Any = network("deepjet", "full") if of_jet else build("deepjet", ())
    heard: list[Tensor] = []
    for reader in tagger.architecture.lists:
        reader.register_forward_pre_hook(lambda _, given: heard.append(given[1]))
    batch = make_batch(jet_events(20), 24, torch.float64) if of_jet else events()
    batch = batch.replace(kind=torch.where(batch.mask, batch.kind, first[0]))  # in padded slots it means nothing
    tagger(batch)
    for mask, kinds in zip(heard, (first, second), strict=True):
        slots = mask.shape[1]
        expected = torch.isin(batch.kind, torch.tensor(kinds)) & batch.mask
        assert torch.equal(mask, expected[:, :slots])
        assert mask.any()


def test_without_types_there_is_one_list():
    tagger: Any = network("deepjet", "kin")
    masks: list[Tensor] = []
    for reader in tagger.architecture.lists:
        reader.register_forward_pre_hook(lambda _, given: masks.append(given[1]))
    batch = make_batch(jet_events(20), 24, torch.float64)
    answers = tagger(batch)
    assert torch.equal(masks[0], batch.mask[:, : masks[0].shape[1]])
    assert not masks[1].any()
    torch.testing.assert_close(tagger(batch.replace(kind=torch.where(batch.mask, PHOTON, batch.kind))), answers)


def test_order_within_a_list_matters_and_order_of_the_lists_does_not():
    tagger, batch = build("deepjet", ()), events()
    jets = torch.isin(batch.kind, torch.tensor((JET, BJET)))
    apart = (~jets).to(torch.uint8).argsort(dim=1, stable=True)  # jets first, all in their order
    backwards = torch.arange(batch.mask.shape[1] - 1, -1, -1).expand_as(batch.mask)

    def moved(order: Tensor) -> Batch:
        momenta = batch.momenta.gather(1, order[..., None].expand_as(batch.momenta))
        return batch.replace(momenta=momenta, kind=batch.kind.gather(1, order), mask=batch.mask.gather(1, order))

    torch.testing.assert_close(tagger(moved(apart)), tagger(batch))
    assert (tagger(moved(backwards)) - tagger(batch)).abs().max() > 1e-4
