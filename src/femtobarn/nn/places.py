"""Places: where the objects of events stand in the small matrices of an attention, with little padding."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Slots come in multiples of what a vector register holds, and are at least twice as many: fewer make a softmax slow.
VECTOR = 8

#: Numbers in the attention matrices of a group at most, so that they stay in the cache of a core.
NUMBERS = 1 << 18


class Group(NamedTuple):
    """Events that fill about as many slots."""

    events: Int[Tensor, " events"]
    slots: int
    cells: Int[Tensor, " cells"]  # of their matrices, in those of all events with all slots, one after the other


class Places(NamedTuple):
    """Parts of rows (queries, keys and values side by side, each with a part for every head) laid out for an attention.

    Places are counted group by group, within one as (queries, keys, values) x heads x events x slots. In a slot
    that is padding stands a part of any object: nobody sees it, for its key is closed, and nobody asks what it saw.
    """

    heads: int
    groups: tuple[Group, ...]
    there: Int[Tensor, " places"]  # the part that goes to each place
    back: Int[Tensor, " parts"]  # the place of each part
    out: Int[Tensor, " parts_asking"]  # the place of the queries of each part, counting queries alone

    def apart(
        self, places: Shaped[Tensor, "places each"], kinds: int
    ) -> list[Shaped[Tensor, "kinds matrices slots each"]]:
        """The matrices of each group; of so many kinds: 3 with keys and values, 1 for queries alone."""
        sizes = [kinds * self.heads * len(group.events) * group.slots for group in self.groups]
        return [
            part.view(kinds, self.heads * len(group.events), group.slots, places.shape[1])
            for part, group in zip(torch.split(places, sizes), self.groups, strict=True)
        ]


def placed(mask: Bool[Tensor, "batch slots"], index: Int[Tensor, " rows"], heads: int) -> Places:
    """Events sorted into groups, for an attention with so many heads."""
    slots = mask.shape[1]
    at = torch.arange(slots)
    filled = (mask * (at + 1)).amax(1)
    needed = (filled.add(VECTOR - 1).div(VECTOR, rounding_mode="floor").clamp_min(2) * VECTOR).clamp_max(slots)
    groups = tuple(
        Group(some, wide, (some[:, None, None] * slots**2 + at[:wide, None] * slots + at[:wide]).flatten())
        for wide in sorted(set(needed.tolist()))
        for some in (needed == wide).nonzero().squeeze(1).split(max(NUMBERS // (heads * wide**2), 1))
    )
    row = (mask.flatten().cumsum(0) - 1).clamp_min(0).view(mask.shape)
    part = torch.arange(3 * heads)
    there, back, out = [], torch.empty(len(index), 3 * heads, dtype=torch.long), index.new_empty(len(index), heads)
    before = 0
    for events, wide, _ in groups:
        mine, real = row[events, :wide].flatten(), mask[events, :wide].flatten().nonzero().squeeze(1)
        there.append((mine * 3 * heads + part[:, None]).flatten())
        places = real[:, None] + len(mine) * part
        back[mine[real]] = before * 3 * heads + places
        out[mine[real]] = before * heads + places[:, :heads]
        before += len(mine)
    return Places(heads, groups, torch.cat(there), back.flatten(), out.flatten())


class Matrices:
    """U of each head as the small matrices of an attention: made once, for all layers that share it.

    Args:
        dense: of every head, event and pair of slots.
        places: where the objects stand.
    """

    def __init__(self, dense: Float[Tensor, "heads batch _ objects"], places: Places) -> None:
        self.places = places
        cells = [group.cells for group in places.groups]
        full = dense.expand(-1, -1, dense.shape[3], -1).flatten(1)
        self.each: tuple[Tensor, ...] = _Cut.apply(full, *cells)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return self.places.heads


class _Cut(torch.autograd.Function):
    """Columns by number, none of them twice, so that gradients are put in place and not summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *cells: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*cells)
        ctx.shape = x.shape
        return tuple(x.index_select(1, some) for some in cells)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        whole = slopes[0].new_zeros(ctx.shape)
        for some, slope in zip(ctx.saved_tensors, slopes, strict=True):
            whole.scatter_(1, some.expand(len(whole), -1), slope)
        return (whole, *(None for _ in slopes))
