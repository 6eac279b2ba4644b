"""Likelihood: the score as a histogram, and what a profile-likelihood fit to it is expected to find.

The fits are done by pyhf (Heinrich, Feickert, Stark and Cranmer, doi:10.21105/joss.02823) on the probability model of
HistFactory (CERN-OPEN-2012-016); the workspace can be fitted, combined and changed by every tool that reads its format.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import draw_replicas, effective, hard_events
from femtobarn.tasks.classification.optimal_cut import MIN_BACKGROUND
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.significance import asimov

#: Bins before any are merged: each holds a twelfth of signal and background, both taken as equally large.
BINS = 12

#: By systematic, then process: its yields in each bin with the systematic one standard deviation up, and down.
Variations = Mapping[str, Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Expected events in bins of the score.

    Args:
        edges: of the bins, shape (bins + 1,).
        yields: expected events of each process for the sample and its replicas, shape (1 + replicas, bins).
        errors: statistical error of each process's yields, shape (bins,).
        effective: background events of equal weight behind each bin, copies of a hard event counted once.
        signal: names of the signal processes.
    """

    edges: NDArray[np.float64]
    yields: Mapping[str, NDArray[np.float64]]
    errors: Mapping[str, NDArray[np.float64]]
    effective: NDArray[np.float64]
    signal: tuple[str, ...]

    def total(self, *, signal: bool) -> NDArray[np.float64]:
        """All signal, or all background, in each bin."""
        chosen = [values for name, values in self.yields.items() if (name in self.signal) is signal]
        return np.asarray(np.sum(chosen, axis=0), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Fit:
    """What a fit is expected to find, from Asimov data: each bin holds exactly what is expected.

    Args:
        discovery: median significance of the signal, for the sample and its replicas.
        limit: median upper limit at 95 % confidence on the signal strength if there is no signal, likewise.
        band: that limit if the background fluctuates by -2, -1, 0, 1 and 2 standard deviations.
    """

    discovery: NDArray[np.float64]
    limit: NDArray[np.float64]
    band: tuple[float, ...]


def histogram(scores: Scores, *, least: float = MIN_BACKGROUND, replicas: int = 0, seed: int = 0) -> Histogram:
    """The score in bins that all have enough background events to be believed.

    Bins begin as twelfths of the mixture of signal and background in equal parts, so that edges follow where events are
    and not how they fluctuate. From the most signal-like end down, a bin is merged with the next one until its
    background has `least` effective events and a positive sum; what is left at the lower end joins the last bin.

    Args:
        scores: the held-out events.
        least: fewest effective background events in a bin, (Σw)²/Σw² over hard events.
        replicas: of the test events, for statistical errors; see `draw_replicas`.
        seed: of the replicas.

    Raises:
        ValueError: all background together has fewer effective events.
    """
    return fill(scores, _edges(scores, least), replicas=replicas, seed=seed)


def fill(scores: Scores, edges: NDArray[np.float64], *, replicas: int = 0, seed: int = 0) -> Histogram:
    """The score in given bins, as for a systematic variation; see `histogram`."""
    group = hard_events(scores)
    where = np.searchsorted(edges[1:-1], scores.score, side="right")
    inside = where[:, None] == np.arange(len(edges) - 1)
    blocks = list(draw_replicas(scores, replicas, seed))
    yields: dict[str, NDArray[np.float64]] = {}
    errors: dict[str, NDArray[np.float64]] = {}
    for name in scores.processes:
        in_process = scores.process == name
        yields[name] = np.concatenate([weights[:, in_process] @ inside[in_process] for weights in blocks])
        _, own = np.unique(group[in_process], return_inverse=True)
        sums = np.zeros((own.max() + 1, inside.shape[1]))
        np.add.at(sums, (own, where[in_process]), scores.weight[in_process])
        errors[name] = np.sqrt((sums**2).sum(axis=0))
    background = ~scores.is_signal
    behind = [effective(scores.weight[in_bin & background], group[in_bin & background]) for in_bin in inside.T]
    return Histogram(edges, yields, errors, np.array(behind), scores.signal)


def workspace(
    filled: Histogram, systematic: float, *, variations: Variations | None = None, replica: int = 0
) -> dict[str, Any]:
    """The fit to a histogram in the JSON format of HistFactory: one channel, a sample for each process.

    The signal strength `mu` scales all signal processes. Every background has a normalisation of its own, log-normal
    with the relative uncertainty `systematic`; the statistical error of all backgrounds together moves each bin alone
    (Barlow and Beeston, doi:10.1016/0010-4655(93)90005-W, in the form with one parameter a bin). Observations are
    Asimov data, signal included.

    Args:
        filled: the histogram.
        systematic: relative uncertainty of each background's yield; 0 for none.
        variations: further systematics that change the shape.
        replica: which row of the yields; 0 is the sample itself.
    """
    samples = []
    for name, values in filled.yields.items():
        # generators with negative weights can leave a process with less than nothing in a bin
        nominal = np.maximum(values[replica], 0.0)
        modifiers: list[dict[str, Any]] = []
        if name in filled.signal:
            modifiers.append({"name": "mu", "type": "normfactor", "data": None})
        else:
            if systematic > 0:
                size = {"hi": 1 + systematic, "lo": 1 / (1 + systematic)}
                modifiers.append({"name": f"norm_{name}", "type": "normsys", "data": size})
            if filled.errors[name].any():
                modifiers.append({"name": "stat_score", "type": "staterror", "data": filled.errors[name].tolist()})
        for label, varied in (variations or {}).items():
            if name in varied:
                up, down = varied[name]
                shape = {"hi_data": up.tolist(), "lo_data": down.tolist()}
                modifiers.append({"name": label, "type": "histosys", "data": shape})
        samples.append({"name": name, "data": nominal.tolist(), "modifiers": modifiers})
    data = np.sum([sample["data"] for sample in samples], axis=0)
    mu = {"name": "mu", "inits": [1.0], "bounds": [[0.0, _largest(filled, systematic)]]}
    return {
        "channels": [{"name": "score", "samples": samples}],
        "observations": [{"name": "score", "data": data.tolist()}],
        "measurements": [{"name": "femtobarn", "config": {"poi": "mu", "parameters": [mu]}}],
        "version": "1.0.0",
    }


def fit(filled: Histogram, systematic: float, *, variations: Variations | None = None) -> Fit:
    r"""Expected discovery significance and upper limit from the binned profile likelihood.

    On Asimov data the best fit is known beforehand, so that a significance takes one fit, with μ = 0 on data with
    signal: :math:`Z = \sqrt{q_0}`. The limits are the μ at which data without signal give, for fluctuations of N
    standard deviations,

    .. math:: \sqrt{\tilde q_\mu} = N + \Phi^{-1}[1 - 0.05\,\Phi(N)]

    which is a CLs of 5 % in the asymptotic approximation.

    Args:
        filled: the histogram; every replica in it is fitted too. For the limit a replica takes one fit, at the μ of the
            sample, from which :math:`\sqrt{\tilde q_\mu}` is taken to be proportional to μ.
        systematic: relative uncertainty of each background's yield.
        variations: see `workspace`.

    Raises:
        RuntimeError: pyhf is not installed, or a fit does not converge.

    Source: Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727, eqs. 12, 16 and 89.
    """
    nominal = _Model(workspace(filled, systematic, variations=variations))
    targets = [order + NormalDist().inv_cdf(1 - 0.05 * NormalDist().cdf(order)) for order in (-2, -1, 0, 1, 2)]
    band: list[float] = []
    for last, target in zip([None, *targets], targets, strict=False):
        band.append(nominal.solve(target, band[-1] * target / last if last else 1.0))
    median = band[2]
    discovery, limit = [nominal.discovery()], [median]
    for replica in range(1, len(next(iter(filled.yields.values())))):
        model = _Model(workspace(filled, systematic, variations=variations, replica=replica))
        discovery.append(model.discovery())
        limit.append(median * targets[2] / model.exclusion(median))
    return Fit(np.array(discovery), np.array(limit), tuple(band))


class _Model:
    """A workspace ready to be fitted to Asimov data of its own."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        with _ignore_deprecations():
            self.pyhf = import_pyhf()
            self.model = self.pyhf.Workspace(spec).model()
        config = self.model.config
        self.poi = config.poi_index
        self.nominal = list(config.suggested_init())
        self.free = sum(not fixed for fixed in config.suggested_fixed()) > 1

    def discovery(self) -> float:
        """Significance of a signal of strength 1."""
        return self._root(truth=1.0, tested=0.0)

    def exclusion(self, strength: float) -> float:
        """Root of the test statistic of a signal strength if there is no signal."""
        return self._root(truth=0.0, tested=strength)

    def solve(self, target: float, guess: float) -> float:
        """The signal strength at which `exclusion` reaches the target: secants, as it is nearly a straight line."""
        highest = float(self.model.config.suggested_bounds()[self.poi][1])
        before, root_before, strength = 0.0, 0.0, min(guess, highest)
        for _ in range(20):
            root = self.exclusion(strength)
            if abs(root / target - 1) < 5e-4:
                break
            slope = (root - root_before) / (strength - before)
            before, root_before = strength, root
            strength = min(strength + (target - root) / slope if slope > 0 else 2 * strength, highest)
            if not strength > 0 or strength == before:
                break
        return strength

    def _root(self, truth: float, tested: float) -> float:
        with _ignore_deprecations():
            data = self.model.expected_data(self._parameters(truth))
            best = -2 * float(self.model.logpdf(self._parameters(truth), data)[0])
            return math.sqrt(max(self._profile(tested, data) - best, 0.0))

    def _profile(self, strength: float, data: Any) -> float:
        start = self._parameters(strength)
        if not self.free:
            return -2 * float(self.model.logpdf(start, data)[0])
        mle = self.pyhf.infer.mle
        keywords = {"init_pars": start, "return_fitted_val": True}
        try:
            return float(mle.fixed_poi_fit(strength, data, self.model, **keywords)[1])
        except self.pyhf.exceptions.FailedMinimization:
            backend, optimizer = self.pyhf.get_backend()
            self.pyhf.set_backend(backend, "minuit")
            try:
                return float(mle.fixed_poi_fit(strength, data, self.model, **keywords)[1])
            except self.pyhf.exceptions.FailedMinimization as error:
                raise RuntimeError(f"the fit with mu = {strength:g} does not converge: {error}") from error
            finally:
                self.pyhf.set_backend(backend, optimizer)

    def _parameters(self, strength: float) -> list[float]:
        return [strength if index == self.poi else value for index, value in enumerate(self.nominal)]


def import_pyhf() -> Any:
    """The package pyhf.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        import iminuit  # noqa: F401, the second optimiser
        import pyhf
    except ImportError as error:
        raise RuntimeError(
            f"fits need {error.name}, which is not installed: pip install 'femtobarn[stat]' brings it"
        ) from error
    return pyhf


@contextmanager
def _ignore_deprecations() -> Iterator[None]:
    """Without the warnings of pyhf about a function of jsonschema that it still uses (pyhf 0.7.6)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def _largest(filled: Histogram, systematic: float) -> float:
    """An upper bound of mu far above any limit: ten counting experiments' worth, and never below 10."""
    s, b = filled.total(signal=True)[0], filled.total(signal=False)[0]
    combined = math.sqrt(float((asimov(np.maximum(s, 0), b, systematic) ** 2).sum()))
    return max(10.0, float(math.ceil(30 / combined))) if combined > 0 else 1e6


def _edges(scores: Scores, least: float) -> NDArray[np.float64]:
    """Edges of the bins from 0 to 1; an event on an edge is in the upper bin."""
    group, background = hard_events(scores), ~scores.is_signal
    behind = effective(scores.weight[background], group[background])
    if behind < least:
        raise ValueError(f"the test events hold {behind:.3g} effective background events, fewer than {least:g} in all")
    share = np.abs(scores.weight)
    for side in (scores.is_signal, background):
        share[side] /= share[side].sum()
    order = np.argsort(scores.score, kind="stable")
    below = np.cumsum(share[order])
    places = np.searchsorted(below, below[-1] * np.arange(1, BINS) / BINS)
    proposed = np.unique(scores.score[order][places].astype(np.float64))[::-1]
    kept: list[float] = []
    for edge in proposed:
        bin_ = background & (scores.score >= edge) & (scores.score < (kept[-1] if kept else np.inf))
        rest = background & (scores.score < edge)
        both = all(
            effective(scores.weight[region], group[region]) >= least and scores.weight[region].sum() > 0
            for region in (bin_, rest)
        )
        if both:
            kept.append(float(edge))
    return np.array([0.0, *kept[::-1], 1.0])
