"""Batch: what a network receives, raw physics in padded tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from femtobarn.events import Events
from femtobarn.events.shards.decode import Arrays

#: Order of the columns of `Batch.context`.
CONTEXT = ("MET", "phi_MET")


@dataclass(frozen=True, eq=False, repr=False)
class Batch:
    """Events or jets as padded tensors; every axis has a name. Objects are sorted by falling pT.

    Example:
        >>> from femtobarn.events.samples import load_sample
        >>> batch = make_batch(load_sample("four-top")[:100], slots=18)
        >>> batch[:2]
        Batch(2 events, 18 particles, float32)
    """

    momenta: Float[Tensor, "batch particles 4"]  # (px, py, pz, E) in GeV
    kind: Int[Tensor, "batch particles"]  # codes of femtobarn.physics.objects
    mask: Bool[Tensor, "batch particles"]  # True where an object is real
    context: Float[Tensor, "batch context"]  # MET in GeV, phi_MET
    tracks: Float[Tensor, "batch particles tracks"]  # columns of femtobarn.events.record.TRACKS; last axis may be 0

    @property
    def n_events(self) -> int:
        """Number of events."""
        return int(self.mask.shape[0])

    def __len__(self) -> int:
        return self.n_events

    def __getitem__(self, index: slice | Tensor) -> Batch:
        """Select events by a slice, an index tensor or a boolean tensor.

        Raises:
            TypeError: an index of another type; a single event is `batch[3:4]`.
        """
        if not isinstance(index, slice | Tensor):
            raise TypeError(f"events of a batch are selected by a slice or a tensor, not by {index!r}; try batch[3:4]")
        return self.map(lambda column: column[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Apply a function to each tensor."""
        return Batch(*(function(column) for column in self.tensors()))

    def replace(self, **columns: Tensor) -> Batch:
        """Copy with other tensors for some fields."""
        return Batch(**dict(zip(FIELDS, self.tensors(), strict=True)) | columns)

    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors in the order of the fields."""
        return self.momenta, self.kind, self.mask, self.context, self.tracks

    def to(self, device: torch.device | str) -> Batch:
        """Copy on a device. Momenta in float64 become float32 on Apple's GPUs, which have nothing else."""
        return self.map(lambda column: to_device(column, torch.device(device)))

    def pin_memory(self) -> Batch:
        """Copy in page-locked memory, from which copies to a GPU do not block."""
        return self.map(Tensor.pin_memory)

    def __repr__(self) -> str:
        dtype = str(self.momenta.dtype).removeprefix("torch.")
        return f"Batch({self.n_events} events, {self.mask.shape[1]} particles, {dtype})"


#: Names of the tensors of a batch, in order.
FIELDS = tuple(field.name for field in fields(Batch))

# also understood by torch.export, torch.compile and torch.func
torch.export.register_dataclass(Batch)


def concatenate_batches(batches: Sequence[Batch]) -> Batch:
    """Events of several batches with the same number of particles, one batch after another."""
    return Batch(*(torch.cat(columns) for columns in zip(*(batch.tensors() for batch in batches), strict=True)))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Tensor on a device; a copy from page-locked memory does not block. float64 becomes float32 on Apple's GPUs."""
    if device.type == "mps" and tensor.dtype == torch.float64:
        tensor = tensor.float()
    return tensor.to(device, non_blocking=device.type == "cuda" and tensor.is_pinned())


def make_batch(events: Events, slots: int, dtype: torch.dtype = torch.float32) -> Batch:
    """The `slots` hardest objects of each event with MET, phi_MET and what is known of tracks, ready for a network.

    Args:
        events: any.
        slots: objects of an event; softer ones are left out.
        dtype: of the numbers. The masses of fast particles need float64, as networks do that keep Lorentz symmetry.
    """
    objects = events.padded(slots)
    momenta = np.stack(
        [
            objects.pt * np.cos(objects.phi),
            objects.pt * np.sin(objects.phi),
            objects.pt * np.sinh(objects.eta),
            objects.E,
        ],
        axis=-1,
    )
    context = np.stack([np.asarray(events.context[name], dtype=np.float64) for name in CONTEXT], axis=-1)
    return Batch(
        momenta=torch.from_numpy(momenta).to(dtype),
        kind=torch.from_numpy(objects.kind),
        mask=torch.from_numpy(objects.mask),
        context=torch.from_numpy(context).to(dtype),
        tracks=torch.from_numpy(events.padded_tracks(slots)).to(dtype),
    )


def batch_from_arrays(arrays: Arrays) -> Batch:
    """Batch of decoded events of shards."""
    kind = torch.from_numpy(arrays["kind"]).long()
    momenta, context, tracks = (torch.from_numpy(arrays[name]) for name in ("momenta", "context", "tracks"))
    return Batch(momenta, kind, kind > 0, context, tracks)
