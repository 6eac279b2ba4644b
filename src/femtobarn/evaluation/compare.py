"""Comparison: finished runs side by side, model by model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation import tagging
from femtobarn.evaluation.judge import Key, best_by, floor, label, measured_by, numbers_of
from femtobarn.evaluation.replicas import spread
from femtobarn.evaluation.runs import Run, load_run
from femtobarn.evaluation.settings import Evaluation
from femtobarn.evaluation.significance import luminosity_gain

#: What a fit finds: ("fit", ...) in the keys.
FITTED = ("discovery", "limit")

#: Two models closer than so many standard deviations are shown as equals.
TIE = 2.0


@dataclass(frozen=True)
class Number:
    """A mean over trainings with its two errors, which are different things and never added silently.

    Args:
        value: None where the test events leave nothing to measure.
        statistical: from the finite number of test events.
        seeds: standard deviation over trainings that differ in their seed; None with a single one.
        above: limit at 95 % confidence of a rejection that has no value, since no background event is left.
    """

    value: float | None
    statistical: float | None
    seeds: float | None
    above: float | None = None

    @property
    def errors(self) -> tuple[float | None, float | None]:
        """Statistical error, spread over seeds."""
        return self.statistical, self.seeds


@dataclass(frozen=True, eq=False)
class Row:
    """A model: its trainings and their numbers.

    Args:
        label: name of the model.
        runs: its trainings, by seed.
        numbers: by key; see `femtobarn.evaluation.judge.Key`, and ("gain", working point, kind), ("fit", which).
        vectors: mean over the trainings of each number, for the test events as they are and for replicas of them.
    """

    label: str
    runs: tuple[Run, ...]
    numbers: Mapping[Key, Number]
    vectors: Mapping[Key, NDArray[np.float64]]

    @property
    def model(self) -> str:
        """Label of the model without the size of the training set."""
        return self.runs[0].label

    @property
    def family(self) -> str:
        """The architecture."""
        return str((self.runs[0].config.get("model") or {}).get("name"))

    @property
    def fraction(self) -> float:
        """Part of the training events that was used."""
        return self.runs[0].fraction

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the trainings."""
        return tuple(run.seed for run in self.runs)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models side by side, all judged on the same events.

    Args:
        rows: one a model, in the order the runs were given.
        baseline: label of the model that luminosity gains refer to.
        settings: the evaluation all runs share.
        signal: names of the signal processes.
        backgrounds: names of the backgrounds.
        pooled: spread over seeds by key, from all models with more than one training.
    """

    rows: tuple[Row, ...]
    baseline: str
    settings: Evaluation
    signal: tuple[str, ...]
    backgrounds: tuple[str, ...]
    pooled: Mapping[Key, float]

    @property
    def fitted(self) -> bool:
        """True if all runs have been fitted (`femtobarn fit`), in the same way."""
        return ("fit", FITTED[0]) in self.rows[0].numbers

    @property
    def points(self) -> tuple[str, ...]:
        """Working points as they stand in the keys."""
        return tuple(label(efficiency) for efficiency in self.settings.efficiencies)

    @property
    def sizes(self) -> tuple[float, ...]:
        """Parts of the training events that models were trained on, the smallest first."""
        return tuple(sorted({row.fraction for row in self.rows}))

    def at(self, size: float) -> Comparison:
        """The models trained on this part of the training events."""
        return replace(self, rows=tuple(row for row in self.rows if row.fraction == size))

    @property
    def largest(self) -> Comparison:
        """The models trained on the largest part of the training events, and the one that gains refer to."""
        size = self.sizes[-1]
        return replace(self, rows=tuple(row for row in self.rows if row.fraction == size or row.label == self.baseline))

    def __getitem__(self, name: str) -> Row:
        """The row of a model."""
        return next(row for row in self.rows if row.label == name)

    def best(self, key: Key) -> Row | None:
        """The model with the best value, lowest for background efficiencies and limits; None if none was measured."""
        known = [row for row in self.rows if row.numbers[key].value is not None]
        sign = -1 if key[0] in tagging.INVERSE or key == ("fit", "limit") else 1
        return max(known, key=lambda row: sign * (row.numbers[key].value or 0.0), default=None)

    def ties(self, key: Key) -> tuple[str, ...]:
        """Labels of the models that can't be told from the best one (less than `TIE` standard deviations)."""
        best = self.best(key)
        if best is None:
            return ()
        rivals = [row for row in self.rows if row is not best and row.numbers[key].value is not None]
        return tuple(row.label for row in rivals if abs(self.deviation(best, row, key)) < TIE)

    def difference(self, first: Row, second: Row, key: Key) -> tuple[float, float, float]:
        r"""By how much the first model's number exceeds the second's, its statistical error, and that of the trainings.

        The test events are the same for both, so the statistical error is that of the difference, replica by replica.
        A model's mean over n seeds adds :math:`s/\sqrt n`, with the spread s pooled over all models, since that of two
        or three trainings alone is too rough; without any model of two seeds there is no such term.
        """
        difference = first.vectors[key] - second.vectors[key]
        training = self.pooled.get(key, 0.0) * math.sqrt(1 / len(first.runs) + 1 / len(second.runs))
        return float(difference[0]), float(spread(difference)), training

    def deviation(self, first: Row, second: Row, key: Key) -> float:
        """By how many standard deviations the first model's number exceeds the second's; see `difference`."""
        if key[0] == "gain":  # the square of a ratio to a common baseline: the same order, but never exactly 1
            key = ("significance", *key[1:])
        value, statistical, training = self.difference(first, second, key)
        error = math.hypot(statistical, training)
        return value / error if error > 0 else math.copysign(math.inf, value) if value else 0.0


