"""Kinds: architectures that work alike, so that many models share few colours."""

from __future__ import annotations

from collections.abc import Sequence

from femtobarn.models import MODELS
from femtobarn.report.style import MANY


def families(names: Sequence[str]) -> list[str]:
    """Of each model its architecture, as it is given; of more than eight architectures what kind each is of."""
    if len(set(names)) <= MANY:
        return list(names)
    return [MODELS[name].family if name in MODELS else name for name in names]
