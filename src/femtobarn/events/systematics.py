r"""Systematics: events under up and down variations of the detector by one standard deviation.

Five sources, each `up` and `down`: `jes` (jet energy scale), `btag`, `ctag`, `mistag` (efficiency of the b-tag for
b-jets, for charm and tau jets, for light jets) and `met` (scale of the soft term of the missing momentum). Experiments
treat the tag efficiencies of the three flavours as independent of each other, and so does this list.

Energies move the objects themselves. Tag efficiencies move the weights only, by the probability of the tags that an
event has, varied over nominal, with efficiencies ε and their relative variations δ:

.. math::
    w' = w \prod_\mathrm{tagged} (1 + \delta)
        \prod_\mathrm{untagged} \frac{1 - (1 + \delta)\,\epsilon}{1 - \epsilon}

This is how ATLAS and CMS apply scale factors. Flipping tags at random would show a model the same events on average,
but add noise to every difference; and after a selection on tags it would need events from outside of the region, which
a file of selected events does not hold. The weighted sum over events in the region is the varied yield of the region,
migration both ways included.

That is not so for `jes`: it moves events over the edges of a selection. Those that fall out can be found by selecting
again; those that would come in are not in a file of selected events. Cuts are mostly lower ones, so that `jes_down` is
nearly whole, and what `jes_up` lacks is about what `jes_down` loses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import vector
from numpy.typing import NDArray

from femtobarn.events.faults import wrap_phi
from femtobarn.events.record import Events
from femtobarn.physics.jets import (
    BOTTOM,
    CHARM,
    JET_PT,
    LIGHT,
    TAG_ETA,
    TAU,
    b_tag_efficiency,
    b_tag_uncertainty,
    energy_uncertainty,
)
from femtobarn.physics.objects import BJET, JETS

#: Change of the soft term along itself in GeV, one standard deviation: see `soft_term`.
SOFT_TERM = 2.0

#: The truth column with the flavour of each jet.
FLAVOUR = "truth_id"


def jet_energy_scale(events: Events, sigmas: float) -> Events:
    r"""Events with all jet four-momenta multiplied by :math:`1 + \mathrm{sigmas}\,u(p_T, \eta)`, MET following.

    u is `femtobarn.physics.jets.energy_uncertainty`, the same direction for all jets. MET changes by minus the vector
    sum of all changes. A jet that falls below the 20 GeV of the simulated detector is dropped; its momentum then counts
    as soft term. Jets from below 20 GeV and jets outside of the record (beyond :math:`|\eta| = 2.8`) can't be varied.
    """
    flat, counts = _flat(events)
    jet = np.isin(flat["kind"], JETS)
    factor = np.where(jet, 1 + sigmas * energy_uncertainty(flat["pt"], flat["eta"]), 1.0)
    change = (factor - 1) * flat["pt"]
    moved = flat | {"pt": flat["pt"] * factor, "E": flat["E"] * factor}
    x, y = (_summed(change * angle(flat["phi"]), counts) for angle in (np.cos, np.sin))
    lost = jet & (flat["pt"] >= JET_PT) & (moved["pt"] < JET_PT)
    particles = ak.unflatten(ak.zip(moved, with_name="Momentum4D"), counts)[ak.unflatten(~lost, counts)]
    particles = particles[ak.argsort(particles.pt, axis=1, ascending=False, stable=True)]
    return replace(events, particles=particles, context=_with_missing(events, -x, -y))


def soft_term(events: Events, sigmas: float) -> Events:
    r"""Events with the soft term of MET made longer by `sigmas` times 2 GeV along its own direction.

    The soft term is what balances MET and all objects of the record, :math:`-(\vec E_T^\mathrm{miss} + \sum \vec p_T)`:
    tracks outside of objects, and jets beyond :math:`|\eta| = 2.8`. ATLAS varies its component along the hard system,
    neutrinos included, which recoils against it (arXiv:1802.08168, which shows the sizes in figures). 2 GeV is a
    round number of that order, not a quoted one, and the resolution of the soft term is not varied.
    """
    missing = _missing(events)
    x = -missing.px - np.asarray(ak.sum(events.particles.px, axis=1))
    y = -missing.py - np.asarray(ak.sum(events.particles.py, axis=1))
    length = np.hypot(x, y)
    longer = np.divide(sigmas * SOFT_TERM, length, out=np.zeros_like(length), where=length > 0)
    return replace(events, context=_with_missing(events, -longer * x, -longer * y))


def tag_efficiency(events: Events, sigmas: float, flavours: tuple[int, ...]) -> Events:
    """Events weighted as if jets of some flavours were b-tagged more often, by `b_tag_uncertainty`; see the module.

    For events with the b-tag of this package's detector: the efficiency of untagged jets is its `b_tag_efficiency`.

    Args:
        sigmas: standard deviations by which the efficiency is higher.
        flavours: 5, 4, 15 or 0, as in the truth column `truth_id`.

    Raises:
        ValueError: the events have no truth column `truth_id`.
    """
    if FLAVOUR not in events.particles.fields:
        raise ValueError(
            f"b-tags can't be varied without the flavour of each jet: particles lack the truth column {FLAVOUR!r}; "
            f"they have {', '.join(events.particles.fields)}"
        )
    flat, counts = _flat(events)
    taggable = np.isin(flat["kind"], JETS) & np.isin(flat[FLAVOUR], flavours) & (np.abs(flat["eta"]) < TAG_ETA)
    pt, flavour, tagged = (column[taggable] for column in (flat["pt"], flat[FLAVOUR], flat["kind"] == BJET))
    efficiency = b_tag_efficiency(pt, flavour)
    varied = efficiency * (1 + sigmas * b_tag_uncertainty(pt, flavour))
    factor = np.ones(len(taggable))
    factor[taggable] = np.where(tagged, varied / efficiency, (1 - varied) / (1 - efficiency))
    product = ak.to_numpy(ak.prod(ak.unflatten(factor, counts), axis=1))
    return replace(events, weight=events.weight * product)


class Systematic(NamedTuple):
    """A source of systematic uncertainty: what it is called, and what it does to events."""

    title: str
    vary: Callable[[Events, float], Events]
    changes_objects: bool  # objects or MET, so that a model must look again; otherwise weights alone


#: Sources of systematic uncertainty, by name.
SYSTEMATICS = {
    "jes": Systematic("jet energy scale", jet_energy_scale, True),
    "btag": Systematic("b-tag of b-jets", lambda events, size: tag_efficiency(events, size, (BOTTOM,)), False),
    "ctag": Systematic(
        "b-tag of c- and τ-jets", lambda events, size: tag_efficiency(events, size, (CHARM, TAU)), False
    ),
    "mistag": Systematic("b-tag of light jets", lambda events, size: tag_efficiency(events, size, (LIGHT,)), False),
    "met": Systematic("soft term of MET", soft_term, True),
}
DIRECTIONS = {"up": 1.0, "down": -1.0}

#: All variations: `jes_up`, `jes_down`, `btag_up`, ...
VARIATIONS = tuple(f"{source}_{direction}" for source in SYSTEMATICS for direction in DIRECTIONS)


def vary(events: Events, name: str, *, size: float = 1.0) -> Events:
    """Events as they would look with one source of uncertainty off by one standard deviation.

    Objects stand by falling pT; processes, event numbers and hard numbers are kept, and so are weights, unless b-tags
    are varied. Nothing is selected again.

    Args:
        name: one of `VARIATIONS`.
        size: in standard deviations; 0 changes nothing.

    Raises:
        ValueError: no such variation, or the events lack the truth that it needs.

    Example:
        >>> import femtobarn
        >>> vary(femtobarn.four_top(), "jes_up").select("n_jet >= 7")  # doctest: +SKIP
    """
    source, direction = parse_variation(name)
    return source.vary(events, DIRECTIONS[direction] * size)


def parse_variation(name: str) -> tuple[Systematic, str]:
    """Source and direction of a variation.

    Raises:
        ValueError: no such variation.
    """
    if name not in VARIATIONS:
        raise ValueError(f"no variation is called {name!r}; there are {', '.join(VARIATIONS)}")
    source, _, direction = name.rpartition("_")
    return SYSTEMATICS[source], direction


def _flat(events: Events) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Every object column as one array, and the number of objects of each event."""
    particles = events.particles
    columns = {name: ak.to_numpy(ak.flatten(particles[name])) for name in particles.fields}
    return columns, ak.to_numpy(ak.num(particles, axis=1))


def _summed(values: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(ak.to_numpy(ak.sum(ak.unflatten(values, counts), axis=1)), dtype=np.float64)


def _missing(events: Events) -> Any:  # MomentumNumpy2D, whose sums mypy takes for arrays
    """Missing transverse momentum of each event."""
    columns = (np.asarray(ak.to_numpy(events.context[name]), dtype=np.float64) for name in ("MET", "phi_MET"))
    return vector.array(dict(zip(("pt", "phi"), columns, strict=True)))


def _with_missing(events: Events, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> ak.Array:
    """The context with (dx, dy) in GeV added to the missing momentum; bit by bit the same where both are 0."""
    missing = _missing(events)
    changed = missing + vector.array({"px": dx, "py": dy})
    same = (dx == 0) & (dy == 0)
    columns = {name: events.context[name] for name in events.context.fields}
    columns["MET"] = np.where(same, missing.pt, changed.pt)
    columns["phi_MET"] = np.where(same, missing.phi, wrap_phi(changed.phi))
    return ak.zip(columns)
