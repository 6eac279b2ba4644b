"""Truth made here: collisions and jets by Pythia 8, FastJet and a parametrised detector; amplitudes of hard processes.

Collisions and jets need the extra `simulate`; amplitudes need nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "SOURCES": "jets",
    "AmplitudePlan": "amplitudes",
    "Generator": "generator",
    "Jets": "jets",
    "Plan": "plan",
    "Preselection": "generator",
    "Progress": "units",
    "reconstruct": "detector",
    "draw_amplitudes": "amplitudes",
    "run": "production",
    "simulate_amplitudes": "amplitudes",
}

__all__ = [  # loaded when asked for
    "SOURCES",
    "AmplitudePlan",
    "Generator",
    "Jets",
    "Plan",
    "Preselection",
    "Progress",
    "draw_amplitudes",
    "reconstruct",
    "run",
    "simulate_amplitudes",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name not in ("pythia8mc", "fastjet"):
            raise
        raise RuntimeError(f"simulation needs {error.name}: pip install 'femtobarn[simulate]'") from None
