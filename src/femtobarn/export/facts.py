"""Facts: what an exported file says of itself, so that nothing else is needed to use it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

#: Key of the file's metadata that holds the facts as JSON.
KEY = "femtobarn"

#: Version of the inputs, outputs and facts.
LAYOUT = 2


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a network was trained to tell apart, on what, and how it wants its events.

    Args:
        label: name of the model in tables and figures.
        model: its architecture.
        seed: of its training.
        signal, background: processes that it tells apart.
        classes: names of the columns of `probabilities`, in their order.
        slots: objects that count in an event, the hardest; softer ones are dropped inside the file.
        interactions: pairwise features that it computes.
        temperature: by which the logits are divided before they become probabilities; 1 is no calibration.
        weights: SHA-256 of the weights that the training left.
        data: SHA-256 of the events of the training.
        version: of the femtobarn that wrote the file.
        types: code of each object type.
        units: of each input.
        precision: of the columns of numbers, `float32` or `float64`.
        features: of each object; other than `objects` it is a jet tagger and takes constituents.
        layout: version of inputs, outputs and these facts.
    """

    label: str
    model: str
    seed: int
    signal: tuple[str, ...]
    background: tuple[str, ...]
    classes: tuple[str, ...]
    slots: int
    interactions: tuple[str, ...]
    temperature: float
    weights: str
    data: str
    version: str
    types: dict[str, int]
    units: dict[str, str]
    precision: str = "float32"
    features: str = "objects"
    layout: int = LAYOUT

    def json(self) -> str:
        """The facts as they stand in the file."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str, path: str) -> Facts:
        """The facts in the metadata of a file.

        Raises:
            ValueError: another layout, or facts that are not all there.
        """
        try:
            facts: dict[str, Any] = dict(json.loads(text))
            layout = int(facts.get("layout", 0))
        except (ValueError, TypeError):
            raise ValueError(f"{path} was not written by `femtobarn export`: its facts cannot be read") from None
        if layout != LAYOUT:
            when, remedy = (
                ("a later", "update femtobarn") if layout > LAYOUT else ("an earlier", "export the run again")
            )
            raise ValueError(
                f"{path} was written by {when} femtobarn (layout {layout}); this one reads {LAYOUT}: {remedy}"
            )
        names = [field.name for field in dataclasses.fields(cls)]
        absent = [name for name in names if name not in facts]
        if absent:
            raise ValueError(f"{path} does not say its {', '.join(absent)}; export the run again")
        values: dict[str, Any] = {
            name: tuple(facts[name]) if isinstance(facts[name], list) else facts[name] for name in names
        }
        return cls(**values)
