"""Scorer: run an exported file with onnxruntime, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int
from numpy.typing import NDArray

from femtobarn.events import Events
from femtobarn.export.checksum import read_verified
from femtobarn.export.columns import AnyColumns, columns_of, trim_columns
from femtobarn.export.facts import KEY, OUTPUT_NAMES, Facts
from femtobarn.physics.objects import PADDING

#: Arrays that a file computes, one row per event: score and probabilities, latent vectors, or vectors of particles.
Outputs: TypeAlias = tuple[NDArray[np.floating[Any]], ...]

#: Events that are padded and sorted at once.
CHUNK_EVENTS = 4096

#: Slots, padding included, of one batch: intermediate results stay in the cache.
MAX_BATCH_SLOTS = 256

#: Events of a batch for which events of other multiplicity are not added.
MIN_BATCH_EVENTS = 16


@runtime_checkable
class EventScorer(Protocol):
    """Model that scores events: an exported file, or a run."""

    @property
    def facts(self) -> Facts:
        """Classes, slots and origin of the model."""

    def score(self, events: Events) -> dict[str, Float32[np.ndarray, " batch"]]:
        """Columns `score` and `probability_<class>`."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """An exported network, ready to score events.

    Args:
        session: session of onnxruntime.
        facts: metadata of the file.

    Example:
        >>> scorer = Scorer.load("model.onnx")  # doctest: +SKIP
        >>> scorer.score(four_top())["score"]  # doctest: +SKIP
    """

    session: Any
    facts: Facts

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> Scorer:
        """Load a file that `femtobarn export` wrote.

        Args:
            path: the ONNX file.
            threads: processor threads per operator; default: all cores.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not an ONNX file, not written by femtobarn, or changed since it was written.
            RuntimeError: onnxruntime is not installed.
        """
        try:
            import onnxruntime
        except ImportError:
            raise RuntimeError("onnxruntime is missing; pip install 'femtobarn[export]'") from None
        data = read_verified(path)  # before onnxruntime, which does not check it
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = threads or 0
        options.enable_mem_pattern = False  # no two batches have the same shape
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # waiting threads should not occupy cores
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise ValueError(
                f"{path} cannot be run by onnxruntime {onnxruntime.__version__} ({_first_line(error)}); "
                "pip install --upgrade onnxruntime"
            ) from None
        return cls(session, Facts.parse(session.get_modelmeta().custom_metadata_map.get(KEY, ""), str(path)))

    def run(self, columns: AnyColumns) -> Outputs:
        """Run the file on all events as one batch.

        Returns:
            score and class probabilities (at equal yields); or, for a file of another depth, the latent vectors
            (batch, width), or the vectors of the particles (batch, particles, width) in the slots of the columns.
        """
        return tuple(self.session.run(list(OUTPUT_NAMES[self.facts.depth]), columns._asdict()))

    def predict(self, columns: AnyColumns) -> Outputs:
        """Run the file on batches of similar multiplicity, without empty slots at the end; results as of `run`.

        A padded slot takes as long as a particle. The results of an event do not depend on its batch, up to rounding.
        """
        n_events, n_slots = columns.type.shape
        if not n_events:
            return self.run(columns)
        arrays: list[NDArray[np.float32]] = []
        filled = np.where(columns.type != PADDING, np.arange(1, columns.type.shape[1] + 1), 0).max(axis=1, initial=0)
        order = np.argsort(filled, kind="stable")
        ordered = filled[order]
        start = 0
        while start < len(order):
            stop = batch_end(ordered, start, self.facts.slots)
            rows = order[start:stop]
            outputs = self.run(trim_columns(columns, rows, int(ordered[stop - 1])))
            if not arrays:
                shapes = [(n_slots, *out.shape[2:]) if out.ndim == 3 else out.shape[1:] for out in outputs]
                arrays = [np.zeros((n_events, *shape), dtype=np.float32) for shape in shapes]
            for array, output in zip(arrays, outputs, strict=True):
                if output.ndim == 3:
                    array[rows, : output.shape[1]] = output
                else:
                    array[rows] = output
            start = stop
        return tuple(arrays)

    def score(self, events: Events) -> dict[str, Float32[np.ndarray, " batch"]]:
        """Columns `score` and `probability_<class>`, as `femtobarn evaluate` writes them.

        Raises:
            ValueError: the file computes another depth, or the events lack columns that it needs.
        """
        if self.facts.depth != "outputs":
            raise ValueError(f"the file computes {self.facts.depth}, not scores; export the run with --depth outputs")
        pieces = (events[start : start + CHUNK_EVENTS] for start in range(0, len(events), CHUNK_EVENTS))
        parts = [self.predict(columns_of(piece, self.facts.features, self.facts.precision)) for piece in pieces]
        nothing = np.zeros((0, len(self.facts.classes)), dtype=np.float32)
        score = np.concatenate([nothing[:, 0], *(score for score, _ in parts)])
        probabilities = np.concatenate([nothing, *(probabilities for _, probabilities in parts)])
        columns = {f"probability_{name}": probabilities[:, index] for index, name in enumerate(self.facts.classes)}
        return {"score": score} | columns


def batch_end(filled: Int[np.ndarray, " batch"], start: int, slots: int) -> int:
    """End of the batch that begins at event `start`.

    Args:
        filled: number of slots that each event fills, in ascending order.
        start: first event of the batch.
        slots: largest number of particles that the file uses.
    """
    first = min(max(int(filled[start]), 1), slots)
    similar = int(np.searchsorted(filled, first + first // 16 if first < slots else filled[-1], side="right"))
    stop = min(max(similar, start + MIN_BATCH_EVENTS), len(filled))
    widest = min(max(int(filled[stop - 1]), 1), slots)
    return min(stop, start + max(MAX_BATCH_SLOTS // widest, 1))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
