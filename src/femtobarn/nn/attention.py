"""Attention with an additive bias and padded keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from femtobarn.nn.dropout import dropout
from femtobarn.nn.rows import Rows

#: What is told of every attention while someone listens: who looks at whom, the weights, and U where there is one.
Listener = Callable[[str, Float[Tensor, "batch heads looking seen"], Float[Tensor, "batch heads _ seen"] | None], None]

_LISTENERS: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While this is open, `listener` is told the weights of every attention that is computed.

    Args:
        listener: called with `objects` where objects look at objects and `readout` where the event is read from
            them, the weights, and U (with `closed` in it) or None.
    """
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def tell(
    between: str,
    weights: Float[Tensor, "batch heads looking seen"],
    bias: Float[Tensor, "batch heads _ seen"] | None = None,
) -> None:
    """Hands attention weights to whoever listens."""
    for listener in _LISTENERS:
        listener(between, weights, bias)


def closed(mask: Bool[Tensor, "batch keys"], dtype: torch.dtype) -> Float[Tensor, "batch 1 keys"]:
    """What is added to attention logits so that padding is not seen: 0 for real keys, the lowest number for others.

    The lowest finite number, not -inf: an event without any object would make NaN of it.
    """
    open_ = torch.zeros_like(mask, dtype=dtype)
    return open_.masked_fill(~mask, torch.finfo(dtype).min)[:, None, :]


def attend(
    projected: Float[Tensor, "rows three_widths"],
    rows: Rows,
    bias: Float[Tensor, "heads batch _ objects"],
    chance: float = 0.0,
) -> Float[Tensor, "rows width"]:
    r"""What each object gathers from the objects of its event, head by head.

    .. math:: \mathrm{softmax}(Q K^T / \sqrt{d} + U)\, V

    Args:
        projected: queries, keys and values of each object side by side; each width is split evenly among the heads.
        rows: where the objects are.
        bias: U of each head, with `closed` in it.
        chance: with which an attention weight is dropped (0 outside training: the caller decides).

    Source: Vaswani et al., arXiv:1706.03762; with U: Qu, Li and Qian, arXiv:2202.03772, eq. 4.
    """
    heads, slots = len(bias), rows.mask.shape[1]
    if rows.index is not None and projected.device.type == "cpu" and len(projected):
        return _by_rows(projected, rows, bias, chance)
    apart = (
        rows.unpack(projected)
        .reshape(*rows.mask.shape, 3, heads, projected.shape[-1] // (3 * heads))
        .permute(2, 3, 0, 1, 4)
    )
    queries, keys, values = apart.unbind(0)
    if projected.is_cuda and not _LISTENERS:
        q, k, v = (each.transpose(0, 1) for each in (queries, keys, values))
        u = bias.transpose(0, 1).expand(-1, -1, slots, -1).to(q.dtype)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, u, chance)
        return rows.pack(mixed.transpose(1, 2).flatten(2))
    logits = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5 + bias
    weights = logits.softmax(-1)
    _tell_objects(weights, bias)
    mixed = dropout(weights, chance) @ values
    return rows.pack(mixed.permute(1, 2, 0, 3).flatten(2))


def _by_rows(projected: Tensor, rows: Rows, bias: Tensor, chance: float) -> Tensor:
    """The same on processors, whose fused attention knows no trained bias: two gathers and products of small matrices.

    A gather takes the objects to their slots and lays heads out one after the other at the same time. What it puts
    into padded slots is any object: nobody sees it, for its key is closed, and nobody asks what it has seen.
    """
    heads, (batch, slots) = len(bias), rows.mask.shape
    there, back, out = rows.of_heads(heads)
    each = projected.shape[-1] // (3 * heads)
    apart: Tensor = _Gather.apply(projected.view(-1, each), there, back)  # type: ignore[no-untyped-call]
    queries, keys, values = apart.view(3, heads * batch, slots, each).unbind(0)
    u = bias.expand(-1, batch, slots, -1).flatten(0, 1)
    weights = torch.baddbmm(u, queries, keys.transpose(1, 2), alpha=each**-0.5).softmax(-1)
    if _LISTENERS:
        _tell_objects(weights.view(heads, batch, slots, slots), bias)
    mixed = torch.bmm(dropout(weights, chance), values)
    packed: Tensor = _Pack.apply(mixed.view(-1, each), out)  # type: ignore[no-untyped-call]
    return packed.view(len(projected), heads * each)


class _Gather(torch.autograd.Function):
    """Rows by number; the gradient, 0 for the fillers of padded slots, is gathered from where each row went."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        return slopes[0].index_select(0, ctx.saved_tensors[0]), None, None


class _Pack(torch.autograd.Function):
    """Rows by number, each at most once, so that the gradient is copied to its place and not summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return slopes[0].new_zeros(ctx.shape).index_copy_(0, ctx.saved_tensors[0], slopes[0]), None


def attend_once(
    query: Float[Tensor, "batch width"],
    projected: Float[Tensor, "batch objects two_widths"],
    real: Bool[Tensor, "batch objects"],
    heads: int,
) -> Float[Tensor, "batch width"]:
    """What a single query gathers from the real objects of each event, head by head.

    Args:
        query: one an event; its width is split evenly among the heads.
        projected: keys and values side by side.
        real: True where there is an object; without any, the mean of the values.
        heads: number of them.
    """
    each = query.shape[-1] // heads
    keys, values = projected.reshape(*projected.shape[:2], 2, heads, each).unbind(2)
    # sums are faster here than matrix products
    query = query.reshape(query.shape[0], 1, heads, each) * each**-0.5
    logits = (query * keys).sum(-1)
    weights = logits.masked_fill(~real[..., None], torch.finfo(logits.dtype).min).softmax(1)
    tell("readout", weights.transpose(1, 2)[:, :, None])
    return (weights[..., None] * values).sum(1).flatten(1)


def attend_from_last(
    projected: Float[Tensor, "rows three_widths"], rows: Rows, heads: int, objects: int
) -> tuple[Int[Tensor, " batch"], Float[Tensor, "batch width"]]:
    """What the last token of each event, which must be real, gathers from all of them, and the rows these tokens have.

    Args:
        projected: queries, keys and values of each token side by side; each width is split evenly among the heads.
        rows: where the tokens are.
        heads: of the attention.
        objects: the first tokens of an event, which whoever listens is told of last, as `attend_once` does.
    """
    batch, slots = rows.mask.shape
    if rows.index is None:
        number = torch.arange(1, batch + 1, device=rows.mask.device) * slots - 1
    else:
        number = rows.mask.sum(1).cumsum(0) - 1
    width = projected.shape[-1] // 3
    seen = rows.unpack(projected[:, width:])
    # what is told of a reading has the objects last
    seen, real = (torch.cat([each[:, objects:], each[:, :objects]], dim=1) for each in (seen, rows.mask))
    return number, attend_once(projected[number, :width], seen, real, heads)


def _tell_objects(weights: Tensor, bias: Tensor) -> None:
    tell("objects", weights.transpose(0, 1), bias.transpose(0, 1))
