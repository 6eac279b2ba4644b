"""Splits: the same for ever, copies together, shares as asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from femtobarn.events import split, subset
from femtobarn.events.split import event_hash
from tests.support.sample import make_events

#: Lots of hard events 0 to 4 of tttt, ttH, ttW, ttWW, ttZ, as first released.
FIXED = [0.352355049872, 0.087852982918, 0.334027928629, 0.683668346622, 0.550126865359]

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
WORD = 2**64 - 1


def by_hand(purpose: str, process: str, hard: int) -> float:
    """SplitMix64 in Python's integers."""
    seed = int.from_bytes(hashlib.sha256(f"{purpose}/{process}".encode()).digest()[:8], "little")
    z = (seed + (hard + 1) * 0x9E3779B97F4A7C15) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return ((z ^ (z >> 31)) >> 11) / 2**53


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=5), st.sampled_from(["split", "subset"]))
def test_lots_are_those_of_splitmix64(hard, purpose):
    events = replace(make_events(5), hard=np.array(hard, dtype=np.int64))
    expected = [by_hand(purpose, str(name), number) for name, number in zip(events.process, hard, strict=True)]
    assert event_hash(events, purpose).tolist() == expected


def test_lots_never_change():
    # fixed numbers: if this fails, every test set of the past is mixed into training sets
    events = replace(make_events(5), hard=np.arange(5))
    expected = [by_hand("split", name, number) for number, name in enumerate(("tttt", "ttH", "ttW", "ttWW", "ttZ"))]
    np.testing.assert_array_equal(event_hash(events), expected)
    np.testing.assert_allclose(event_hash(events), FIXED, rtol=0, atol=1e-12)


def test_sides_are_disjoint_complete_and_of_the_size_asked_for():
    events = make_events(6000)
    sides = split(events, SHARES)
    keys = [set(zip(side.process.tolist(), side.number.tolist(), strict=True)) for side in sides]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 6000
    # copies come in pairs, so the fluctuation is that of 3000 draws
    for side, share in zip(sides, SHARES.values(), strict=True):
        assert abs(len(side) / 6000 - share) < 5 * np.sqrt(share * (1 - share) / 3000)


def test_copies_of_a_hard_event_stay_on_one_side():
    events = make_events(2000)
    events = replace(events, hard=events.number // 25)
    hard = [set(zip(side.process.tolist(), side.hard.tolist(), strict=True)) for side in split(events, SHARES)]
    assert sum(map(len, hard)) == len(set.union(*hard)) == 400


def test_order_and_company_change_nothing():
    events = make_events(500)
    alone = set(split(events[events.process == "ttW"], SHARES).test.number.tolist())
    shuffled = split(events[np.random.default_rng(1).permutation(500)], SHARES).test
    assert set(shuffled.number[shuffled.process == "ttW"].tolist()) == alone


def test_a_smaller_subset_is_inside_a_larger_one():
    train = split(make_events(4000), SHARES).train
    before: set[int] = set()
    for fraction in (0.05, 0.3, 0.31, 1.0):
        now = set(subset(train, fraction).number.tolist())
        assert before <= now
        assert abs(len(now) / len(train) - fraction) < 0.05
        before = now
    assert len(before) == len(train)


def test_shares_may_be_attributes():
    @dataclass
    class Shares:
        train: float = 0.5
        validation: float = 0.5
        test: float = 0.0

    sides = split(make_events(100), Shares())
    assert len(sides.test) == 0
    assert len(sides.train) + len(sides.validation) == 100


@pytest.mark.parametrize(
    "shares",
    [{"train": 1.0}, {**SHARES, "test": 0.3}, {"train": 1.2, "validation": -0.4, "test": 0.2}, {**SHARES, "more": 0.0}],
)
def test_wrong_shares(shares):
    with pytest.raises(ValueError, match="split"):
        split(make_events(4), shares)


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, float("nan")])
def test_wrong_fractions(fraction):
    with pytest.raises(ValueError, match="at most 1"):
        subset(make_events(4), fraction)
