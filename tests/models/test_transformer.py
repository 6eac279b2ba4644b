"""Transformer: its size, and its blocks against torch's own encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from femtobarn.inputs import Inputs, Sizes, make_batch
from femtobarn.models import Network, Transformer
from femtobarn.models.transformer import PreNormBlock
from femtobarn.nn import PackedRows, key_padding_bias
from tests.support.sample import make_events

WIDTH, HEADS = 12, 3
MASK = torch.tensor([[True] * 5, [True, False, True, True, False], [False, True, False, False, False]])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_of_the_paper():
    """Those of the blocks and of the two layers around them; beside them the norm of the features has two each."""
    features, width = 7, 128
    block = 3 * width * (width + 1) + width * (width + 1) + 2 * width * (width + 1) + width * (2 * width + 1)
    assert (
        count(Transformer(Sizes(features, 0, 0, 1))) - 2 * features == 12 * block + width * (features + 1) + width + 1
    )


def test_block_is_torchs_encoder_layer_with_the_norm_first():
    torch.manual_seed(1)
    block: Any = PreNormBlock(WIDTH, 2, 0.0).double()
    theirs = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True
    ).double()
    state = {
        "self_attn.in_proj_weight": block.project.weight,
        "self_attn.in_proj_bias": block.project.bias,
        "self_attn.out_proj.weight": block.collect.weight,
        "self_attn.out_proj.bias": block.collect.bias,
        "linear1.weight": block.expand.weight,
        "linear1.bias": block.expand.bias,
        "linear2.weight": block.contract.weight,
        "linear2.bias": block.contract.bias,
    }
    theirs.load_state_dict(state, strict=False)  # whose norms start without effect
    x, u = random(3, 5, WIDTH), random(HEADS, 3, 5, 5, seed=1)
    shut = u.transpose(0, 1).masked_fill(~MASK[:, None, None], -torch.inf).flatten(0, 1)
    rows = PackedRows(MASK)
    found = block(rows.pack(x), rows, u + key_padding_bias(MASK, torch.float64))
    torch.testing.assert_close(found, rows.pack(theirs(x, src_mask=shut)))


def test_the_event_is_the_mean_of_its_objects():
    """Without blocks every object speaks for itself: the event says the mean of what its objects say alone."""
    torch.manual_seed(0)
    inputs = Inputs()
    network = Network(inputs, Transformer(inputs.sizes(3), width=WIDTH, heads=HEADS, blocks=0)).double().eval()
    batch = make_batch(make_events(6), 16, torch.float64)
    alone = torch.stack(
        [network(batch.replace(mask=torch.zeros_like(batch.mask).index_fill(1, n, True))) for n in torch.arange(16)], 1
    )
    share = batch.mask / batch.mask.sum(1, keepdim=True)
    torch.testing.assert_close((alone * share[..., None]).sum(1), network(batch))


def test_dropout_only_while_training():
    network: Any = Transformer(Sizes(4, 0, 0, 2), width=WIDTH, heads=HEADS, blocks=1, dropout=0.5)
    rows, x = PackedRows(MASK), random(3, 5, WIDTH).float()
    bias = key_padding_bias(MASK, x.dtype).expand(HEADS, -1, -1, -1)
    block = network.blocks[0]
    assert not torch.allclose(*(block(rows.pack(x), rows, bias) for _ in range(2)))
    block.eval()
    assert torch.equal(*(block(rows.pack(x), rows, bias) for _ in range(2)))


def test_width_that_heads_do_not_divide():
    with pytest.raises(ValueError, match="width 20 is not divisible among 8 heads"):
        Transformer(Sizes(11, 0, 0, 2), width=20)
