"""Devices: where a network computes, and how to make it compute the same again."""

from __future__ import annotations

import ctypes
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import nn


def choose(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes a GPU if there is one.

    Raises:
        ValueError: an unknown name, or a device this machine does not have.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if name not in there:
        raise ValueError(f"no device is called {name!r}; there are auto, {', '.join(there)}")
    if not there[name]:
        raise ValueError(f"device {name!r} is not available here; {', '.join(k for k, v in there.items() if v)} is")
    return torch.device(name)


def use_threads(threads: int | None) -> int:
    """Let torch use so many processor threads (None leaves it) and say how many it uses."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


Precision = Literal["fp32", "bf16"]


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """While this is open, matrix products on the device are computed in this precision.

    Args:
        precision: `fp32` leaves everything as it is. `bf16` rounds the factors of matrix products to 8 bits (a part in
            256) and sums in float32: on GPUs by autocast, on processors with AMX or AVX512-BF16 in their matrix units,
            with activations, norms and weights in float32; processors without them compute as in fp32.
        device: where the network is.
    """
    if precision == "fp32":
        yield
    elif device.type == "cpu":
        matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        before = matmul.fp32_precision
        matmul.fp32_precision = "bf16"
        try:
            yield
        finally:
            matmul.fp32_precision = before
    else:
        with torch.autocast(device.type, torch.bfloat16):
            yield


#: What glibc calls its limits, from `malloc.h`; bytes it would come to by itself, and more than any batch needs.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
USUAL, UNLIMITED = {TRIM_THRESHOLD: 1 << 26, MMAP_THRESHOLD: 1 << 25}, 1 << 30


@contextmanager
def memory_kept(device: torch.device) -> Iterator[None]:
    """While this is open, memory that is freed stays at hand for the next batch; then the system gets it back.

    By default glibc returns large pieces at once, and the system clears what it gives again, page by page, which can
    take as long as the arithmetic (`benchmarks/networks.py`). Does nothing on GPUs, without glibc, and where variables
    of the environment (MALLOC_...) say how memory is to be handled.

    Args:
        device: where the network is.
    """
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    told = any(name.startswith("MALLOC_") for name in os.environ)
    if device.type != "cpu" or told or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    for limit in USUAL:
        libc.mallopt(limit, UNLIMITED)
    try:
        yield
    finally:
        for limit, usual in USUAL.items():
            libc.mallopt(limit, usual)
        libc.malloc_trim(0)


class Compiled:
    """A network compiled by torch, or as it is where torch cannot: then it says so once and goes on.

    Without a C++ compiler, say, or on a GPU that is too old, the first batch fails, and is computed again without.

    Args:
        network: its weights are shared, not copied.
    """

    def __init__(self, network: nn.Module) -> None:
        from torch._dynamo.exc import TorchDynamoException  # seconds, for those who compile alone

        self.network = network
        self.forward: Callable[..., Any] = torch.compile(network)
        self.refusal = TorchDynamoException

    def __call__(self, *inputs: Any) -> Any:
        try:
            return self.forward(*inputs)
        except self.refusal as error:
            told = " ".join(str(error).strip().partition("\n\n")[0].split())
            warnings.warn(f"torch cannot compile this network ({told}); it trains as it is", stacklevel=2)
            self.forward = self.network
            return self.network(*inputs)


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seed Python, numpy and torch on every device.

    Args:
        seed: >= 0.
        deterministic: also refuse the GPU algorithms whose sums depend on scheduling; slower, bit by bit the same.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # libraries still use the global state
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
