"""Linear layers by the faster of the two libraries that torch multiplies matrices with on processors."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

#: oneDNN writes a program for each shape it meets, in a millisecond or two: that pays for shapes that come back, such
#: as those with a multiple of so many rows, from so many multiplications on, and for others from so many on.
ROWS, MANY, MOST = 64, 1 << 22, 1 << 29

#: Rows that a slope of weights is summed over at a time.
AT_ONCE = 1024

#: Layers with fewer inputs or outputs gain nothing.
NARROW = 32


@cache
def faster() -> bool:
    """Whether this processor has wide registers that MKL, Intel's library, does not use because they are AMD's.

    There a product of two matrices in float32 takes oneDNN half the time: 240 against 110 billion operations a second
    on one core of an EPYC of the Zen 5 kind (`benchmarks/products.py`).
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        about = platform.processor()
    return "AuthenticAMD" in about and hasattr(torch.ops.mkldnn, "_linear_pointwise")


if hasattr(torch.ops.mkldnn, "_linear_pointwise"):

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def operations(rows: torch.Size, weight: torch.Size, *_: Any, **__: Any) -> int:
        """For `torch.utils.flop_counter`, by the shapes."""
        return 2 * rows.numel() * weight[0]


def linear(
    rows: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
) -> Float[Tensor, "*rows outputs"]:
    """What `torch.nn.functional.linear` gives up to rounding; on AMD's processors with AVX-512 in half the time.

    Args:
        rows: any number of axes.
        weight: of the layer.
        bias: of the layer, if it has one.
    """
    if suits(rows, weight):
        product: Tensor = _Product.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
        return product
    return nn.functional.linear(rows, weight, bias)


def suits(rows: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is the faster one for this product."""
    if not possible(rows) or min(weight.shape) < NARROW or rows.dtype != weight.dtype:
        return False
    many = rows.numel() // rows.shape[-1]
    return many * weight.numel() >= (MOST if many % ROWS else MANY)


def possible(rows: Tensor) -> bool:
    """Whether there is a choice for products with this."""
    if rows.device.type != "cpu" or rows.dtype != torch.float32 or not faster():
        return False
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    return bool(matmul.fp32_precision != "bf16")  # in which torch takes oneDNN by itself


def filled(rows: Float[Tensor, "rows features"]) -> Float[Tensor, "filled features"]:
    """The rows and the last of them a few times more, if products are faster with a number of rows that comes back."""
    if not possible(rows):
        return rows
    many, width = rows.shape
    if not many % ROWS or width < NARROW or many * width**2 < MANY:
        return rows
    return torch.cat([rows, rows[-1:].expand(ROWS - many % ROWS, -1)])


class Linear(nn.Linear):
    """A linear layer that computes by `linear`; weights, their start and their names are those of `torch.nn.Linear`."""

    def forward(self, rows: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        return linear(rows, self.weight, self.bias)


class _Product(torch.autograd.Function):
    """The product and its slopes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.biased = bias is not None
        return product(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        slope = slopes[0].reshape(-1, weight.shape[0])
        of_rows = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_rows = product(slope, weight.t()).view(rows.shape)
        if ctx.needs_input_grad[1]:
            of_weight = summed(slope, rows.reshape(-1, weight.shape[1]))
        if ctx.biased and ctx.needs_input_grad[2]:
            of_bias = slope.sum(0)
        return of_rows, of_weight, of_bias


def summed(slope: Tensor, rows: Tensor) -> Tensor:
    """The slope of the weight, the sum over rows a part at a time: what oneDNN reads across has to fit the cache."""
    if slope.shape[1] > rows.shape[1]:  # it prefers the wider one as the second factor
        return summed(rows, slope).t()
    total = slope.new_zeros(slope.shape[1], rows.shape[1])
    whole = len(rows) - len(rows) % AT_ONCE
    for some in range(0, whole, AT_ONCE):
        total += product(slope[some : some + AT_ONCE].t(), rows[some : some + AT_ONCE].t())
    return torch.addmm(total, slope[whole:].t(), rows[whole:])


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """By oneDNN, which is slow on numbers that stand for several."""
    rows, weight = (each.contiguous() if 0 in each.stride() else each for each in (rows, weight))
    out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return out
