"""More-interaction particle transformer: sizes of the paper, its attention against loops, pairs that it needs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from femtobarn.experiments import experiment
from femtobarn.explain.attention import attention
from femtobarn.inputs import Inputs, Sizes
from femtobarn.models import MIParT, ParT, model_spec
from femtobarn.models.mipart import InteractionBlock
from femtobarn.nn import PackedRows, record_attention
from tests.models.test_contract import build, events
from tests.models.test_part import count, random, some_mask

PAIRS = ("mass", "delta_r", "sm_running")


def sized(name: str, sizes: Sizes) -> int:
    return count(MIParT(sizes, **model_spec(name).schema().model_dump()))


def test_sizes_of_the_paper():
    """2.29 M for the large one, and 30 % of ParT's parameters for the other, both to two digits after the point."""
    for sizes in (Sizes(7, 4, 0, 2), Sizes(13, 4, 0, 2), Sizes(17, 4, 0, 10)):
        assert sized("mipart-l", sizes) // 10_000 == 229
        assert 0.300 < sized("mipart", sizes) / count(ParT(sizes)) < 0.310
    # counted for the implementation of the authors, with the inputs of top tagging
    assert sized("mipart", Sizes(7, 4, 0, 2)) == 657_014
    assert sized("mipart-l", Sizes(7, 4, 0, 2)) == 2_292_470


def test_it_needs_pairs():
    with pytest.raises(ValueError, match=r"it attends by pairwise features; name some in inputs\.interactions"):
        MIParT(Sizes(11, 0, 3, 2))
    tree = {"data": {"sample": "four-top"}, "task": {"signal": ["tttt"]}, "model": {"name": "mipart"}}
    with pytest.raises(ValueError, match=r"model mipart: it attends by pairwise features"):
        experiment.load(tree)
    with pytest.raises(ValueError, match="width 96 is not divisible among 64 heads"):
        MIParT(Sizes(11, 4, 3, 2), width=96)


def test_the_first_blocks_gather_with_the_weights_they_are_given():
    mask, width, heads = some_mask(), 12, 6
    torch.manual_seed(0)
    block: Any = InteractionBlock(width, heads, 2, 0.0).double().eval()
    with torch.no_grad():
        block.head_scale += torch.arange(heads) / 10
    x, weights = random(3, 5, width), random(heads, 3, 5, 5, seed=1).softmax(-1)
    rows = PackedRows(mask)
    found = rows.unpack(block(rows.pack(x), rows, weights))
    for event, i in mask.nonzero().tolist():
        gathered = torch.zeros(width, dtype=torch.float64)
        for j in mask[event].nonzero().flatten().tolist():
            value = block.values(block.before_attention(x[event, j]))
            for feature in range(width):
                gathered[feature] += weights[feature // 2, event, i, j] * value[feature]
        scaled = gathered * block.head_scale.repeat_interleave(2)
        middle = x[event, i] + block.after_attention(scaled)
        hidden = block.hidden(torch.nn.functional.gelu(block.expand(block.before_feedforward(middle))))
        expected = block.contract(hidden) + block.residual_scale * middle
        torch.testing.assert_close(found[event, i], expected)


def test_both_attentions_are_made_of_one_embedding_of_the_pairs():
    network, batch = build("mipart", PAIRS), events()
    architecture: Any = network.architecture
    heard: dict[str, list[torch.Tensor]] = {"first": [], "others": []}
    architecture.interaction_blocks[0].register_forward_pre_hook(lambda _, given: heard["first"].append(given[2]))
    architecture.blocks[0].register_forward_pre_hook(lambda _, given: heard["others"].append(given[2]))
    encoded = network.inputs(batch)
    with record_attention(lambda *_: None):  # otherwise U is cut into matrices for the attention
        network(batch)
    first, norm, gelu, *last = list(architecture.embed_pairs)[1:]
    for event in range(0, len(batch), 11):
        real = batch.mask[event].nonzero().flatten().tolist()
        logits = torch.zeros(8, len(real), len(real), dtype=torch.float64)
        for i in real:
            for j in real:
                if i != j:
                    pair = architecture.embed_pairs[0](encoded.pairs[event, i, j][None])
                    wide = gelu(norm(first(pair)))
                    logits[:, i, j] = wide[0]
                    narrow = last[2](last[1](last[0](wide)))
                    torch.testing.assert_close(heard["others"][0][:, event, i, j], narrow[0])
        weights = heard["first"][0][:, event][:, real][:, :, real]
        torch.testing.assert_close(weights, logits.softmax(-1))


def test_what_it_looks_at_is_told_of_all_blocks():
    found = attention(build("mipart", PAIRS, blocks=2, interaction_blocks=3), events())
    assert found is not None
    assert found.objects.shape[1] == 5
    assert found.bias.shape[1] == 2
    torch.testing.assert_close(found.objects[:, 0], found.objects[:, 2])
    assert (found.objects[:, 0] - found.objects[:, 3]).abs().max() > 1e-3


def test_without_any_pair_it_answers_by_the_objects_alone():
    """Events of one object have no pair: the interactions cannot matter."""
    network, batch = build("mipart", PAIRS), events()
    one = batch.replace(mask=batch.mask & (torch.arange(batch.mask.shape[1]) == 0))
    other = Inputs(PAIRS)
    other.load_state_dict(network.inputs.state_dict())
    other.pair_mean += 1
    answers = network(one)
    network.inputs = other.double()
    assert torch.equal(network(one), answers)
    assert (network(batch) - build("mipart", PAIRS)(batch)).abs().max() > 1e-4
