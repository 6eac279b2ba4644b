"""Attention with an additive bias and padded keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
    if projected.is_cuda:
        q, k, v = (torch.stack(each, dim=1) for each in (queries, keys, values))
        u = torch.stack(tuple(bias), dim=1).expand(-1, -1, q.shape[2], -1)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, u, dropout)
        return mixed.transpose(1, 2).flatten(2)
    # on processors torch's fused attention knows no trained bias, and its fallback copies everything several times
    return torch.cat([_head(*each, dropout) for each in zip(queries, keys, values, bias, strict=True)], dim=-1)


def _head(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, dropout: float) -> Tensor:
    logits = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    weights = logits.softmax(-1)
    return torch.bmm(torch.nn.functional.dropout(weights, dropout) if dropout else weights, v)
