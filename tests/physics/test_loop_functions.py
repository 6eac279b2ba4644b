"""Functions of loop integrals against arbitrary precision, and their continuation and series."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy.special import spence
from torch import Tensor

from femtobarn.physics.amplitudes import loop_functions

NEAR_ONE = (1.0, 1 + 1e-9, 1 - 1e-6, 1.003, 0.97, 1.0999, 1.1001, 0.9001, 0.8999)


def tensor(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def exact(name: str, r: Any, log: Any) -> Any:
    if name == "l0":
        return log / (1 - r)
    if name == "l1":
        return (log / (1 - r) + 1) / (1 - r)
    return (log - (r - 1 / r) / 2) / (1 - r) ** 3


@pytest.mark.parametrize(("name", "limit"), [("l0", -1.0), ("l1", -0.5), ("l2", 1 / 6)])
def test_bubble_functions_match_arbitrary_precision(name, limit):
    function = getattr(loop_functions, name)
    random = np.random.default_rng(1)
    pairs = [(r, 1.0) for r in NEAR_ONE] + random.uniform(-1, 1, (60, 2)).tolist()
    with mp.workdps(50):
        for sx, sy in pairs:
            r = float(tensor(sx) / tensor(sy))
            log = loop_functions.log_minus(tensor(sx)) - loop_functions.log_minus(tensor(sy))
            value = complex(function(tensor(r), log))
            expected = (
                limit if r == 1 else complex(exact(name, mp.mpf(r), mp.log(abs(mp.mpf(r))) + exact_phase(sx, sy)))
            )
            assert value == pytest.approx(expected, rel=2e-12), (sx, sy)


def exact_phase(sx: float, sy: float) -> Any:
    return mp.mpc(0, (-mp.pi if sx > 0 else 0) - (-mp.pi if sy > 0 else 0))


def test_box_function_matches_arbitrary_precision():
    random = np.random.default_rng(2)
    with mp.workdps(50):
        for sx, sy, sz in random.uniform(-1, 1, (60, 3)).tolist():
            r1, r2 = float(tensor(sx) / tensor(sz)), float(tensor(sy) / tensor(sz))
            logs = [loop_functions.log_minus(tensor(s)) - loop_functions.log_minus(tensor(sz)) for s in (sx, sy)]
            value = complex(loop_functions.ls1(tensor(r1), tensor(r2), *logs))
            a, b = mp.mpf(r1), mp.mpf(r2)
            log_a, log_b = (mp.log(abs(r)) + exact_phase(s, sz) for r, s in ((a, sx), (b, sy)))

            def li(r: Any, log: Any) -> Any:
                return mp.polylog(2, 1 - r) if r > 0 else mp.pi**2 / 6 - log * mp.log(1 - r) - mp.polylog(2, r)

            rest = 1 - a - b
            bubbles = exact("l0", a, log_a) + exact("l0", b, log_b)
            box = li(a, log_a) + li(b, log_b) + log_a * log_b - mp.pi**2 / 6 + rest * bubbles
            scale = 1e-14 / abs(float(rest)) ** 2
            assert abs(value - complex(box / rest**2)) < 1e-11 * abs(value) + 30 * scale, (sx, sy, sz)


def test_dilogarithm_matches_scipy():
    x = np.concatenate([np.linspace(-30, 1, 1001), [-1e8, -1.0, 0.0, 0.5, 1.0]])
    np.testing.assert_allclose(loop_functions.dilogarithm(torch.from_numpy(x)).numpy(), spence(1 - x), atol=2e-14)
