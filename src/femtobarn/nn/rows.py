"""Rows: the real entries of a padded tensor as plain rows, and back."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from femtobarn.nn.places import Places, placed


class Rows:
    """Which entries of a padded tensor are real, so that a layer computes on those alone.

    A four-top event fills about ten of eighteen slots: 55 % of the objects and 30 % of the pairs are padding. Layers
    that treat each entry by itself (linear, norms, activations) are applied to packed rows, which saves that time and
    keeps padding out of batch statistics by construction.

    While a model is being exported the number of rows must not depend on the data: then every entry is a row and
    `unpack` blanks the padded ones. Outside training both give the same.

    Args:
        mask: True where an entry is real; any number of axes.

    Example:
        >>> rows = Rows(torch.tensor([[True, False], [True, True]]))
        >>> rows.pack(torch.tensor([[[1.0], [9.0]], [[2.0], [3.0]]])).flatten().tolist()
        [1.0, 2.0, 3.0]
    """

    def __init__(self, mask: Bool[Tensor, "*entries"]) -> None:
        self.mask = mask
        self.index = None if torch.compiler.is_exporting() else mask.flatten().nonzero().squeeze(1)
        self._places: dict[int, Places] = {}

    def pack(self, entries: Shaped[Tensor, "*entries features"]) -> Shaped[Tensor, "rows features"]:
        """The real entries one below the other."""
        flat = entries.flatten(0, -2)
        return flat if self.index is None else flat.index_select(0, self.index)

    def unpack(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "*entries features"]:
        """Rows back in their places, zeros where there is nothing real; rows behind the real ones are left out."""
        shape = (*self.mask.shape, rows.shape[-1])
        if self.index is None:
            return rows.reshape(shape).masked_fill(~self.mask[..., None], 0.0)
        real = rows[: len(self.index)]
        return rows.new_zeros(self.mask.numel(), rows.shape[-1]).index_copy_(0, self.index, real).reshape(shape)

    def sum(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "... features"]:
        """Sum over the last axis of the mask (the objects of an event, the neighbours of an object)."""
        if self.index is None:
            return self.unpack(rows).sum(-2)
        *outer, last = self.mask.shape
        total = rows.new_zeros(self.mask.numel() // last, rows.shape[-1])
        owner = self.index.div(last, rounding_mode="floor")
        return total.index_add_(0, owner, rows[: len(owner)]).reshape(*outer, rows.shape[-1])

    def mean(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "... features"]:
        """Mean over the last axis of the mask, 0 where nothing is real."""
        return self.sum(rows) / self.mask.sum(-1, keepdim=True).clamp_min(1)

    def places(self, heads: int) -> Places:
        """Where an attention with so many heads finds their parts of the rows; made once, used by every layer."""
        if heads not in self._places:
            assert self.index is not None
            self._places[heads] = placed(self.mask, self.index, heads)
        return self._places[heads]
