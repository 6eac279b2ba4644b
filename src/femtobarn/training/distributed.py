"""Several processes that train one network, as `torchrun` starts them, to the weights of a single process.

All processes receive the same batches. Each computes the outputs of its share of the events; the outputs are gathered,
so that every process computes the loss of the full batch, however the loss is normalized. The gradients, each from one
share of the outputs, are summed. Batch norms use the statistics of the full batch (`femtobarn.nn.BatchNorm`). In a
single process all functions of this module do nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, distributed, nn

from femtobarn.inputs.batch import Batch
from femtobarn.training.devices import resolve_device

#: Environment variables that torchrun sets in each process.
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Connect the processes that torchrun started: over NCCL with one GPU each, over Gloo on processors.

    Args:
        device: `training.device`.

    Raises:
        ValueError: more processes on this machine than GPUs, or a device that processes cannot share.
    """
    if not _started_by_torchrun() or distributed.is_initialized():
        yield
        return
    device_type = resolve_device(device).type
    if device_type == "cuda":
        local_rank, n_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= n_gpus:
            raise ValueError(
                f"process {local_rank + 1} of this machine has no GPU of its own, there are {n_gpus}; start at most "
                f"{n_gpus} (torchrun --nproc-per-node) or set training.device=cpu"
            )
        torch.cuda.set_device(local_rank)
    elif device_type != "cpu":
        raise ValueError(f"several processes train on cuda or cpu, not on {device_type}; set training.device=cpu")
    distributed.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield
        distributed.barrier()  # a process that leaves early closes connections that others still use
    finally:
        distributed.destroy_process_group()


def is_main_process() -> bool:
    """Whether this process reports to the user: the only one, or the first of those that torchrun started."""
    return not _started_by_torchrun() or os.environ["RANK"] == "0"


def rank() -> int:
    """Number of this process; 0 for the first or only one, the only one that writes files."""
    return distributed.get_rank() if _is_distributed() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if _is_distributed() else 1


class DistributedNetwork:
    """Network whose outputs for a batch are computed in shares by all processes, and gathered in each.

    Outside of the network all processes draw the same random numbers, so that a loss may draw noise; within it
    (dropout) each process draws its own. In a single process it computes what the network computes.

    Args:
        network: its methods `latent`, `objects` and `vectors` are available as well, if it has them.
        forward: called instead of the network, such as a compiled version of it.
    """

    def __init__(self, network: nn.Module, forward: Callable[[Batch], Any] | None = None) -> None:
        self.network = network
        self.forward = network if forward is None else forward
        self.entropy: tuple[int, ...] = ()
        self.n_calls = 0  # since the last seed

    def __call__(self, batch: Batch) -> Any:
        return self._in_shares(self.forward, batch)

    def latent(self, batch: Batch) -> Any:
        """Latent vector of each event."""
        return self._in_shares(cast("Callable[[Batch], Any]", self.network.latent), batch)

    def objects(self, batch: Batch) -> Any:
        """Vector of each particle."""
        return self._in_shares(cast("Callable[[Batch], Any]", self.network.objects), batch)

    def vectors(self, batch: Batch) -> Any:
        """Four-vectors of each particle, from an equivariant network."""
        return self._in_shares(cast("Callable[[Batch], Any]", self.network.vectors), batch)

    def seed_random(self, *entropy: int) -> None:
        """Seed torch, alike in all processes, and the random numbers of the network, differently in each."""
        self.entropy, self.n_calls = entropy, 0
        _seed(entropy)

    def _in_shares(self, function: Callable[[Batch], Any], batch: Batch) -> Any:
        """Output tensor, or tuple of them, of a function of a batch; each process computes its share of the events."""
        if not _is_distributed():
            return function(batch)
        start, stop = share_bounds(batch.n_events)
        devices = [batch.mask.device] if batch.mask.device.type == "cuda" else []
        self.n_calls += 1
        with torch.random.fork_rng(devices):
            _seed((*self.entropy, rank(), self.n_calls))
            outputs = function(batch[start:stop])
        if isinstance(outputs, tuple):
            gathered = [_GatherOutputs.apply(output, batch.n_events) for output in outputs]  # type: ignore[no-untyped-call]
            return type(outputs)(*gathered) if hasattr(outputs, "_fields") else tuple(gathered)
        return _GatherOutputs.apply(outputs, batch.n_events)  # type: ignore[no-untyped-call]


