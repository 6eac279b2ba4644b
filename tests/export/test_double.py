"""Functions in float64 that onnxruntime has in float32 only agree with numpy and scipy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy import special

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnxruntime

from femtobarn.export.double import FUNCTIONS


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_functions_in_double_precision(dtype, tmp_path):
    class Functions(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
            gelu = torch.nn.functional.gelu
            return torch.sinh(x), torch.asinh(x), torch.atan2(y, x), gelu(x), gelu(x, approximate="tanh")

    random = np.random.default_rng(1)
    x = np.concatenate([random.normal(0, 3, 200), [0.0, 1e-9, -1e-9, 2.0, -2.0, 0.0, 0.0, -1e-30, 18.0]])
    y = np.concatenate([random.normal(0, 3, 200), [0.0, 1e-3, 1e-3, 0.0, 0.0, 3.0, -3.0, 1e-30, -1e-9]])
    sample = tuple(torch.from_numpy(column).to(dtype) for column in (x, y))
    with warnings.catch_warnings(action="ignore"):  # the exporter's own
        program = torch.onnx.export(
            Functions().eval(),
            sample,
            dynamo=True,
            custom_translation_table=FUNCTIONS,
            optimize=False,
            opset_version=18,
            verbose=False,
        )
    assert program is not None
    program.save(tmp_path / "functions.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "functions.onnx", providers=["CPUExecutionProvider"])
    x, y = (column.numpy() for column in sample)
    said = session.run(None, {"x": x, "y": y})
    precision = 1e-14 if dtype == torch.float64 else 3e-7
    gelu, other = (
        (x / 2 * (1 + shape)).astype(x.dtype)
        for shape in (special.erf(x / 2**0.5), np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))
    )
    one = np.ones_like(x)
    # of GELU the shape is exact to rounding, which the number it multiplies enlarges
    expected = (
        (np.sinh(x), one),
        (np.arcsinh(x), one),
        (np.arctan2(y, x), one),
        (gelu, 1 + abs(x)),
        (other, 1 + abs(x)),
    )
    for column, (value, scale) in zip(said, expected, strict=True):
        assert column.dtype == value.dtype
        np.testing.assert_allclose(column / scale, value / scale, rtol=precision, atol=precision)
