"""Validation: an exported file against PyTorch in float64, on events of all kinds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from femtobarn.events.record import TRACKS
from femtobarn.export.columns import AnyColumns, Columns, particle_columns, select_events
from femtobarn.export.facts import OUTPUT_NAMES
from femtobarn.export.scorer import Outputs, Scorer
from femtobarn.export.synthetic import TWINS, edge_cases, every_multiplicity
from femtobarn.inputs import Batch
from femtobarn.models import Depth, Network
from femtobarn.physics.objects import PADDING
from femtobarn.tasks.classification.classifier import Classifier

#: Largest difference of a score or probability, or of a number of another depth relative to the largest one.
TOLERANCES: Mapping[Depth, float] = {"outputs": 1e-5, "latent": 1e-3, "objects": 1e-3}

#: Events that PyTorch computes at once.
TORCH_BATCH = 256

#: Events that the file gets in one batch of mixed multiplicity, as other programs may pass them.
MIXED_BATCH = 500


class ValidationError(ValueError):
    """The file does not compute what PyTorch computes."""


@dataclass(frozen=True)
class ValidationResult:
    """Largest differences between the file and PyTorch on events of one kind.

    Args:
        description: kind of the events.
        n_events: number of events.
        differences: largest difference of each output, by its name; NaN if the file gives NaN.
    """

    description: str
    n_events: int
    differences: Mapping[str, float]

    @property
    def largest(self) -> float:
        """Largest difference of all outputs, NaN if the file gives NaN."""
        return float(np.max(list(self.differences.values())))


def validate_onnx(
    scorer: Scorer,
    network: Network,
    task: Classifier,
    events: Mapping[str, AnyColumns],
    tolerance: float | None = None,
) -> list[ValidationResult]:
    """Run a file and PyTorch in float64 on the given events and on `edge_cases` of them.

    The reference is computed in another way: particles are sorted and cut by numpy, and padding is removed, not masked.

    Args:
        scorer: the file.
        network: network that it was written from.
        task: task that it was written from.
        events: events by description; edge cases are made from the first.
        tolerance: largest difference allowed; default: `TOLERANCES` of the depth.

    Raises:
        ValidationError: a larger difference, or NaN; the message has the kind of events.
    """
    depth, slots = scorer.facts.depth, scorer.facts.slots
    tolerance = TOLERANCES[depth] if tolerance is None else tolerance
    reference = _Reference(copy.deepcopy(network).cpu().double().eval(), task, depth, slots)
    first_columns = next(iter(events.values()))
    results = []
    for description, columns in (dict(events) | edge_cases(first_columns, slots)).items():
        mixed = scorer.run(select_events(columns, slice(MIXED_BATCH)))
        results.append(_compare(description, depth, reference.outputs(columns), scorer.predict(columns), mixed))
    every = every_multiplicity(first_columns, slots)
    starts = range(0, len(every.pt), TWINS)
    pairs = [scorer.run(select_events(every, slice(start, start + TWINS))) for start in starts]
    outputs = tuple(np.concatenate(column) for column in zip(*pairs, strict=True))
    description = f"0 to {slots + 1} objects, {TWINS} events at a time"
    results.append(_compare(description, depth, reference.outputs(every), outputs))
    for result in results:
        if not result.largest <= tolerance:  # NaN is not below it
            raise ValidationError(
                f"the file and PyTorch differ by {result.largest:.2g} on {result.description}, which is more than "
                f"{tolerance:g}; no file was written"
            )
    return results


@dataclass(frozen=True, eq=False)
class _Reference:
    """Network in float64, in PyTorch."""

    network: Network
    task: Classifier
    depth: Depth
    slots: int

    @torch.no_grad()
    def outputs(self, columns: AnyColumns) -> Outputs:
        """Arrays of the depth for all events."""
        starts = range(0, max(len(columns.pt), 1), TORCH_BATCH)
        batches = [self.batch_outputs(select_events(columns, slice(start, start + TORCH_BATCH))) for start in starts]
        return tuple(np.concatenate(column) for column in zip(*batches, strict=True))

    def batch_outputs(self, columns: AnyColumns) -> Outputs:
        """Arrays of the depth for one batch."""
        batch, order = sort_and_cut(columns, self.slots)
        if self.depth == "outputs":
            logits = self.network(batch)
            return self.task(logits).numpy(), self.task.log_posterior(logits).exp().numpy()
        if self.depth == "latent":
            return (self.network.latent(batch).numpy(),)
        sorted_objects = self.network.objects(batch).numpy()
        objects = np.zeros((len(order), max(columns.pt.shape[1], order.shape[1]), sorted_objects.shape[-1]))
        np.put_along_axis(objects, order[..., None], sorted_objects, axis=1)
        return (objects[:, : columns.pt.shape[1]],)


def _compare(description: str, depth: Depth, expected: Outputs, *computed: Outputs) -> ValidationResult:
    """Largest differences of outputs computed for all events, or for the first of them."""
    differences = {}
    for index, name in enumerate(OUTPUT_NAMES[depth]):
        target = expected[index]
        unit = 1.0 if depth == "outputs" else max(float(np.abs(target).max(initial=0)), 1e-6)
        arrays = [outputs[index] for outputs in computed]
        is_finite = all(np.isfinite(array).all() for array in arrays)
        largest = max(float(np.abs(array - target[: len(array)]).max(initial=0)) for array in arrays)
        differences[name] = largest / unit if is_finite else float("nan")
    return ValidationResult(description, len(expected[0]), differences)


def sort_and_cut(columns: AnyColumns, slots: int) -> tuple[Batch, np.ndarray]:
    """Events as a batch in float64, the hardest particles first and cut to the slots, and the column of each slot."""
    real = columns.type != PADDING
    order = np.argsort(np.where(real, -columns.pt, np.inf), axis=1, kind="stable")[:, :slots]
    if order.shape[1] < 1:
        order, real = np.zeros((len(real), 1), dtype=np.int64), np.zeros((len(real), 1), dtype=np.bool_)
        empty = {name: np.zeros(real.shape) for name in particle_columns(columns)}
        columns = columns._replace(**empty | {"type": np.zeros(real.shape, dtype=np.int64)})
    mask = np.take_along_axis(real, order, axis=1)
    pt, eta, phi, energy = (
        np.where(mask, np.take_along_axis(column, order, axis=1), 0).astype(np.float64) for column in columns[:4]
    )
    track_columns = [getattr(columns, name) for name in columns._fields if name in TRACKS]
    tracks = np.zeros((*mask.shape, len(track_columns)))
    for index, column in enumerate(track_columns):
        tracks[..., index] = np.where(mask, np.take_along_axis(column, order, axis=1), 0)
    missing = [columns.MET, columns.phi_MET] if isinstance(columns, Columns) else [np.zeros(len(mask))] * 2
    momenta = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy], axis=-1)
    batch = Batch(
        momenta=torch.from_numpy(momenta),
        kind=torch.from_numpy(np.take_along_axis(columns.type, order, axis=1)),
        mask=torch.from_numpy(mask),
        context=torch.from_numpy(np.stack(missing, axis=-1).astype(np.float64)),
        tracks=torch.from_numpy(tracks),
    )
    return batch, order
