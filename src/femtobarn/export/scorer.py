"""Scorer: an exported file at work, by onnxruntime and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int

from femtobarn.events import Events
from femtobarn.export.checksum import read_verified
from femtobarn.export.columns import AnyColumns, columns_of, trimmed
from femtobarn.export.facts import KEY, Facts
from femtobarn.physics.objects import PADDING

#: Scores and class probabilities.
Prediction: TypeAlias = tuple[Float32[np.ndarray, " events"], Float32[np.ndarray, "events classes"]]

#: Events that are padded and sorted at once.
CHUNK = 4096

#: Objects, padding included, that go through the file at once: what the layers make of them stays in the cache. Events
#: of like multiplicity go together; so many are enough to wait for no others.
CACHED_OBJECTS, ENOUGH = 256, 16


@runtime_checkable
class EventScorer(Protocol):
    """Whatever scores events: an exported file, or a run."""

    @property
    def facts(self) -> Facts:
        """Classes, slots and origin of the model."""

    def score(self, events: Events) -> dict[str, Float32[np.ndarray, " events"]]:
        """Columns `score` and `probability_<class>`."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """An exported network, ready to score events.

    Args:
        session: of onnxruntime.
        facts: what the file says of itself.

    Example:
        >>> scorer = Scorer.load("model.onnx")  # doctest: +SKIP
        >>> scorer.score(four_top())["score"]  # doctest: +SKIP
    """

    session: Any
    facts: Facts

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> Scorer:
        """A file that `femtobarn export` wrote.

        Args:
            path: the ONNX file.
            threads: processor threads for an operator; None leaves it to onnxruntime, which takes all cores.

        Raises:
            FileNotFoundError: no such file.
            ValueError: no ONNX file, not one of femtobarn's, or one that was changed since it was written.
            RuntimeError: onnxruntime is not installed.
        """
        try:
            import onnxruntime
        except ImportError:
            raise RuntimeError("onnxruntime is missing; pip install 'femtobarn[export]'") from None
        data = read_verified(path)  # first: onnxruntime believes what it is given
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = threads or 0
        options.enable_mem_pattern = False  # no two batches have the same shape
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # waiting threads leave the cores alone
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise ValueError(
                f"{path} cannot be run by onnxruntime {onnxruntime.__version__} ({_first_line(error)}); "
                "pip install --upgrade onnxruntime"
            ) from None
        return cls(session, Facts.parse(session.get_modelmeta().custom_metadata_map.get(KEY, ""), str(path)))

    def run(self, columns: AnyColumns) -> Prediction:
        """Score and class probabilities (at equal yields) of all events at once."""
        score, probabilities = self.session.run(["score", "probabilities"], columns._asdict())
        return score, probabilities

    def predict(self, columns: AnyColumns) -> Prediction:
        """The same in batches of events of like multiplicity, without the columns at the end that a batch leaves empty.

        Padding costs an event as much as objects do. An event gets the score that it has in any other batch, up to
        rounding.
        """
        score = np.zeros(len(columns.type), dtype=np.float32)
        probabilities = np.zeros((len(score), len(self.facts.classes)), dtype=np.float32)
        filled = np.where(columns.type != PADDING, np.arange(1, columns.type.shape[1] + 1), 0).max(axis=1, initial=0)
        order = np.argsort(filled, kind="stable")
        ordered = filled[order]
        start = 0
        while start < len(order):
            stop = batch_end(ordered, start, self.facts.slots)
            batch = trimmed(columns, order[start:stop], int(ordered[stop - 1]))
            score[order[start:stop]], probabilities[order[start:stop]] = self.run(batch)
            start = stop
        return score, probabilities

    def score(self, events: Events) -> dict[str, Float32[np.ndarray, " events"]]:
        """Columns `score` and `probability_<class>`, as `femtobarn evaluate` writes them.

        Raises:
            ValueError: a jet tagger's events lack what it looks at.
        """
        pieces = (events[start : start + CHUNK] for start in range(0, len(events), CHUNK))
        parts = [self.predict(columns_of(piece, self.facts.features, self.facts.precision)) for piece in pieces]
        nothing = np.zeros((0, len(self.facts.classes)), dtype=np.float32)
        score = np.concatenate([nothing[:, 0], *(score for score, _ in parts)])
        probabilities = np.concatenate([nothing, *(probabilities for _, probabilities in parts)])
        columns = {f"probability_{name}": probabilities[:, index] for index, name in enumerate(self.facts.classes)}
        return {"score": score} | columns


def batch_end(filled: Int[np.ndarray, " events"], start: int, slots: int) -> int:
    """Where the batch ends that begins at `start`.

    Args:
        filled: places that each event fills, in ascending order.
        start: first event of the batch.
        slots: places that count.
    """
    first = min(max(int(filled[start]), 1), slots)
    similar = int(np.searchsorted(filled, first + first // 16 if first < slots else filled[-1], side="right"))
    stop = min(max(similar, start + ENOUGH), len(filled))
    widest = min(max(int(filled[stop - 1]), 1), slots)
    return min(stop, start + max(CACHED_OBJECTS // widest, 1))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
