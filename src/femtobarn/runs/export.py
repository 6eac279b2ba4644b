"""Export: a trained network as one file that other programs run, with its validation and its card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import femtobarn
from femtobarn.evaluation.runs import METRICS, read_metrics
from femtobarn.events import Events
from femtobarn.events.storage.atomic import atomic_path
from femtobarn.events.storage.files import checksum
from femtobarn.experiments.data import DataConfig
from femtobarn.export import Facts, Scorer
from femtobarn.export.card import Card, card
from femtobarn.export.checksum import digest
from femtobarn.export.columns import FORMS, UNITS, AnyColumns, columns_of
from femtobarn.export.graph import Graph, JetGraph, has_frames, write
from femtobarn.export.synthetic import synthetic_events, synthetic_jets
from femtobarn.export.validation import TOLERANCES, ValidationError, ValidationResult, validate_onnx
from femtobarn.inputs import OBJECTS
from femtobarn.models import Depth, check_depth
from femtobarn.physics.objects import JET_KINDS, NAMES
from femtobarn.runs.predictor import Predictor, require_classifier
from femtobarn.runs.provenance import atomic_write_text
from femtobarn.runs.splits import load_splits

#: Precision of the columns that an exported file takes.
Precision = Literal["float32", "float64"]

#: Names of the file and of its card, by depth.
FILE_NAMES: Mapping[Depth, tuple[str, str]] = {
    "outputs": ("model.onnx", "MODEL.md"),
    "latent": ("latent.onnx", "LATENT.md"),
    "objects": ("objects.onnx", "OBJECTS.md"),
}

#: Held-out events that a file is validated on, evenly spread.
N_HELD_OUT_EVENTS = 5000

#: Synthetic events that a file is validated on.
N_SYNTHETIC_EVENTS = 500


class ExportResult(NamedTuple):
    """Files of an exported run, and their validation."""

    model: Path
    card: Path
    validation: list[ValidationResult]


def export(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    depth: Depth = "outputs",
    tolerance: float | None = None,
    precision: Precision = "float32",
) -> ExportResult:
    """Write the network of a run as ONNX, validate the file against PyTorch in float64 and write its card.

    The file is the whole function from particles to calibrated score. It is written only if it agrees with PyTorch on
    held-out events of the run (if its data are available), on synthetic events and on edge cases of them.

    Args:
        folder: folder of a trained run.
        output: file to write; default: `model.onnx`, `latent.onnx` or `objects.onnx` in the run's folder. The card,
            `MODEL.md`, `LATENT.md` or `OBJECTS.md`, is written beside it.
        depth: depth that the file computes: `outputs` (score and probabilities), `latent` (one vector per event) or
            `objects` (one vector per particle).
        tolerance: largest difference of a score or probability that is allowed; for other depths relative to the
            largest number. Default: 1e-5 for `outputs`, otherwise 1e-3.
        precision: precision of the columns that the file takes. Lorentz-equivariant networks compute with momenta in
            float64; with `float64` the file gets the same momenta as the run.

    Raises:
        ValueError: no trained run, boosted trees, a depth that the model lacks, or the file and PyTorch differ by more
            than the tolerance.
        RuntimeError: the packages for ONNX are missing, or ONNX cannot express the network.
    """
    folder = Path(folder)
    predictor = Predictor.load(folder)
    task = require_classifier(predictor, folder)
    if not predictor.experiment.model.is_network:
        raise ValueError(
            f"{folder} holds boosted trees, and only networks are exported; LightGBM itself reads {folder}/trees.txt, "
            "and `femtobarn.score` scores events with it"
        )
    if predictor.experiment.inputs.features not in FORMS:
        raise ValueError(
            f"{folder} has inputs.features: {predictor.experiment.inputs.features}, which cannot be exported; networks "
            f"with {', '.join(FORMS)} can"
        )
    check_depth(predictor.experiment.model.name, depth)
    tolerance = TOLERANCES[depth] if tolerance is None else tolerance
    file_name, card_name = FILE_NAMES[depth]
    path = Path(output) if output is not None else folder / file_name
    card_path = path.parent / card_name
    _check_card(card_path, path)
    facts = export_facts(predictor, folder, precision, depth)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        graph_class = Graph if facts.features == OBJECTS else JetGraph
        graph = graph_class(predictor.network.cpu(), task.cpu(), facts.slots, depth)
        events = validation_events(predictor, precision)
        validation = write_validated(graph, facts, partial, events, tolerance)
        content = partial.read_bytes()
    metrics = read_metrics(folder).content if (folder / METRICS).is_file() else None
    contents = Card(
        file=path.name,
        size=len(content),
        checksum=digest(content),
        facts=facts,
        meta=predictor.metadata,
        metrics=metrics,
        events=_describe_data(predictor.experiment.data),
        validation=validation,
        tolerance=tolerance,
        limits=_limits(predictor, events),
    )
    atomic_write_text(card_path, card(contents))
    return ExportResult(path, card_path, validation)


def write_validated(
    graph: Graph, facts: Facts, path: Path, events: Mapping[str, AnyColumns], tolerance: float | None = None
) -> list[ValidationResult]:
    """Write a file and validate it; if local frames in float32 are not close enough, write frames in float64.

    Raises:
        ValidationError: the file and PyTorch differ by more than the tolerance.
        RuntimeError: as `femtobarn.export.graph.write`.
    """
    write(graph, facts, path)
    try:
        return validate_onnx(Scorer.load(path), graph.network, graph.task, events, tolerance)
    except ValidationError:
        if not has_frames(graph.network):
            raise
    write(graph, facts, path, double_frames=True)
    return validate_onnx(Scorer.load(path), graph.network, graph.task, events, tolerance)


@dataclass(frozen=True, eq=False)
class RunScorer:
    """A run in place of an exported file: networks with PyTorch, boosted trees with LightGBM.

    Args:
        predictor: the run.
        facts: metadata that an exported file of it would have.
    """

    predictor: Predictor
    facts: Facts

    @classmethod
    def load(cls, folder: str | Path) -> RunScorer:
        """Load the trained run in a folder.

        Raises:
            ValueError: no trained run in the folder, or one that is damaged.
        """
        predictor = Predictor.load(folder)
        return cls(predictor, export_facts(predictor, Path(folder)))

    def score(self, events: Events) -> dict[str, NDArray[np.float32]]:
        """Columns `score` and `probability_<class>` of events of any process.

        Raises:
            ValueError: the events lack columns for the features of the model.
        """
        return self.predictor.predict(events)


def validation_table(validation: Sequence[ValidationResult]) -> Table:
    """Largest differences between the file and PyTorch, for a terminal."""
    names = [f"largest difference: {name}" for name in validation[0].differences]
    table = Table("events", "number", *names, box=None, pad_edge=False)
    for result in validation:
        differences = (f"{value:.1e}" for value in result.differences.values())
        table.add_row(result.description, str(result.n_events), *differences)
    return table


def export_facts(
    predictor: Predictor, folder: Path, precision: Precision = "float32", depth: Depth = "outputs"
) -> Facts:
    """Metadata of the exported file of a run."""
    task = require_classifier(predictor, folder)
    features = predictor.experiment.inputs.features
    return Facts(
        label=predictor.experiment.label,
        model=predictor.experiment.model.name,
        seed=predictor.experiment.seed,
        signal=task.signal,
        background=task.background,
        classes=tuple(task.names),
        slots=predictor.experiment.inputs.slots,
        interactions=predictor.experiment.inputs.interactions,
        temperature=float(task.temperature),
        weights=checksum(folder / predictor.model.file),
        data=predictor.metadata["inputs"]["fingerprint"],
        version=femtobarn.__version__,
        types={name: code for code, name in enumerate(NAMES if features == OBJECTS else JET_KINDS)},
        units={name: UNITS[name] for name in FORMS[features]._fields},
        precision=precision,
        features=features,
        depth=depth,
    )


def validation_events(predictor: Predictor, precision: Precision = "float32") -> dict[str, AnyColumns]:
    """Events to validate a file on: held-out events if the data of the run are available, and synthetic events."""
    slots = predictor.experiment.inputs.slots
    features = predictor.experiment.inputs.features
    random, max_particles = np.random.default_rng(0), slots + slots // 2
    synthetic: AnyColumns
    if features == OBJECTS:
        synthetic = synthetic_events(N_SYNTHETIC_EVENTS, max_particles, random, precision=precision)
    else:
        synthetic = synthetic_jets(N_SYNTHETIC_EVENTS, max_particles, random, features=features, precision=precision)
    try:
        events = load_splits(predictor.experiment).test.head().events
    except (ValueError, OSError):  # files that were moved: the card has a note
        return {"synthetic events": synthetic}
    held_out = columns_of(events[:: -(-len(events) // N_HELD_OUT_EVENTS)], features, precision)
    return {"held-out events of the run": held_out, "synthetic events": synthetic}


def _limits(predictor: Predictor, events: Mapping[str, AnyColumns]) -> list[str]:
    """Limits of the model, for the card."""
    notes = [
        f"It was trained on {_describe_data(predictor.experiment.data)}. On other events its results have no meaning.",
        "Its probabilities hold for simulated events; real detectors differ from the simulation, and no systematic "
        "uncertainty is included.",
        f"Objects beyond the {predictor.experiment.inputs.slots} hardest of an event are dropped inside the file.",
        "Types outside the codes above, NaN and infinity give NaN; negative or impossible energies are not detected.",
    ]
    if len(events) < 2:
        notes.append("The data of the run were not available when the file was validated: only synthetic events were.")
    return notes


def _describe_data(data: DataConfig) -> str:
    names = (Path(pattern).name for patterns in _patterns(data) for pattern in patterns)
    name = f"the sample {data.sample} of femtobarn" if data.sample else ", ".join(names)
    if data.amplitudes:
        name = f"{data.amplitudes.points} points of {data.amplitudes.process}"
    if data.prepared:
        name = f"the prepared events {Path(data.prepared).name}"
    return f"{name}, {data.selection}" if data.selection else name


def _patterns(data: DataConfig) -> Iterable[tuple[str, ...]]:
    return data.files.values() if isinstance(data.files, dict) else [data.files]


def _check_card(card_path: Path, path: Path) -> None:
    """Refuse to overwrite the card of another model."""
    if card_path.is_file() and path.name not in card_path.read_text(encoding="utf-8"):
        raise ValueError(f"{card_path} describes another file than {path.name}; write to another folder")
