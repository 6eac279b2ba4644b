"""Metrics, and measured values with their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from femtobarn.evaluation.rounding import NOTHING, fixed, rounded


@dataclass(frozen=True, order=True)
class Metric:
    """What is measured: its name, what it is measured of, and where.

    Args:
        name: `auc`, `background_efficiency`, `significance`, `rejection`, ...
        of: the background, `total` for all of them, or the kind of a significance; None where there is no choice.
        at: where it is measured: signal efficiency of a cut, `best` for the optimal cut, a signal class, a bin; None
            without such a choice.

    Example:
        >>> Metric("background_efficiency", of="ttW", at="0.3").path
        ('background_efficiency', '0.3', 'ttW')
    """

    name: str
    of: str | None = None
    at: str | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """Keys under which `metrics.json` holds the value."""
        return tuple(key for key in (self.name, self.at, self.of) if key is not None)


@dataclass(frozen=True)
class Measurement:
    """A measured value with two errors of different origin, which are never added silently.

    Args:
        value: mean over trainings; None where the test events leave nothing to measure.
        statistical: error from the finite number of test events.
        seeds: standard deviation over trainings that differ in their random seed; None with a single training.
        above: limit at 95 % confidence of a rejection without a value, because no background event is left.
    """

    value: float | None = None
    statistical: float | None = None
    seeds: float | None = None
    above: float | None = None

    @classmethod
    def finite(cls, value: float, statistical: float | None = None, seeds: float | None = None) -> Measurement:
        """A measurement that keeps finite numbers only; without a finite value there are no errors either."""
        if not math.isfinite(value):
            return cls()
        errors = [error if error is not None and math.isfinite(error) else None for error in (statistical, seeds)]
        return cls(value, *errors)

    @property
    def errors(self) -> tuple[float | None, float | None]:
        """Statistical error, standard deviation over seeds."""
        return self.statistical, self.seeds

    def scaled(self, factor: float) -> Measurement:
        """The same measurement in another unit."""
        numbers = (self.value, self.statistical, self.seeds, self.above)
        return Measurement(*(None if number is None else factor * number for number in numbers))

    def format(self, digits: int | None = None, *, signed: bool = False) -> str:
        """`value ± statistical ± seeds`, rounded as the Particle Data Group does.

        Args:
            digits: decimals, in place of those that the errors allow (a column of a table is easier to read with one
                number of decimals).
            signed: begin with a sign, as for a change.

        Example:
            >>> Measurement(0.87654, 0.0043).format()
            '0.877 ± 0.004'
        """
        if self.above is not None:
            return f"> {fixed(self.above, 0 if digits is None else min(digits, 0))}"
        text = rounded(self.value, *self.errors, digits=digits)
        if not signed or text == NOTHING:
            return text
        magnitude = text.removeprefix("-")
        if float(magnitude.split(" ± ")[0]) == 0:
            return magnitude
        return f"−{magnitude}" if text.startswith("-") else f"+{magnitude}"

    def __str__(self) -> str:
        return self.format()
