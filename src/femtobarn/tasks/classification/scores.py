"""Scores of the held-out events by a classifier."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.predictions import Predictions
from femtobarn.events.storage.atomic import unchecked

PREFIX = "probability_"
COLUMNS = ("process", "number", "hard", "weight", "score")


@dataclass(frozen=True, eq=False)
class Scores:
    """The score of each held-out event, beside what its metrics need.

    Args:
        process: name of the process of each event.
        number: event number, unique within its process.
        hard: number of the hard-scattering event; copies that were decayed or showered again share it.
        weight: expected events that each stands for; each process sums to its full yield at `luminosity`.
        score: the higher, the more like signal.
        signal: the processes that count as signal; all others are background.
        probabilities: what the model says for each of its classes, by class.
        luminosity: integrated luminosity of the weights in 1/fb.

    Raises:
        ValueError: columns of different lengths, a number that is not finite, an event twice, a process without
            weight, no signal or no background.
    """

    process: NDArray[Any]  # of str; beartype would take NDArray[np.str_] for empty strings alone
    number: NDArray[np.int64]
    hard: NDArray[np.int64]
    weight: NDArray[np.float64]
    score: NDArray[np.float32]
    signal: tuple[str, ...]
    probabilities: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    luminosity: float = 100.0

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        lengths |= {PREFIX + name: len(column) for name, column in self.probabilities.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        for name in ("weight", "score"):
            wrong = np.flatnonzero(~np.isfinite(getattr(self, name)))
            if wrong.size:
                raise ValueError(
                    f"{name} is {getattr(self, name)[wrong[0]]} for event {self.number[wrong[0]]} of "
                    f"{self.process[wrong[0]]} ({wrong.size} such of {len(self)}); it must be finite"
                )
        names = [str(name) for name in np.unique(self.process)]
        absent = [name for name in self.signal if name not in names]
        if not self.signal or absent:
            raise ValueError(
                f"no events of the signal {', '.join(absent) or '(none named)'}; there are {', '.join(names)}"
            )
        if len(names) == len(set(self.signal)):
            raise ValueError(f"all events are signal ({', '.join(names)}); an evaluation needs a background too")
        if "total" in names:
            raise ValueError("a process is called 'total', which is what the sum of all backgrounds is called")
        for name in names:
            in_process = self.process == name
            if (yielded := self.weight[in_process].sum()) <= 0:
                raise ValueError(f"weights of {name} sum to {yielded:g}; an expected yield is positive")
            if np.unique(self.number[in_process]).size < in_process.sum():
                raise ValueError(f"an event of {name} has more than one score; event numbers are unique in a process")

    def __len__(self) -> int:
        return len(self.score)

    @property
    def processes(self) -> tuple[str, ...]:
        """Names of the processes: the signal first, then the backgrounds in alphabetical order."""
        return (*self.signal, *self.backgrounds)

    @property
    def backgrounds(self) -> tuple[str, ...]:
        """Names of the background processes, sorted."""
        return tuple(str(name) for name in np.unique(self.process) if name not in self.signal)

    @property
    def is_signal(self) -> NDArray[np.bool_]:
        """True for events of a signal process."""
        return np.isin(self.process, self.signal)

    def to_predictions(self) -> Predictions:
        """The same columns as a record that any task shares."""
        columns = {"score": self.score} | {PREFIX + name: column for name, column in self.probabilities.items()}
        metadata = {"signal": list(self.signal), "luminosity": float(self.luminosity)}
        return Predictions(self.process, self.number, self.hard, self.weight, columns, metadata)

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> Scores:
        """Scores from the predictions of a run.

        Raises:
            ValueError: no column of scores or no names of signal processes among the predictions, or invalid scores.
        """
        columns, metadata = predictions.columns, predictions.metadata
        if "score" not in columns:
            raise ValueError(f"the predictions lack score; there are {', '.join(columns)}")
        if "signal" not in metadata:
            raise ValueError("the predictions lack the names of the signal processes")
        scores = cls(
            **predictions.event_columns,
            score=columns["score"],
            signal=tuple(metadata["signal"]),
            probabilities={
                name.removeprefix(PREFIX): column for name, column in columns.items() if name.startswith(PREFIX)
            },
            luminosity=float(metadata["luminosity"]),
        )
        if metadata.get("checksum", recorded := scores.checksum()) != recorded:
            raise ValueError("the scores were changed or damaged after they were written (their SHA-256 differs)")
        return scores

    def checksum(self) -> str:
        """SHA-256 of all columns, the signal and the luminosity, as files of earlier versions hold it."""
        header = [list(self.signal), float(self.luminosity), list(self.probabilities), self.process.tolist()]
        digest = hashlib.sha256(json.dumps(header).encode())
        for name, dtype in (("number", "<i8"), ("hard", "<i8"), ("weight", "<f8"), ("score", "<f4")):
            digest.update(getattr(self, name).astype(dtype).tobytes())
        for column in self.probabilities.values():
            digest.update(column.astype("<f4").tobytes())
        return digest.hexdigest()

    def write(self, path: Path, *, check: Callable[[], object] = unchecked) -> None:
        """Write the scores as predictions; see `femtobarn.evaluation.predictions.Predictions.write`."""
        self.to_predictions().write(path, check=check)

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Read what `write` wrote.

        Raises:
            ValueError: not a Parquet file with these columns, without the names of the signal processes, or changed or
                damaged after it was written.
        """
        predictions = Predictions.read(path)
        try:
            return cls.from_predictions(predictions)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from None
