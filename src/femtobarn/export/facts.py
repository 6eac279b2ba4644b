"""Facts: what an exported file says of itself, so that nothing else is needed to use it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

#: Key of the file's metadata that holds the facts as JSON.
KEY = "femtobarn"

#: Version of the inputs, outputs and facts.
LAYOUT = 1


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
    features: str = "objects"
    layout: int = LAYOUT

    def json(self) -> str:
        """The facts as they stand in the file."""
        told = dataclasses.asdict(self)
        if self.features == "objects":  # as files were before there were others
            del told["features"]
        return json.dumps(told, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str, path: str) -> Facts:
        """The facts in the metadata of a file.

        Raises:
            ValueError: a later layout, or facts that are not all there.
        """
        told: dict[str, Any] = json.loads(text)
        if told.get("layout", 0) > LAYOUT:
            raise ValueError(
                f"{path} was written by a later femtobarn (layout {told['layout']}); this one reads up to {LAYOUT}"
            )
        told.setdefault("features", "objects")
        names = [field.name for field in dataclasses.fields(cls)]
        absent = [name for name in names if name not in told]
        if absent:
            raise ValueError(f"{path} does not say its {', '.join(absent)}; export the run again")
        values: dict[str, Any] = {
            name: tuple(told[name]) if isinstance(told[name], list) else told[name] for name in names
        }
        return cls(**values)
