"""Particle Transformer: sizes of the paper, and its parts against torch's own attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from femtobarn.inputs import Features, Sizes
from femtobarn.models import ParT
from femtobarn.models.part import ClassBlock, ParticleBlock
from femtobarn.nn import PackedRows, chunk_size, key_padding_bias, self_attention, symmetric_bias, unique_pairs
from femtobarn.nn.attention_layout import AttentionLayout, BlockBias, attention_layout
from femtobarn.nn.chunking import CHUNK_ELEMENTS

WIDTH, HEADS = 12, 3


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [(Sizes(17, 4, 0, 10), 2_143_486), (Sizes(11, 4, 0, 2), 2_141_662), (Sizes(11, 0, 0, 2), 2_132_094)],
)
def test_parameters_of_the_paper(sizes, parameters):
    assert count(ParT(sizes)) == parameters


def test_context_joins_by_one_linear_layer():
    assert count(ParT(Sizes(11, 4, 3, 2))) - count(ParT(Sizes(11, 4, 0, 2))) == 3 * 128 + 128


def test_width_that_heads_do_not_divide():
    with pytest.raises(ValueError, match="width 20 is not divisible among 8 heads"):
        ParT(Sizes(11, 0, 0, 2), width=20)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_mask() -> torch.Tensor:
    return torch.tensor([[True] * 5, [True, False, True, True, False], [False, True, False, False, False]])


@pytest.mark.parametrize("biased", [True, False])
def test_attention_is_torchs(biased):
    mask, (q, k, v) = some_mask(), (random(3, 5, WIDTH, seed=s) for s in range(3))
    bias = random(HEADS, 3, 5, 5) if biased else torch.zeros(HEADS, 3, 5, 5, dtype=torch.float64)
    heads = [x.reshape(3, 5, HEADS, -1).transpose(1, 2) for x in (q, k, v)]
    logits = bias.transpose(0, 1).masked_fill(~mask[:, None, None, :], -torch.inf)
    expected = nn.functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=logits)
    rows, projected = PackedRows(mask), torch.cat([q, k, v], -1).requires_grad_()
    bias = (bias + key_padding_bias(mask, torch.float64)).requires_grad_()
    mixed = self_attention(rows.pack(projected), rows, bias)
    torch.testing.assert_close(mixed, rows.pack(expected.transpose(1, 2).flatten(2)))
    torch.testing.assert_close(mixed, self_attention(rows.pack(projected), rows, bias.clone()))


def layout_of_many_groups(rows: PackedRows) -> AttentionLayout:
    """Layout with groups of few events that fill all of their slots; by default all events here are one group."""
    assert rows.index is not None
    layout = attention_layout(rows.mask, rows.index, HEADS, slot_multiple=1, block_elements=30)
    assert len(layout.groups) > 2
    return layout


@pytest.mark.parametrize("chance", [0.0, 0.5])
def test_gradients_of_attention_are_those_of_finite_differences(chance):
    """They are written out by hand for packed rows."""
    mask = some_mask()
    rows = PackedRows(torch.cat([mask, torch.zeros_like(mask[:1])]))  # with an event of nothing
    bias = key_padding_bias(rows.mask, torch.float64) + random(HEADS, 4, 5, 5, seed=1)
    projected = random(int(mask.sum()), 3 * WIDTH, seed=2).requires_grad_()
    layout = layout_of_many_groups(rows)

    def attended(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)  # the same weights are dropped every time
        return self_attention(x, rows, BlockBias(u, layout), chance)

    assert torch.autograd.gradcheck(attended, (projected, bias.clamp_min(-1e9).requires_grad_()))


def test_packed_and_padded_attention_are_one(monkeypatch):
    """Processors compute on packed rows; while exporting, and on GPUs, the slots are there."""
    mask = torch.rand(20, 9, generator=torch.Generator().manual_seed(4)) < torch.linspace(0.1, 1, 20)[:, None]
    projected = random(20, 9, 3 * WIDTH)
    bias = random(HEADS, 20, 9, 9, seed=1) + key_padding_bias(mask, torch.float64)
    rows = PackedRows(mask)
    layout = layout_of_many_groups(rows)
    packed = self_attention(rows.pack(projected), rows, BlockBias(bias, layout))
    # the same U for every query
    flat = self_attention(rows.pack(projected), rows, BlockBias(bias[:, :, :1], layout))
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    rows = PackedRows(mask)
    padded = rows.unpack(self_attention(rows.pack(projected), rows, bias))
    torch.testing.assert_close(padded[mask], packed)
    padded = rows.unpack(self_attention(rows.pack(projected), rows, bias[:, :, :1]))
    torch.testing.assert_close(padded[mask], flat)


@pytest.mark.parametrize("self_pairs", [False, True])
def test_pairs_are_mirrored_alike_packed_and_padded(monkeypatch, self_pairs):
    mask, more = some_mask(), torch.ones(3, 2, dtype=torch.bool)  # keys of which no pair tells
    shut = key_padding_bias(torch.cat([mask, more], 1), torch.float64)
    rows, cells = unique_pairs(mask, self_pairs), random(3, 5, 5, HEADS)
    told = rows.pack(cells).requires_grad_()
    assert torch.autograd.gradcheck(lambda said: symmetric_bias(said, rows, shut.clamp_min(-1e9), self_pairs), told)
    found = symmetric_bias(told, rows, shut, self_pairs)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(
        symmetric_bias(cells.flatten(0, 2), unique_pairs(mask, self_pairs), shut, self_pairs), found
    )


def test_outputs_of_many_events_computed_in_chunks_are_those_of_a_few():
    few = Features(
        particles=random(3, 5, 4),
        pairs=random(3, 5, 5, 2),
        context=random(3, 0),
        mask=some_mask(),
        momenta=random(3, 5, 4),
        kind=torch.zeros(3, 5, dtype=torch.long),
        vectors=random(3, 0, 4),
    )
    width = 64  # of the wide layer of a block: 4 * 16
    network = ParT(Sizes(4, 2, 0, 2), width=16, heads=2, blocks=1, embedding=(8,), pair_embedding=(5,)).double().eval()
    copies = CHUNK_ELEMENTS // width * torch.get_num_threads() // int(few.mask.sum()) + 1
    many = Features(*(column.repeat(copies, *[1] * (column.dim() - 1)) for column in few))
    with torch.no_grad():
        assert chunk_size(many.particles[many.mask], width) is not None
        outputs = network(many)
    torch.testing.assert_close(outputs, network(few).detach().repeat(copies, 1))


def like_torch(block: Any) -> nn.MultiheadAttention:
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    attention.load_state_dict(
        {
            "in_proj_weight": block.project.weight,
            "in_proj_bias": block.project.bias,
            "out_proj.weight": block.collect.weight,
            "out_proj.bias": block.collect.bias,
        }
    )
    return attention


def finished(block: Any, x: torch.Tensor, a: torch.Tensor) -> Any:
    """What follows the attention, written out from the recipe."""
    scaled = torch.cat([part * scale for part, scale in zip(a.chunk(HEADS, -1), block.head_scale, strict=True)], -1)
    x = x + block.after_attention(scaled)
    f = block.contract(block.hidden(nn.functional.gelu(block.expand(block.before_feedforward(x)))))
    return block.residual_scale * x + f


def disturbed(block: Any) -> Any:
    """Every parameter away from its initial 0 or 1, so that each one counts."""
    for seed, parameter in enumerate(block.double().parameters()):
        parameter.data += 0.3 * random(*parameter.shape, seed=seed)
    return block


def test_particle_block_against_multihead_attention():
    block, mask, x = disturbed(ParticleBlock(WIDTH, HEADS, 2, 0.0)), some_mask(), random(3, 5, WIDTH)
    bias = random(3, HEADS, 5, 5, seed=1)
    h = block.before_attention(x)
    a, _ = like_torch(block)(
        h, h, h, attn_mask=bias.masked_fill(~mask[:, None, None], -torch.inf).flatten(0, 1), need_weights=False
    )
    rows = PackedRows(mask)
    found = block(rows.pack(x), rows, (bias + key_padding_bias(mask, torch.float64)[:, None]).transpose(0, 1))
    torch.testing.assert_close(found, rows.pack(finished(block, x, a)))


def test_class_block_against_multihead_attention():
    block, mask, x, token = (
        disturbed(ClassBlock(WIDTH, HEADS, 2, 0.0)),
        some_mask(),
        random(3, 5, WIDTH),
        random(3, WIDTH),
    )
    u = block.before_attention(torch.cat([token[:, None], x], 1))
    padded = torch.cat([torch.zeros(3, 1, dtype=torch.bool), ~mask], 1)
    a, _ = like_torch(block)(token[:, None], u, u, key_padding_mask=padded, need_weights=False)
    rows = PackedRows(mask)
    torch.testing.assert_close(block(token, rows.pack(x), rows), finished(block, token, a[:, 0]))


def test_bias_is_that_of_each_pair_alone():
    """U of a pair is the pair embedding of its features, in both orders, and nothing else."""
    torch.manual_seed(0)
    network: Any = ParT(Sizes(4, 2, 0, 2), width=WIDTH, heads=HEADS, pair_embedding=(5,)).double().eval()
    mask, pairs = some_mask(), random(3, 5, 5, 2)
    pairs = pairs + pairs.transpose(1, 2)
    bias = network.bias(pairs, mask)
    for event, i, j in (mask[:, :, None] & mask[:, None, :]).nonzero().tolist():
        alone = network.embed_pairs(pairs[event, i, j][None])[0] if i != j else torch.zeros(HEADS, dtype=torch.float64)
        torch.testing.assert_close(torch.stack([u[event, i, j] for u in bias]), alone)


def test_dropout_only_while_training():
    network: Any = ParT(Sizes(4, 0, 0, 2), width=WIDTH, heads=HEADS, blocks=1, dropout=0.5)
    x, rows = random(3, 5, WIDTH).float(), PackedRows(some_mask())
    bias = network.bias(torch.zeros(3, 5, 5, 0), some_mask())
    block = network.blocks[0]
    there = [block(rows.pack(x), rows, bias) for _ in range(2)]
    assert not torch.allclose(*there)
    block.eval()
    there = [block(rows.pack(x), rows, bias) for _ in range(2)]
    assert torch.equal(*there)
