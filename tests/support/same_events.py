"""Whether two samples are the same to the last bit."""

from __future__ import annotations

from collections.abc import Sequence

import awkward as ak
import numpy as np

from femtobarn.events import Events


def assert_same(
    left: Events, right: Events, columns: Sequence[str] = ("weight", "process", "number", "hard"), truth: bool = True
) -> None:
    """Objects, context and columns agree bit by bit; without `truth` only what every particle has is compared."""
    fields = left.particles.fields if truth else ("pt", "eta", "phi", "E", "kind")
    for field in fields:
        values, expected = left.particles[field], right.particles[field]
        np.testing.assert_array_equal(ak.to_numpy(ak.num(values)), ak.to_numpy(ak.num(expected)))
        np.testing.assert_array_equal(ak.to_numpy(ak.flatten(values)), ak.to_numpy(ak.flatten(expected)), err_msg=field)
    for field in left.context.fields if truth else ("MET", "phi_MET"):
        np.testing.assert_array_equal(left.context[field], right.context[field], err_msg=field)
    for field in columns:
        np.testing.assert_array_equal(getattr(left, field), getattr(right, field), err_msg=field)
