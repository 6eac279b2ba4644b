"""What is computed a few rows or events at a time is what would be computed at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from femtobarn.nn import chunk_size
from femtobarn.nn.chunking import event_chunks
from tests.models.test_contract import build, events

WIDTH = 16


@pytest.fixture
def small(monkeypatch):
    """Room for three rows."""
    monkeypatch.setattr("femtobarn.nn.chunking.CHUNK_ELEMENTS", 3 * WIDTH)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


@given(st.lists(st.integers(0, 7)))
def test_portions_take_every_event_once_and_as_many_as_fit(counts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("femtobarn.nn.chunking.CHUNK_ELEMENTS", 10 * WIDTH)
        patch.setattr(torch, "get_num_threads", lambda: 1)
        sizes, rows = event_chunks(torch.tensor(counts, dtype=torch.long), WIDTH)
    assert sum(sizes) == len(counts)
    start = 0
    for size, many in zip(sizes, rows, strict=True):
        assert sum(counts[start : start + size]) == many <= 10
        start += size
    # the first of the next portion would not have fitted
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    assert all(many + counts[after] > 10 for many, after in zip(rows, starts[1:], strict=False))


def test_all_rows_at_once_where_a_gradient_may_be_asked_for(small):
    rows = torch.zeros(4, WIDTH)
    assert chunk_size(rows, WIDTH) is None
    with torch.no_grad():
        assert chunk_size(rows, WIDTH) == 3
        assert chunk_size(rows[:3], WIDTH) is None


@pytest.mark.parametrize("name", ["lgatr-slim", "lloca-transformer", "lloca-particlenet"])
def test_scores_and_gradients_do_not_depend_on_the_pieces(name, request):
    network = build(name, ("mass",))
    batch = events(dtype=torch.float64)
    found = []
    for _ in range(2):
        with torch.no_grad():
            said = network(batch)
        network.zero_grad()
        network(batch).square().sum().backward()
        found.append((said, [each.grad.clone() for each in network.parameters() if each.grad is not None]))
        request.getfixturevalue("small")  # from here on
    (said, slopes), (again, others) = found
    torch.testing.assert_close(again, said, rtol=1e-12, atol=1e-12)
    for one, other in zip(slopes, others, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)
