"""Facts: metadata of an exported file, so that nothing else is needed to use it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Depth = Literal["objects", "latent", "outputs"]

#: Key of the file's metadata that holds the facts as JSON.
KEY = "femtobarn"

#: Version of the inputs, outputs and facts.
LAYOUT = 2

#: Names of the outputs of a file, by the depth of the network that it computes.
OUTPUT_NAMES: Mapping[Depth, tuple[str, ...]] = {
    "outputs": ("score", "probabilities"),
    "latent": ("latent",),
    "objects": ("objects",),
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Metadata of an exported file: processes, training data, and format of the inputs and outputs.

    Args:
        label: name of the model in tables and figures.
        model: name of the architecture.
        seed: random seed of the training.
        signal, background: processes that it separates.
        classes: names of the columns of `probabilities`, in their order.
        slots: largest number of particles of an event; the file drops softer ones.
        interactions: pairwise features that it computes.
        temperature: calibration: logits are divided by it; 1 is no calibration.
        weights: SHA-256 of the weights of the run.
        data: SHA-256 of the training events.
        version: version of femtobarn that wrote the file.
        types: code of each particle type.
        units: unit of each input.
        precision: precision of the columns, `float32` or `float64`.
        features: features of each particle; `objects` for collisions, other values for constituents of jets.
        depth: depth of the network that the file computes: `outputs`, `latent` or `objects`.
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
    depth: Depth = "outputs"
    layout: int = LAYOUT

    @property
    def has_jets(self) -> bool:
        """True if the particles are constituents of jets."""
        return self.features != "objects"

    @property
    def event_name(self) -> str:
        """Name of an event in texts: `jet` or `event`."""
        return "jet" if self.has_jets else "event"

    def json(self) -> str:
        """Facts as JSON, as in the metadata of the file."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str, path: str) -> Facts:
        """Read the facts from the metadata of a file.

        Raises:
            ValueError: another layout, or missing facts.
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
        facts.setdefault("depth", "outputs")  # absent in files of earlier versions
        names = [field.name for field in dataclasses.fields(cls)]
        absent = [name for name in names if name not in facts]
        if absent:
            raise ValueError(f"{path} has no {', '.join(absent)} in its metadata; export the run again")
        values: dict[str, Any] = {
            name: tuple(facts[name]) if isinstance(facts[name], list) else facts[name] for name in names
        }
        return cls(**values)
