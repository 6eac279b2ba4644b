"""The page: one HTML file with the comparison of finished runs."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

import femtobarn
from femtobarn.evaluation.comparison import Comparison
from femtobarn.events.storage.atomic import atomic_write_bytes
from femtobarn.report.content import PageContent
from femtobarn.report.facts import facts


def write_page(
    content: PageContent,
    comparison: Comparison[Any],
    output: Path,
    *,
    title: str | None = None,
    figures: Path | None = None,
) -> Path:
    """Write a comparison as one HTML file that needs no other, for the screen and for paper.

    Args:
        content: what the task shows.
        comparison: the models, for configuration, versions and commands.
        output: the HTML file.
        title: heading of the page; default: the one of the content.
        figures: a folder to write the figures to as well, as PDF and PNG.

    Returns:
        the path of the page.
    """
    if figures is not None:
        for figure in content.figures:
            figure.save(figures)
    environment = Environment(
        loader=PackageLoader("femtobarn", "report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["quoted"] = shlex.quote  # labels such as ParT_int_SM(FL) are folders, and shell syntax
    text = environment.get_template("page.html.jinja").render(
        title=title or content.title,
        summary=content.summary,
        sections=content.sections,
        terms=content.terms,
        facts=facts(comparison),
        version=femtobarn.__version__,
        date=datetime.now(UTC).strftime("%-d %B %Y"),
        style=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(output, text.encode())
    return output
