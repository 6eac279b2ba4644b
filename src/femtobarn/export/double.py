"""Double precision: functions that onnxruntime has in float32 only, made of those that it has in float64 too.

They are written in ONNX operators, for torch's exporter to use in place of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnxscript import opset18

#: Its annotations do not know what its arithmetic can do.
op: Any = opset18

FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE

#: Of the error function: points to a unit, the last of them, behind which it is 1, and terms of the series.
STEPS, LAST, TERMS = 16.0, 96, 8


def sinh(self: Any) -> Any:
    r"""Hyperbolic sine, :math:`(e^x - e^{-x}) / 2`."""
    x = op.Cast(self, to=DOUBLE)
    return _like((op.Exp(x) - op.Exp(op.Neg(x))) / _number(2.0), self)


def asinh(self: Any) -> Any:
    r"""Inverse hyperbolic sine, :math:`\operatorname{sgn} x \, \ln (|x| + \sqrt{x^2 + 1})`."""
    x = op.Cast(self, to=DOUBLE)
    size = op.Abs(x)
    return _like(op.Log(size + op.Sqrt(x * x + _number(1.0))) * op.Sign(x), self)


def atan2(self: Any, other: Any) -> Any:
    r"""Azimuth of a direction: the float32 angle :math:`\phi_0` and one step towards the true one.

    .. math:: \phi = \phi_0 + \sin(\phi - \phi_0) = \phi_0 + (y \cos \phi_0 - x \sin \phi_0) / r

    which is wrong by the cube of what float32 lacks. The direction of no vector at all is 0.
    """
    y, x = op.Cast(self, to=DOUBLE), op.Cast(other, to=DOUBLE)
    length = op.Sqrt(x * x + y * y)
    nothing = op.Equal(length, _number(0.0))
    x = op.Where(nothing, _number(1.0), x)
    length = op.Where(nothing, _number(1.0), length)
    half = op.Cast(op.Atan(op.Cast(y / x, to=FLOAT)), to=DOUBLE)  # of the infinite slope it is a quarter turn
    turn = op.Where(op.Less(y, _number(0.0)), _number(-math.pi), _number(math.pi))
    first = op.Where(op.Less(x, _number(0.0)), half + turn, half)
    return _like(first + (y * op.Cos(first) - x * op.Sin(first)) / length, self)


def gelu(self: Any, approximate: str = "none") -> Any:
    r"""GELU, :math:`x (1 + \operatorname{erf} (x / \sqrt 2)) / 2`, or the form of a tanh that stands in for it."""

    def number(value: float) -> Any:
        return _number(value) if self.dtype == DOUBLE else value

    if approximate == "tanh":
        cubic = self + number(0.044715) * self * self * self
        shape = op.Tanh(number(math.sqrt(2 / math.pi)) * cubic)
    elif self.dtype == DOUBLE:
        shape = erf(self / number(math.sqrt(2)))
    else:
        shape = op.Erf(self / number(math.sqrt(2)))
    return self * number(0.5) * (shape + number(1.0))  # onnxruntime fuses this form into one operator


def erf(x: Any) -> Any:
    r"""The error function to 1e-12: its Taylor series around the nearest of a grid of points, where it is tabulated.

    .. math:: \operatorname{erf}(c + h) = \operatorname{erf} c
        + \frac{2}{\sqrt\pi} e^{-c^2} \sum_{n \ge 0} \frac{(-1)^n H_n(c)}{(n + 1)!} h^{n + 1}, \quad
        H_{n + 1} = 2 c H_n - 2 n H_{n - 1}
    """
    size = op.Min(op.Abs(x), _number(LAST / STEPS))
    nearest = op.Round(size * _number(STEPS))
    c = nearest / _number(STEPS)
    h = size - c
    polynomials = [_number(1.0), _number(2.0) * c]
    for n in range(1, TERMS - 1):
        polynomials.append(_number(2.0) * c * polynomials[-1] - _number(2.0 * n) * polynomials[-2])
    series = _number(0.0)
    for n in reversed(range(TERMS)):
        series = h * (polynomials[n] * _number((-1.0) ** n / math.factorial(n + 1)) + series)
    table = [math.erf(k / STEPS) for k in range(LAST + 1)]
    values = op.Constant(value=onnx.helper.make_tensor("table", DOUBLE, [len(table)], table))
    value_at_c = op.Gather(values, op.Cast(nearest, to=onnx.TensorProto.INT64))
    slope = _number(2 / math.sqrt(math.pi)) * op.Exp(op.Neg(c * c))
    return op.Sign(x) * (value_at_c + slope * series)


def _number(value: float) -> Any:
    return op.Constant(value=onnx.helper.make_tensor("value", DOUBLE, [], [value]))


def _like(value: Any, other: Any) -> Any:
    return value if other.dtype == DOUBLE else op.Cast(value, to=int(other.dtype))


#: By the names that torch has for them.
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.sinh.default: sinh,
    torch.ops.aten.asinh.default: asinh,
    torch.ops.aten.atan2.default: atan2,
    torch.ops.aten.gelu.default: gelu,
}
