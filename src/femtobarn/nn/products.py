"""Matrix products on CPUs by the faster of the two libraries that torch contains."""

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

#: Rows; numbers of rows that are multiples of this come back. oneDNN generates code for each new shape, in 1 to 2 ms.
ROW_MULTIPLE = 64

#: Multiplications; minimum for oneDNN if the number of rows is a multiple of `ROW_MULTIPLE`.
MIN_PRODUCTS_REGULAR = 1 << 22

#: Multiplications; minimum for oneDNN for any other number of rows.
MIN_PRODUCTS_IRREGULAR = 1 << 29

#: Rows per product in the gradient of the weights.
GRADIENT_CHUNK_ROWS = 1024

#: Features; layers with fewer inputs or outputs gain nothing from oneDNN.
MIN_FEATURES = 32


@cache
def onednn_is_faster() -> bool:
    """Return True on AMD processors with AVX-512, whose wide registers MKL (Intel's library) does not use.

    There oneDNN multiplies float32 matrices in half the time: 240 instead of 110 billion operations per second on one
    core of an EPYC (Zen 5) (`benchmarks/products.py`).
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        description = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        description = platform.processor()
    return "AuthenticAMD" in description and hasattr(torch.ops.mkldnn, "_linear_pointwise")


if hasattr(torch.ops.mkldnn, "_linear_pointwise"):

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def linear_flops(rows: torch.Size, weight: torch.Size, *_: Any, **__: Any) -> int:
        """Floating-point operations from the shapes, for `torch.utils.flop_counter`."""
        return 2 * rows.numel() * weight[0]


def linear(
    rows: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
) -> Float[Tensor, "*rows outputs"]:
    """Compute `torch.nn.functional.linear` up to rounding; in half the time on AMD processors with AVX-512.

    Args:
        rows: any number of axes.
        weight: weight of the layer.
        bias: bias of the layer; optional.
    """
    if prefers_onednn(rows, weight):
        out: Tensor = _OneDNNLinear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
        return out
    return nn.functional.linear(rows, weight, bias)


def prefers_onednn(rows: Tensor, weight: Tensor) -> bool:
    """Return True if oneDNN is the faster library for this product."""
    if not can_use_onednn(rows) or min(weight.shape) < MIN_FEATURES or rows.dtype != weight.dtype:
        return False
    n_rows = rows.numel() // rows.shape[-1]
    return n_rows * weight.numel() >= (MIN_PRODUCTS_IRREGULAR if n_rows % ROW_MULTIPLE else MIN_PRODUCTS_REGULAR)


def can_use_onednn(rows: Tensor) -> bool:
    """Return True if `linear` may choose oneDNN for products with these rows."""
    if rows.device.type != "cpu" or rows.dtype != torch.float32 or not onednn_is_faster():
        return False
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    return bool(matmul.fp32_precision != "bf16")  # then torch calls oneDNN by itself


def pad_rows(rows: Float[Tensor, "rows features"]) -> Float[Tensor, "padded_rows features"]:
    """Repeat the last row up to a multiple of `ROW_MULTIPLE`, if products are faster with it."""
    if not prefers_padding(rows):
        return rows
    n_missing = -len(rows) % ROW_MULTIPLE
    return torch.cat([rows, rows[-1:].expand(n_missing, -1)]) if n_missing else rows


def prefers_padding(rows: Float[Tensor, "rows features"]) -> bool:
    """Return True if square layers are faster by oneDNN on these rows, once they are a multiple of `ROW_MULTIPLE`."""
    n_rows, width = rows.shape
    return can_use_onednn(rows) and width >= MIN_FEATURES and n_rows * width**2 >= MIN_PRODUCTS_REGULAR


class Linear(nn.Linear):
    """`torch.nn.Linear` computed by `linear`; same parameters, names and initialization."""

    def forward(self, rows: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        return linear(rows, self.weight, self.bias)


class _OneDNNLinear(torch.autograd.Function):
    """Linear layer and its gradients by oneDNN."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.has_bias = bias is not None
        return onednn_linear(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        grad_out = grad_outputs[0].reshape(-1, weight.shape[0])
        grad_rows = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_rows = onednn_linear(grad_out, weight.t()).view(rows.shape)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(grad_out, rows.reshape(-1, weight.shape[1]))
        if ctx.has_bias and ctx.needs_input_grad[2]:
            grad_bias = grad_out.sum(0)
        return grad_rows, grad_weight, grad_bias


def weight_gradient(grad_out: Tensor, rows: Tensor) -> Tensor:
    """Gradient of the weight, summed over chunks of rows, because oneDNN's transposed operands must fit the cache."""
    if grad_out.shape[1] > rows.shape[1]:  # oneDNN is faster with the wider matrix as second factor
        return weight_gradient(rows, grad_out).t()
    total = grad_out.new_zeros(grad_out.shape[1], rows.shape[1])
    stop = len(rows) - len(rows) % GRADIENT_CHUNK_ROWS
    for start in range(0, stop, GRADIENT_CHUNK_ROWS):
        chunk = slice(start, start + GRADIENT_CHUNK_ROWS)
        total += onednn_linear(grad_out[chunk].t(), rows[chunk].t())
    return torch.addmm(total, grad_out[stop:].t(), rows[stop:])


def onednn_linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Linear layer by oneDNN; expanded operands, on which it is slow, are copied first."""
    rows, weight = (x.contiguous() if 0 in x.stride() else x for x in (rows, weight))
    out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return out
