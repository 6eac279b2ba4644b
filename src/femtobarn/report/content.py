"""Content of a page: sections of paragraphs, tables and figures, and the terms that it uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from markupsafe import Markup

from femtobarn.report.style import FigureEntry


@runtime_checkable
class Block(Protocol):
    """Part of a section: a paragraph, a table or a figure."""

    def html(self) -> Markup:
        """The HTML element."""


@dataclass(frozen=True)
class Paragraph:
    """Text between tables and figures.

    Args:
        text: plain text.
        note: True for small print.
    """

    text: str
    note: bool = False

    def html(self) -> Markup:
        """The HTML element."""
        return Markup('<p class="note">{}</p>' if self.note else "<p>{}</p>").format(self.text)


@dataclass(frozen=True)
class PageSection:
    """A section of the page.

    Args:
        anchor: identifier in links.
        title: heading.
        blocks: its content, in order.
        link: text in the navigation; default: the heading.
    """

    anchor: str
    title: str
    blocks: Sequence[Block]
    link: str = ""


@dataclass(frozen=True)
class PageContent:
    """What a task shows of a comparison.

    Args:
        title: heading of the page.
        summary: the result in a few sentences.
        sections: result first.
        terms: technical terms and their meaning, as HTML.
    """

    title: str
    summary: Sequence[str]
    sections: Sequence[PageSection]
    terms: Sequence[tuple[Markup, Markup]]

    @property
    def figures(self) -> Iterator[FigureEntry]:
        """All figures, in order."""
        for section in self.sections:
            yield from (block for block in section.blocks if isinstance(block, FigureEntry))


def shared_terms(replicas: int) -> list[tuple[Markup, Markup]]:
    """Terms that the page of every task uses.

    Args:
        replicas: bootstrap replicas of the test events.
    """
    terms = [
        (
            "statistical error",
            f"From the finite number of test events: the standard deviation over {replicas} replicas of the test "
            "sample, in which every hard event (with all its copies) gets a random weight (Bayesian bootstrap). The "
            "yields of the processes are held fixed. Where no background event passes, the error is the change that a "
            "single event would make. Models share the replicas, so that errors of differences and ratios hold for the "
            "pair.",
        ),
        (
            "spread over seeds",
            "Standard deviation over trainings that differ only in initial weights, shuffling and dropout. It "
            "shows how much a single training varies; it is neither included in the statistical error nor divided by "
            "the number of trainings.",
        ),
        (
            "≈, significant",
            "Two models are compared by the difference of their means; its error combines the statistical error of the "
            "difference with the spread over seeds, pooled over all models and divided by the root of the number of "
            "trainings. Below two standard deviations they count as equal (≈).",
        ),
        (
            "training, validation, test",
            "Events are split by a hash of their hard event, so that copies never stand on two sides. A model is "
            "trained on the first part, its best epoch is chosen on the second, and all metrics here are measured on "
            "the third, which neither of these steps used.",
        ),
    ]
    return [(Markup.escape(term), Markup.escape(meaning)) for term, meaning in terms]