def compare(
    runs: Sequence[Path | Run], *, baseline: str | None = None, settings: Evaluation | None = None
) -> Comparison:
    """Groups finished runs by model and puts their numbers side by side.

    Args:
        runs: run folders, or runs already read.
        baseline: label of the model that luminosity gains refer to; the first one if not given.
        settings: of the evaluation; those the runs were judged with if not given.

    Raises:
        ValueError: no runs, an unfinished one, runs judged on different events or signals or with different settings,
            the same label and seed twice, or a baseline that is not among the models.
    """
    read = [run if isinstance(run, Run) else load_run(run) for run in runs]
    if not read:
        raise ValueError("no runs to compare")
    for other in read[1:]:
        _same_events(read[0], other)
    settings = settings or _settings(read)
    groups = by_model(read)
    baseline = _baseline(groups, baseline)
    fitted = _fitted_alike(read, settings)
    rows = _with_gains([_row(name, members, settings, fitted) for name, members in groups.items()], baseline)
    scores = read[0].scores
    return Comparison(tuple(rows), baseline, settings, scores.signal, scores.backgrounds, _pooled(rows))


def _fitted_alike(runs: Sequence[Run], settings: Evaluation) -> bool:
    """True if all runs have been fitted, and in the same way."""
    told = [run.fit for run in runs if run.fit is not None]
    ways = [(one["settings"], one["least"], one["systematics"], len(one["limit"]["replicas"])) for one in told]
    # not key by key: the settings may have got new ones since
    judged = [Evaluation.model_validate(way[0]) == settings for way in ways]
    return len(told) == len(runs) and all(way == ways[0] for way in ways) and all(judged)


def _row(name: str, runs: Sequence[Run], settings: Evaluation, fitted: bool) -> Row:
    collected: dict[Key, list[NDArray[np.float64]]] = {}
    floors: defaultdict[Key, float] = defaultdict(float)
    for run in runs:
        measured, best = measured_by(run.scores, settings), best_by(run.scores, settings)
        for key, values in numbers_of(run.scores, measured, best, settings).items():
            collected.setdefault(key, []).append(values)
            floors[key] = floor(key, measured)
        for which in FITTED if fitted else ():
            found = (run.fit or {})[which]
            collected.setdefault(("fit", which), []).append(np.array([found["value"], *found["replicas"]]))
    vectors: dict[Key, NDArray[np.float64]] = {key: np.mean(values, axis=0) for key, values in collected.items()}
    numbers = {}
    for key, each in collected.items():
        error = floors[key] if vectors[key][0] == 0 and floors[key] > 0 else float(spread(vectors[key]))
        seeds = float(np.std([values[0] for values in each], ddof=1)) if len(each) > 1 else None
        numbers[key] = _number(float(vectors[key][0]), error, seeds)
    for key, inverse in tagging.inverses(vectors).items() if settings.tagging else ():
        passing = numbers[_of_rejection(key)]
        vectors[key], value = inverse, float(inverse[0])
        if math.isfinite(value):
            # of the mean efficiency: the mean of inverses is that of the luckiest training
            seeds = None if passing.seeds is None else value**2 * passing.seeds
            numbers[key] = _number(value, float(spread(inverse)), seeds)
        else:
            numbers[key] = Number(None, None, None, above=tagging.limit(floors[_of_rejection(key)]))
    return Row(name, tuple(runs), numbers, vectors)


