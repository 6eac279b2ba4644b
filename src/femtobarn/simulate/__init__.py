"""From hard processes to measured events: Pythia 8, FastJet, a parametrised detector (extra `simulate`)."""

from __future__ import annotations

try:
    from femtobarn.simulate.detector import reconstruct
    from femtobarn.simulate.generator import Generator, Preselection
    from femtobarn.simulate.jets import SOURCES, Jets
    from femtobarn.simulate.plan import Plan, Progress
    from femtobarn.simulate.production import run
except ModuleNotFoundError as error:
    if error.name not in ("pythia8mc", "fastjet"):
        raise
    raise RuntimeError(f"simulation needs {error.name}: pip install 'femtobarn[simulate]'") from None

__all__ = ["SOURCES", "Generator", "Jets", "Plan", "Preselection", "Progress", "reconstruct", "run"]
