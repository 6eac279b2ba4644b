"""Hand-written fast paths against a readable reference of the same function: values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.fusion import fuse_linear_bn_weights

from femtobarn.models.lgatr_slim import MEAN_SQUARE_OFFSET, ScalarsVectors, gate, rms_norm
from femtobarn.nn import (
    BatchNorm,
    PackedRows,
    class_attention,
    fuse_linear_bn,
    key_padding_bias,
    last_token_attention,
    query_attention,
    self_attention,
)
from femtobarn.physics.lorentz import METRIC

HEADS, WIDTH = 3, 12
MASK = torch.tensor([[True] * 5, [True, False, True, False, False], [True, True, False, True, True]])


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def assert_equal_with_gradients(fast: Tensor, reference: Tensor, *inputs: Tensor) -> None:
    torch.testing.assert_close(fast, reference)
    weights = normal(*reference.shape, seed=9).detach()
    grads = [torch.autograd.grad((value * weights).sum(), inputs, retain_graph=True) for value in (fast, reference)]
    for own, expected in zip(*grads, strict=True):
        torch.testing.assert_close(own, expected)


def lorentz_product(first: Tensor, second: Tensor) -> Tensor:
    """Product of (4, ...) components."""
    return (torch.tensor(METRIC, dtype=first.dtype).view(4, *[1] * (first.dim() - 1)) * first * second).sum(0)


@pytest.mark.parametrize("groups", [1, 3])
def test_rms_norm_divides_by_the_size_of_all_channels(groups):
    scalars, vectors = normal(7, 2 * groups), normal(4, 7, 5 * groups, seed=1)
    parts = []
    for s, v in zip(scalars.chunk(groups, -1), vectors.chunk(groups, -1), strict=True):
        squares = s.square().sum(-1) + lorentz_product(v, v).abs().sum(-1)
        size = (squares / (s.shape[-1] + v.shape[-1]) + MEAN_SQUARE_OFFSET).sqrt()[:, None]
        parts.append((s / size, v / size))
    fast = rms_norm(ScalarsVectors(scalars, vectors), groups)
    for own, reference in zip(fast, (torch.cat(part, -1) for part in zip(*parts, strict=True)), strict=True):
        assert_equal_with_gradients(own, reference, scalars, vectors)


def test_gate_multiplies_vectors_by_the_sigmoid_of_half_a_product():
    scalars, vectors = normal(7, 6), normal(4, 7, 15, seed=1)
    values, first, second = vectors.chunk(3, -1)
    fast = gate(ScalarsVectors(scalars, vectors))
    gelu = nn.functional.gelu(scalars[:, 3:], approximate="tanh")
    assert_equal_with_gradients(fast.scalars, scalars[:, :3] * gelu, scalars)
    reference = values * torch.sigmoid(lorentz_product(first, second) / 2)
    assert_equal_with_gradients(fast.vectors, reference, vectors)


def split_heads(x: Tensor) -> Tensor:
    """(batch, tokens, width) to (batch, heads, tokens, width / heads)."""
    return torch.unflatten(x, -1, (HEADS, -1)).transpose(1, 2)


def test_self_attention_of_packed_rows_is_attention_of_padded_ones():
    rows, bias = PackedRows(MASK), normal(HEADS, 3, 5, 5, seed=1)
    projected = normal(int(MASK.sum()), 3 * WIDTH)
    masked_bias = bias + key_padding_bias(MASK, torch.float64)
    fast = self_attention(projected, rows, masked_bias)
    query, key, value = (split_heads(part) for part in rows.unpack(projected).chunk(3, -1))
    mixed = scaled_dot_product_attention(query, key, value, masked_bias.transpose(0, 1))
    assert_equal_with_gradients(fast, rows.pack(mixed.transpose(1, 2).flatten(2)), projected, bias)


def test_attention_of_a_single_query_is_attention_with_one_row():
    query, tokens = normal(3, WIDTH), normal(3, 5, 2 * WIDTH, seed=1)
    key, value = (split_heads(part) for part in tokens.chunk(2, -1))
    mask = MASK[:, None, None]
    reference = scaled_dot_product_attention(split_heads(query[:, None]), key, value, mask).transpose(1, 2).flatten(1)
    assert_equal_with_gradients(query_attention(query, tokens, MASK, HEADS), reference, query, tokens)


def test_attention_of_the_last_token_is_the_last_row_of_self_attention():
    mask = torch.cat([MASK, torch.ones(3, 1, dtype=torch.bool)], 1)
    rows = PackedRows(mask)
    projected = normal(int(mask.sum()), 3 * WIDTH)
    bias = key_padding_bias(mask, torch.float64).expand(HEADS, 3, 1, 6)
    row, fast = last_token_attention(projected, rows, HEADS, 5)
    assert_equal_with_gradients(fast, self_attention(projected, rows, bias)[row], projected)


def test_class_attention_is_query_attention_to_the_keys_and_values_of_a_layer():
    layer = nn.Linear(7, 2 * WIDTH).double()
    query, tokens = normal(3, WIDTH), normal(3, 5, 7, seed=1)
    reference = query_attention(query, layer(tokens), MASK, HEADS)
    assert_equal_with_gradients(class_attention(query, tokens, MASK, HEADS, layer), reference, query, tokens)


@pytest.mark.parametrize("bias", [False, True])
def test_fused_batch_norm_has_the_weights_of_torch(bias):
    layer, norm = nn.Linear(5, 3, bias=bias).double(), BatchNorm(3).double()
    with torch.no_grad():
        norm(layer(normal(20, 5)))
        norm.weight.copy_(normal(3, seed=2))
    norm.eval()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    expected = fuse_linear_bn_weights(
        layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    for own, reference in zip(fuse_linear_bn(layer, norm), expected, strict=True):
        torch.testing.assert_close(own, reference.detach(), check_stride=False)
