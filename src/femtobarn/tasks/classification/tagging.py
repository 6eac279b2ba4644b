"""Tagging: the numbers by which taggers of jets are compared, beside area and background efficiency.

Accuracy and rejections as in the comparison of top taggers (arXiv:1902.09914); with a class for each process, the mean
area over pairs of classes and the rejections of single classes as in JetClass (arXiv:2202.03772).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from femtobarn.evaluation.bootstrap import draw_replicas
from femtobarn.evaluation.measurement import Metric
from femtobarn.tasks.classification.efficiency_curves import efficiency_curves
from femtobarn.tasks.classification.scores import Scores
from femtobarn.tasks.classification.settings import ClassificationEvaluationConfig

Vector = NDArray[np.float64]

#: Signal efficiency at which the rejection of a class is quoted, where the settings do not say: JetClass's own.
JETCLASS = {"Hqql": 0.99, "Tbl": 0.995}
USUAL = 0.5

#: Background efficiencies, and the name of the metric that is their inverse.
INVERSE = {"background_efficiency": "rejection", "class_efficiency": "class_rejection"}

#: No event left of n: a background efficiency below LIMIT / n at 95 % confidence.
LIMIT = -float(np.log(0.05))


def several_classes(scores: Scores) -> bool:
    """True where the model has said the probability of each process, of three or more."""
    return len(scores.probabilities) > 2


def working_point(name: str, settings: ClassificationEvaluationConfig) -> float:
    """Signal efficiency at which the rejection of a class is quoted."""
    return settings.class_efficiencies.get(name, JETCLASS.get(name, USUAL))


def tagging_metrics(scores: Scores, settings: ClassificationEvaluationConfig) -> dict[Metric, Vector]:
    """Numbers of a tagger as vectors: the sample itself, then its replicas.

    Returns:
        ("accuracy", "total"); with a class for each process also ("pair_auc", "mean") and, for each signal process and
        each background, ("class_efficiency", signal, background).
    """
    metrics: dict[Metric, Vector] = {Metric("accuracy", "total"): accuracy(scores, settings)}
    if several_classes(scores):
        metrics[Metric("pair_auc", "mean")] = pair_area(scores, settings)
        for name in scores.signal:
            for background in scores.backgrounds:
                metrics[Metric("class_efficiency", background, at=name)] = class_efficiency(
                    scores, name, background, settings
                )
    return metrics


def accuracy(scores: Scores, settings: ClassificationEvaluationConfig) -> Vector:
    """The part of the jets that are given their true class, if all classes were equally frequent.

    With a class for each process that is the most probable one; else signal is what has a score of 0.5 or more. The
    public data sets of top and quark jets and of JetClass hold classes of equal size, so that it is their accuracy.
    """
    if several_classes(scores):
        names = [name for name in scores.processes if name in scores.probabilities]
        chosen = np.argmax(np.stack([scores.probabilities[name] for name in names]), axis=0)
        classes = [scores.process == name for name in names]
        right = [chosen == place for place in range(len(names))]
    else:
        classes = [scores.is_signal, ~scores.is_signal]
        right = [scores.score >= 0.5, scores.score < 0.5]
    columns = np.stack(
        [*(truth & predicted for truth, predicted in zip(classes, right, strict=True)), *classes],
        axis=1,
        dtype=np.float64,
    )
    sums = np.concatenate([weights @ columns for weights in draw_replicas(scores, settings.bootstrap, settings.seed)])
    hits, all_of_them = np.split(sums, 2, axis=1)
    return np.asarray((hits / all_of_them).mean(axis=1))


def pair_area(scores: Scores, settings: ClassificationEvaluationConfig) -> Vector:
    r"""Area under the ROC curve, the mean over all ordered pairs of classes (one against one, `macro`).

    .. math:: \frac{1}{C (C - 1)} \sum_{j \neq k} A(j|k)

    where A(j|k) is the area for class j against class k with the probability of j as the score.

    Source: Hand and Till, doi:10.1023/A:1010920819831; it is the AUC of arXiv:2202.03772.
    """
    areas = []
    for name in scores.processes:
        pair_scores = _one_against_rest(scores, name, scores.probabilities[name])
        area = efficiency_curves(pair_scores, [USUAL], replicas=settings.bootstrap, seed=settings.seed).auc
        areas += [area[other] for other in pair_scores.backgrounds]
    return np.asarray(np.mean(areas, axis=0))


def class_efficiency(scores: Scores, name: str, background: str, settings: ClassificationEvaluationConfig) -> Vector:
    r"""Efficiency for one background at the working point of one signal class, by the best test of the two.

    The test is :math:`P_X / (P_X + P_B)`, here as :math:`\ln P_X - \ln P_B`, which orders jets alike and does not round
    to 1 for the surest ones.

    Source: Qu, Li and Qian, arXiv:2202.03772, table 1, where B is QCD.
    """
    tiny = np.finfo(np.float32).tiny
    wanted, other = (np.log(np.maximum(scores.probabilities[process], tiny)) for process in (name, background))
    chosen = np.isin(scores.process, [name, background])
    pair = _one_against_rest(scores, name, wanted - other, chosen)
    measured = efficiency_curves(pair, [working_point(name, settings)], replicas=settings.bootstrap, seed=settings.seed)
    return measured.background[background][:, 0]


def rejection(passing: Vector) -> Vector:
    r"""Background rejection :math:`1/\epsilon_B` of the sample, and of its replicas to first order.

    A replica of a handful of background events may lose nearly all of them, and its own inverse has no finite variance.
    To first order, :math:`1/\epsilon_B \, (2 - \epsilon_B'/\epsilon_B)`, the error is
    :math:`\sigma(\epsilon_B)/\epsilon_B^2` and differences between models keep their pairing.

    Args:
        passing: background efficiency of the sample, then of its replicas.

    Returns:
        Not-a-number where no background passes; see `limit`.
    """
    if not passing[0] > 0:
        return np.full_like(passing, np.nan)
    return np.asarray((2 - passing / passing[0]) / passing[0])


def limit(least: float) -> float:
    """The rejection that is exceeded at 95 % confidence where no background event passes.

    Args:
        least: background efficiency that a single event would add.
    """
    return 1 / (LIMIT * least)


def inverses(numbers: Mapping[Metric, Vector]) -> dict[Metric, Vector]:
    """The rejections to all background efficiencies among some numbers, under the names of `INVERSE`."""
    return {
        replace(metric, name=INVERSE[metric.name]): rejection(values)
        for metric, values in numbers.items()
        if metric.name in INVERSE
    }


def _one_against_rest(
    scores: Scores, name: str, score: NDArray[np.float32], chosen: NDArray[np.bool_] | slice = slice(None)
) -> Scores:
    """Some of the events with one class as the signal and another score."""
    columns = {column: getattr(scores, column)[chosen] for column in ("process", "number", "hard", "weight")}
    return Scores(**columns, score=score[chosen].astype(np.float32), signal=(name,), luminosity=scores.luminosity)
