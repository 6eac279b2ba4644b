"""Synthetic events and edge cases, on which an exported file is compared with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from femtobarn.events.record import TRACKS
from femtobarn.export.columns import FORMS, AnyColumns, Columns, particle_columns, select_events
from femtobarn.physics.objects import JET_KINDS, NAMES, PADDING

#: Events of each multiplicity in `every_multiplicity`.
TWINS = 2


def edge_cases(columns: AnyColumns, slots: int, max_events: int = 500) -> dict[str, AnyColumns]:
    """Versions of events that go wrong in careless files, by description."""
    columns = select_events(columns, slice(max_events))
    features = next(name for name, form in FORMS.items() if isinstance(columns, form))
    make = synthetic_events if isinstance(columns, Columns) else partial(synthetic_jets, features=features)
    random = np.random.default_rng(1)
    make = partial(make, precision=str(columns.pt.dtype))
    count, width = columns.pt.shape
    cases: dict[str, Callable[[], AnyColumns]] = {
        "objects in any order, padding among them": lambda: shuffle_particles(resize_slots(columns, width + 4), random),
        "NaN, infinity and 1e30 in padded slots": lambda: fill_padding_with_garbage(resize_slots(columns, width + 4)),
        "events without objects": lambda: keep_particles(columns, 0),
        "events of one object": lambda: keep_particles(columns, 1),
        "events of two objects": lambda: keep_particles(columns, 2),
        f"more than {slots} objects": lambda: make(count, slots + 12, random, min_particles=slots + 1),
        "one event of many objects": lambda: make(1, 3 * slots, random, min_particles=2 * slots),
        "one event alone": lambda: select_events(columns, slice(1)),
        "no slots at all": lambda: resize_slots(keep_particles(columns, 0), 0),
    }
    return {description: make_case() for description, make_case in cases.items()}


def every_multiplicity(columns: AnyColumns, slots: int) -> AnyColumns:
    """Synthetic events in the format of the columns with 0, 1, ... slots + 1 particles, `TWINS` events of each."""
    features = next(name for name, form in FORMS.items() if isinstance(columns, form))
    make = synthetic_events if isinstance(columns, Columns) else partial(synthetic_jets, features=features)
    width, precision = slots + 1, str(columns.pt.dtype)
    full = make(TWINS * (width + 1), width, np.random.default_rng(2), min_particles=width, precision=precision)
    keep = np.arange(width) < np.repeat(np.arange(width + 1), TWINS)[:, None]
    return full._replace(type=np.where(keep, full.type, PADDING))


def synthetic_events(
    count: int, max_particles: int, random: np.random.Generator, *, min_particles: int = 1, precision: str = "float32"
) -> Columns:
    """Random events with particles of all types in the central detector, valid but without physics.

    Args:
        count: number of events.
        max_particles: largest number of particles of an event, and number of slots.
        random: source of random numbers.
        min_particles: smallest number of particles of an event.
        precision: of the numbers, `float32` or `float64`.
    """
    shape = (count, max_particles)
    real = np.arange(max_particles) < random.integers(min_particles, max_particles + 1, size=(count, 1))
    pt = 20 + random.exponential(60, shape)
    eta, mass = np.clip(random.normal(0, 1.2, shape), -2.5, 2.5), random.uniform(0.1, 15, shape)

    def masked(column: np.ndarray) -> np.ndarray:
        return np.where(real, column, 0).astype(precision)

    return Columns(
        pt=masked(pt),
        eta=masked(eta),
        phi=masked(random.uniform(-np.pi, np.pi, shape)),
        E=masked(np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)),
        type=np.where(real, random.integers(1, len(NAMES), shape), PADDING),
        MET=random.exponential(80, count).astype(precision),
        phi_MET=random.uniform(-np.pi, np.pi, count).astype(precision),
    )


def synthetic_jets(
    count: int,
    max_particles: int,
    random: np.random.Generator,
    *,
    min_particles: int = 1,
    features: str = "full",
    precision: str = "float32",
) -> AnyColumns:
    """Random jets with constituents of all types around one direction; arguments as for `synthetic_events`.

    Args:
        features: features of the network, which define the columns.
    """
    objects = synthetic_events(count, max_particles, random, min_particles=min_particles, precision=precision)
    shape = objects.pt.shape
    real = objects.type != PADDING
    angles = (random.uniform(-2, 2, (count, 1)) + random.normal(0, 0.3, shape) for _ in range(2))
    numbers: dict[str, np.ndarray] = {"pt": 0.05 * objects.pt} | dict(zip(("eta", "phi"), angles, strict=True))
    numbers["E"] = numbers["pt"] * np.cosh(numbers["eta"])
    numbers["charge"] = random.integers(-1, 2, shape)
    for name in TRACKS[1:]:
        numbers[name] = random.exponential(0.5, shape) if name.endswith("error") else random.normal(0, 1, shape)
    columns = {name: np.where(real, values, 0).astype(precision) for name, values in numbers.items()}
    columns["type"] = np.where(real, random.integers(1, len(JET_KINDS), shape), PADDING)
    form = FORMS[features]
    return form(**{name: columns[name] for name in form._fields})


def resize_slots(columns: AnyColumns, slots: int) -> AnyColumns:
    """Change the number of slots; slots at the end are added or cut."""

    def fit(column: np.ndarray) -> np.ndarray:
        return np.pad(column, ((0, 0), (0, max(0, slots - column.shape[1]))))[:, :slots]

    return _map_particle_columns(columns, fit)


def keep_particles(columns: AnyColumns, count: int) -> AnyColumns:
    """Keep the particles in the first slots of each event and remove the others."""
    keep = np.arange(columns.type.shape[1]) < count
    return columns._replace(type=np.where(keep, columns.type, PADDING))


def shuffle_particles(columns: AnyColumns, random: np.random.Generator) -> AnyColumns:
    """Shuffle the slots of each event, padding among them."""
    order = random.random(columns.type.shape).argsort(axis=1)
    return _map_particle_columns(columns, lambda column: np.take_along_axis(column, order, axis=1))


def fill_padding_with_garbage(columns: AnyColumns) -> AnyColumns:
    """Put NaN, infinity and large numbers into the padded slots."""
    real = columns.type != PADDING
    garbage = np.resize(np.array([np.nan, np.inf, 1e30, -1e30], dtype=columns.pt.dtype), real.shape)
    numbers = {
        name: np.where(real, getattr(columns, name), garbage) for name in particle_columns(columns) if name != "type"
    }
    return columns._replace(**numbers)


def _map_particle_columns(columns: AnyColumns, change: Callable[[np.ndarray], np.ndarray]) -> AnyColumns:
    return columns._replace(**{name: change(getattr(columns, name)) for name in particle_columns(columns)})
