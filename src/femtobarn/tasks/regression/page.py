"""Page of a comparison of regressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from markupsafe import Markup

from femtobarn.evaluation.measurement import Metric
from femtobarn.evaluation.tables import Column, growth_tables, legend, section_table
from femtobarn.events import Events
from femtobarn.report.content import Block, PageContent, PageSection, Paragraph, shared_terms
from femtobarn.report.model_families import families
from femtobarn.report.style import FigureEntry, PlotStyle, model_styles
from femtobarn.report.text import listing
from femtobarn.report.training_section import training_section
from femtobarn.tasks.regression.comparison import (
    HEADINGS,
    AnyComparison,
    bin_sections,
    growth_columns,
    main_sections,
    process_sections,
    summary,
    targets_of,
    variables_of,
)
from femtobarn.tasks.regression.figures import draw_bins, draw_errors, draw_overview, draw_scatter
from femtobarn.tasks.regression.metrics import METRICS


def page_content(comparison: AnyComparison, events: Events | None, progress: Callable[[str], None]) -> PageContent:
    """Title, summary and sections of the page.

    Args:
        comparison: the models.
        events: not shown.
        progress: called with each step as it begins.
    """
    largest = comparison.largest
    styles = model_styles([row.label for row in largest.rows], families([row.family for row in largest.rows]))
    targets = targets_of(largest)
    progress("drawing result")
    result = _result(comparison, styles)
    progress("drawing errors")
    errors = _errors(largest, styles)
    progress("drawing bins")
    bins = _bins(largest, styles)
    column = Column(Metric("resolution", targets[0]), f"resolution (68 %) of {targets[0]}")
    progress("drawing training")
    return PageContent(
        title=f"Regression of {listing(targets)}",
        summary=summary(largest),
        sections=[
            PageSection("result", "Result", result),
            PageSection("errors", "Errors", errors),
            PageSection("bins", "Bias and resolution in bins", bins, link="Bins"),
            training_section(largest, styles, column, "event", quality="Resolution"),
        ],
        terms=[
            (Markup("r"), Markup("Relative error of an event: (predicted - true) / |true|.")),
            *((Markup.escape(HEADINGS[name]), Markup.escape(f"{meaning}.")) for name, meaning in METRICS.items()),
            *shared_terms(largest.settings.bootstrap),
        ],
    )


def _result(comparison: AnyComparison, styles: Mapping[str, PlotStyle]) -> list[Block]:
    largest = comparison.largest
    blocks: list[Block] = []
    if len(largest.rows) > 1:
        caption = "The bar is the statistical error of the test events, each small tick below is one training."
        figure = draw_overview(largest, styles)
        blocks.append(FigureEntry("overview", "All models at a glance", caption, figure))
    blocks.append(Paragraph(f"In the tables: {legend(largest, best='bold')}.", note=True))
    blocks += [section_table(largest, section) for section in main_sections(largest)]
    return [*blocks, *growth_tables(comparison, growth_columns(comparison))]


def _errors(largest: AnyComparison, styles: Mapping[str, PlotStyle]) -> list[Block]:
    return [
        FigureEntry(
            "errors",
            "Relative errors",
            "Distribution of the relative error of the test events, first seed of each model. A narrow peak at 0 is "
            "a good regression; the central 99 % are shown.",
            draw_errors(largest, styles),
        ),
        FigureEntry(
            "scatter",
            f"Predicted against true values of {largest.leader.label}",
            "Test events of the first seed; on the dotted line the prediction is exact. Regressions pull extreme "
            "values towards the mean where the inputs do not determine the target.",
            draw_scatter(largest.leader, targets_of(largest)),
        ),
        *(section_table(largest, section) for section in process_sections(largest)),
    ]


def _bins(largest: AnyComparison, styles: Mapping[str, PlotStyle]) -> list[Block]:
    blocks: list[Block] = []
    for target in targets_of(largest):
        for variable in variables_of(largest):
            caption = (
                f"Bias (median relative error) and resolution (half width of the central 68 % interval) of {target} in "
                f"bins of {variable} with equal weight; horizontal bars are the bins. The bar is the statistical error."
            )
            name = f"bins_{target}_{variable}"
            figure = draw_bins(largest, styles, target, variable)
            blocks.append(FigureEntry(name, f"{target} in bins of {variable}", caption, figure))
    return [*blocks, *(section_table(largest, section) for section in bin_sections(largest))]
