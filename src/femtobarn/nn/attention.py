"""Attention with an additive bias and padded keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from femtobarn.nn.dropout import dropout, kept
from femtobarn.nn.places import Matrices, Places
from femtobarn.nn.rows import Rows

#: U of every head with `closed` in it, between all slots or, for several layers to share, as `shared` makes it of that.
Bias = Float[Tensor, "heads batch _ objects"] | Matrices

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


def shared(bias: Bias, rows: Rows) -> Bias:
    """U as `attend` computes with it: on processors cut into small matrices, once for all layers that get this."""
    if rows.index is None or not len(rows.index) or rows.index.device.type != "cpu" or _LISTENERS:
        return bias
    return bias if isinstance(bias, Matrices) else Matrices(bias, rows.places(len(bias)))


def attend(
    projected: Float[Tensor, "rows three_widths"],
    rows: Rows,
    bias: Bias,
    chance: float = 0.0,
) -> Float[Tensor, "rows width"]:
    r"""What each object gathers from the objects of its event, head by head.

    .. math:: \mathrm{softmax}(Q K^T / \sqrt{d} + U)\, V

    Args:
        projected: queries, keys and values of each object side by side; each width is split evenly among the heads.
        rows: where the objects are.
        bias: U of each head.
        chance: with which an attention weight is dropped (0 outside training: the caller decides).

    Source: Vaswani et al., arXiv:1706.03762; with U: Qu, Li and Qian, arXiv:2202.03772, eq. 4.
    """
    heads, slots = len(bias), rows.mask.shape[1]
    bias = shared(bias, rows)
    if isinstance(bias, Matrices):
        gathered: Tensor = _Grouped.apply(projected, bias.places, chance, *bias.each)  # type: ignore[no-untyped-call]
        return gathered
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
        return as_many(rows.pack(mixed.transpose(1, 2).flatten(2)), projected)
    logits = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5 + bias
    weights = logits.softmax(-1)
    _tell_objects(weights, bias)
    mixed = dropout(weights, chance) @ values
    return as_many(rows.pack(mixed.permute(1, 2, 0, 3).flatten(2)), projected)


def laid(parts: Tensor, index: Tensor, shape: tuple[int, int]) -> Float[Tensor, "rows width"]:
    """Parts by number, side by side in rows; zeros in the rows behind the last of them."""
    rows = parts.new_empty(shape)
    flat, many = rows.view(-1, parts.shape[1]), len(index)
    torch.index_select(parts, 0, index, out=flat[:many])
    flat[many:] = 0.0
    return rows


def as_many(
    real: Float[Tensor, "*some real width"], rows: Float[Tensor, "rows _"]
) -> Float[Tensor, "*some rows width"]:
    """With as many rows of zeros behind the real ones as the other has."""
    missing = rows.shape[0] - real.shape[-2]
    return nn.functional.pad(real, (0, 0, 0, missing)) if missing else real


class _Grouped(torch.autograd.Function):
    """The same on processors, whose fused attention knows no trained bias: products of small matrices.

    Events that fill as many slots are computed together. One gather takes the objects to their slots and lays heads out
    one after the other at the same time, another takes what they have found back to the rows.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, places: Places, chance: float, *bias: Tensor) -> Tensor:
        each = projected.shape[1] // (3 * places.heads)
        apart = projected.view(-1, each).index_select(0, places.there)
        mixed = apart.new_empty(len(apart) // 3, each)
        saved = []
        for u, parts, found in zip(bias, places.apart(apart, 3), places.apart(mixed, 1), strict=True):
            queries, keys, values = parts.unbind(0)
            logits = torch.baddbmm(
                u.view(len(keys), keys.shape[1], -1), queries, keys.transpose(1, 2), alpha=each**-0.5
            )
            weights = logits.softmax(-1)
            factors = kept(weights, chance) if chance else None
            torch.bmm(weights if factors is None else weights * factors, values, out=found[0])
            saved += [weights, factors]
        ctx.save_for_backward(apart, *saved)
        ctx.places, ctx.shape = places, projected.shape
        return laid(mixed, places.out, (len(projected), places.heads * each))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        apart, *saved = ctx.saved_tensors
        places, each = ctx.places, apart.shape[1]
        slope = slopes[0].reshape(-1, each)[: len(places.out)]
        of_mixed = apart.new_zeros(len(apart) // 3, each).index_copy_(0, places.out, slope)
        of_apart, of_bias = torch.empty_like(apart), []
        matrices = (places.apart(x, kinds) for x, kinds in ((apart, 3), (of_apart, 3), (of_mixed, 1)))
        for weights, factors, parts, of_parts, of_found in zip(saved[::2], saved[1::2], *matrices, strict=True):
            (queries, keys, values), (found,) = parts.unbind(0), of_found
            seen = weights if factors is None else weights * factors
            torch.bmm(seen.transpose(1, 2), found, out=of_parts[2])
            of_weights = torch.bmm(found, values.transpose(1, 2))
            if factors is not None:
                of_weights.mul_(factors)
            of_logits = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_bias.append(of_logits.view(places.heads, -1))
            torch.bmm(of_logits, keys, out=of_parts[0])
            torch.bmm(of_logits.transpose(1, 2), queries, out=of_parts[1])
            of_parts[:2] *= each**-0.5
        return laid(of_apart, places.back, ctx.shape), None, None, *of_bias


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


def read_once(
    query: Float[Tensor, "batch width"],
    seen: Float[Tensor, "batch objects features"],
    real: Bool[Tensor, "batch objects"],
    heads: int,
    layer: nn.Linear,
) -> Float[Tensor, "batch width"]:
    r"""What `attend_once` gathers from the keys and values that a layer makes of the objects, without making them.

    .. math:: \mathrm{softmax}(q\, (X W_K^T + b_K)^T / \sqrt{d})\, (X W_V^T + b_V)

    The query goes through the weights of the keys, and what it has gathered through those of the values: once an event,
    not once an object. The shift of the keys is the same for every object and changes nothing.

    Args:
        query: one an event; its width is split evenly among the heads.
        seen: what keys and values are made of.
        real: True where there is an object; without any, the mean of all.
        heads: number of them.
        layer: its last outputs are keys and values, side by side.
    """
    batch, width = query.shape
    each = width // heads
    assert layer.bias is not None
    of_keys, of_values = layer.weight[-2 * width :].view(2, heads, each, -1).unbind(0)
    asked = torch.bmm(query.view(batch, heads, each).transpose(0, 1) * each**-0.5, of_keys).transpose(0, 1)
    logits = torch.bmm(asked, seen.transpose(1, 2))
    weights = logits.masked_fill(~real[:, None], torch.finfo(logits.dtype).min).softmax(-1)
    tell("readout", weights[:, :, None])
    gathered = torch.bmm(torch.bmm(weights, seen).transpose(0, 1), of_values.transpose(1, 2))
    return gathered.transpose(0, 1).flatten(1) + layer.bias[-width:]


def _tell_objects(weights: Tensor, bias: Tensor) -> None:
    tell("objects", weights.transpose(0, 1), bias.transpose(0, 1))
