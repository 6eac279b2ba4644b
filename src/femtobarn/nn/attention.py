"""Attention with an additive bias and padded keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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
    projected: Float[Tensor, "batch objects three_widths"],
    bias: Sequence[Float[Tensor, "batch _ objects"]],
    dropout: float = 0.0,
) -> Float[Tensor, "batch objects width"]:
    r"""What each object gathers from the real objects, head by head.

    .. math:: \mathrm{softmax}(Q K^T / \sqrt{d} + U)\, V

    Args:
        projected: queries, keys and values side by side; each width is split evenly among the heads.
        bias: U of each head, with `closed` in it. For an event without objects the answer means nothing.
        dropout: probability with which an attention weight is dropped (0 outside training: the caller decides).

    Source: Vaswani et al., arXiv:1706.03762; with U: Qu, Li and Qian, arXiv:2202.03772, eq. 4.
    """
    heads = len(bias)
    parts = torch.split(projected, projected.shape[-1] // (3 * heads), dim=-1)
    queries, keys, values = parts[:heads], parts[heads : 2 * heads], parts[2 * heads :]
    if _LISTENERS:
        each = [_weights(q, k, u) for q, k, u in zip(queries, keys, bias, strict=True)]
        tell("objects", torch.stack(each, dim=1), torch.stack(tuple(bias), dim=1))
    if projected.is_cuda:
        q, k, v = (torch.stack(each, dim=1) for each in (queries, keys, values))
        u = torch.stack(tuple(bias), dim=1).expand(-1, -1, q.shape[2], -1)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, u, dropout)
        return mixed.transpose(1, 2).flatten(2)
    # on processors torch's fused attention knows no trained bias, and its fallback copies everything several times
    return torch.cat([_head(*each, dropout) for each in zip(queries, keys, values, bias, strict=True)], dim=-1)


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


def _head(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, dropout: float) -> Tensor:
    weights = _weights(q, k, bias)
    return torch.bmm(torch.nn.functional.dropout(weights, dropout) if dropout else weights, v)


def _weights(q: Tensor, k: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5).softmax(-1)
