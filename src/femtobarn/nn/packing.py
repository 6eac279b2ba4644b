"""Packing: the real entries of a padded tensor as plain rows, and back."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from femtobarn.nn.attention_layout import AttentionLayout, attention_layout


class PackedRows:
    """Index of the real entries of a padded tensor, so that layers compute on these entries only.

    A four-top event fills about ten of eighteen slots: 55 % of the particles and 30 % of the pairs are padding. Layers
    that act on each entry by itself (linear, norms, activations) are applied to packed rows. This saves time and keeps
    padding out of batch statistics.

    While a model is exported the number of rows must not depend on the data: then every entry is a row and `unpack`
    sets the padded entries to 0. Outside training both give the same result.

    Args:
        mask: True where an entry is real; any number of axes.

    Example:
        >>> rows = PackedRows(torch.tensor([[True, False], [True, True]]))
        >>> rows.pack(torch.tensor([[[1.0], [9.0]], [[2.0], [3.0]]])).flatten().tolist()
        [1.0, 2.0, 3.0]
    """

    def __init__(self, mask: Bool[Tensor, "*entries"]) -> None:
        self.mask = mask
        self.index = None if torch.compiler.is_exporting() else mask.flatten().nonzero().squeeze(1)
        self._layouts: dict[int, AttentionLayout] = {}

    def pack(self, entries: Shaped[Tensor, "*entries features"]) -> Shaped[Tensor, "rows features"]:
        """Select the real entries, in order."""
        flat = entries.flatten(0, -2)
        return flat if self.index is None else flat.index_select(0, self.index)

    def unpack(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "*entries features"]:
        """Restore the padded tensor from rows; padded entries are 0, rows after the real ones are ignored."""
        shape = (*self.mask.shape, rows.shape[-1])
        if self.index is None:
            return rows.reshape(shape).masked_fill(~self.mask[..., None], 0.0)
        real = rows[: len(self.index)]
        return rows.new_zeros(self.mask.numel(), rows.shape[-1]).index_copy_(0, self.index, real).reshape(shape)

    def sum(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "... features"]:
        """Sum over the last axis of the mask (the particles of an event, the neighbours of a particle)."""
        if self.index is None:
            return self.unpack(rows).sum(-2)
        *outer, last = self.mask.shape
        total = rows.new_zeros(self.mask.numel() // last, rows.shape[-1])
        owner = self.index.div(last, rounding_mode="floor")
        return total.index_add_(0, owner, rows[: len(owner)]).reshape(*outer, rows.shape[-1])

    def mean(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "... features"]:
        """Mean over the last axis of the mask; 0 where no entry is real."""
        return self.sum(rows) / self.mask.sum(-1, keepdim=True).clamp_min(1)

    def attention_layout(self, heads: int) -> AttentionLayout:
        """Layout of these rows in a self-attention; computed once and shared by all layers with as many heads."""
        if heads not in self._layouts:
            assert self.index is not None
            self._layouts[heads] = attention_layout(self.mask, self.index, heads)
        return self._layouts[heads]
