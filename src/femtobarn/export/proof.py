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
from femtobarn.export.scorer import Prediction, Scorer
from femtobarn.inputs import Batch
from femtobarn.models import Network
from femtobarn.physics.objects import KINDS, NAMES, PADDING
from femtobarn.tasks.classification.classifier import Classifier

#: Largest difference of a score or probability that a file may have.
TOLERANCE = 1e-5

#: Events that PyTorch computes at once; that the file gets all at once, as other programs may give them; and that it
#: gets of one multiplicity.
CHUNK, ALONE, TWINS = 256, 500, 2


class ProofError(ValueError):
    """A file that does not compute what PyTorch computes."""


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
        ProofError: a larger difference, or NaN; the message has the kind of events.
    """
    exact = copy.deepcopy(network).cpu().double().eval()
    slots = scorer.facts.slots
    trials = []
    for what, columns in (dict(events) | hostile(next(iter(events.values())), slots)).items():
        first = part(columns, slice(ALONE))  # as other programs give them, and in batches of like multiplicity
        trials.append(_trial(what, _expected(exact, task, columns, slots), scorer.predict(columns), scorer.run(first)))
    every = every_multiplicity(next(iter(events.values())), slots)
    pairs = [scorer.run(part(every, slice(start, start + TWINS))) for start in range(0, len(every.pt), TWINS)]
    score, probabilities = (np.concatenate(column) for column in zip(*pairs, strict=True))
    expected = _expected(exact, task, every, slots)
    trials.append(_trial(f"0 to {slots + 1} objects, {TWINS} events at a time", expected, (score, probabilities)))
    for trial in trials:
        if not trial.worst <= tolerance:  # NaN is no number below it
            raise ProofError(
                f"the file and PyTorch differ by {trial.worst:.2g} on {trial.what}, which is more than {tolerance:g}; "
                "no file was written"
            )
    return trials


def _expected(exact: Network, task: Classifier, columns: AnyColumns, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Score and probabilities by PyTorch."""
    logits = [torch.zeros(0, task.outputs, dtype=torch.float64)]
    with torch.no_grad():
        for start in range(0, len(columns.pt), CHUNK):
            logits.append(exact(reference(part(columns, slice(start, start + CHUNK)), slots)))
        together = torch.cat(logits)
        return task(together).numpy(), task.log_posterior(together).exp().numpy()


def _trial(what: str, expected: tuple[np.ndarray, np.ndarray], *predictions: Prediction) -> Trial:
    """Largest differences of predictions for all events, or for the first of them."""
    score, probability = (
        max(float(np.abs(found[index] - expected[index][: len(found[0])]).max(initial=0)) for found in predictions)
        if all(np.isfinite(found[index]).all() for found in predictions)
        else float("nan")
        for index in (0, 1)
    )
    return Trial(what, len(expected[0]), score, probability)


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
    make = partial(make, precision=str(columns.pt.dtype))
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


def every_multiplicity(columns: AnyColumns, slots: int) -> AnyColumns:
    """Made-up events of the form of the columns with 0, 1, ... objects, up to more than the slots; `TWINS` of each."""
    features = next(name for name, form in FORMS.items() if isinstance(columns, form))
    make = made if isinstance(columns, Columns) else partial(made_jets, features=features)
    most, precision = slots + 1, str(columns.pt.dtype)
    full = make(TWINS * (most + 1), most, np.random.default_rng(2), fewest=most, precision=precision)
    keep = np.arange(most) < np.repeat(np.arange(most + 1), TWINS)[:, None]
    return full._replace(type=np.where(keep, full.type, PADDING))


def made(count: int, most: int, random: np.random.Generator, *, fewest: int = 1, precision: str = "float32") -> Columns:
    """Made-up events: objects of all types with falling pT, central, in slots enough for `most` of them.

    They are no physics; they only have to be possible.
    """
    shape = (count, most)
    real = np.arange(most) < random.integers(fewest, most + 1, size=(count, 1))
    pt = 20 + random.exponential(60, shape)
    eta, mass = np.clip(random.normal(0, 1.2, shape), -2.5, 2.5), random.uniform(0.1, 15, shape)

    def kept(column: np.ndarray) -> np.ndarray:
        return np.where(real, column, 0).astype(precision)

    return Columns(
        pt=kept(pt),
        eta=kept(eta),
        phi=kept(random.uniform(-np.pi, np.pi, shape)),
        E=kept(np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)),
        type=np.where(real, random.integers(1, len(NAMES), shape), PADDING),
        MET=random.exponential(80, count).astype(precision),
        phi_MET=random.uniform(-np.pi, np.pi, count).astype(precision),
    )


def made_jets(
    count: int,
    most: int,
    random: np.random.Generator,
    *,
    fewest: int = 1,
    features: str = "full",
    precision: str = "float32",
) -> AnyColumns:
    """Made-up jets: constituents of all types around one direction each, as `made` makes events."""
    objects = made(count, most, random, fewest=fewest, precision=precision)
    shape = objects.pt.shape
    real = objects.type != PADDING
    angles = (random.uniform(-2, 2, (count, 1)) + random.normal(0, 0.3, shape) for _ in range(2))
    numbers: dict[str, np.ndarray] = {"pt": 0.05 * objects.pt} | dict(zip(("eta", "phi"), angles, strict=True))
    numbers["E"] = numbers["pt"] * np.cosh(numbers["eta"])
    numbers["charge"] = random.integers(-1, 2, shape)
    for name in TRACKS[1:]:
        numbers[name] = random.exponential(0.5, shape) if name.endswith("error") else random.normal(0, 1, shape)
    columns = {name: np.where(real, values, 0).astype(precision) for name, values in numbers.items()}
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
    rubbish = np.resize(np.array([np.nan, np.inf, 1e30, -1e30], dtype=columns.pt.dtype), real.shape)
    numbers = {name: np.where(real, getattr(columns, name), rubbish) for name in of_objects(columns) if name != "type"}
    return columns._replace(**numbers)


def _on_objects(columns: AnyColumns, change: Callable[[np.ndarray], np.ndarray]) -> AnyColumns:
    return columns._replace(**{name: change(getattr(columns, name)) for name in of_objects(columns)})
