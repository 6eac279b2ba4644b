"""Proof: an exported file against PyTorch in float64, on all kinds of events."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from femtobarn.events.record import TRACKS
from femtobarn.export.columns import FORMS, AnyColumns, Columns, of_objects, part
from femtobarn.export.scorer import CHUNK, Scorer
from femtobarn.inputs import Batch
from femtobarn.models import Network
from femtobarn.physics.objects import KINDS, NAMES, PADDING
from femtobarn.tasks import Classifier

#: Largest difference of a score or probability that a file may have.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Trial:
    """One kind of events, and the largest differences between file and PyTorch on them."""

    what: str
    events: int
    score: float
    probability: float

    @property
    def worst(self) -> float:
        """The larger of the two, NaN if the file says NaN."""
        return float(np.maximum(self.score, self.probability))


def prove(
    scorer: Scorer, network: Network, task: Classifier, events: Mapping[str, AnyColumns], tolerance: float = TOLERANCE
) -> list[Trial]:
    """Runs a file and PyTorch in float64 on the given events and on `hostile` versions of them.

    PyTorch's way is another one: objects are sorted and cut by numpy, and padding is left out, not blanked.

    Args:
        scorer: the file.
        network, task: what it was written from.
        events: by what they are; the first are made hostile.
        tolerance: largest difference allowed.

    Raises:
        ValueError: a larger difference, or NaN; the message has the kind of events.
    """
    exact = copy.deepcopy(network).cpu().double().eval()
    slots = scorer.facts.slots
    trials = []
    for what, columns in (dict(events) | hostile(next(iter(events.values())), slots)).items():
        parts = [part(columns, slice(start, start + CHUNK)) for start in range(0, len(columns.pt), CHUNK)]
        score, probability = (
            np.concatenate(found)
            for found in zip(*(_differences(scorer, exact, task, piece, slots) for piece in parts), strict=True)
        )
        trial = Trial(what, len(score), float(score.max()), float(probability.max()))
        if not trial.worst <= tolerance:  # NaN is no number below it
            raise ValueError(
                f"the file and PyTorch differ by {trial.worst:.2g} on {what}, which is more than {tolerance:g}; "
                "no file was written"
            )
        trials.append(trial)
    return trials


def _differences(
    scorer: Scorer, exact: Network, task: Classifier, columns: AnyColumns, slots: int
) -> tuple[np.ndarray, np.ndarray]:
    said_score, said_probability = scorer.run(columns)
    with torch.no_grad():
        logits = exact(reference(columns, slots))
        score, probability = task(logits).numpy(), task.log_posterior(logits).exp().numpy()
    return np.abs(said_score - score), np.abs(said_probability - probability).max(axis=1)


def reference(columns: AnyColumns, slots: int) -> Batch:
    """The same events as a batch in float64: the hardest objects first, cut to the slots."""
    real = columns.type != PADDING
    order = np.argsort(np.where(real, -columns.pt, np.inf), axis=1, kind="stable")[:, :slots]
    if order.shape[1] < 1:
        order, real = np.zeros((len(real), 1), dtype=np.int64), np.zeros((len(real), 1), dtype=np.bool_)
        nothing = {name: np.zeros(real.shape) for name in of_objects(columns)}
        columns = columns._replace(**nothing | {"type": np.zeros(real.shape, dtype=np.int64)})
    mask = np.take_along_axis(real, order, axis=1)
    pt, eta, phi, energy = (
        np.where(mask, np.take_along_axis(column, order, axis=1), 0).astype(np.float64) for column in columns[:4]
    )
    known = [getattr(columns, name) for name in columns._fields if name in TRACKS]
    tracks = np.zeros((*mask.shape, len(known)))
    for index, column in enumerate(known):
        tracks[..., index] = np.where(mask, np.take_along_axis(column, order, axis=1), 0)
    missing = [columns.MET, columns.phi_MET] if isinstance(columns, Columns) else [np.zeros(len(mask))] * 2
    momenta = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy], axis=-1)
    return Batch(
        momenta=torch.from_numpy(momenta),
        kind=torch.from_numpy(np.take_along_axis(columns.type, order, axis=1)),
        mask=torch.from_numpy(mask),
        context=torch.from_numpy(np.stack(missing, axis=-1).astype(np.float64)),
        tracks=torch.from_numpy(tracks),
    )


def hostile(columns: AnyColumns, slots: int, most: int = 500) -> dict[str, AnyColumns]:
    """Versions of events that go wrong in careless files, by what they are."""
    columns = part(columns, slice(most))
    features = next(name for name, form in FORMS.items() if isinstance(columns, form))
    make = made if isinstance(columns, Columns) else partial(made_jets, features=features)
    random = np.random.default_rng(1)
    count, width = columns.pt.shape
    kinds: dict[str, Callable[[], AnyColumns]] = {
        "objects in any order, padding among them": lambda: shuffled(padded(columns, width + 4), random),
        "NaN, infinity and 1e30 in padded slots": lambda: garbage(padded(columns, width + 4)),
        "events without objects": lambda: left(columns, 0),
        "events of one object": lambda: left(columns, 1),
        "events of two objects": lambda: left(columns, 2),
        f"more than {slots} objects": lambda: make(count, slots + 12, random, fewest=slots + 1),
        "one event of many objects": lambda: make(1, 3 * slots, random, fewest=2 * slots),
        "one event alone": lambda: part(columns, slice(1)),
        "no slots at all": lambda: padded(left(columns, 0), 0),
    }
    return {what: make() for what, make in kinds.items()}


def made(count: int, most: int, random: np.random.Generator, *, fewest: int = 1) -> Columns:
    """Made-up events: objects of all types with falling pT, central, in slots enough for `most` of them.

    They are no physics; they only have to be possible.
    """
    shape = (count, most)
    real = np.arange(most) < random.integers(fewest, most + 1, size=(count, 1))
    pt = 20 + random.exponential(60, shape)
    eta, mass = np.clip(random.normal(0, 1.2, shape), -2.5, 2.5), random.uniform(0.1, 15, shape)

    def kept(column: np.ndarray) -> np.ndarray:
        return np.where(real, column, 0).astype(np.float32)

    return Columns(
        pt=kept(pt),
        eta=kept(eta),
        phi=kept(random.uniform(-np.pi, np.pi, shape)),
        E=kept(np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)),
        type=np.where(real, random.integers(1, len(NAMES), shape), PADDING),
        MET=random.exponential(80, count).astype(np.float32),
        phi_MET=random.uniform(-np.pi, np.pi, count).astype(np.float32),
    )


def made_jets(
    count: int, most: int, random: np.random.Generator, *, fewest: int = 1, features: str = "full"
) -> AnyColumns:
    """Made-up jets: constituents of all types around one direction each, as `made` makes events."""
    objects = made(count, most, random, fewest=fewest)
    shape = objects.pt.shape
    real = objects.type != PADDING
    angles = (random.uniform(-2, 2, (count, 1)) + random.normal(0, 0.3, shape) for _ in range(2))
    numbers: dict[str, np.ndarray] = {"pt": 0.05 * objects.pt} | dict(zip(("eta", "phi"), angles, strict=True))
    numbers["E"] = numbers["pt"] * np.cosh(numbers["eta"])
    numbers["charge"] = random.integers(-1, 2, shape)
    for name in TRACKS[1:]:
        numbers[name] = random.exponential(0.5, shape) if name.endswith("error") else random.normal(0, 1, shape)
    columns = {name: np.where(real, values, 0).astype(np.float32) for name, values in numbers.items()}
    columns["type"] = np.where(real, random.integers(1, len(KINDS), shape), PADDING)
    form = FORMS[features]
    return form(**{name: columns[name] for name in form._fields})


def padded(columns: AnyColumns, slots: int) -> AnyColumns:
    """The same events with more slots, or fewer: those at the end are cut."""

    def fit(column: np.ndarray) -> np.ndarray:
        return np.pad(column, ((0, 0), (0, max(0, slots - column.shape[1]))))[:, :slots]

    return _on_objects(columns, fit)


def left(columns: AnyColumns, objects: int) -> AnyColumns:
    """The same events with so many objects left at most."""
    keep = np.arange(columns.type.shape[1]) < objects
    return columns._replace(type=np.where(keep, columns.type, PADDING))


def shuffled(columns: AnyColumns, random: np.random.Generator) -> AnyColumns:
    """The objects of every event in an order of its own, padding anywhere."""
    order = random.random(columns.type.shape).argsort(axis=1)
    return _on_objects(columns, lambda column: np.take_along_axis(column, order, axis=1))


def garbage(columns: AnyColumns) -> AnyColumns:
    """The same events with what must not matter in padded slots."""
    real = columns.type != PADDING
    rubbish = np.resize(np.array([np.nan, np.inf, 1e30, -1e30], dtype=np.float32), real.shape)
    numbers = {name: np.where(real, getattr(columns, name), rubbish) for name in of_objects(columns) if name != "type"}
    return columns._replace(**numbers)


def _on_objects(columns: AnyColumns, change: Callable[[np.ndarray], np.ndarray]) -> AnyColumns:
    return columns._replace(**{name: change(getattr(columns, name)) for name in of_objects(columns)})
