"""Feeds: where the loop takes its batches from, memory or disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from femtobarn.inputs.batch import Batch, to_device
from femtobarn.inputs.loader import batches
from femtobarn.inputs.stream import Stream
from femtobarn.training import parallel

#: Events in memory with their targets, or prepared ones on disk.
Data = tuple[Batch, tuple[Tensor, ...]] | Stream

Loss = Callable[..., Tensor]
Dealt = Iterator[tuple[Batch | parallel.Share, tuple[Tensor, ...]]]


@torch.no_grad()
def outputs(network: nn.Module, batch: Batch, size: int = 512, *, shared: bool = False) -> Tensor:
    """What a network in evaluation mode says about all events, computed in batches of `size`.

    With `shared` the processes that train together share out each batch; all of them must call.
    """
    network.eval()
    # events of like multiplicity together: padding costs pairs, and slots that no event of a batch fills are cut
    order = batch.mask.sum(1).argsort(stable=True)
    parts = (part for part, _ in batches(batch[order], (), size))
    said = torch.cat([parallel.outputs(network, part) if shared else network(part) for part in parts])
    return torch.empty_like(said).index_copy_(0, order, said)


class Held:
    """Events in memory, on the device of the network."""

    def __init__(self, data: tuple[Batch, tuple[Tensor, ...]], device: torch.device) -> None:
        self.batch = data[0].to(device)
        self.targets = tuple(to_device(target, device) for target in data[1])

    def __len__(self) -> int:
        return len(self.batch)

    def deal(self, size: int, seed: int, epoch: int, first: int) -> Dealt:
        """The batches of an epoch from the `first` on."""
        return islice(batches(self.batch, self.targets, size, seed=seed, epoch=epoch), first, None)

    def loss(self, network: nn.Module, loss: Loss, size: int) -> float:
        """Of all events, as one call of `loss`."""
        return float(loss(outputs(network, self.batch, size, shared=True), *self.targets))

    def close(self) -> None:
        """Nothing to give back."""


class Dealer:
    """Prepared events, which come to the device batch by batch; of several processes each reads its share alone."""

    def __init__(self, stream: Stream, device: torch.device) -> None:
        self.stream, self.device = stream, device

    def __len__(self) -> int:
        return len(self.stream)

    def deal(self, size: int, seed: int | None, epoch: int, first: int) -> Dealt:
        """The batches of an epoch from the `first` on."""
        waiting = None
        share = parallel.rank(), parallel.size()
        for batch, targets, total in self.stream.deal(size, seed=seed, epoch=epoch, first=first, share=share):
            if self.device.type == "cuda":
                # from pinned memory the next batch travels while the network is busy with this one
                batch, targets = batch.pin_memory(), (targets[0].pin_memory(), targets[1].pin_memory())
            events = batch.to(self.device)
            answers = parallel.together([to_device(target, self.device) for target in targets], total)
            if waiting is not None:
                yield waiting
            waiting = (parallel.Share(events, total) if share[1] > 1 else events), answers
        if waiting is not None:
            yield waiting

    @torch.no_grad()
    def loss(self, network: nn.Module, loss: Loss, size: int) -> float:
        """The mean over all events: that of the batches, by their number of events."""
        network.eval()
        total = 0.0
        for events, answers in self.deal(size, None, 0, 0):
            total += float(loss(parallel.outputs(network, events), *answers)) * len(answers[0])
        return total / len(self)

    def close(self) -> None:
        """Ends the readers."""
        self.stream.close()


def feed(data: Data, device: torch.device) -> Held | Dealer:
    """Batches on a device, from wherever the events are."""
    return Dealer(data, device) if isinstance(data, Stream) else Held(data, device)
