"""Sections of the page on scores, calibration, significance and systematics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from femtobarn.report.content import Block, PageSection, Paragraph
from femtobarn.report.style import FigureEntry
from femtobarn.report.text import listing
from femtobarn.tasks.classification.comparison import Comparison, ModelResult
from femtobarn.tasks.classification.confusion import Confusion, confusion
from femtobarn.tasks.classification.figures.confusion_matrix import draw_confusions
from femtobarn.tasks.classification.figures.distributions import draw_best, draw_others
from femtobarn.tasks.classification.figures.likelihood import draw_fit, draw_significance
from femtobarn.tasks.classification.figures.reliability import calibration_table, calibrations, draw_reliability
from femtobarn.tasks.classification.figures.systematics import draw_systematics, systematics_of, systematics_tables
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.reliability import evaluate_calibration
from femtobarn.tasks.classification.report_tables import fit_table

if TYPE_CHECKING:
    from femtobarn.tasks.classification.page import PageInput


def scores_section(page: PageInput) -> PageSection:
    """Distributions of the scores, and confusion matrices."""
    comparison, items = page.comparison, page.items
    best, signal = comparison.leader, listing(comparison.signal)
    blocks: list[Block] = [
        FigureEntry(
            "scores",
            f"Score of {best.label}",
            f"Scores of {best.label} (seed {best.seeds[0]}) for the test {items}. Right: as many {items} as "
            f"{comparison.settings.luminosity:g} fb⁻¹ would bring, {signal} as a line, not stacked; everything to the "
            "right of a dotted line is kept at that signal efficiency.",
            draw_best(best, comparison, page.process_styles),
        )
    ]
    others = {row.label: row.runs[0].scores for row in comparison.rows if row is not best}
    if others:
        figure = draw_others(others, page.process_styles)
        caption = "Shapes of the score, each process normalised to 1."
        blocks.append(FigureEntry("scores_others", "Scores of the other models", caption, figure))
    rivals = [row for row in comparison.rows if row is not best]
    rivals.sort(key=lambda row: (row.label != comparison.baseline, -(row.measurements[AUC].value or 0.0)))
    matrices = {row.label: _mean_confusion(row, comparison) for row in (best, *rivals[:1])}
    several = len(best.runs[0].scores.probabilities) > 2
    blocks.append(
        FigureEntry(
            "confusion",
            "Confusion matrix",
            f"Each row is a process and sums to 100 %: the classes of its {items} if each is given to its most "
            "probable class, all classes being taken as equally frequent."
            if several
            else "Part of each process that passes the cut at each signal efficiency.",
            draw_confusions(matrices),
        )
    )
    return PageSection("scores", "Scores", blocks)


def _mean_confusion(row: ModelResult, comparison: Comparison) -> Confusion:
    matrices = [confusion(run.scores, comparison.settings.efficiencies) for run in row.runs]
    mean = np.mean([matrix.fractions for matrix in matrices], axis=0)
    return Confusion(matrices[0].processes, matrices[0].categories, mean, matrices[0].exclusive)


def calibration_section(page: PageInput) -> PageSection:
    """Reliability diagram of the best model, and calibration errors of all."""
    comparison = page.comparison
    best, settings = comparison.leader, comparison.settings
    result = evaluate_calibration(best.runs[0].scores, replicas=settings.bootstrap, seed=settings.seed)
    entry = FigureEntry(
        "reliability",
        f"Reliability of the probabilities of {best.label}",
        f"Test events of {best.label} (seed {best.seeds[0]}) in bins of the predicted probability, each with the same "
        "weight of events: on the dotted line the predicted probability equals the observed frequency. For the score, "
        "signal and background are equally frequent; for a class, all classes. The bar is the statistical error.",
        draw_reliability(result, page.process_styles, listing(comparison.signal)),
    )
    table = calibration_table(comparison, calibrations(comparison))
    return PageSection("calibration", "Calibration", [entry, table])


def fit_section(page: PageInput) -> PageSection | None:
    """Significance by counting and by a fit to the score; None for taggers."""
    comparison = page.comparison
    best, settings = comparison.leader, comparison.settings
    table = fit_table(comparison)
    if table is None:
        return None
    blocks: list[Block] = [
        FigureEntry(
            "significance",
            "Significance and working point",
            "Median significance of an experiment that counts events above a cut, against the signal efficiency of the "
            f"cut: with an exactly known background, and with one known to {100 * settings.systematic:g} %. "
            f"{page.band_note}; the curves end where the background is not known to 20 %. Marks: the best cut (of the "
            "first seed), chosen on other test events than it is evaluated on, so that the maximum is not biased by "
            "fluctuations.",
            draw_significance(comparison, comparison.rows, page.curves, page.styles),
        ),
        table,
    ]
    if comparison.fitted and (fit := best.runs[0].fit) is not None:
        blocks.append(
            FigureEntry(
                "fit",
                f"Fit to the score of {best.label}",
                f"Expected events with {settings.luminosity:g} fb⁻¹ in the bins of the fit (seed {best.seeds[0]}), "
                f"backgrounds stacked. Bins are merged until {fit['least']:g} effective simulated background events "
                "are in each. Bottom: signal over the fluctuation of the background.",
                draw_fit(fit, comparison.signal, page.process_styles),
            )
        )
    title = f"Significance by {'fit' if comparison.fitted else 'counting'}"
    return PageSection("fit", title, blocks)


def systematics_section(page: PageInput) -> PageSection | None:
    """Changes of the metrics under up and down variations of the detector; None where none were evaluated."""
    results = systematics_of(page.comparison)
    if not results:
        return None
    text = (
        "The trained models are evaluated again on the test events with one property of the detector changed by one "
        "standard deviation: jet energy scale (jes), efficiency of the b-tag for b-jets (btag), charm and τ jets "
        "(ctag) and light jets (mistag), soft term of the missing momentum (met). Neither model nor cut is changed."
    )
    blocks: list[Block] = [Paragraph(text)]
    if shown := {label: runs for label, runs in results.items() if label in page.styles}:
        blocks.append(
            FigureEntry(
                "shifts",
                "Systematic variations",
                "Change when one source is varied by one standard deviation, up (filled) or down (hollow). The bar is "
                "the statistical error of the difference and, with several trainings, their spread. A model whose "
                "points lie closer to the line depends less on the calibration. Events that a higher jet energy scale "
                "would bring into the selection are not in the sample, so that its points lack background.",
                draw_systematics(shown, page.styles),
            )
        )
    return PageSection("shifts", "Systematic variations", [*blocks, *systematics_tables(results)], link="Systematics")
