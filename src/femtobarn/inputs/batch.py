"""Batch: what a network sees, raw physics in padded tensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from femtobarn.events import Events

#: Order of the columns of `Batch.context`.
CONTEXT = ("MET", "phi_MET")


class Batch(NamedTuple):
    """Events, or jets, as a network sees them; every axis has a name. Objects stand by falling pT."""

    momenta: Float[Tensor, "batch particles 4"]  # (px, py, pz, E) in GeV
    kind: Int[Tensor, "batch particles"]  # codes of femtobarn.physics.objects
    mask: Bool[Tensor, "batch particles"]  # True where an object is real
    context: Float[Tensor, "batch context"]  # MET in GeV, phi_MET
    #: what is known of `femtobarn.events.record.TRACKS`; left out, the last axis is 0
    tracks: Float[Tensor, "batch particles tracks"] = None  # type: ignore[assignment]

    def __len__(self) -> int:  # events, not fields  # type: ignore[override]
        return int(self.mask.shape[0])


# a namedtuple's own _make, and _replace through it, asks len() whether all fields are there; here len() counts events
Batch._make = classmethod(lambda cls, columns: cls(*columns))  # type: ignore[method-assign, assignment]
_new = Batch.__new__


def _filled(
    cls: type[Batch], momenta: Tensor, kind: Tensor, mask: Tensor, context: Tensor, tracks: Tensor | None = None
) -> Batch:
    return _new(cls, momenta, kind, mask, context, momenta[..., :0] if tracks is None else tracks)


# a tensor always, so that whoever cuts, moves or concatenates the columns need not ask
Batch.__new__ = _filled  # type: ignore[method-assign, assignment]


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