@torch.no_grad()
def all_gather(share: Tensor, n_events: int) -> Tensor:
    """Tensor of a full batch of `n_events` from the shares of all processes."""
    if not _is_distributed():
        return share
    padded = share.new_zeros(-(-n_events // world_size()), *share.shape[1:])
    padded[: len(share)] = share
    if share.dtype == torch.bool:
        padded = padded.to(torch.uint8)
    shares = [torch.empty_like(padded) for _ in range(world_size())]
    distributed.all_gather(shares, padded)
    lengths = [stop - start for start, stop in (share_bounds(n_events, number) for number in range(world_size()))]
    full = torch.cat([part[:length] for part, length in zip(shares, lengths, strict=True)])
    return full.to(share.dtype)


@torch.no_grad()
def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give every process the gradients of the full batch, the same to the last bit."""
    if not _is_distributed():
        return
    # one message for all; its last entries count who has a gradient, because optimizers skip parameters without one
    n_present = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    message = torch.cat([*(gradient.flatten() for gradient in gradients), n_present.to(gradients[0])])
    distributed.all_reduce(message)
    *sums, n_present = message.split([*(p.numel() for p in parameters), len(parameters)])  # type: ignore[no-untyped-call]
    for parameter, gradient, present in zip(parameters, sums, n_present.tolist(), strict=True):
        parameter.grad = gradient.view_as(parameter).to(parameter) if present else None


@torch.no_grad()
def broadcast_state(network: nn.Module, description: str) -> None:
    """Give every process the weights of the first, after a check that all run the same training.

    Args:
        network: parameters and buffers are set in place.
        description: the training and its progress, the same text in all processes.

    Raises:
        RuntimeError: the descriptions differ: the processes have other events, settings or files.
    """
    if not _is_distributed():
        return
    device = next(network.parameters()).device
    digest = int.from_bytes(hashlib.sha256(description.encode()).digest()[:7])
    extremes = torch.tensor([digest, -digest], device=device)
    distributed.all_reduce(extremes, distributed.ReduceOp.MAX)
    if extremes[0] != -extremes[1]:
        raise RuntimeError(
            "the processes have different events, settings or checkpoints; all machines need the same files at the "
            "same paths, and the same version of femtobarn"
        )
    for tensor in network.state_dict().values():
        contiguous = tensor.contiguous()
        distributed.broadcast(contiguous, 0)
        tensor.copy_(contiguous)


def broadcast_scalar(value: float) -> float:
    """Number of the first process, so that all processes decide alike."""
    if not _is_distributed():
        return value
    # NCCL sends tensors on GPUs alone
    device = torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
    scalar = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(scalar, 0)
    return float(scalar)


def share_bounds(n_events: int, number: int | None = None) -> tuple[int, int]:
    """First event, and last + 1, of the share of a process (default: this one) in a batch of `n_events`."""
    number = rank() if number is None else number
    return n_events * number // world_size(), n_events * (number + 1) // world_size()


def _started_by_torchrun() -> bool:
    return all(name in os.environ for name in TORCHRUN_VARIABLES)


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _seed(entropy: Sequence[int]) -> None:
    torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


class _GatherOutputs(torch.autograd.Function):
    """Gather shares; backward, each process keeps the gradient of its share, as all compute the same loss."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, n_events: int) -> Tensor:
        ctx.share = slice(*share_bounds(n_events))
        return all_gather(share, n_events)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.share], None
