"""Classifier: `fit`, `predict_proba` and `score` on events, as in scikit-learn."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.events import Events, write_parquet
from femtobarn.experiments import experiment as experiments
from femtobarn.runs import run as runs
from femtobarn.runs.predictor import Predictor


class Classifier:
    """Any model of the package as a scikit-learn-like classifier of events.

    The class labels are names. The events are split by a hash of their number: `fit` trains on 70 %, chooses the epoch
    and the temperature on 20 %, and leaves 10 % for `femtobarn.evaluate(classifier.run_folder)`.

    Args:
        model: name of a model, or the `model` section of an experiment.
        signal: labels of the signal classes; default: the last label in alphabetical order.
        inputs: the `inputs` section.
        training: the `training` section.
        seed: random seed of initial weights, shuffling and dropout.
        folder: run folder; default: a temporary one that is deleted with the classifier.

    Example:
        >>> events = femtobarn.four_top()  # doctest: +SKIP
        >>> classifier = Classifier("pfn", signal="tttt").fit(events, events.process)  # doctest: +SKIP
        >>> classifier.predict_proba(events).shape  # doctest: +SKIP
        (101277, 5)
    """

    def __init__(
        self,
        model: str | Mapping[str, Any] = "pfn",
        *,
        signal: str | Sequence[str] | None = None,
        inputs: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        seed: int = 1,
        folder: str | Path | None = None,
    ) -> None:
        self.model = model
        self.signal = signal
        self.inputs = inputs
        self.training = training
        self.seed = seed
        self.folder = folder
        self._predictor: Predictor | None = None
        self.run_folder: Path | None = None

    def __repr__(self) -> str:
        state = "not fitted" if self._predictor is None else f"classes {', '.join(self.classes_)}"
        return f"Classifier({self.model!r}, {state})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Arguments of the constructor, as scikit-learn's `clone` needs them."""
        return {name: getattr(self, name) for name in ("model", "signal", "inputs", "training", "seed", "folder")}

    def set_params(self, **params: Any) -> Classifier:
        """Set arguments of the constructor.

        Raises:
            ValueError: no such argument.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"no parameter {name!r}; there are {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def fit(
        self, events: Events, labels: Sequence[str] | NDArray[Any], weights: NDArray[np.floating[Any]] | None = None
    ) -> Classifier:
        """Train on events.

        Args:
            events: any.
            labels: name of the class of each event, shape (events,).
            weights: weight of each event, shape (events,); default: the weights of the events.

        Returns:
            the fitted classifier.

        Raises:
            ValueError: labels or weights of another length, fewer than two classes, or a split without events of a
                class.
        """
        names = np.array([str(label) for label in labels], dtype=np.str_)
        if len(names) != len(events):
            raise ValueError(f"{len(names)} labels for {len(events)} events")
        if weights is not None and len(weights) != len(events):
            raise ValueError(f"{len(weights)} weights for {len(events)} events")
        classes = sorted(set(names.tolist()))
        if len(classes) < 2:
            raise ValueError(f"all events have the label {classes[0]!r}; a classifier needs at least two classes")
        # a label may join events of several processes, whose numbers then repeat
        _, hard = np.unique(np.stack([np.unique(events.process, return_inverse=True)[1], events.hard]), axis=1,
                            return_inverse=True)  # fmt: skip
        labelled = replace(
            events,
            process=names,
            number=np.arange(len(events)),
            hard=hard.astype(np.int64),
            weight=events.weight if weights is None else np.asarray(weights, dtype=np.float64),
        )
        folder = Path(self.folder or tempfile.mkdtemp(prefix="femtobarn-"))
        if self.folder is None:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_parquet(labelled, folder / "events.parquet")
        tree = {
            "data": {
                "files": str((folder / "events.parquet").absolute()),
                "split": {"train": 0.7, "validation": 0.2, "test": 0.1},
            },
            "inputs": dict(self.inputs or {}),
            "model": {"name": self.model} if isinstance(self.model, str) else dict(self.model),
            "task": {"signal": self.signal or classes[-1]},
            "training": dict(self.training or {}),
            "seed": self.seed,
        }
        self._predictor = Predictor.load(runs.train(experiments.load(tree), folder / "run"))
        self.run_folder = folder / "run"
        return self

    @property
    def predictor(self) -> Predictor:
        """The trained run.

        Raises:
            ValueError: not fitted yet.
        """
        if self._predictor is None:
            raise ValueError("this classifier is not fitted; call fit first")
        return self._predictor

    @property
    def classes_(self) -> tuple[str, ...]:
        """Class labels, in the order of the columns of `predict_proba`."""
        return tuple(self.predictor.task.names)

    def predict_proba(self, events: Events) -> NDArray[np.float64]:
        """Probability of each class at equal yields, shape (events, classes)."""
        return self.predictor.predict_proba(events)

    def predict(self, events: Events) -> NDArray[Any]:
        """Most probable class of each event, shape (events,)."""
        names: NDArray[Any] = np.array(self.classes_)[self.predict_proba(events).argmax(axis=1)]
        return names

    def decision_function(self, events: Events) -> NDArray[np.float64]:
        """Signal score of each event in [0, 1], shape (events,)."""
        score: NDArray[np.float64] = self.predictor.predict(events)["score"].astype(np.float64)
        return score

    def score(
        self, events: Events, labels: Sequence[str] | NDArray[Any], weights: NDArray[np.floating[Any]] | None = None
    ) -> float:
        """Accuracy: weighted fraction of the events whose most probable class is their label.

        Args:
            events: any.
            labels: name of the class of each event.
            weights: weight of each event; default: 1.
        """
        correct = self.predict(events) == np.array([str(label) for label in labels])
        return float(np.average(correct, weights=weights))
