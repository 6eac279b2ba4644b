"""Training, validation and test events: the same event on the same side for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.record import Events

#: Sides of a split, in the order in which the shares are cut off.
SIDES = ("train", "validation", "test")


class Split(NamedTuple):
    """The three sides of a split."""

    train: Events
    validation: Events
    test: Events


def lot(events: Events, purpose: str = "split") -> NDArray[np.float64]:
    """A number in [0, 1) for each event that depends on its process and hard-event number, and on nothing else.

    The first eight bytes of SHA-256 of `purpose/process` are a process's seed; the number of the hard event, times the
    odd constant of splitmix64 and added to the seed, goes through its finaliser. So the lot is the same on every
    machine, in any order of events and beside any other events, and copies of a hard event share it.

    Source: Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014.
    """
    names, which = np.unique(events.process, return_inverse=True)
    return lots(names.tolist(), which, events.hard, purpose)


def lots(
    names: Sequence[str], which: NDArray[np.integer], hard: NDArray[np.int64], purpose: str = "split"
) -> NDArray[np.float64]:
    """The numbers of `lot` from the columns of events: names of processes, the index of each one's and hard events."""
    digests = [hashlib.sha256(f"{purpose}/{name}".encode()).digest() for name in names]
    seeds = np.array([int.from_bytes(digest[:8], "little") for digest in digests], dtype=np.uint64)
    z = seeds[which] + (hard.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    drawn: NDArray[np.float64] = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn


def split(events: Events, fractions: Mapping[str, float] | object) -> Split:
    """Events on three sides by lot; weights are left alone, so a side holds its share of the expected yield.

    Args:
        fractions: shares of `train`, `validation` and `test`, as a mapping or as attributes; they add up to 1.

    Raises:
        ValueError: shares are missing, negative or do not add up to 1.
    """
    where = side(events, fractions)
    return Split(*(events[where == number] for number in range(len(SIDES))))


def side(events: Events, fractions: Mapping[str, float] | object) -> NDArray[np.int8]:
    """On which of `SIDES` each event is: 0, 1 or 2.

    Raises:
        ValueError: shares are missing, negative or do not add up to 1.
    """
    if isinstance(fractions, Mapping):
        if set(fractions) != set(SIDES):
            raise ValueError(f"a split needs {', '.join(SIDES)}; got {', '.join(map(str, fractions)) or 'nothing'}")
        shares = [float(fractions[side]) for side in SIDES]
    else:
        shares = [float(getattr(fractions, side)) for side in SIDES]
    if min(shares) < 0 or not np.isclose(sum(shares), 1, rtol=0, atol=1e-6):
        told = ", ".join(f"{side} {share:g}" for side, share in zip(SIDES, shares, strict=True))
        raise ValueError(f"the shares of a split are positive and add up to 1; got {told}")
    drawn = lot(events)
    first, second = shares[0], 1 - shares[2]
    found: NDArray[np.int8] = np.where(drawn < first, 0, np.where(drawn < second, 1, 2)).astype(np.int8)
    return found


def subset(events: Events, fraction: float) -> Events:
    """A part of the events by lot: a smaller part is contained in a larger one, whatever else is in the sample.

    Weights are left alone; the lot is independent of that of `split`.

    Raises:
        ValueError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of the events is above 0 and at most 1; got {fraction:g}")
    return events if fraction == 1 else events[lot(events, "subset") < fraction]
