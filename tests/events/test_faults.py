"""Faults of objects and events: each limit from both sides."""

from __future__ import annotations

import numpy as np
import pytest

from femtobarn.events.faults import event_faults, object_faults, track_faults
from femtobarn.physics.objects import JET


def faults(pt=50.0, eta=0.5, phi=1.0, energy: float | None = None, kind=JET) -> set[str]:
    if energy is None:
        energy = pt * np.cosh(eta)
    columns = (np.array([value]) for value in (pt, eta, phi, energy, kind))
    return {fault.split(" (")[0] for fault in object_faults(*columns)}


@pytest.mark.parametrize(
    ("good", "bad", "fault"),
    [
        # numbers of four digits are right to 5e-4; a hundredth is no rounding
        ({"energy": 50 * np.cosh(0.5) * (1 - 5e-4)}, {"energy": 50 * np.cosh(0.5) * (1 - 1e-2)}, "energy below |p|"),
        ({"phi": 2 * np.pi}, {"phi": 2 * np.pi + 0.05}, "phi outside ±2π"),
        ({"pt": 0.0}, {"pt": -1e-3}, "negative pT"),
        ({"pt": 0.9e9, "eta": 0.0}, {"pt": 1.1e9, "eta": 0.0}, "energy above 1e+09 GeV, too large for networks"),
        ({"energy": 0.9e9}, {"energy": 1e308}, "energy above 1e+09 GeV, too large for networks"),
        ({"pt": 1e-6, "eta": 34.0}, {"pt": 0.0, "eta": 1000.0, "energy": 1.0}, "|eta| above 50"),
        ({"kind": 10}, {"kind": 0}, "unknown object"),
        ({}, {"eta": np.nan, "energy": 60.0}, "NaN or infinity"),
        ({}, {"energy": -60.0}, "negative energy"),
    ],
)
def test_objects_beyond_their_limits_are_faults(good, bad, fault):
    assert faults(**good) == set()
    assert fault in faults(**bad)


@pytest.mark.parametrize(
    ("weight", "met", "phi", "fault"),
    [
        (1.0, np.nan, 0.0, "MET or phi_MET is NaN or infinite"),
        (1.0, 50.0, np.inf, "MET or phi_MET is NaN or infinite"),
        (np.inf, 50.0, 0.0, "weight is NaN or infinite"),
        (1.0, -1e-3, 0.0, "negative MET"),
        (1.0, 1.1e9, 0.0, "MET above 1e+09 GeV, too large for networks"),
        (1.0, 50.0, 2 * np.pi + 0.05, "phi_MET outside ±2π (degrees?)"),
    ],
)
def test_events_beyond_their_limits_are_faults(weight, met, phi, fault):
    assert list(event_faults(*(np.array([value]) for value in (weight, met, phi)))) == [fault]
    assert event_faults(np.array([-0.5]), np.array([0.9e9]), np.array([2 * np.pi])) == {}


def test_tracks_beyond_their_limits_are_faults():
    good = {"charge": np.array([-1.0, 0.0, 2.0]), "d0": np.array([-300.0, 0.0, 1e3])}
    assert track_faults(good) == {}
    bad = {"charge": np.array([0.5]), "d0": np.array([1e39]), "dz": np.array([np.nan])}
    assert set(track_faults(bad)) == {
        "charge is no whole number",
        "d0 is above 1e+09, too large for networks",
        "dz is NaN or infinite",
    }
