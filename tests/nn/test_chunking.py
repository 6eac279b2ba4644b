"""Layers that are applied to a few rows or events at a time give the result of all at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from femtobarn.nn import apply_chunked, chunk_size
from femtobarn.nn.chunking import event_chunks
from tests.models.test_contract import build, events

WIDTH = 16

#: Rows per chunk with one thread.
MAX_ROWS = 10


@pytest.fixture(scope="module", autouse=True)
def single_thread():
    """Chunks are as large as the caches of all threads together."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@given(st.lists(st.integers(0, 15)))
def test_chunks_hold_every_event_once_and_as_many_as_fit(counts):
    sizes, rows = event_chunks(torch.tensor(counts, dtype=torch.long), WIDTH, max_elements=MAX_ROWS * WIDTH)
    assert sum(sizes) == len(counts)
    start = 0
    for size, n_rows in zip(sizes, rows, strict=True):
        assert sum(counts[start : start + size]) == n_rows
        assert n_rows <= MAX_ROWS or size == 1
        start += size
    # the first event of the next chunk would not fit
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    assert all(n_rows + counts[after] > MAX_ROWS for n_rows, after in zip(rows, starts[1:], strict=False))


def test_rows_are_chunked_only_without_gradients():
    rows = torch.zeros(4, WIDTH)
    assert chunk_size(rows, WIDTH, max_elements=3 * WIDTH) is None
    with torch.no_grad():
        assert chunk_size(rows, WIDTH, max_elements=3 * WIDTH) == 3
        assert chunk_size(rows[:3], WIDTH, max_elements=3 * WIDTH) is None


def test_layers_applied_in_chunks_give_the_rows_of_a_single_call():
    first, second = torch.randn(11, 3), torch.randn(11, 5)
    lengths = []

    def layers(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        lengths.append(len(x))
        return torch.cat([x.exp(), y * x[:, :1]], dim=-1)

    with torch.no_grad():
        outputs = apply_chunked(layers, first, second, width=WIDTH, max_elements=4 * WIDTH)
    assert lengths == [4, 4, 3]
    assert torch.equal(outputs, layers(first, second))


@pytest.mark.parametrize(("name", "width"), [("lgatr-slim", 128), ("lloca-transformer", 8), ("lloca-particlenet", 8)])
def test_outputs_and_gradients_of_many_events_are_those_of_a_few(name, width):
    """A few events fit into one chunk of their tokens (L-GATr-slim) or pairs (frames of LLoCa), many copies do not."""
    network = build(name, ("mass",))
    few = events(dtype=torch.float64)
    copies = 8
    many = few[torch.arange(few.n_events).repeat(copies)]
    n_rows = many.mask.sum(1) if name == "lgatr-slim" else many.mask.sum(1) ** 2
    assert len(event_chunks(n_rows, width)[0]) > 1
    with torch.no_grad():
        torch.testing.assert_close(network(many), network(few).repeat(copies, 1), rtol=1e-12, atol=1e-12)
    gradients = []
    for batch in (few, many):
        network.zero_grad()
        network(batch).square().sum(1).mean().backward()
        gradients.append([x.grad.clone() for x in network.parameters() if x.grad is not None])
    for expected, gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
