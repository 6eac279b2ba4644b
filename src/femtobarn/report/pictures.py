"""Pictures: which figures a comparison gets, and what is said below them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from femtobarn.evaluation import Comparison, Confusion, ModelResult, calibrated, confusion
from femtobarn.evaluation.measurement import AUC
from femtobarn.evaluation.sections import growth_columns
from femtobarn.events import Events
from femtobarn.report import curves, display, distributions, histories, matrix, overview
from femtobarn.report.calibration import draw_reliability
from femtobarn.report.kinds import families
from femtobarn.report.likelihood import draw_fit, draw_significance
from femtobarn.report.looks import draw_looks
from femtobarn.report.safety import draw_safety, safety_of
from femtobarn.report.shifts import draw_shifts, shifts_of
from femtobarn.report.style import MANY, Picture, model_looks, process_looks
from femtobarn.report.words import leader, listing
from femtobarn.report.worth import draw_worth


def pictures(comparison: Comparison, events: Events | None, progress: Callable[[str], None]) -> dict[str, Picture]:
    """The figures of the page by name; the event display needs `events`, the others the runs alone."""
    whole, comparison = comparison, comparison.largest
    rows = comparison.rows
    labels = [row.label for row in rows]
    kinds = families([row.family for row in rows])
    looks = model_looks(labels, kinds)
    processes = process_looks((*comparison.signal, *comparison.backgrounds))
    progress("measuring curves")
    found = {row.label: curves.curve(row, comparison) for row in rows}
    best, baseline = leader(comparison), comparison.baseline
    signal = listing(comparison.signal)
    several, tagging = len(labels) > 1, comparison.settings.tagging
    what = "jets" if tagging else "events"
    bands = f"The band is the statistical error of the test {what}"
    lines = bands if len(labels) <= MANY else "Bands are left out for so many models, but an error there is"
    made: list[Picture] = []

    def add(name: str, title: str, figure: Figure, caption: str) -> None:
        progress(f"drawing {name}")
        made.append(Picture(name, title, caption, figure))

    if several:
        add(
            "overview",
            "All models at a glance",
            overview.draw_overview(comparison, rows, looks),
            f"Further right is better in both panels. The bar is the statistical error of the test {what}, each small "
            f"tick below is one training. The models share the test {what}, so that their differences are known better "
            "than the bars suggest.",
        )
    if (sizes := _sizes(whole)) is not None:
        kinds = families([each[0].family for each in sizes.values()])
        theirs, own = dict(zip(sizes, kinds, strict=True)), model_looks(list(sizes), kinds)
        for place, column in enumerate(growth_columns(whole)):
            add(
                "sizes" if place == 0 else "sizes_rejection",
                "Does more data help?" if place == 0 else "Does more data help to reject background?",
                overview.draw_sizes(sizes, own, theirs, column, what),
                f"A line that still rises on the right says that the model would gain from more training {what}."
                + (" Grey: the models of the other panels." if len(sizes) > MANY else ""),
            )
    add(
        "curves",
        "Efficiency and rejection",
        curves.draw_roc(found, looks, signal),
        f"Left: the part of {signal} kept against the part of the background kept, as the cut on the score moves; "
        f"nearer to the upper left corner is better. Right: out of how many background events one is left. {lines}; "
        "the curves end where it exceeds 50 %.",
    )
    for place, reference in enumerate(_references(comparison) if several else ()):
        add(
            "ratios" if place == 0 else f"ratios_{place + 1}",
            f"Rejection compared with {reference}",
            curves.draw_ratios(found, looks, reference),
            f"Background rejection divided by that of {reference}: 1.2 means a fifth more background rejected at the "
            f"same signal efficiency. {bands}, in which what both models share drops out. Thin dark lines are the "
            "single trainings: their distance shows the spread over seeds.",
        )
    if len(comparison.backgrounds) > 1:
        add(
            "backgrounds",
            "Rejection of each background",
            curves.draw_backgrounds(found, looks, comparison.backgrounds),
            f"The same cut on the score, seen by each background alone. {lines}.",
        )
    add(
        "scores",
        f"Score of {best.label}",
        distributions.draw_best(best, comparison, processes),
        f"Scores of {best.label} (seed {best.seeds[0]}) for the test {what}. Right: as many {what} as "
        f"{comparison.settings.luminosity:g} fb⁻¹ would bring, {signal} as a line, not stacked; everything to the "
        "right of a dotted line is kept at that signal efficiency.",
    )
    others = {row.label: row.runs[0].scores for row in rows if row is not best}
    if others:
        add(
            "scores_others",
            "Scores of the other models",
            distributions.draw_others(others, processes),
            "Shapes of the score, each process normalised to 1.",
        )
    rivals = [row for row in rows if row is not best]
    rivals.sort(key=lambda row: (row.label != baseline, -(row.measurements[AUC].value or 0.0)))
    matrices = [best, *rivals[:1]]
    add(
        "confusion",
        "What is taken for what",
        matrix.draw_confusions({row.label: _mean_confusion(row, comparison) for row in matrices}),
        f"Each row is a process and sums to 100 %: where its {what} end up if every one is given to its most "
        "probable class, all classes being taken as equally frequent."
        if len(best.runs[0].scores.probabilities) > 2
        else "Part of each process that passes the cut at each signal efficiency.",
    )  # fmt: skip
    settings = comparison.settings
    add(
        "reliability",
        f"Do the probabilities of {best.label} come true?",
        draw_reliability(
            calibrated(best.runs[0].scores, replicas=settings.bootstrap, seed=settings.seed), processes, signal
        ),
        f"Test events of {best.label} (seed {best.seeds[0]}) in bins of the probability it states, each with the same "
        "weight of events: on the dotted line the model is right about itself. For the score, signal and background "
        "are equally frequent; for a class, all classes. The bar is the statistical error.",
    )
    if not tagging:
        add(
            "significance",
            "Significance and working point",
            draw_significance(comparison, rows, found, looks),
            "Median significance with which an experiment that counts events above a cut would find the signal, "
            "against the signal efficiency of the cut: with an exactly known background, and with one known to "
            f"{100 * settings.systematic:g} %. {lines}; the curves end where the background is not known to 20 %. "
            "Marks: the best cut (of the first seed), chosen on other test events than it is judged on, which takes "
            "away what a maximum owes to chance.",
        )
    if comparison.fitted and (fit := best.runs[0].fit) is not None:
        add(
            "fit",
            f"What the fit to the score of {best.label} sees",
            draw_fit(fit, comparison.signal, processes),
            f"Expected events with {settings.luminosity:g} fb⁻¹ in the bins of the fit (seed {best.seeds[0]}), "
            f"backgrounds stacked. Bins are merged until {fit['least']:g} effective simulated background events are in "
            "each. Bottom: signal over the fluctuation of the background.",
        )
    if shifted := {label: runs for label, runs in shifts_of(comparison).items() if label in looks}:
        add(
            "shifts",
            "A detector that is off",
            draw_shifts(shifted, looks),
            "Change when one source is shifted by one standard deviation, up (filled) or down (hollow). The bar is the "
            "statistical error of the difference and, with several trainings, their spread. A model whose points lie "
            "closer to the line depends less on the calibration. Events that a higher jet energy scale would bring "
            "into the selection are not in the sample, so that its points lack background.",
        )
    if safe := safety_of(comparison):
        add(
            "safety",
            "Infrared and collinear safety",
            draw_safety(safe, looks),
            "How far the log-odds of held-out jets move when a particle is added or split, in units of their spread: "
            "nine jets in ten move less. The emission gets softer or narrower to the right: what is safe falls without "
            "end there, down to the rounding of float32. A particle softer than all that fill a network's slots is not "
            "seen at all.",
        )
    if (worth := draw_worth(comparison, rows, looks)) is not None:
        quality = "Background rejection" if tagging else "Area under the ROC curve"
        add(
            "worth",
            "Quality against cost",
            worth,
            f"{quality} against the floating-point operations of one of the {what} (linear layers, convolutions and "
            f"attention, mean over test {what}) and against the {what} scored in a second by the device of the "
            "training; models without products of matrices, as trees, are in the second panel alone. Up and to the "
            "left is better in the first, up and to the right in the second. The bar is the statistical error.",
        )
    add(
        "histories",
        "Training",
        histories.draw_histories(rows, looks),
        "Losses while training, one pair of lines a seed. The validation loss decides which epoch is kept (dot). A "
        "validation loss that rises while the training loss falls is overtraining. During training, dropout makes "
        "the training loss of a network worse than it is.",
    )
    if events is not None:
        add(
            "events",
            "Three events",
            display.draw_events(best.runs[0].scores, events),
            f"Chosen by the score of {best.label}. Top: the detector unrolled, the area of a mark grows with "
            "transverse momentum. Bottom: the same event seen along the beam. Dashed: missing transverse momentum.",
        )
    progress("drawing what the models look at")
    return {picture.name: picture for picture in (*made, *draw_looks(comparison, rows))}


def _references(comparison: Comparison) -> list[str]:
    """The models that ratios are drawn against: the baseline, then the trees and ParticleNet without pairwise features.

    Those two are the references of arXiv:2211.05143.
    """
    plain = {
        row.family: row.label
        for row in reversed(comparison.rows)
        if not (row.runs[0].config.get("inputs") or {}).get("interactions")
    }
    found = [plain[family] for family in ("bdt", "particlenet") if family in plain]
    known = [row.label for row in comparison.rows]
    return [label for label in dict.fromkeys((comparison.baseline, *found)) if label in known]


def _sizes(comparison: Comparison) -> dict[str, list[ModelResult]] | None:
    if len(comparison.sizes) == 1:
        return None
    found: dict[str, list[ModelResult]] = {}
    for row in comparison.rows:
        found.setdefault(row.model, []).append(row)
    return found


def _mean_confusion(row: ModelResult, comparison: Comparison) -> Confusion:
    found = [confusion(run.scores, comparison.settings.efficiencies) for run in row.runs]
    mean = np.mean([each.fractions for each in found], axis=0)
    return Confusion(found[0].processes, found[0].categories, mean, found[0].exclusive)
