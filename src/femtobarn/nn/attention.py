"""Attention with an additive bias and padded keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from femtobarn.nn.attention_layout import AttentionLayout, BlockBias
from femtobarn.nn.dropout import dropout, dropout_factors
from femtobarn.nn.packing import PackedRows

#: Bias U of every head, `key_padding_bias` included: a dense tensor, or the blocks that `prepare_bias` cuts it into.
Bias = Float[Tensor, "heads batch _ key"] | BlockBias

#: Callback that receives the kind of attention, its weights, and U (or None).
AttentionRecorder = Callable[
    [str, Float[Tensor, "batch heads query key"], Float[Tensor, "batch heads _ key"] | None], None
]

_RECORDERS: list[AttentionRecorder] = []


@contextmanager
def record_attention(recorder: AttentionRecorder) -> Iterator[None]:
    """Pass the weights of every attention computed inside this context to a callback.

    Args:
        recorder: called with `objects` (particles attend to particles) or `readout` (the event attends to its
            particles), the weights, and U with the key padding bias included, or None.
    """
    _RECORDERS.append(recorder)
    try:
        yield
    finally:
        _RECORDERS.remove(recorder)


def report_attention(
    between: str,
    weights: Float[Tensor, "batch heads query key"],
    bias: Float[Tensor, "batch heads _ key"] | None = None,
) -> None:
    """Pass attention weights to every active recorder."""
    for recorder in _RECORDERS:
        recorder(between, weights, bias)


def key_padding_bias(mask: Bool[Tensor, "batch key"], dtype: torch.dtype) -> Float[Tensor, "batch 1 key"]:
    """Bias that removes padded keys from an attention: 0 for real keys, the lowest finite number for padded keys.

    The number is finite, because -inf would give NaN in an event without any particle.
    """
    zeros = torch.zeros_like(mask, dtype=dtype)
    return zeros.masked_fill(~mask, torch.finfo(dtype).min)[:, None, :]


def prepare_bias(bias: Bias, rows: PackedRows) -> Bias:
    """Convert U to the form that `self_attention` uses: small blocks on CPUs, made once for all layers."""
    if rows.index is None or not len(rows.index) or rows.index.device.type != "cpu" or _RECORDERS:
        return bias
    return bias if isinstance(bias, BlockBias) else BlockBias(bias, rows.attention_layout(len(bias)))


def self_attention(
    projected: Float[Tensor, "rows three_widths"],
    rows: PackedRows,
    bias: Bias,
    dropout_p: float = 0.0,
) -> Float[Tensor, "rows width"]:
    r"""Multi-head self-attention between the particles of each event.

    .. math:: \mathrm{softmax}(Q K^T / \sqrt{d} + U)\, V

    Args:
        projected: queries, keys and values of each particle, concatenated; each width is split evenly among the heads.
        rows: index of the packed particles.
        bias: U of each head.
        dropout_p: probability of dropping an attention weight; the caller passes 0 outside training.

    Source: Vaswani et al., arXiv:1706.03762; with U: Qu, Li and Qian, arXiv:2202.03772, eq. 4.
    """
    heads, slots = len(bias), rows.mask.shape[1]
    bias = prepare_bias(bias, rows)
    if isinstance(bias, BlockBias):
        attended: Tensor = _BlockAttention.apply(projected, bias.layout, dropout_p, *bias.blocks)  # type: ignore[no-untyped-call]
        return attended
    qkv = (
        rows.unpack(projected)
        .reshape(*rows.mask.shape, 3, heads, projected.shape[-1] // (3 * heads))
        .permute(2, 3, 0, 1, 4)
    )
    queries, keys, values = qkv.unbind(0)
    if projected.is_cuda and not _RECORDERS:
        q, k, v = (tensor.transpose(0, 1) for tensor in (queries, keys, values))
        u = bias.transpose(0, 1).expand(-1, -1, slots, -1).to(q.dtype)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, u, dropout_p)
        return append_zero_rows(rows.pack(mixed.transpose(1, 2).flatten(2)), projected)
    logits = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5 + bias
    weights = logits.softmax(-1)
    _report_particles(weights, bias)
    mixed = dropout(weights, dropout_p) @ values
    return append_zero_rows(rows.pack(mixed.permute(1, 2, 0, 3).flatten(2)), projected)


def assemble_rows(parts: Tensor, index: Tensor, shape: tuple[int, int]) -> Float[Tensor, "rows width"]:
    """Concatenate parts, selected by index, into rows; rows after the last part are zero."""
    rows = parts.new_empty(shape)
    flat, n_parts = rows.view(-1, parts.shape[1]), len(index)
    torch.index_select(parts, 0, index, out=flat[:n_parts])
    flat[n_parts:] = 0.0
    return rows


def append_zero_rows(
    packed: Float[Tensor, "*leading real width"], like: Float[Tensor, "rows _"]
) -> Float[Tensor, "*leading rows width"]:
    """Append rows of zeros until there are as many rows as in another tensor (see `pad_rows`)."""
    missing = like.shape[0] - packed.shape[-2]
    return nn.functional.pad(packed, (0, 0, 0, missing)) if missing else packed


class _BlockAttention(torch.autograd.Function):
    """Self-attention on CPUs, where torch's fused attention has no gradient for the bias: products of small matrices.

    Events of similar multiplicity are computed together. One gather moves the particles to their blocks and separates
    the heads at the same time; a second gather moves the results back to the rows.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, layout: AttentionLayout, dropout_p: float, *bias: Tensor) -> Tensor:
        head_width = projected.shape[1] // (3 * layout.heads)
        qkv = projected.view(-1, head_width).index_select(0, layout.gather_index)
        mixed = qkv.new_empty(len(qkv) // 3, head_width)
        saved = []
        for u, block, out in zip(bias, layout.blocks(qkv, 3), layout.blocks(mixed, 1), strict=True):
            queries, keys, values = block.unbind(0)
            logits = torch.baddbmm(
                u.view(len(keys), keys.shape[1], -1), queries, keys.transpose(1, 2), alpha=head_width**-0.5
            )
            weights = logits.softmax(-1)
            factors = dropout_factors(weights, dropout_p) if dropout_p else None
            torch.bmm(weights if factors is None else weights * factors, values, out=out[0])
            saved += [weights, factors]
        ctx.save_for_backward(qkv, *saved)
        ctx.layout, ctx.shape = layout, projected.shape
        return assemble_rows(mixed, layout.query_index, (len(projected), layout.heads * head_width))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        qkv, *saved = ctx.saved_tensors
        layout, head_width = ctx.layout, qkv.shape[1]
        grad_rows = grad_outputs[0].reshape(-1, head_width)[: len(layout.query_index)]
        grad_mixed = qkv.new_zeros(len(qkv) // 3, head_width).index_copy_(0, layout.query_index, grad_rows)
        grad_qkv, grad_bias = torch.empty_like(qkv), []
        matrices = (layout.blocks(x, kinds) for x, kinds in ((qkv, 3), (grad_qkv, 3), (grad_mixed, 1)))
        for weights, factors, block, grad_block, grad_out in zip(saved[::2], saved[1::2], *matrices, strict=True):
            (queries, keys, values), (grad,) = block.unbind(0), grad_out
            dropped = weights if factors is None else weights * factors
            torch.bmm(dropped.transpose(1, 2), grad, out=grad_block[2])
            grad_weights = torch.bmm(grad, values.transpose(1, 2))
            if factors is not None:
                grad_weights.mul_(factors)
            grad_logits = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_bias.append(grad_logits.view(layout.heads, -1))
            torch.bmm(grad_logits, keys, out=grad_block[0])
            torch.bmm(grad_logits.transpose(1, 2), queries, out=grad_block[1])
            grad_block[:2] *= head_width**-0.5
        return assemble_rows(grad_qkv, layout.scatter_index, ctx.shape), None, None, *grad_bias


def query_attention(
    query: Float[Tensor, "batch width"],
    projected: Float[Tensor, "batch key two_widths"],
    mask: Bool[Tensor, "batch key"],
    heads: int,
) -> Float[Tensor, "batch width"]:
    """Multi-head attention of a single query per event to the real keys of its event.

    Args:
        query: one per event; its width is split evenly among the heads.
        projected: keys and values, concatenated.
        mask: True where a key is real; without any real key, the result is the mean of the values.
        heads: number of heads.
    """
    head_width = query.shape[-1] // heads
    keys, values = projected.reshape(*projected.shape[:2], 2, heads, head_width).unbind(2)
    # sums are faster here than matrix products
    query = query.reshape(query.shape[0], 1, heads, head_width) * head_width**-0.5
    logits = (query * keys).sum(-1)
    weights = logits.masked_fill(~mask[..., None], torch.finfo(logits.dtype).min).softmax(1)
    report_attention("readout", weights.transpose(1, 2)[:, :, None])
    return (weights[..., None] * values).sum(1).flatten(1)


def last_token_attention(
    projected: Float[Tensor, "rows three_widths"], rows: PackedRows, heads: int, n_particles: int | torch.SymInt
) -> tuple[Int[Tensor, " batch"], Float[Tensor, "batch width"]]:
    """Attention of the last token of each event, which must be real, to all tokens of its event.

    Args:
        projected: queries, keys and values of each token, concatenated; each width is split evenly among the heads.
        rows: index of the packed tokens.
        heads: number of heads.
        n_particles: the first tokens of each event, which are particles. Recorders receive them last, as from
            `query_attention`.

    Returns:
        the row of the last token of each event, and the result of the attention.
    """
    batch, slots = rows.mask.shape
    if rows.index is None:
        last_row = torch.arange(1, batch + 1, device=rows.mask.device) * slots - 1
    else:
        last_row = rows.mask.sum(1).cumsum(0) - 1
    width = projected.shape[-1] // 3
    keys_values = rows.unpack(projected[:, width:])
    # recorders expect the particles last
    keys_values, mask = (
        torch.cat([tensor[:, n_particles:], tensor[:, :n_particles]], dim=1) for tensor in (keys_values, rows.mask)
    )
    return last_row, query_attention(projected[last_row, :width], keys_values, mask, heads)


def class_attention(
    query: Float[Tensor, "batch width"],
    tokens: Float[Tensor, "batch key features"],
    mask: Bool[Tensor, "batch key"],
    heads: int,
    layer: nn.Linear,
) -> Float[Tensor, "batch width"]:
    r"""Compute `query_attention` with the keys and values of a linear layer, without computing these keys and values.

    .. math:: \mathrm{softmax}(q\, (X W_K^T + b_K)^T / \sqrt{d})\, (X W_V^T + b_V)

    The query is multiplied by the weights of the keys, and the weighted mean of the tokens by the weights of the
    values: once per event, not once per token. The bias of the keys is the same for every token and cancels.

    Args:
        query: one per event; its width is split evenly among the heads.
        tokens: inputs of the layer.
        mask: True where a token is real; without any real token, the result is the mean of all values.
        heads: number of heads.
        layer: its last outputs are keys and values, concatenated.
    """
    batch, width = query.shape
    head_width = width // heads
    assert layer.bias is not None
    key_weight, value_weight = layer.weight[-2 * width :].view(2, heads, head_width, -1).unbind(0)
    query_weight = torch.bmm(query.view(batch, heads, head_width).transpose(0, 1) * head_width**-0.5, key_weight)
    logits = torch.bmm(query_weight.transpose(0, 1), tokens.transpose(1, 2))
    weights = logits.masked_fill(~mask[:, None], torch.finfo(logits.dtype).min).softmax(-1)
    report_attention("readout", weights[:, :, None])
    attended = torch.bmm(torch.bmm(weights, tokens).transpose(0, 1), value_weight.transpose(1, 2))
    return attended.transpose(0, 1).flatten(1) + layer.bias[-width:]


def _report_particles(weights: Tensor, bias: Tensor) -> None:
    report_attention("objects", weights.transpose(0, 1), bias.transpose(0, 1))
