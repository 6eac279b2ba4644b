"""Publish: a trained network as one file that other programs run, with its proof and its card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import femtobarn
from femtobarn.evaluation.runs import METRICS, TREES, WEIGHTS, read_metrics
from femtobarn.events import Events
from femtobarn.events.storage.atomic import atomic_path
from femtobarn.events.storage.files import checksum
from femtobarn.experiments.data import DataConfig
from femtobarn.export import Facts, Scorer
from femtobarn.export.card import Card, card
from femtobarn.export.checksum import digest
from femtobarn.export.columns import FORMS, UNITS, AnyColumns, columns_of
from femtobarn.export.graph import Graph, JetGraph, has_frames, write
from femtobarn.export.proof import TOLERANCE, ProofError, Trial, made, made_jets, prove
from femtobarn.inputs import OBJECTS
from femtobarn.models import BDT
from femtobarn.physics.objects import KINDS, NAMES
from femtobarn.runs.predictor import Trained
from femtobarn.runs.provenance import write_text
from femtobarn.runs.splits import prepare

#: Of the columns of numbers that an exported file takes.
Precision = Literal["float32", "float64"]

MODEL, CARD = "model.onnx", "MODEL.md"

#: Held-out events that a file is proved on, evenly spread; made-up events beside them.
PROVED, MADE = 5000, 500


class Published(NamedTuple):
    """The files of an exported run, and how closely the model agrees with PyTorch."""

    model: Path
    card: Path
    trials: list[Trial]


def export(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    tolerance: float = TOLERANCE,
    precision: Precision = "float32",
) -> Published:
    """Writes the network of a run as ONNX, proves the file against PyTorch in float64 and writes its card.

    The file is the whole function from objects to calibrated score. It appears only once it is proved, on held-out
    events of the run (where its data are at hand), on made-up ones and on hostile versions of them.

    Args:
        folder: of a trained run.
        output: the file to write; `model.onnx` in the run's folder if not given. The card is `MODEL.md` beside it.
        tolerance: largest difference of a score or probability that is allowed.
        precision: of the columns that the file takes. Networks that keep Lorentz symmetry compute with momenta in
            float64; with `float64` the file gets them as finely as the run does.

    Raises:
        ValueError: no trained run, boosted trees, or file and PyTorch differ by more than the tolerance.
        RuntimeError: the packages for ONNX are missing, or the network does what ONNX cannot express.
    """
    folder = Path(folder)
    trained = Trained.load(folder)
    network = trained.model
    if isinstance(network, BDT):
        raise ValueError(
            f"{folder} holds boosted trees, and only networks are exported; LightGBM itself reads {folder}/trees.txt, "
            "and `femtobarn.score` scores events with it"
        )
    path = Path(output) if output is not None else folder / MODEL
    about = path.parent / CARD
    _free(about, path)
    facts = facts_of(trained, folder, precision)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as half:
        form = Graph if facts.features == OBJECTS else JetGraph
        graph = form(network.cpu(), trained.task.cpu(), facts.slots)
        events = events_of(trained, precision)
        trials = write_proved(graph, facts, half, events, tolerance)
        content = half.read_bytes()
    metrics = read_metrics(folder).content if (folder / METRICS).is_file() else None
    known = Card(
        file=path.name,
        size=len(content),
        checksum=digest(content),
        facts=facts,
        meta=trained.meta,
        metrics=metrics,
        events=_which(trained.experiment.data),
        trials=trials,
        tolerance=tolerance,
        limits=_limits(trained, events),
    )
    write_text(about, card(known))
    return Published(path, about, trials)


def write_proved(
    graph: Graph, facts: Facts, path: Path, events: Mapping[str, AnyColumns], tolerance: float = TOLERANCE
) -> list[Trial]:
    """Write a file and prove it; where local frames in float32 are not close enough, with frames in float64.

    Raises:
        ProofError: file and PyTorch differ by more than the tolerance all the same.
        RuntimeError: as `femtobarn.export.graph.write`.
    """
    write(graph, facts, path)
    try:
        return prove(Scorer.load(path), graph.network, graph.task, events, tolerance)
    except ProofError:
        if not has_frames(graph.network):
            raise
    write(graph, facts, path, double_frames=True)
    return prove(Scorer.load(path), graph.network, graph.task, events, tolerance)


@dataclass(frozen=True, eq=False)
class RunScorer:
    """A run in place of an exported file: networks by PyTorch, boosted trees by LightGBM.

    Args:
        trained: the run.
        facts: what an exported file of it would say of itself.
    """

    trained: Trained
    facts: Facts

    @classmethod
    def load(cls, folder: str | Path) -> RunScorer:
        """The trained run in a folder.

        Raises:
            ValueError: no trained run in the folder, or one that is damaged.
        """
        trained = Trained.load(folder)
        return cls(trained, facts_of(trained, Path(folder)))

    def score(self, events: Events) -> dict[str, NDArray[np.float32]]:
        """Columns `score` and `probability_<class>` of events of any process.

        Raises:
            ValueError: the events lack what the features of the model are made of.
        """
        return self.trained.score(events)


def proof(trials: Sequence[Trial]) -> Table:
    """The proof for a terminal."""
    shown = Table("events", "number", "largest difference of a score", "of a probability", box=None, pad_edge=False)
    for trial in trials:
        shown.add_row(trial.what, str(trial.events), f"{trial.score:.1e}", f"{trial.probability:.1e}")
    return shown


def facts_of(trained: Trained, folder: Path, precision: Precision = "float32") -> Facts:
    """What the file of a run says of itself."""
    task = trained.task
    features = trained.experiment.inputs.features
    return Facts(
        label=trained.experiment.label,
        model=trained.experiment.model.name,
        seed=trained.experiment.seed,
        signal=task.signal,
        background=task.background,
        classes=tuple(task.names),
        slots=trained.experiment.inputs.slots,
        interactions=trained.experiment.inputs.interactions,
        temperature=float(task.temperature),
        weights=checksum(folder / (TREES if isinstance(trained.model, BDT) else WEIGHTS)),
        data=trained.meta["inputs"]["fingerprint"],
        version=femtobarn.__version__,
        types={name: code for code, name in enumerate(NAMES if features == OBJECTS else KINDS)},
        units={name: UNITS[name] for name in FORMS[features]._fields},
        precision=precision,
        features=features,
    )


def events_of(trained: Trained, precision: Precision = "float32") -> dict[str, AnyColumns]:
    """Events to prove a file on: held-out ones if the data of the run are at hand, and made-up ones."""
    slots = trained.experiment.inputs.slots
    features = trained.experiment.inputs.features
    random, most = np.random.default_rng(0), slots + slots // 2
    if features == OBJECTS:
        some: AnyColumns = made(MADE, most, random, precision=precision)
    else:
        some = made_jets(MADE, most, random, features=features, precision=precision)
    found: dict[str, AnyColumns] = {"made-up events": some}
    try:
        events = prepare(trained.experiment).test.head().events
    except (ValueError, OSError):  # files that were moved: the card says so
        return found
    return {"held-out events of the run": columns_of(events[:: -(-len(events) // PROVED)], features, precision)} | found


def _limits(trained: Trained, events: Mapping[str, AnyColumns]) -> list[str]:
    """What the numbers of the card do not say."""
    notes = [
        f"It knows events like those it was trained on: {_which(trained.experiment.data)}. On others its score is "
        "a number without a meaning.",
        "Its probabilities hold for simulated events; real detectors differ from the simulation, and no systematic "
        "uncertainty is in them.",
        f"Objects beyond the {trained.experiment.inputs.slots} hardest of an event are dropped inside the file.",
        "Types outside the codes above, NaN and infinity make the score NaN; negative or impossible energies are not "
        "noticed.",
    ]
    if len(events) < 2:
        notes.append("The data of the run were not at hand when the file was proved: made-up events stood in.")
    return notes


def _which(data: DataConfig) -> str:
    names = (Path(pattern).name for patterns in _patterns(data) for pattern in patterns)
    what = f"the sample {data.sample} of femtobarn" if data.sample else ", ".join(names)
    if data.prepared:
        what = f"the prepared events {Path(data.prepared).name}"
    return f"{what}, {data.selection}" if data.selection else what


def _patterns(data: DataConfig) -> Iterable[tuple[str, ...]]:
    return data.files.values() if isinstance(data.files, dict) else [data.files]


def _free(about: Path, path: Path) -> None:
    """Refuses to overwrite the card of another model."""
    if about.is_file() and path.name not in about.read_text(encoding="utf-8"):
        raise ValueError(f"{about} describes another file than {path.name}; write to another folder")
