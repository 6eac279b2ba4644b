"""Layout of the particles of events in the small matrices of a self-attention, with little padding."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Slots; block sizes are multiples of a vector register, and at least two of them: a shorter softmax is slow.
SLOT_MULTIPLE = 8

#: Elements; maximum in the attention matrices of a group of events, so that they fit into the cache of a core.
BLOCK_ELEMENTS = 1 << 18


class EventGroup(NamedTuple):
    """Events of similar multiplicity, which are computed together."""

    events: Int[Tensor, " events"]
    slots: int
    cells: Int[Tensor, " cells"]  # indices of their matrix elements in the dense matrices of all events


class AttentionLayout(NamedTuple):
    """Order of the parts of packed rows in a self-attention; a part is the query, key or value of one head.

    Parts are ordered by group, and within a group as (query, key, value) x heads x events x slots. A padded slot holds
    the part of an arbitrary particle: its key is masked and its result is not used.
    """

    heads: int
    groups: tuple[EventGroup, ...]
    gather_index: Int[Tensor, " places"]  # part that each place of the layout holds
    scatter_index: Int[Tensor, " parts"]  # place of each part
    query_index: Int[Tensor, " query_parts"]  # place of each query, counting queries only

    def blocks(
        self, parts: Shaped[Tensor, "places head_width"], kinds: int
    ) -> list[Shaped[Tensor, "kinds matrices slots_of_group head_width"]]:
        """Split parts in this layout into the matrices of each group.

        Args:
            parts: parts in the order of the layout.
            kinds: 3 for queries, keys and values, 1 for queries only.
        """
        sizes = [kinds * self.heads * len(group.events) * group.slots for group in self.groups]
        return [
            part.view(kinds, self.heads * len(group.events), group.slots, parts.shape[1])
            for part, group in zip(torch.split(parts, sizes), self.groups, strict=True)
        ]


def attention_layout(
    mask: Bool[Tensor, "batch particles"],
    index: Int[Tensor, " rows"],
    heads: int,
    slot_multiple: int = SLOT_MULTIPLE,
    block_elements: int = BLOCK_ELEMENTS,
) -> AttentionLayout:
    """Sort events into groups of similar multiplicity.

    Args:
        mask: True where a particle is real.
        index: flat indices of the real particles.
        heads: number of attention heads.
        slot_multiple: slots of a group are a multiple of this, at least twice it and at most the slots of the mask.
        block_elements: maximum number of elements in the attention matrices of a group.
    """
    slots = mask.shape[1]
    position = torch.arange(slots)
    last = (mask * (position + 1)).amax(1)
    needed = last.add(slot_multiple - 1).div(slot_multiple, rounding_mode="floor").clamp_min(2) * slot_multiple
    needed = needed.clamp_max(slots)
    groups = tuple(
        EventGroup(
            events,
            size,
            (events[:, None, None] * slots**2 + position[:size, None] * slots + position[:size]).flatten(),
        )
        for size in sorted(set(needed.tolist()))
        for events in (needed == size).nonzero().squeeze(1).split(max(block_elements // (heads * size**2), 1))
    )
    row = (mask.flatten().cumsum(0) - 1).clamp_min(0).view(mask.shape)
    part = torch.arange(3 * heads)
    gather = []
    scatter = torch.empty(len(index), 3 * heads, dtype=torch.long)
    query = index.new_empty(len(index), heads)
    offset = 0
    for events, size, _ in groups:
        group_rows = row[events, :size].flatten()
        real = mask[events, :size].flatten().nonzero().squeeze(1)
        gather.append((group_rows * 3 * heads + part[:, None]).flatten())
        places = real[:, None] + len(group_rows) * part
        scatter[group_rows[real]] = offset * 3 * heads + places
        query[group_rows[real]] = offset * heads + places[:, :heads]
        offset += len(group_rows)
    return AttentionLayout(heads, groups, torch.cat(gather), scatter.flatten(), query.flatten())


class BlockBias:
    """Bias U of each head as the small matrices of a self-attention, made once and shared by all layers.

    Args:
        dense: U for every head, event and pair of particles.
        layout: layout of the particles.
    """

    def __init__(self, dense: Float[Tensor, "heads batch _ key"], layout: AttentionLayout) -> None:
        self.layout = layout
        cells = [group.cells for group in layout.groups]
        flat = dense.expand(-1, -1, dense.shape[3], -1).flatten(1)
        self.blocks: tuple[Tensor, ...] = _SelectColumns.apply(flat, *cells)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return self.layout.heads


class _SelectColumns(torch.autograd.Function):
    """Select disjoint sets of columns; gradients are therefore copied, not summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*columns)
        ctx.shape = x.shape
        return tuple(x.index_select(1, index) for index in columns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_x = grad_outputs[0].new_zeros(ctx.shape)
        for index, grad in zip(ctx.saved_tensors, grad_outputs, strict=True):
            grad_x.scatter_(1, index.expand(len(grad_x), -1), grad)
        return (grad_x, *(None for _ in grad_outputs))
