"""Training, validation and test events: the same event is in the same split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.record import Events

#: Splits, in the order in which their fractions are cut off.
SPLITS = ("train", "validation", "test")


class Split(NamedTuple):
    """Events of the three splits."""

    train: Events
    validation: Events
    test: Events


def event_hash(events: Events, purpose: str = "split") -> NDArray[np.float64]:
    """Number in [0, 1) of each event, a function of its process and hard-event number alone; see `hash_uniform`."""
    names, codes = np.unique(events.process, return_inverse=True)
    return hash_uniform(names.tolist(), codes, events.hard, purpose)


def hash_uniform(
    processes: Sequence[str], codes: NDArray[np.integer], hard: NDArray[np.int64], purpose: str = "split"
) -> NDArray[np.float64]:
    """Hash of process and hard-event number as a uniform number in [0, 1).

    The first eight bytes of SHA-256 of `purpose/process` are the seed of a process; the number of the hard event, times
    the odd constant of splitmix64 and added to the seed, goes through its finalizer. So the number is the same on every
    machine, in any order of events and beside any other events, and copies of a hard event share it.

    Args:
        processes: names.
        codes: index of the process of each event.
        hard: number of the hard event of each event.
        purpose: numbers of different purposes are independent.

    Source: Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014.
    """
    digests = [hashlib.sha256(f"{purpose}/{name}".encode()).digest() for name in processes]
    seeds = np.array([int.from_bytes(digest[:8], "little") for digest in digests], dtype=np.uint64)
    z = seeds[codes] + (hard.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    uniform: NDArray[np.float64] = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def split(events: Events, fractions: Mapping[str, float] | object) -> Split:
    """Split events by hash; weights are unchanged, so each split has its fraction of the expected yield.

    Args:
        fractions: fractions of `train`, `validation` and `test`, as a mapping or as attributes; they add up to 1.

    Raises:
        ValueError: fractions are missing, negative or do not add up to 1.
    """
    codes = assign_split(events, fractions)
    return Split(*(events[codes == number] for number in range(len(SPLITS))))


def assign_split(events: Events, fractions: Mapping[str, float] | object) -> NDArray[np.int8]:
    """Index in `SPLITS` of the split of each event: 0, 1 or 2.

    Raises:
        ValueError: fractions are missing, negative or do not add up to 1.
    """
    if isinstance(fractions, Mapping):
        if set(fractions) != set(SPLITS):
            raise ValueError(f"a split needs {', '.join(SPLITS)}; got {', '.join(map(str, fractions)) or 'nothing'}")
        values = [float(fractions[name]) for name in SPLITS]
    else:
        values = [float(getattr(fractions, name)) for name in SPLITS]
    if min(values) < 0 or not np.isclose(sum(values), 1, rtol=0, atol=1e-6):
        text = ", ".join(f"{name} {value:g}" for name, value in zip(SPLITS, values, strict=True))
        raise ValueError(f"the shares of a split are positive and add up to 1; got {text}")
    uniform = event_hash(events)
    first, second = values[0], 1 - values[2]
    codes: NDArray[np.int8] = np.where(uniform < first, 0, np.where(uniform < second, 1, 2)).astype(np.int8)
    return codes


def subset(events: Events, fraction: float) -> Events:
    """Fraction of the events by hash: a smaller one is contained in a larger one, independent of other events.

    Weights are unchanged; the hash is independent of that of `split`.

    Raises:
        ValueError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of the events is above 0 and at most 1; got {fraction:g}")
    return events if fraction == 1 else events[event_hash(events, "subset") < fraction]
