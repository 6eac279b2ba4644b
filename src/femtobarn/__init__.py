"""femtobarn: from collision events and detector hits to physics results."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from femtobarn.events import Events, read
    from femtobarn.events.samples import load_sample
    from femtobarn.models import list_models
    from femtobarn.runs.api import PredictionColumns, evaluate, load, predict, train
    from femtobarn.runs.classifier import Classifier
    from femtobarn.runs.export import export
    from femtobarn.runs.predictor import Predictor
    from femtobarn.tasks.results import compare, report

__version__ = "0.1.0"

#: Module of each public name: imported when the name is used first, so that `import femtobarn` is fast.
_MODULES = {
    "Classifier": "femtobarn.runs.classifier",
    "Events": "femtobarn.events",
    "PredictionColumns": "femtobarn.runs.api",
    "Predictor": "femtobarn.runs.predictor",
    "compare": "femtobarn.tasks.results",
    "evaluate": "femtobarn.runs.api",
    "export": "femtobarn.runs.export",
    "list_models": "femtobarn.models",
    "load": "femtobarn.runs.api",
    "load_sample": "femtobarn.events.samples",
    "predict": "femtobarn.runs.api",
    "read": "femtobarn.events",
    "report": "femtobarn.tasks.results",
    "train": "femtobarn.runs.api",
}


def four_top() -> Events:
    """Simulated four-top events and the backgrounds ttH, ttW, ttWW and ttZ.

    Proton-proton collisions at 13 TeV with two same-sign leptons or three leptons, six jets, two b-jets and
    H_T >= 500 GeV; weights for 100/fb. The card `four-top.md` beside the file describes their production.

    Example:
        >>> events = four_top()
        >>> events.processes
        ('ttH', 'ttW', 'ttWW', 'ttZ', 'tttt')
    """
    return _load_sample("four-top")


def top_tagging() -> Events:
    """Simulated top and QCD jets with their detector-level constituents.

    Anti-kt with R = 0.8, pT from 500 to 600 GeV; types, charges and impact parameters of the constituents. The card
    `top-tagging.md` beside the file describes their production.

    Example:
        >>> jets = top_tagging()
        >>> jets.processes
        ('QCD', 'top')
    """
    return _load_sample("top-tagging")


def quark_gluon() -> Events:
    """Simulated quark and gluon jets with their generator-level constituents.

    Anti-kt with R = 0.8, pT from 500 to 600 GeV; types and charges of the particles, no detector. The card
    `quark-gluon.md` beside the file describes their production.

    Example:
        >>> jets = quark_gluon()
        >>> jets.processes
        ('gluon', 'quark')
    """
    return _load_sample("quark-gluon")


def _load_sample(name: str) -> Events:
    from femtobarn.events.samples import load_sample

    return load_sample(name)


__all__ = [
    "Classifier",
    "Events",
    "PredictionColumns",
    "Predictor",
    "__version__",
    "compare",
    "evaluate",
    "export",
    "four_top",
    "list_models",
    "load",
    "load_sample",
    "predict",
    "quark_gluon",
    "read",
    "report",
    "top_tagging",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'femtobarn' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
