"""Combination: several files of one process as one sample.

Every generated sample is normalised to cross section x luminosity by itself. Two runs of one generation are therefore
averaged: the weights of each are scaled by its share of the generated events, so that together they expect what each of
them expects, with smaller errors. Samples that complement one another (decay channels, slices of H_T) are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.errors import EventError
from femtobarn.events.generation import Combine, is_stated, leaves, record_key, section_error, shares
from femtobarn.events.numbers import file_mask, scattered

if TYPE_CHECKING:
    from femtobarn.events.record import Events

#: Standard deviations that numbers of two files of one process may differ by.
N_SIGMA = 5.0

#: Relative difference that is always allowed, beside the errors.
TOLERANCE = 1e-3

#: Relative difference of cross sections that is allowed where neither has an error.
TOLERANCE_WITHOUT_ERRORS = 2e-2

#: Groups of hard events from whose spread the error of a sum of weights is estimated, to 2 %.
N_GROUPS = 4096


@dataclass(frozen=True)
class Tally:
    """Sums over the events of one process in one file.

    Args:
        n_events: number of events.
        groups: sum of weights in each of `N_GROUPS` groups of hard events.
        numbers: smallest and largest event number, None without events.
        hards: smallest and largest number of a hard event, None without events.
    """

    n_events: int
    groups: NDArray[np.float64]
    numbers: tuple[int, int] | None = None
    hards: tuple[int, int] | None = None

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.n_events + other.n_events,
            self.groups + other.groups,
            _span(self.numbers, other.numbers),
            _span(self.hards, other.hards),
        )

    @property
    def total(self) -> float:
        """Sum of weights."""
        return float(self.groups.sum())

    @property
    def variance(self) -> float:
        """Variance of the sum of weights; the copies of a hard event count as one event."""
        return float(np.sum((self.groups - self.groups.mean()) ** 2)) * N_GROUPS / (N_GROUPS - 1)


NOTHING = Tally(0, np.zeros(N_GROUPS))


def tally(weight: NDArray[np.float64], number: NDArray[np.int64], hard: NDArray[np.int64]) -> Tally:
    """The sums over events of one process."""
    if not len(weight):
        return NOTHING
    groups = np.bincount(scattered(hard, N_GROUPS), weight, N_GROUPS).astype(np.float64)
    return Tally(len(weight), groups, _range(number), _range(hard))


class Contribution(NamedTuple):
    """The events of one process in one file.

    Args:
        label: the file, for messages.
        record: what the provenance of the file states of the process.
        tally: sums over its events.
    """

    label: str
    record: Mapping[str, Any]
    tally: Tally


class Treatment(NamedTuple):
    """What is done to the events of a contribution.

    Args:
        factor: of the weights.
        number_mask, hard_mask: bits that are flipped in event numbers and in numbers of hard events, so that those of
            different productions differ.
    """

    factor: float = 1.0
    number_mask: int = 0
    hard_mask: int = 0


UNTREATED = Treatment()


def contributions_of(parts: Sequence[tuple[str, Events]]) -> list[dict[str, Contribution]]:
    """What each part holds of the processes that several parts have, if one of them states its normalisation.

    Args:
        parts: events with the file they are from; their provenance states the normalisation.
    """
    records = [events.provenance.get("processes", {}) for _, events in parts]
    stated = {name for record in records for name in record if is_stated(record[name])}
    if not stated:
        return [{} for _ in parts]
    names = [{*events.processes, *record} for (_, events), record in zip(parts, records, strict=True)]
    several = {name for name in stated if sum(name in own for own in names) > 1}
    contributions: list[dict[str, Contribution]] = []
    for (label, events), record, own in zip(parts, records, names, strict=True):
        held: dict[str, Contribution] = {}
        for name in sorted(own & several):
            where = events.process == name
            sums = tally(events.weight[where], events.number[where], events.hard[where])
            held[name] = Contribution(label, record.get(name, {}), sums)
        contributions.append(held)
    return contributions


def treatments(
    contributions: Sequence[Mapping[str, Contribution]], combine: Combine, luminosity: float
) -> list[dict[str, Treatment]]:
    """How the files become one sample: for each file a treatment of each process that several files have.

    Raises:
        EventError: as `combination`.
    """
    treated: list[dict[str, Treatment]] = [{} for _ in contributions]
    for name in sorted({name for contributed in contributions for name in contributed}):
        holders = [at for at, contributed in enumerate(contributions) if name in contributed]
        settled = combination(name, [contributions[at][name] for at in holders], combine, luminosity)
        for at, treatment in zip(holders, settled, strict=True):
            if treatment != UNTREATED:
                treated[at][name] = treatment
    return treated


def treat(events: Events, treatment: Mapping[str, Treatment]) -> Events:
    """The events with weights and numbers that fit beside those of other files."""
    if not treatment:
        return events
    weight, number, hard = events.weight.copy(), events.number.copy(), events.hard.copy()
    for name, (factor, number_mask, hard_mask) in treatment.items():
        where = events.process == name
        weight[where] *= factor
        number[where] ^= number_mask
        hard[where] ^= hard_mask
    return replace(events, weight=weight, number=number, hard=hard)


def combination(
    process: str, contributions: Sequence[Contribution], combine: Combine, luminosity: float
) -> list[Treatment]:
    """How the files of one process become one sample, a treatment per file.

    Files that state cross section and number of generated events are productions. Files with the same statement (same
    seed, same source, same number of generated events) are parts of one production and add up. Different productions
    are averaged, weighted by their generated events, or added. Files that state nothing add up as their weights say.

    Args:
        process: name of the process, for messages.
        contributions: the files.
        combine: `average` or `add`.
        luminosity: integrated luminosity of the weights in 1/fb.

    Raises:
        EventError: the productions are not runs of the same generation: cross sections, open decays or expected yields
            differ, or one is part of another; or only some files state their normalisation.
    """
    productions: dict[str, list[int]] = {}
    silent: list[int] = []
    for at, contribution in enumerate(contributions):
        if is_stated(contribution.record):
            productions.setdefault(record_key(contribution.record), []).append(at)
        elif contribution.tally.n_events:
            silent.append(at)
    merged = [_Production.of([contributions[at] for at in parts]) for parts in productions.values()]
    factors = [1.0] * len(merged)
    if combine == "average":
        if merged and silent:
            refuse_mixture(process, merged[0].label, contributions[silent[0]].label)
        if len(merged) > 1:
            _check(process, merged, luminosity)
            factors = shares([production.record for production in merged])
    numbers, hards = _masks(merged)
    treatments = [UNTREATED] * len(contributions)
    for parts, factor, number_mask, hard_mask in zip(productions.values(), factors, numbers, hards, strict=True):
        for at in parts:
            treatments[at] = Treatment(factor, number_mask, hard_mask)
    return treatments


@dataclass(frozen=True)
class _Production:
    label: str
    record: Mapping[str, Any]
    tally: Tally

    @classmethod
    def of(cls, parts: Sequence[Contribution]) -> _Production:
        return cls(parts[0].label, parts[0].record, sum((part.tally for part in parts[1:]), parts[0].tally))

    @property
    def is_counted(self) -> bool:
        """Whether `femtobarn simulate` counted the events: their numbers say nothing outside of their production."""
        return all("simulation" in leaf for leaf in leaves(self.record))

    @property
    def source(self) -> str:
        """What the numbers of hard events refer to: the Les Houches file, or the production itself."""
        sources = {leaf.get("source_sha256") or record_key(leaf) for leaf in leaves(self.record)}
        return sources.pop() if len(sources) == 1 else record_key(self.record)


REMEDY = (
    "samples that complement one another (decay channels, slices of H_T) are added with data.combine: add "
    "(--combine add); different processes get names of their own with data.files: {{NAME: FILE, ...}}{more}"
)


def _check(process: str, productions: Sequence[_Production], luminosity: float) -> None:
    """Compares productions that are to be averaged.

    Raises:
        EventError: they are no runs of the same generation.
    """
    owners: dict[str, str] = {}
    for production in productions:
        for leaf in leaves(production.record):
            other = owners.setdefault(record_key(leaf), production.label)
            if other != production.label:
                problem = f"holds events of {process} of the same production as {other}, which holds others besides"
                raise EventError(
                    production.label, problem, remedy="give every production once, or its events count twice"
                )
    sections = np.array([production.record["cross_section_pb"] for production in productions], dtype=np.float64)
    errors = [section_error(production.record) for production in productions]
    pair = _disagreement(sections, np.array([error or 0.0 for error in errors]))
    if pair is not None:
        compared = _Compared(productions, sections, errors, unit="pb")
        _refuse(f"the cross section of {process} is", compared, pair)
    branchings = np.array([production.record.get("branching") or 1.0 for production in productions])
    pair = _disagreement(branchings, np.zeros(len(branchings)))
    if pair is not None:
        compared = _Compared(productions, branchings, [None] * len(productions))
        _refuse(f"the share of the decays of {process} that was generated is", compared, pair)
    filled = [production for production in productions if production.tally.n_events]
    if len(filled) < 2:
        return
    # per cross section, so that its error plays no part
    produced = np.array([production.record["cross_section_pb"] * 1000 * luminosity for production in filled])
    yields = np.array([production.tally.total for production in filled]) / produced
    generated = np.array([production.record["generated"] for production in filled])
    share = np.array([production.record.get("branching") or 1.0 for production in filled])
    pooled = float(np.sum(yields * generated) / np.sum(generated))
    variances = np.array([production.tally.variance for production in filled]) / produced**2
    errors_ = np.sqrt(np.maximum(variances, np.abs(pooled) * share / generated))
    pair = _disagreement(yields, errors_)
    if pair is not None:
        compared = _Compared(filled, yields * produced, (errors_ * produced).tolist())
        more = "; events of all parts of a production are needed, with the same selection"
        _refuse(f"the events of {process} expected at {luminosity:g}/fb are", compared, pair, more)


def _disagreement(values: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[int, int] | None:
    """The two values that differ most, if by more than is allowed."""
    worst, pair = 1.0, None
    for at in range(len(values) - 1):
        others, their = values[at + 1 :], errors[at + 1 :]
        combined = np.hypot(errors[at], their)
        relative = np.where(combined > 0, TOLERANCE, TOLERANCE_WITHOUT_ERRORS)
        allowed = N_SIGMA * combined + relative * np.maximum(np.abs(others), abs(values[at]))
        excess = np.abs(others - values[at]) / np.maximum(allowed, 1e-300)
        if excess.max() > worst:
            worst, pair = float(excess.max()), (at, at + 1 + int(excess.argmax()))
    return pair


class _Compared(NamedTuple):
    """A number of several productions of one process, with its error where it has one."""

    productions: Sequence[_Production]
    values: NDArray[np.float64]
    errors: Sequence[float | None]
    unit: str = ""

    def text(self, at: int) -> str:
        """The number of one production, for a message."""
        error = self.errors[at]
        plus_minus = "" if error is None else f" ± {error:.2g}"
        return f"{self.values[at]:.6g}{plus_minus}" + (f" {self.unit}" if self.unit else "")


def _refuse(subject: str, compared: _Compared, pair: tuple[int, int], more: str = "") -> None:
    """Raises the error that the numbers of two productions differ."""
    first, second = pair
    label, other_label = (compared.productions[at].label for at in (second, first))
    problem = f"{subject} {compared.text(second)}, and {compared.text(first)} in {other_label}"
    remedy = "files of one process are averaged and must agree; " + REMEDY.format(more=more)
    raise EventError(label, problem, remedy=remedy)


def refuse_mixture(process: str, stated: str, silent: str) -> None:
    """Raises the error about files of one process of which only some state their normalisation."""
    problem = (
        f"does not state cross section and generated events of {process}, which {stated} does: "
        "whether their weights are to be averaged or added is not known"
    )
    raise EventError(silent, problem, remedy=REMEDY.format(more=""))


def _masks(productions: Sequence[_Production]) -> tuple[list[int], list[int]]:
    """Bits to flip in event numbers and in numbers of hard events of each production.

    `femtobarn simulate` counts from 0 in each production, so the numbers of two may be the same. Those of the
    second one change then, by the checksum of what they refer to: the same ones in any company. The first one keeps its
    numbers, and so its side of the split; so do productions from one Les Houches file, whose hard events are the same.
    """
    numbers: dict[str, tuple[int, int] | None] = {}
    hards: dict[str, tuple[int, int] | None] = {}
    masks: dict[str, tuple[int, int]] = {}
    for production in productions:
        if production.is_counted:
            key = record_key(production.record)
            numbers[key] = production.tally.numbers
            hards[production.source] = _span(hards.get(production.source), production.tally.hards)
    moved = {key: file_mask(key) if _overlaps(key, numbers) else 0 for key in numbers}
    moved_hards = {source: file_mask(source) if _overlaps(source, hards) else 0 for source in hards}
    for production in productions:
        if production.is_counted:
            key = record_key(production.record)
            masks[key] = (moved[key], moved_hards[production.source])
    pairs = [masks.get(record_key(production.record), (0, 0)) for production in productions]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _overlaps(name: str, ranges: Mapping[str, tuple[int, int] | None]) -> bool:
    """Whether a range overlaps with one before it."""
    own = ranges[name]
    for other, span in ranges.items():
        if other == name:
            return False
        if own is not None and span is not None and own[0] <= span[1] and span[0] <= own[1]:
            return True
    return False


def _range(values: NDArray[np.int64]) -> tuple[int, int]:
    return int(values.min()), int(values.max())


def _span(first: tuple[int, int] | None, second: tuple[int, int] | None) -> tuple[int, int] | None:
    if first is None or second is None:
        return first or second
    return min(first[0], second[0]), max(first[1], second[1])
