"""Attention with an additive bias and padded keys."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def attend(
    queries: Float[Tensor, "batch queries width"],
    keys: Float[Tensor, "batch keys width"],
    values: Float[Tensor, "batch keys width"],
    mask: Bool[Tensor, "batch keys"],
    *,
    heads: int,
    bias: Float[Tensor, "batch heads queries keys"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch queries width"]:
    r"""What each query gathers from the real keys, head by head.

    .. math:: \mathrm{softmax}(Q K^T / \sqrt{d} + U)\, V

    Args:
        queries, keys, values: projected; the width is split evenly among the heads.
        mask: True where a key is real. A query without any real key gets a finite answer that means nothing.
        heads: number of heads.
        bias: U, added to the logits.
        dropout: probability with which an attention weight is dropped (0 outside training: the caller decides).

    Source: Vaswani et al., arXiv:1706.03762; with U: Qu, Li and Qian, arXiv:2202.03772, eq. 4.
    """

    def split(x: Tensor) -> Tensor:
        batch, entries, width = x.shape
        return x.reshape(batch, entries, heads, width // heads).transpose(1, 2)

    # the lowest finite number, not -inf: a row of -inf alone makes NaN
    lowest = torch.finfo(queries.dtype).min
    padded = ~mask[:, None, None, :]
    if bias is None:
        logits = torch.zeros_like(padded, dtype=queries.dtype).masked_fill(padded, lowest)
    else:
        logits = bias.masked_fill(padded, lowest)
    mixed = torch.nn.functional.scaled_dot_product_attention(
        split(queries), split(keys), split(values), attn_mask=logits, dropout_p=dropout
    )
    return mixed.transpose(1, 2).flatten(2)
