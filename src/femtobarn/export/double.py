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


def _number(value: float) -> Any:
    return op.Constant(value=onnx.helper.make_tensor("value", DOUBLE, [], [value]))


def _like(value: Any, other: Any) -> Any:
    return value if other.dtype == DOUBLE else op.Cast(value, to=int(other.dtype))


#: By the names that torch has for them.
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.sinh.default: sinh,
    torch.ops.aten.asinh.default: asinh,
    torch.ops.aten.atan2.default: atan2,
}
