"""Kinds: architectures that work alike, so that many models share few colours."""

from __future__ import annotations

from collections.abc import Sequence

from femtobarn.models.registry import LORENTZ
from femtobarn.report.style import MANY

#: What an architecture makes of an event; the equivariant ones declare it themselves.
KINDS = {
    "bdt": "trees",
    "fcn": "sequences and images",
    "cnn": "sequences and images",
    "pcnn": "sequences and images",
    "jetimage": "sequences and images",
    "deepjet": "sequences and images",
    "recnn": "sequences and images",
    "efn": "sets",
    "pfn": "sets",
    "particlenet": "graphs",
    "mpnn": "graphs",
    "transformer": "attention",
    "sett": "attention",
    "part": "attention",
    "mipart": "attention",
}

EQUIVARIANT = "Lorentz-equivariant"


def families(names: Sequence[str]) -> list[str]:
    """Of each model its architecture, as it is given; of more than eight architectures what kind each is of."""
    if len(set(names)) <= MANY:
        return list(names)
    return [EQUIVARIANT if name in LORENTZ else KINDS.get(name, name) for name in names]
