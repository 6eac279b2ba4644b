"""Page of a comparison of classifiers: its sections and what they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.tables import Column, growth_tables, legend, section_table
from femtobarn.events import Events
from femtobarn.report.content import Block, PageContent, PageSection, Paragraph, shared_terms
from femtobarn.report.model_families import families
from femtobarn.report.model_points import draw_sizes
from femtobarn.report.style import MANY, FigureEntry, PlotStyle, model_styles, process_styles
from femtobarn.report.text import listing
from femtobarn.report.training_section import training_section
from femtobarn.tasks.classification.comparison import Comparison, ModelResult
from femtobarn.tasks.classification.figures.attributions import draw_attributions
from femtobarn.tasks.classification.figures.curves import Curve, curve, draw_backgrounds, draw_ratios, draw_roc
from femtobarn.tasks.classification.figures.event_display import draw_events
from femtobarn.tasks.classification.figures.irc_safety import draw_irc_safety, irc_safety_of
from femtobarn.tasks.classification.figures.overview import draw_overview
from femtobarn.tasks.classification.metrics import AUC
from femtobarn.tasks.classification.page_details import (
    calibration_section,
    fit_section,
    scores_section,
    systematics_section,
)
from femtobarn.tasks.classification.published import published_table
from femtobarn.tasks.classification.report_tables import background_tables, processes
from femtobarn.tasks.classification.sections import growth_columns, main_sections, percent
from femtobarn.tasks.classification.summary import summary
from femtobarn.tasks.classification.tables import PAIRED_NOTE, pair_tables
from femtobarn.tasks.classification.terms import classification_terms


@dataclass(frozen=True, eq=False)
class PageInput:
    """What the sections are made from.

    Args:
        everything: the models with all sizes of the training set.
        comparison: the models with the largest training set.
        events: the test events, for event displays; None without.
        styles: by label of the model.
        process_styles: by process.
        curves: by label of the model.
    """

    everything: Comparison
    comparison: Comparison
    events: Events | None
    styles: Mapping[str, PlotStyle]
    process_styles: Mapping[str, PlotStyle]
    curves: Mapping[str, Curve]

    @property
    def items(self) -> str:
        """`jets` or `events`."""
        return "jets" if self.comparison.settings.tagging else "events"

    @property
    def band_note(self) -> str:
        """Meaning of the bands around curves."""
        band = f"The band is the statistical error of the test {self.items}"
        return band if len(self.comparison.rows) <= MANY else "Bands are left out for so many models, but errors exist"


def page_content(comparison: Comparison, events: Events | None, progress: Callable[[str], None]) -> PageContent:
    """Title, summary and sections of the page.

    Args:
        comparison: the models.
        events: the test events, for event displays; None draws none.
        progress: called with each step as it begins.
    """
    largest = comparison.largest
    labels = [row.label for row in largest.rows]
    progress("measuring curves")
    page = PageInput(
        everything=comparison,
        comparison=largest,
        events=events,
        styles=model_styles(labels, families([row.family for row in largest.rows])),
        process_styles=process_styles((*largest.signal, *largest.backgrounds)),
        curves={row.label: curve(row, largest) for row in largest.rows},
    )
    sections: list[PageSection] = []
    for name, section in _SECTIONS.items():
        progress(f"drawing {name}")
        drawn = section(page)
        if drawn is not None and drawn.blocks:
            sections.append(drawn)
    return PageContent(
        title=f"{listing(largest.signal)} against {listing(largest.backgrounds)}",
        summary=summary(largest),
        sections=sections,
        terms=[*classification_terms(largest), *shared_terms(largest.settings.bootstrap)],
    )


def _result(page: PageInput) -> PageSection:
    comparison = page.comparison
    blocks: list[Block] = []
    if len(comparison.rows) > 1:
        caption = (
            f"Further right is better in both panels. The bar is the statistical error of the test {page.items}, each "
            f"small tick below is one training. The models share the test {page.items}, so that their differences are "
            "known better than the bars suggest."
        )
        figure = draw_overview(comparison, page.styles)
        blocks.append(FigureEntry("overview", "All models at a glance", caption, figure))
    blocks.append(Paragraph(f"In the tables: {legend(comparison, best='bold')}.", note=True))
    blocks += [section_table(comparison, section) for section in main_sections(comparison)]
    blocks += published_table(comparison)
    note = "The other tables are those of the largest training set. Marks hold for a column: models of equal size."
    sizes = growth_tables(page.everything, growth_columns(page.everything))
    blocks += [replace(table, note=note) for table in sizes]
    blocks += _sizes(page)
    paired = pair_tables(comparison)
    blocks += paired
    if paired:
        blocks.append(Paragraph(f"{PAIRED_NOTE}.", note=True))
    return PageSection("result", "Result", blocks)


def _sizes(page: PageInput) -> list[FigureEntry]:
    """Metrics against the size of the training set."""
    if len(page.everything.sizes) == 1:
        return []
    by_model: dict[str, list[ModelResult]] = {}
    for row in page.everything.rows:
        by_model.setdefault(row.model, []).append(row)
    names = families([rows[0].family for rows in by_model.values()])
    styles = model_styles(list(by_model), names)
    model_families = dict(zip(by_model, names, strict=True))
    entries = []
    for column in growth_columns(page.everything):
        is_auc = column.metric == AUC
        caption = f"A line that still rises on the right: the model would gain from more training {page.items}."
        entries.append(
            FigureEntry(
                "sizes" if is_auc else "sizes_rejection",
                "Does more data help?" if is_auc else "Does more data help to reject background?",
                caption + (" Grey: the models of the other panels." if len(by_model) > MANY else ""),
                draw_sizes(by_model, styles, model_families, column, page.items),
            )
        )
    return entries


def _curves(page: PageInput) -> PageSection:
    signal = listing(page.comparison.signal)
    blocks: list[Block] = [
        FigureEntry(
            "curves",
            "Efficiency and rejection",
            f"Left: the part of {signal} kept against the part of the background kept, as the cut on the score moves; "
            f"nearer to the upper left corner is better. Right: out of how many background events one is left. "
            f"{page.band_note}; the curves end where it exceeds 50 %.",
            draw_roc(page.curves, page.styles, signal),
        )
    ]
    for place, reference in enumerate(_references(page.comparison) if len(page.comparison.rows) > 1 else ()):
        blocks.append(
            FigureEntry(
                "ratios" if place == 0 else f"ratios_{place + 1}",
                f"Rejection compared with {reference}",
                f"Background rejection divided by the rejection of {reference}: 1.2 means a fifth more background "
                f"rejected at the same signal efficiency. The band is the statistical error of the test {page.items}, "
                "in which what both models share drops out. Thin dark lines are the single trainings: their distance "
                "shows the spread over seeds.",
                draw_ratios(page.curves, page.styles, reference),
            )
        )
    return PageSection("curves", "Curves", blocks)


def _references(comparison: Comparison) -> list[str]:
    """The models that ratios are drawn against: the baseline, then the trees and ParticleNet without pairwise features.

    The last two are the references of arXiv:2211.05143.
    """
    plain = {
        row.family: row.label
        for row in reversed(comparison.rows)
        if not (row.runs[0].config.get("inputs") or {}).get("interactions")
    }
    references = [plain[family] for family in ("bdt", "particlenet") if family in plain]
    labels = [row.label for row in comparison.rows]
    return [label for label in dict.fromkeys((comparison.baseline, *references)) if label in labels]


def _backgrounds(page: PageInput) -> PageSection:
    comparison = page.comparison
    blocks: list[Block] = [*background_tables(comparison)]
    if len(comparison.backgrounds) > 1:
        blocks.append(
            FigureEntry(
                "backgrounds",
                "Rejection of each background",
                f"The same cut on the score, for each background alone. {page.band_note}.",
                draw_backgrounds(page.curves, page.styles, comparison.backgrounds),
            )
        )
    blocks.append(processes(comparison))
    return PageSection("backgrounds", "Each background on its own", blocks, link="Backgrounds")


def _safety(page: PageInput) -> PageSection | None:
    measured = irc_safety_of(page.comparison)
    if not measured:
        return None
    caption = (
        "How far the log-odds of held-out jets move when a particle is added or split, in units of their spread: "
        "nine jets in ten move less. The emission gets softer or narrower to the right: what is safe falls without "
        "end there, down to the rounding of float32. A particle softer than all that fill a network's slots has no "
        "effect at all."
    )
    entry = FigureEntry("safety", "Infrared and collinear safety", caption, draw_irc_safety(measured, page.styles))
    return PageSection("safety", "Soft and collinear emissions", [entry], link="IRC safety")


def _training(page: PageInput) -> PageSection:
    comparison = page.comparison
    if not comparison.settings.tagging:
        column = Column(AUC, "area under the ROC curve (AUC)")
        return training_section(comparison, page.styles, column, "event", quality="Area under the ROC curve")
    point = comparison.points[-1]
    column = Column(Metric("rejection", "total", at=point), f"background rejection 1/ε_B at ε_S = {percent(point)}")
    return training_section(comparison, page.styles, column, "jet", quality="Background rejection", log=True)


def _attributions(page: PageInput) -> PageSection:
    entries = draw_attributions(page.comparison, page.comparison.rows)
    return PageSection("looks", "Attributions: what the scores depend on", entries, link="Attributions")


def _events(page: PageInput) -> PageSection | None:
    if page.events is None:
        return None
    best = page.comparison.leader
    entry = FigureEntry(
        "events",
        "Three events",
        f"Chosen by the score of {best.label}. Top: the detector unrolled, the area of a mark grows with "
        "transverse momentum. Bottom: the same event seen along the beam. Dashed: missing transverse momentum.",
        draw_events(best.runs[0].scores, page.events),
    )
    return PageSection("events", "Events", [entry])


#: Sections in order; a section without content is left out.
_SECTIONS: Mapping[str, Callable[[PageInput], PageSection | None]] = {
    "result": _result,
    "curves": _curves,
    "backgrounds": _backgrounds,
    "scores": scores_section,
    "calibration": calibration_section,
    "significance": fit_section,
    "systematics": systematics_section,
    "IRC safety": _safety,
    "training": _training,
    "attributions": _attributions,
    "events": _events,
}
