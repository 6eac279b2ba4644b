"""Scorer: an exported file at work, by onnxruntime and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from femtobarn.events import Events
from femtobarn.export.columns import AnyColumns, columns_of
from femtobarn.export.facts import KEY, Facts

#: Events that go through the file at once: more are not faster, and take more memory.
CHUNK = 1024


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
    def load(cls, path: str | Path) -> Scorer:
        """A file that `femtobarn export` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: no ONNX file, or not one of femtobarn's.
            RuntimeError: onnxruntime is not installed.
        """
        try:
            import onnxruntime
        except ImportError:
            raise RuntimeError("onnxruntime is missing; pip install 'femtobarn[export]'") from None
        if not Path(path).is_file():
            raise FileNotFoundError(f"no model file {path}")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # waiting threads leave the cores alone
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class of their own
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} is no ONNX file that can be run ({reason})") from None
        told = session.get_modelmeta().custom_metadata_map.get(KEY)
        if told is None:
            raise ValueError(f"{path} was not written by `femtobarn export`: it does not say what it wants")
        return cls(session, Facts.parse(told, str(path)))

    def run(self, columns: AnyColumns) -> tuple[Float32[np.ndarray, " events"], Float32[np.ndarray, "events classes"]]:
        """Score and class probabilities (at equal yields) of all events at once."""
        score, probabilities = self.session.run(["score", "probabilities"], columns._asdict())
        return score, probabilities

    def score(self, events: Events) -> dict[str, Float32[np.ndarray, " events"]]:
        """Columns `score` and `probability_<class>`, as `femtobarn evaluate` writes them.

        Raises:
            ValueError: a jet tagger's events lack what it looks at.
        """
        pieces = (events[start : start + CHUNK] for start in range(0, len(events), CHUNK))
        parts = [self.run(columns_of(piece, self.facts.features)) for piece in pieces]
        nothing = np.zeros((0, len(self.facts.classes)), dtype=np.float32)
        score = np.concatenate([nothing[:, 0], *(score for score, _ in parts)])
        probabilities = np.concatenate([nothing, *(probabilities for _, probabilities in parts)])
        columns = {f"probability_{name}": probabilities[:, index] for index, name in enumerate(self.facts.classes)}
        return {"score": score} | columns
