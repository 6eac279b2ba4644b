"""Devices, precision, memory, compilation and random seeds of a training."""

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


def resolve_device(name: str = "auto") -> torch.device:
    """Device of that name; `auto` is a GPU if there is one.

    Raises:
        ValueError: an unknown name, or a device this machine does not have.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if name not in available:
        raise ValueError(f"no device is called {name!r}; there are auto, {', '.join(available)}")
    if not available[name]:
        present = ", ".join(label for label, is_present in available.items() if is_present)
        raise ValueError(f"device {name!r} is not available here; {present} is")
    return torch.device(name)


def use_threads(threads: int | None) -> int:
    """Set the number of processor threads of torch (None leaves it) and return the number in use."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


Precision = Literal["fp32", "bf16"]


@contextmanager
def matmul_precision(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute matrix products on the device in this precision while this is open.

    Args:
        precision: `fp32` leaves everything as it is. `bf16` rounds the factors of matrix products to 8 bits (a part in
            256) and sums in float32: on GPUs by autocast, on processors with AMX or AVX512-BF16 in their matrix units,
            with activations, norms and weights in float32; processors without them compute as in fp32.
        device: device of the network.
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


#: Options of glibc's `mallopt`, from `malloc.h`.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3

#: Limits that glibc would reach by itself, in bytes.
DEFAULT_LIMITS = {TRIM_THRESHOLD: 1 << 26, MMAP_THRESHOLD: 1 << 25}

#: More bytes than any batch needs.
UNLIMITED_BYTES = 1 << 30


@contextmanager
def retain_freed_memory(device: torch.device) -> Iterator[None]:
    """Keep freed memory for the next batch while this is open; afterwards the system gets it back.

    By default glibc returns large pieces at once, and the system clears them page by page when it hands them out
    again, which can take as long as the arithmetic (`benchmarks/networks.py`). Does nothing on GPUs, without glibc, and
    if environment variables (MALLOC_...) set how memory is managed.

    Args:
        device: device of the network.
    """
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    has_variables = any(name.startswith("MALLOC_") for name in os.environ)
    if device.type != "cpu" or has_variables or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    for option in DEFAULT_LIMITS:
        libc.mallopt(option, UNLIMITED_BYTES)
    try:
        yield
    finally:
        for option, limit in DEFAULT_LIMITS.items():
            libc.mallopt(option, limit)
        libc.malloc_trim(0)


def compile_network(network: nn.Module) -> Callable[..., Any]:
    """Network compiled by torch; if torch cannot compile it, the first call warns and the network runs as it is.

    Reasons are a missing C++ compiler or a GPU that is too old.

    Args:
        network: its weights are shared, not copied.
    """
    from torch._dynamo.exc import TorchDynamoException  # takes seconds, needed here alone

    forward: Callable[..., Any] = torch.compile(network)

    def call(*inputs: Any) -> Any:
        nonlocal forward
        try:
            return forward(*inputs)
        except TorchDynamoException as error:
            reason = " ".join(str(error).strip().partition("\n\n")[0].split())
            warnings.warn(f"torch cannot compile this network ({reason}); it trains as it is", stacklevel=2)
            forward = network
            return network(*inputs)

    return call


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
