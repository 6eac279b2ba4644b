"""Tally: attributions of each event, averaged for each process by type, rank and feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from femtobarn.explain.averages import ratio
from femtobarn.physics.objects import NAMES

#: Types of object, without padding.
TYPES = NAMES[1:]

#: What all backgrounds together, at their expected yields, are called.
MIXTURE = "all backgrounds"

#: By group of events, then by name: mean, its error, share, its error; null where there was nothing.
Entries = dict[str, dict[str, dict[str, float | None]]]


@dataclass(frozen=True, eq=False)
class Tally:
    """Averages over the events of each process, and over all backgrounds at their expected yields.

    Args:
        process: of each event.
        hard: its hard event; copies of one share it.
        weight: expected events that it stands for.
        signal: names of the signal processes.
    """

    process: NDArray[Any]
    hard: Int[np.ndarray, " events"]
    weight: Float[np.ndarray, " events"]
    signal: Sequence[str]

    @property
    def groups(self) -> dict[str, Bool[np.ndarray, " events"]]:
        """Which events belong to each process, signals first, and to all backgrounds if there are several."""
        names = [str(name) for name in np.unique(self.process)]
        backgrounds = [name for name in names if name not in self.signal]
        groups = {name: self.process == name for name in (*self.signal, *backgrounds) if name in names}
        return groups | ({MIXTURE: np.isin(self.process, backgrounds)} if len(backgrounds) > 1 else {})

    def ratio(
        self,
        chosen: Bool[np.ndarray, " events"],
        above: Float[np.ndarray, "events numbers"],
        below: Float[np.ndarray, "events numbers"],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ratios of weighted sums over the chosen events, with errors; see `femtobarn.explain.averages.ratio`."""
        _, group = np.unique(
            np.stack([np.unique(self.process[chosen], return_inverse=True)[1], self.hard[chosen]], axis=1),
            axis=0,
            return_inverse=True,
        )
        return ratio(above[chosen], below[chosen], self.weight[chosen], group)

    def entries(
        self,
        names: Sequence[str],
        signed: Float[np.ndarray, "events numbers"],
        size: Float[np.ndarray, "events numbers"],
        count: Float[np.ndarray, "events numbers"],
        total: Float[np.ndarray, " events"],
    ) -> Entries:
        """Mean of what was found (`signed` per `count`) and its share (`size` per `total`), with errors."""
        entries: Entries = {}
        for group, chosen in self.groups.items():
            means = self.ratio(chosen, signed, count)
            shares = self.ratio(chosen, size, np.broadcast_to(total[:, None], size.shape))
            columns = dict(zip(("mean", "error", "share", "share_error"), (*means, *shares), strict=True))
            entries[group] = {
                name: {key: plain(column[index]) for key, column in columns.items()} for index, name in enumerate(names)
            }
        return entries

    def matrices(
        self, above: Float[np.ndarray, "events rows columns"], below: Float[np.ndarray, "events rows columns"]
    ) -> dict[str, Any]:
        """Ratios for each pair of types: `values` and `errors` by group of events."""
        shape = above.shape[1:]
        matrices = {}
        for group, chosen in self.groups.items():
            values, errors = self.ratio(
                chosen, above.reshape(len(above), -1), below.astype(np.float64).reshape(len(below), -1)
            )
            matrices[group] = {"values": table(values.reshape(shape)), "errors": table(errors.reshape(shape))}
        return matrices


def by_object(tally: Tally, relevance: Float[Tensor, "events particles"], kind: Tensor, mask: Tensor) -> dict[str, Any]:
    """Means per object and shares of all objects, by type and by rank in pT."""
    r, flags = relevance.double(), types(kind, mask).double()
    total = r.abs().sum(1).numpy()
    ranks = mask.double()
    return {
        "type": tally.entries(
            TYPES,
            torch.einsum("ni,nia->na", r, flags).numpy(),
            torch.einsum("ni,nia->na", r.abs(), flags).numpy(),
            flags.sum(1).numpy(),
            total,
        ),
        "rank": tally.entries(
            [str(rank + 1) for rank in range(mask.shape[1])], r.numpy(), r.abs().numpy(), ranks.numpy(), total
        ),
    }


def by_feature(tally: Tally, parts: Mapping[str, tuple[Sequence[str], Tensor]]) -> dict[str, Any]:
    """Means per event and shares of the whole, by feature.

    Args:
        tally: of the same events.
        parts: names and what was found (events, ..., features) of objects, pairs and context.
    """
    inner = {
        part: attributions.double().flatten(1, -2) if attributions.ndim > 2 else attributions[:, None]
        for part, (_, attributions) in parts.items()
    }
    total = (
        sum((attributions.abs().sum((1, 2)) for attributions in inner.values()), start=torch.zeros(())).double().numpy()
    )
    return {
        part: tally.entries(
            names,
            inner[part].double().sum(1).numpy(),
            inner[part].double().abs().sum(1).numpy(),
            np.ones((len(inner[part]), len(names))),
            total,
        )
        for part, (names, _) in parts.items()
        if len(names)
    }


def types(
    kind: Int[Tensor, "events particles"], mask: Bool[Tensor, "events particles"]
) -> Bool[Tensor, "events particles types"]:
    """True where an object is real and of the type."""
    return (kind[..., None] == torch.arange(1, len(NAMES))) & mask[..., None]


def plain(value: float) -> float | None:
    """A number for JSON, which knows no not-a-number."""
    return float(value) if np.isfinite(value) else None


def table(values: Float[np.ndarray, "rows columns"]) -> list[list[float | None]]:
    """A matrix for JSON."""
    return [[plain(value) for value in row] for row in values]
