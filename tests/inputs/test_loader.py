"""The loader deals every event once, with its targets, in an order that seed and epoch fix."""

import pytest
import torch

from femtobarn.inputs import Batch, batches, make_batch
from femtobarn.inputs.batch import concatenate_batches
from tests.support.sample import make_events


def numbered(count: int = 50) -> tuple[Batch, torch.Tensor]:
    batch = make_batch(make_events(count), 8)
    return batch.replace(context=torch.arange(2.0 * count).reshape(count, 2)), torch.arange(count)


def order(seed: int | None, epoch: int = 0, size: int = 7) -> list[int]:
    batch, number = numbered()
    return torch.cat([target for _, (target,) in batches(batch, (number,), size, seed=seed, epoch=epoch)]).tolist()


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_every_event_comes_once_and_with_its_own_target(seed, size):
    batch, number = numbered()
    dealt = list(batches(batch, (number, number.double()), size, seed=seed))
    assert [len(part) for part, _ in dealt] == [size] * (50 // size) + ([50 % size] if 50 % size else [])
    for part, (label, weight) in dealt:
        assert isinstance(part, Batch)
        assert torch.equal(part.context[:, 0], 2.0 * label)
        assert torch.equal(part.momenta, batch.momenta[label])
        assert torch.equal(part.kind, batch.kind[label])
        assert torch.equal(weight, label.double())
    assert sorted(order(seed, size=size)) == list(range(50))


def test_order_is_a_function_of_seed_and_epoch():
    assert order(None) == list(range(50))
    assert order(3, 1) == order(3, 1, size=11)
    orders = [order(seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 2), (2, 1))]
    assert all(first != second for i, first in enumerate(orders) for second in orders[:i])


def test_the_global_random_state_is_neither_asked_nor_changed():
    torch.manual_seed(0)
    first = order(1)
    state = torch.get_rng_state()
    assert order(1) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_no_events_make_no_batches():
    batch, number = numbered()
    assert list(batches(batch[:0], (number[:0],), 5, seed=1)) == []


def test_wrong_sizes_and_lengths_are_named_at_once():
    batch, number = numbered()
    with pytest.raises(ValueError, match="a batch of 0 events"):
        batches(batch, (number,), 0)
    with pytest.raises(ValueError, match=r"targets of lengths \[50, 49\] for 50 events"):
        batches(batch, (number, number[1:]), 5)


def test_batch_selects_events_by_slice_index_and_mask():
    batch, number = numbered(9)
    assert len(batch) == batch.n_events == 9
    assert len(batch[:2]) == 2
    for index in (slice(2, 7, 2), torch.tensor([4, 1, 1]), number % 3 == 0):
        for selected, column in zip(batch[index].tensors(), batch.tensors(), strict=True):
            assert torch.equal(selected, column[index])
    halves = concatenate_batches([batch[:4], batch[4:]])
    assert all(torch.equal(*columns) for columns in zip(halves.tensors(), batch.tensors(), strict=True))
    with pytest.raises(TypeError, match="3"):
        batch[3]  # type: ignore[index]


def test_batch_replaces_columns_by_name():
    batch, _ = numbered(9)
    assert torch.equal(batch.replace(mask=~batch.mask).mask, ~batch.mask)
    assert repr(batch) == "Batch(9 events, 8 particles, float32)"
    with pytest.raises(TypeError, match="masks"):
        batch.replace(masks=batch.mask)
