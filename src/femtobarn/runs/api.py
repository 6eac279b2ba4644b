"""Functions of `import femtobarn`: train, evaluate and predict in one call each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from femtobarn.events import Events
from femtobarn.experiments import experiment as experiments
from femtobarn.experiments.experiment import Experiment
from femtobarn.runs import run as runs
from femtobarn.runs.predictor import Predictor


@dataclass(frozen=True, eq=False)
class PredictionColumns(Mapping[str, NDArray[Any]]):
    """Predictions as a mapping from column to array, with one row per event.

    Args:
        columns: `score` and `probability_<class>` of a classifier, `predicted_<target>` of a regression.
    """

    columns: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        n_events = len(next(iter(self.columns.values()), ()))
        return f"PredictionColumns({n_events} events: {', '.join(self.columns)})"

    def to_numpy(self) -> NDArray[Any]:
        """All columns as an array of shape (events, columns)."""
        return np.stack(list(self.columns.values()), axis=-1)

    def to_arrow(self) -> pa.Table:
        """All columns as an Arrow table; `.to_pandas()` of it gives a data frame."""
        return pa.table(dict(self.columns))


def load(folder: str | Path) -> Predictor:
    """Load a trained run, ready to predict.

    Args:
        folder: run folder.

    Raises:
        ValueError: no trained run in the folder, or a file is missing, was changed or damaged.

    Example:
        >>> predictor = load("runs/four-top-small/ParT/seed-1")  # doctest: +SKIP
    """
    return Predictor.load(folder)


def train(experiment: Experiment | Mapping[str, Any] | str | Path, folder: str | Path) -> Path:
    """Train the model of an experiment; a training that was stopped is resumed, a finished one is kept.

    Args:
        experiment: path of a YAML file, or its content as a mapping.
        folder: run folder.

    Returns:
        the run folder.

    Raises:
        ValueError: mistakes in the experiment, listed by their path, or a folder with another experiment.

    Example:
        >>> train({"data": {"sample": "four-top"}, "model": {"name": "pfn"},
        ...        "task": {"signal": "tttt"}}, "runs/pfn")  # doctest: +SKIP
    """
    loaded = experiment if isinstance(experiment, Experiment) else experiments.load(experiment)
    return runs.train(loaded, folder)


def evaluate(folder: str | Path) -> dict[str, Any]:
    """Metrics of a trained run on its test events, each with its statistical error.

    Args:
        folder: run folder.

    Returns:
        content of `metrics.json`.

    Raises:
        ValueError: no trained run in the folder, or its events have changed since.
    """
    return runs.evaluate(folder)


def predict(run: str | Path | Predictor, events: Events | None = None, **arrays: Any) -> PredictionColumns:
    """Predictions of a trained run for any events.

    Args:
        run: run folder, or a loaded run.
        events: the events; or
        arrays: plain arrays of their objects, awkward or padded numpy, as `Events.from_arrays` takes them: `pt`, `eta`,
            `phi`, `E` or `mass`, `kind`, `MET`, `phi_MET`, ...

    Raises:
        ValueError: both events and arrays or neither, or columns that the model needs are missing.

    Example:
        >>> predict("runs/pfn", pt=pt, eta=eta, phi=phi, E=E, kind=kind, MET=met, phi_MET=phi_met)  # doctest: +SKIP
        PredictionColumns(100 events: score, probability_tttt, probability_ttH)
    """
    if (events is None) == (not arrays):
        raise ValueError("give either events or plain arrays (pt, eta, phi, E, kind, MET, phi_MET)")
    predictor = run if isinstance(run, Predictor) else Predictor.load(run)
    return PredictionColumns(predictor.predict(Events.from_arrays(**arrays) if events is None else events))
