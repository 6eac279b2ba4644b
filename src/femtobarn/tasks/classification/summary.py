"""Words: the result of a comparison in plain sentences, written from its numbers."""

from __future__ import annotations

import math

from femtobarn.evaluation.comparison import TIE
from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.rounding import group_digits, rounded
from femtobarn.report.text import deviations, listing, value_range
from femtobarn.tasks.classification.comparison import Comparison
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.sections import percent


def summary(comparison: Comparison) -> list[str]:
    """Who is best, whether that is significant, and what it is worth: a few sentences for everybody."""
    gain = _rejection(comparison) if comparison.settings.tagging else _luminosity_gain(comparison)
    return [_setup(comparison), *_best(comparison), *gain]


def _setup(comparison: Comparison) -> str:
    rows = comparison.rows
    signal, background = listing(comparison.signal), listing(comparison.backgrounds)
    events = (
        f"{group_digits(len(rows[0].runs[0].scores))} simulated {'jets' if comparison.settings.tagging else 'events'}"
    )
    counts = sorted({len(row.runs) for row in rows})
    times = "once" if counts == [1] else f"{value_range(counts, ' to ')} times with different random seeds"
    models = "One model was" if len(rows) == 1 else f"{len(rows)} models were"
    per_model = "" if len(rows) == 1 else "each "
    return (
        f"{models} trained to tell {signal} from {background}, {per_model}{times}, and evaluated on the same "
        f"{events} that no training had seen."
    )


def _best(comparison: Comparison) -> list[str]:
    best = comparison.best(AUC)
    if best is None:
        return []
    number = best.measurements[AUC]
    value = number.format()
    errors = "statistical error" + (", then spread over seeds" if number.seeds is not None else "")
    if len(comparison.rows) == 1:
        return [
            f"{best.label} reaches an area under the ROC curve of {value} ({errors}; 0.5 is guessing, 1 is perfect)."
        ]
    sentences = [
        f"{best.label} separates them best: its area under the ROC curve is {value} ({errors}; 0.5 is guessing, "
        "1 is perfect)."
    ]
    equals = list(comparison.ties(AUC))
    if equals:
        sentences.append(
            f"{listing(equals)} can't be told from it with these events and trainings "
            f"(less than {TIE:g} standard deviations apart)."
        )
    else:
        rivals = [row for row in comparison.rows if row is not best and row.measurements[AUC].value is not None]
        second = max(rivals, key=lambda row: row.measurements[AUC].value or 0.0, default=None)
        if second is not None:
            apart = deviations(comparison.deviation(best, second, AUC))
            sentences.append(f"Its lead over the next one, {second.label}, is significant ({apart}).")
    if all(len(row.runs) == 1 for row in comparison.rows):
        sentences.append("With one training each, how much a result depends on the seed is not known and not included.")
    return sentences


def _luminosity_gain(comparison: Comparison) -> list[str]:
    sentences = []
    baseline = comparison[comparison.baseline]
    for point in comparison.points if len(comparison.rows) > 1 else ():
        metric = Metric("significance", "plain", at=point)
        best = comparison.best(metric)
        if best is None or baseline.measurements[metric].value is None:
            continue
        at = f"At a signal efficiency of {percent(point)}"
        if best is baseline:
            sentences.append(f"{at}, no model is worth more luminosity than the baseline {baseline.label}.")
            continue
        gain = best.measurements[Metric("gain", "plain", at=point)]
        assert gain.value is not None
        luminosity = comparison.settings.luminosity
        errors = [luminosity * error for error in gain.errors if error is not None]
        needed = rounded(luminosity * gain.value, math.hypot(*errors) if errors else None)
        apart = deviations(comparison.deviation(best, baseline, metric))
        sentences.append(
            f"{at}, {best.label} reaches with {luminosity:g} fb⁻¹ a significance for which the baseline "
            f"{baseline.label} would need {needed} fb⁻¹ (from s/√b; {apart} apart)."
        )
    return sentences


def _rejection(comparison: Comparison) -> list[str]:
    """Out of how many background jets the best model and the baseline take one for signal."""
    sentences = []
    baseline = comparison[comparison.baseline]
    background = listing(comparison.backgrounds)
    for point in comparison.points:
        metric = Metric("rejection", "total", at=point)
        best = comparison.best(metric)
        if best is None:
            continue
        number, other = best.measurements[metric], baseline.measurements[metric]
        at = f"At a signal efficiency of {percent(point)}, {best.label} keeps one {background} jet out of"
        text = f"{at} {number.format()}"
        if best is not baseline and other.value is not None:
            apart = deviations(comparison.deviation(best, baseline, metric))
            text += f", {baseline.label} one out of {other.format()} ({apart} apart)"
        sentences.append(f"{text}.")
    return sentences
