"""The comparison as a page: tables, figures and sentences in one HTML file."""

from femtobarn.report.page import report

__all__ = ["report"]
