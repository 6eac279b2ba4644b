"""Several processes that train one network together, as `torchrun` starts them, to the weights of a single process.

Every process deals the same batches and computes the outputs of its share of the events. The outputs are put together,
so that the loss is that of the whole batch, whatever its weights and however it is normalised; the gradients, each that
of the one loss through one share, are summed. Batch norms know the whole batch (`femtobarn.nn.BatchNorm`). Without
`torchrun` all of this does nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed, nn

from femtobarn.inputs.batch import Batch
from femtobarn.training.devices import choose

#: What torchrun tells each process.
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def joined(device: str) -> Iterator[None]:
    """The processes that torchrun started work together: over NCCL with a GPU each, over Gloo on processors.

    Args:
        device: as in the settings of a training.

    Raises:
        ValueError: more processes on this machine than GPUs, or a device that processes can't share.
    """
    if not all(name in os.environ for name in TOLD) or distributed.is_initialized():
        yield
        return
    kind = choose(device).type
    if kind == "cuda":
        mine, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if mine >= there:
            raise ValueError(
                f"process {mine + 1} of this machine has no GPU of its own, there are {there}; start at most {there} "
                "(torchrun --nproc-per-node) or set training.device=cpu"
            )
        torch.cuda.set_device(mine)
    elif kind != "cpu":
        raise ValueError(f"several processes train on cuda or cpu, not on {kind}; set training.device=cpu")
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield
        distributed.barrier()  # who leaves early takes connections away from others that still listen
    finally:
        distributed.destroy_process_group()


def leads() -> bool:
    """Whether this process speaks to the user: the only one, or the first of those that torchrun started."""
    return not all(name in os.environ for name in TOLD) or os.environ["RANK"] == "0"


def rank() -> int:
    """Number of this process, 0 for the first or only one, which alone writes files."""
    return distributed.get_rank() if _several() else 0


def size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if _several() else 1


class Share(NamedTuple):
    """Events of a batch that this process has alone, and how many there are in all processes."""

    events: Batch
    total: int


def outputs(network: Any, batch: Batch | Share) -> Tensor:
    """Outputs for a whole batch, of which this process computes its share; a share may be empty."""
    if isinstance(batch, Share):
        mine, total = batch
    elif _several():
        start, stop = _bounds(len(batch))
        mine, total = batch[start:stop], len(batch)
    else:
        alone: Tensor = network(batch)
        return alone
    whole: Tensor = _PutTogether.apply(network(mine), _bounds(total)[0], total)  # type: ignore[no-untyped-call]
    return whole


@torch.no_grad()
def together(mine: Sequence[Tensor], total: int) -> tuple[Tensor, ...]:
    """Columns of a whole batch from the shares of all processes."""
    if not _several():
        return tuple(mine)
    start = _bounds(total)[0]
    return tuple(_PutTogether.apply(column, start, total) for column in mine)  # type: ignore[no-untyped-call]


@torch.no_grad()
def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Gives every process the gradients of the whole batch, the same to the last bit."""
    if not _several():
        return
    # one message for all; its last entries say which have a gradient, because optimisers leave the others alone
    there = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    message = torch.cat([*(slope.flatten() for slope in slopes), there.to(slopes[0])])
    distributed.all_reduce(message)
    *parts, there = message.split([*(p.numel() for p in parameters), len(parameters)])  # type: ignore[no-untyped-call]
    for parameter, part, known in zip(parameters, parts, there.tolist(), strict=True):
        parameter.grad = part.view_as(parameter).to(parameter) if known else None


@torch.no_grad()
def same(network: nn.Module, facts: str) -> None:
    """Gives every process the weights of the first, having seen that all are about the same training.

    Args:
        network: parameters and buffers are set in place.
        facts: of the training and how far it is, in any words.

    Raises:
        RuntimeError: the processes disagree about the facts: they see other events, settings or files.
    """
    if not _several():
        return
    device = next(network.parameters()).device
    mark = int.from_bytes(hashlib.sha256(facts.encode()).digest()[:7])
    ends = torch.tensor([mark, -mark], device=device)
    distributed.all_reduce(ends, distributed.ReduceOp.MAX)
    if ends[0] != -ends[1]:
        raise RuntimeError(
            "the processes see different events, settings or checkpoints; all machines need the same files at the same "
            "paths, and the same version of femtobarn"
        )
    for value in network.state_dict().values():
        shared = value.contiguous()
        distributed.broadcast(shared, 0)
        value.copy_(shared)


def seed_dropout(seed: int, epoch: int, span: int) -> None:
    """Seeds torch for some steps of an epoch; every process that trains along has random numbers of its own."""
    mine = (seed, epoch, rank(), span) if span else (seed, epoch, rank()) if rank() else (seed, epoch)
    torch.manual_seed(int(np.random.SeedSequence(mine).generate_state(1)[0]))


def of_first(value: float) -> float:
    """A number as the first process has it, so that all decide alike by it."""
    if not _several():
        return value
    # NCCL knows tensors on GPUs alone
    device = torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
    told = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(told, 0)
    return float(told)


def _bounds(total: int) -> tuple[int, int]:
    """First event of this process's share of a batch, and that of the next one."""
    return total * rank() // size(), total * (rank() + 1) // size()


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


class _PutTogether(torch.autograd.Function):
    """Shares of a batch, each in its place; the slope of the one loss, which all know, goes back by shares."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, start: int, total: int) -> Tensor:
        ctx.place = slice(start, start + len(mine))
        whole = mine.new_zeros(total, *mine.shape[1:])
        whole[ctx.place] = mine
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        return slopes[0][ctx.place], None, None
