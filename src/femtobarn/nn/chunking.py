"""Chunking: apply layers to a few rows at a time, so that intermediate results stay in the cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from femtobarn.nn.products import ROW_MULTIPLE

#: Elements of the widest layer per chunk and thread: 1 MB, the cache of one core of a current processor.
CHUNK_ELEMENTS = 1 << 18


def apply_chunked(
    layers: Callable[..., Tensor], *rows: Float[Tensor, "rows _"], width: int, max_elements: int = CHUNK_ELEMENTS
) -> Float[Tensor, "rows outputs"]:
    """Apply layers to rows, in chunks if no gradient is needed.

    Args:
        layers: function that acts on each row independently.
        rows: arguments of the function.
        width: largest number of features per row, intermediate results included.
        max_elements: elements of the widest layer per chunk and thread.
    """
    size = chunk_size(rows[0], width, max_elements)
    if size is None:
        return layers(*rows)
    return torch.cat([layers(*chunk) for chunk in zip(*(torch.split(x, size) for x in rows), strict=True)])


def chunk_size(rows: Shaped[Tensor, "rows ..."], width: int, max_elements: int = CHUNK_ELEMENTS) -> int | None:
    """Number of rows per chunk, so that a layer of this width stays in the cache.

    None means a single chunk: a gradient may be needed, or there are not more rows.

    Args:
        rows: rows to split.
        width: features per row.
        max_elements: elements of the layer per chunk and thread.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return None
    n_rows = max(max_elements // width, 1) * torch.get_num_threads()
    n_rows -= n_rows % ROW_MULTIPLE if n_rows > ROW_MULTIPLE else 0
    return n_rows if rows.device.type == "cpu" and len(rows) > n_rows else None


def event_chunks(
    n_rows: Int[Tensor, " events"], width: int, max_elements: int = CHUNK_ELEMENTS
) -> tuple[list[int], list[int]]:
    """Split events into chunks of consecutive events whose rows stay in the cache.

    Args:
        n_rows: number of rows of each event.
        width: features per row.
        max_elements: elements of the rows of a chunk, per thread; a larger event is a chunk of its own.

    Returns:
        the number of events and the number of rows of each chunk.
    """
    counts = n_rows.tolist()
    if n_rows.device.type != "cpu" or torch.compiler.is_compiling() or not counts:
        return [len(counts)], [sum(counts)]
    max_rows = max_elements // width * torch.get_num_threads()
    events, rows = [0], [0]
    for count in counts:
        if events[-1] and rows[-1] + count > max_rows:
            events.append(0)
            rows.append(0)
        events[-1] += 1
        rows[-1] += count
    return events, rows
