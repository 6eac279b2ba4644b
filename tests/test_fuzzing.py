"""The fuzzing harness itself: it reports readers that break their contract, and its mutants are reproducible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from femtobarn.events import EventError
from tests.support.fuzzing import check_events, fuzz
from tests.support.mutations import mutant
from tests.support.sample import make_events

STRUCTURE = {
    "pt": np.arange(6.0).reshape(2, 3),
    "names": ["a", "b"],
    "seed": 4,
    "cuts": {"n_jet": (2, None)},
    "raw": b"x",
}


def strict(path: Path) -> bytes:
    """A reader that accepts nothing but one content."""
    if (content := path.read_bytes()) != b"1 2 3\n":
        raise EventError(path, f"holds {content!r}")
    return content


def careless(path: Path) -> list[float]:
    """A reader with an undocumented error."""
    return [float(word) for word in path.read_text().split()]


def nameless(path: Path) -> None:
    if path.read_bytes() != b"1 2 3\n":
        raise ValueError("something is wrong")


def lenient(path: Path) -> bytes:
    return path.read_bytes()


def any_content(content: Any, _: Any) -> None:
    pass


def same(content: bytes, _: Any) -> None:
    assert content == b"1 2 3\n", "the content is another"


def test_fuzz_passes_a_reader_that_refuses_every_mutant(tmp_path):
    result = fuzz(strict, b"1 2 3\n", tmp_path / "numbers.txt", 50, check=same)
    assert result == (50, 0, 0)


@pytest.mark.parametrize(
    ("reader", "errors", "check", "message"),
    [
        (careless, (EventError, ValueError), any_content, "UnicodeDecodeError instead of a documented error"),
        (careless, (EventError,), any_content, "ValueError instead of a documented error"),
        (nameless, (ValueError,), any_content, r"does not name numbers\.txt: something"),
        (lenient, (EventError,), same, "accepted, but the content is another"),
    ],
)
def test_fuzz_reports_each_way_to_break_the_contract(tmp_path, reader, errors, check, message):
    with pytest.raises(AssertionError, match=message):
        fuzz(reader, b"1 2 3\n", tmp_path / "numbers.txt", 400, errors=errors, check=check)


def test_mutants_differ_and_depend_on_seed_and_index_alone():
    mutants = [mutant(b"1 2 3\n4 5 6\n", 1, index)[1] for index in range(100)]
    assert mutants == [mutant(b"1 2 3\n4 5 6\n", 1, index)[1] for index in range(100)]
    assert b"1 2 3\n4 5 6\n" not in mutants
    assert len(set(mutants)) > 80


def test_mutants_of_structures_leave_the_original_alone():
    before = repr(STRUCTURE)
    changed = [repr(mutant(STRUCTURE, 1, index)[1]) for index in range(300)]
    assert repr(STRUCTURE) == before
    assert len(set(changed)) > 200


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("E", 1e-3, "below"), ("kind", 14, "kinds"), ("phi", 4.0, "phi"), ("pt", -1, "negative")],
)
def test_invariants_find_a_wrong_object(field, value, message):
    events = make_events(5)
    check_events(events)
    events.particles[field] = events.particles[field] * 0 + value
    with pytest.raises(AssertionError, match=message):
        check_events(events)
