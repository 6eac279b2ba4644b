"""Pieces: what is computed row by row need not be held for all rows at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from femtobarn.nn.products import ROWS

#: Numbers of the widest layer at a time, for each thread: 1 MB, what a core has to itself on current processors.
NUMBERS = 1 << 18


def in_pieces(
    layers: Callable[..., Tensor], *rows: Float[Tensor, "rows _"], width: int
) -> Float[Tensor, "rows outputs"]:
    """Layers applied to rows, a few at a time where nobody will ask for a gradient: what they make stays in the cache.

    Args:
        layers: what becomes of each row does not depend on the others.
        rows: arguments of the layers.
        width: the largest number of features a row has between them.
    """
    piece = at_once(rows[0], width)
    if piece is None:
        return layers(*rows)
    return torch.cat([layers(*some) for some in zip(*(torch.split(each, piece) for each in rows), strict=True)])


def at_once(rows: Shaped[Tensor, "rows ..."], width: int) -> int | None:
    """How many rows to take at a time, so that a layer of this width stays in the cache.

    None, for all, where someone may ask for a gradient, and where there are not more.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return None
    many = max(NUMBERS // width, 1) * torch.get_num_threads()
    many -= many % ROWS if many > ROWS else 0
    return many if rows.device.type == "cpu" and len(rows) > many else None


def portions(rows: Int[Tensor, " events"], width: int) -> tuple[list[int], list[int]]:
    """How many events to take at a time, one after the other, and how many rows these have together.

    Args:
        rows: of each event.
        width: features of a row.
    """
    counts = rows.tolist()
    if rows.device.type != "cpu" or torch.compiler.is_compiling() or not counts:
        return [len(counts)], [sum(counts)]
    most = NUMBERS // width * torch.get_num_threads()
    events, many = [0], [0]
    for count in counts:
        if events[-1] and many[-1] + count > most:
            events.append(0)
            many.append(0)
        events[-1] += 1
        many[-1] += count
    return events, many
