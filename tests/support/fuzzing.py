"""Fuzzing of readers: seeded mutations of bytes and of nested values, and the contract a reader keeps on each of them.

A reader either raises a documented error that names the file, or returns contents that hold every invariant. It never
raises another exception and never warns. A test looks like this::

    @pytest.mark.parametrize("n_mutants", N_MUTANTS)
    def test_damaged_file_is_refused_or_complete(tmp_path, n_mutants):
        fuzz(read_lhe, WHOLE, tmp_path / "events.lhe", n_mutants, check=complete)

`original` is the content of a sound file: bytes, or any structure of dicts, lists, tuples, arrays, strings and numbers
together with a function `write(path, structure)`. Every mutant depends on `seed` and its index alone, so a failure
is reproduced by `mutant(original, seed, index)`. Nothing here knows a format.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import pytest

from femtobarn.events import EventError, Events
from femtobarn.events.record import TRACKS
from femtobarn.physics.objects import KINDS
from tests.support.mutations import mutant

#: Numbers of mutants of every fuzz test: a few in each run of the suite, many with `pytest -m slow`.
N_MUTANTS = (pytest.param(200, id="few"), pytest.param(10_000, id="many", marks=pytest.mark.slow))

#: Where the package's own errors are defined.
OWN = "femtobarn."

#: Failures that a report lists before the fuzzing stops.
MAX_FAILURES = 5


class FuzzResult(NamedTuple):
    """Numbers of mutants by what became of them."""

    n_refused: int
    n_accepted: int
    n_unwritable: int


def fuzz(
    read: Callable[[Path], Any],
    original: Any,
    path: Path,
    n_mutants: int,
    *,
    seed: int = 1,
    errors: tuple[type[Exception], ...] = (EventError,),
    check: Callable[[Any, Any], object] = lambda result, mutant: None,
    write: Callable[[Path, Any], object] = lambda path, content: path.write_bytes(content),
    unwritable: tuple[type[Exception], ...] = (),
    names: str | None = None,
) -> FuzzResult:
    """Run a reader on mutants of a sound file, and fail with a list of those on which it broke its contract.

    Args:
        read: the reader; it gets `path`.
        original: content of a sound file, bytes or a structure; the reader must accept it.
        path: file (or folder) that `write` makes.
        n_mutants: number of mutants to try.
        seed: another seed gives other mutants.
        errors: documented errors, and this package's own subclasses of them: others (`UnicodeDecodeError` of
            `ValueError`) are other errors.
        check: raises where accepted contents are wrong; it gets the result and the mutant. The invariants of `Events`
            are checked without it. Here belongs what the reader must not have lost or changed: the number of events
            that an independent count of the mutant gives, or equality with the original where checksums promise it.
        write: makes the file from the mutant; bytes are written as they are.
        unwritable: errors of `write` by which it refuses a mutant that the format cannot hold.
        names: text that every error contains; the name of `path` by default.

    Raises:
        AssertionError: the contract was broken, with description and index of each mutant.
    """
    write(path, original)
    _accept(read(path), original, check)
    failures: list[str] = []
    n_refused = n_accepted = n_unwritable = 0
    for index in range(n_mutants):
        description, content = mutant(original, seed, index)
        try:
            write(path, content)
        except unwritable:
            n_unwritable += 1
            continue
        accepted, complaint = _judge(read, path, content, errors, check, names or path.name)
        n_accepted += accepted
        n_refused += not accepted
        if complaint:
            failures.append(f"mutant {index} of seed {seed} ({description}): {complaint}")
        if len(failures) == MAX_FAILURES:
            break
    assert not failures, "\n".join([f"{len(failures)} of {index + 1} mutants break the contract:", *failures])
    return FuzzResult(n_refused, n_accepted, n_unwritable)


def _judge(
    read: Callable[[Path], Any],
    path: Path,
    content: Any,
    errors: tuple[type[Exception], ...],
    check: Callable[[Any, Any], object],
    names: str,
) -> tuple[bool, str]:
    """Whether the mutant was accepted, and which part of the contract was broken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = read(path)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # panics of Rust libraries are no Exception
        if type(error) not in errors and not (isinstance(error, errors) and type(error).__module__.startswith(OWN)):
            return False, f"{type(error).__name__} instead of a documented error: {str(error)[:300]}"
        return False, "" if names in str(error) else f"the error does not name {names}: {str(error)[:300]}"
    try:
        _accept(result, content, check)
    except AssertionError as error:
        return True, f"accepted, but {str(error)[:300]}"
    return True, ""


def _accept(result: Any, content: Any, check: Callable[[Any, Any], object]) -> None:
    if isinstance(result, Events):
        check_events(result)
    check(result, content)


def check_events(events: Events) -> None:
    """The invariants of events, written down independently of the readers' own checks.

    Raises:
        AssertionError: an event or an object that no detector can have measured.
    """
    flat = ak.flatten(events.particles)
    columns = {name: ak.to_numpy(flat[name]) for name in ("pt", "eta", "phi", "E")}
    for name, values in columns.items():
        assert values.dtype == np.float64, f"{name} is {values.dtype}"
        assert np.isfinite(values).all(), f"{name} is NaN or infinite"
    pt, eta, phi, energy = columns.values()
    assert (pt >= 0).all(), "a pT is negative"
    assert (energy <= np.finfo(np.float32).max).all(), "an energy does not fit into float32"
    with np.errstate(over="ignore"):
        momentum = pt * np.cosh(eta)
    assert (energy >= momentum * (1 - 2e-3)).all(), "an energy is below |p|"
    assert (np.abs(phi) <= np.pi).all(), "a phi lies outside of [-π, π)"
    kind = ak.to_numpy(flat["kind"])
    assert np.issubdtype(kind.dtype, np.integer), f"kind is {kind.dtype}"
    assert ((kind >= 1) & (kind < len(KINDS))).all(), f"unknown kinds {sorted(set(kind.tolist()))}"
    for name in (
        *(name for name in TRACKS if name in flat.fields),
        *(name for name in ("weight",) if name in flat.fields),
    ):
        assert np.isfinite(ak.to_numpy(flat[name])).all(), f"{name} is NaN or infinite"
    met, phi_met = (ak.to_numpy(events.context[name]) for name in ("MET", "phi_MET"))
    assert np.isfinite(met).all(), "a MET is NaN or infinite"
    assert (met >= 0).all(), "a MET is negative"
    assert (np.abs(phi_met) <= np.pi).all(), "a phi_MET lies outside of [-π, π)"
    assert np.isfinite(events.weight).all(), "a weight is NaN or infinite"
    assert np.isfinite(events.luminosity), f"the luminosity is {events.luminosity}"
    assert events.luminosity > 0, f"the luminosity is {events.luminosity}"
    assert len(events) > 0, "there are no events"
    for name in ("number", "hard"):
        assert getattr(events, name).dtype == np.int64, f"{name} is {getattr(events, name).dtype}"
    names = events.process.tolist()
    assert all(isinstance(name, str) and name and name.isprintable() for name in names), "a process has no name"
    identities = set(zip(names, events.number.tolist(), strict=True))
    assert len(identities) == len(events), f"{len(events) - len(identities)} event numbers come twice in a process"
