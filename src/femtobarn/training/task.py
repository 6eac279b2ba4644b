"""What the training loop needs of a task."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from femtobarn.inputs.batch import Batch
from femtobarn.inputs.event_columns import TargetMaker


@runtime_checkable
class NetworkCall(Protocol):
    """Network as a loss receives it, with its three depths; see `femtobarn.training.distributed.DistributedNetwork`."""

    def __call__(self, batch: Batch) -> Any:
        """Outputs of each event."""

    def latent(self, batch: Batch) -> Any:
        """Latent vector of each event."""

    def objects(self, batch: Batch) -> Any:
        """Vector of each particle."""


@runtime_checkable
class Task(TargetMaker, Protocol):
    """Task at training time: it makes targets from columns of events, and computes the loss of a batch.

    The same methods serve events in memory, shards on disk and several processes.

    Example:
        >>> class MeanEnergy:
        ...     columns = ()
        ...     def weight_factors(self, absolute_weights):
        ...         return dict.fromkeys(absolute_weights, 1 / sum(absolute_weights.values()))
        ...     def targets(self, columns):
        ...         return (torch.from_numpy(columns.weight).float(),)
        ...     def loss(self, network, batch, targets):
        ...         (weight,) = targets
        ...         return (weight * (network(batch)[:, 0] - batch.momenta[..., 3].mean(1)) ** 2).mean()
    """

    def loss(self, network: NetworkCall, batch: Batch, targets: tuple[Tensor, ...]) -> Tensor:
        """Mean loss of the events of a batch, a scalar.

        Args:
            network: called on this batch or any other with as many events; it may be called several times.
            batch: events.
            targets: rows of `targets` for these events.
        """
