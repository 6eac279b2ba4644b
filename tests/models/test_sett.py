"""Set Transformer: its blocks against torch's own attention and the equations of the paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from femtobarn.inputs import Inputs, Sizes, make_batch
from femtobarn.models import Network, SetT
from femtobarn.models.sett import AttentionPooling, SelfAttentionBlock
from femtobarn.nn import PackedRows, key_padding_bias
from tests.support.sample import make_events

WIDTH, HEADS = 12, 3
MASK = torch.tensor([[True] * 5, [True, False, True, True, False], [False, True, False, False, False]])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def like_torch(weight: torch.Tensor, bias: torch.Tensor, collect: nn.Linear) -> nn.MultiheadAttention:
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    state = {"in_proj_weight": weight, "in_proj_bias": bias}
    state |= {"out_proj.weight": collect.weight, "out_proj.bias": collect.bias}
    attention.load_state_dict(state)
    return attention


def finished(block: Any, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """MAB of the paper, its two equations written out."""
    h = nn.functional.layer_norm(x + a, (WIDTH,))
    return nn.functional.layer_norm(h + block.feedforward(h), (WIDTH,))


def test_self_attention_is_the_papers_with_the_bias_in_the_softmax():
    torch.manual_seed(1)
    block: Any = SelfAttentionBlock(WIDTH, 2, 0.0).double()
    x, u = random(3, 5, WIDTH), random(3, HEADS, 5, 5, seed=1)
    attention = like_torch(block.project.weight, block.project.bias, block.collect)
    padded = u.masked_fill(~MASK[:, None, None], -torch.inf).flatten(0, 1)
    a, _ = attention(x, x, x, attn_mask=padded, need_weights=False)
    rows = PackedRows(MASK)
    found = block(rows.pack(x), rows, (u + key_padding_bias(MASK, torch.float64)[:, None]).transpose(0, 1))
    torch.testing.assert_close(found, rows.pack(finished(block, x, a)))


def test_pooling_is_the_papers_attention_of_one_seed():
    torch.manual_seed(1)
    block: Any = AttentionPooling(WIDTH, HEADS, 2).double()
    x, seed = random(3, 5, WIDTH), block.seed.expand(3, 1, -1)
    weight = torch.cat([block.query.weight, block.project.weight])
    attention = like_torch(weight, torch.cat([block.query.bias, block.project.bias]), block.collect)
    z = block.before(x)
    a, _ = attention(seed, z, z, key_padding_mask=~MASK, need_weights=False)
    rows = PackedRows(MASK)
    torch.testing.assert_close(block(rows.pack(x), rows), finished(block, seed, a)[:, 0])


def test_without_objects_the_event_is_the_seed():
    block: Any = AttentionPooling(WIDTH, HEADS, 2).double()
    rows = PackedRows(torch.zeros_like(MASK))
    nothing = block.collect.bias.expand(3, -1)  # of the mean of no values
    torch.testing.assert_close(block(rows.pack(random(3, 5, WIDTH)), rows), finished(block, block.seed, nothing))


def test_pairs_act_through_the_bias_alone():
    """The same weights without the pairs' layers, and with pairs whose embedding says 0, give the same events."""
    torch.manual_seed(0)
    batch = make_batch(make_events(20), 16, torch.float64)
    settings: Any = {"width": WIDTH, "heads": HEADS, "blocks": 2, "pair_embedding": (4,)}
    inputs, plain_inputs = Inputs(("mass", "delta_r")), Inputs()
    pairs = Network(inputs, SetT(inputs.sizes(3), **settings)).double().eval()
    plain = Network(plain_inputs, SetT(plain_inputs.sizes(3), **settings)).double().eval()
    plain.architecture.load_state_dict(pairs.architecture.state_dict(), strict=False)
    assert not torch.allclose(pairs(batch), plain(batch), atol=1e-6)
    last: Any = pairs.architecture.embed_pairs[-2]  # type: ignore[index]
    nn.init.zeros_(last.weight)  # of the batch norm before the last GELU, and GELU(0) = 0
    torch.testing.assert_close(pairs(batch), plain(batch))


def test_met_reaches_the_answer():
    torch.manual_seed(0)
    batch = make_batch(make_events(5), 16, torch.float64)
    inputs = Inputs()
    network = Network(inputs, SetT(inputs.sizes(3), width=WIDTH, heads=HEADS, blocks=1)).double().eval()
    more = batch.replace(context=batch.context * torch.tensor([2.0, 1.0]))
    assert ((network(more) - network(batch)).abs() > 1e-6).all()


def test_width_that_heads_do_not_divide():
    with pytest.raises(ValueError, match="width 20 is not divisible among 8 heads"):
        SetT(Sizes(11, 0, 0, 2), width=20)