def _of_rejection(key: Key) -> Key:
    """The background efficiency that a rejection is the inverse of."""
    return next((name, *key[1:]) for name, inverse in tagging.INVERSE.items() if inverse == key[0])


def _with_gains(rows: Sequence[Row], baseline: str) -> list[Row]:
    reference = next(row for row in rows if row.label == baseline)
    finished = []
    for row in rows:
        numbers, vectors = dict(row.numbers), dict(row.vectors)
        for key in [key for key in row.numbers if key[0] == "significance"]:
            gain: Key = ("gain", *key[1:])
            vectors[gain] = luminosity_gain(row.vectors[key], reference.vectors[key])
            spreads = [_relative(other.numbers[key]) for other in (row, reference)]
            known = [each for each in spreads if each is not None]
            value = float(vectors[gain][0])
            seeds = 2 * value * math.hypot(*known) if len(known) == 2 else None
            if row is reference:
                numbers[gain] = Number(value if math.isfinite(value) else None, None, None)
            else:
                numbers[gain] = _number(value, float(spread(vectors[gain])), seeds)
        finished.append(Row(row.label, row.runs, numbers, vectors))
    return finished


def _number(value: float, statistical: float, seeds: float | None) -> Number:
    if not math.isfinite(value):
        return Number(None, None, None)
    return Number(
        value,
        statistical if math.isfinite(statistical) else None,
        seeds if seeds is not None and math.isfinite(seeds) else None,
    )


def _relative(number: Number) -> float | None:
    return number.seeds / number.value if number.seeds is not None and number.value else None


def _pooled(rows: Sequence[Row]) -> dict[Key, float]:
    several = [row for row in rows if len(row.runs) > 1]
    freedom = sum(len(row.runs) - 1 for row in several)
    pooled: dict[Key, float] = {}
    for key in several[0].numbers if several else ():
        spreads = [(row.numbers[key].seeds, len(row.runs) - 1) for row in several]
        pooled[key] = math.sqrt(sum(degrees * (seeds or 0.0) ** 2 for seeds, degrees in spreads) / freedom)
    return pooled


def by_model(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Trainings of each model by seed; with several sizes of the training set, each is a model of its own.

    Raises:
        ValueError: the same label and seed twice.
    """
    sizes = {run.fraction for run in runs}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        whole = run.fraction == max(sizes)
        name = run.label if whole else f"{run.label}, {100 * run.fraction:.3g} % of training"
        twin = next((other for other in groups.get(name, []) if other.seed == run.seed), None)
        if twin is not None:
            raise ValueError(f"{twin.path} and {run.path} are both {name} with seed {run.seed}; leave one out")
        groups.setdefault(name, []).append(run)
    return {name: sorted(members, key=lambda run: run.seed) for name, members in groups.items()}


def _baseline(groups: Mapping[str, Sequence[Run]], name: str | None) -> str:
    """The row that gains refer to; with several sizes of the training set, the model's largest."""
    wanted = name or next(iter(groups.values()))[0].label
    if wanted in groups:
        return wanted
    sizes = {group: runs[0].fraction for group, runs in groups.items() if runs[0].label == wanted}
    if not sizes:
        raise ValueError(f"no model is labelled {name!r}; there are {', '.join(groups)}")
    return max(sizes, key=lambda group: sizes[group])


def _settings(runs: Sequence[Run]) -> Evaluation:
    found = [Evaluation.model_validate(run.metrics["settings"]) for run in runs]
    for run, settings in zip(runs, found, strict=True):
        if settings != found[0]:
            raise ValueError(f"{runs[0].path} was judged with {found[0]}, {run.path} with {settings}; judge them alike")
    return found[0]


def _same_events(first: Run, second: Run) -> None:
    one, other = first.scores, second.scores
    if one.signal != other.signal:
        raise ValueError(
            f"the signal is {', '.join(one.signal)} in {first.path}, {', '.join(other.signal)} in {second.path}"
        )
    orders = [np.lexsort((scores.number, scores.process)) for scores in (one, other)]
    same = len(one) == len(other) and all(
        np.array_equal(getattr(one, name)[orders[0]], getattr(other, name)[orders[1]])
        for name in ("process", "number", "hard")
    )
    if not (same and np.allclose(one.weight[orders[0]], other.weight[orders[1]], rtol=1e-6)):
        raise ValueError(
            f"{first.path} and {second.path} were judged on different events (or weights), so their numbers can't be "
            f"compared: {len(one)} and {len(other)} events"
        )
