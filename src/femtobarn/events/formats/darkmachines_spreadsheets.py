"""What spreadsheets and editors make of a line of Dark Machines text, so that an error names the cause."""

from __future__ import annotations

import re
from typing import NamedTuple

from femtobarn.events.errors import shorten

#: A number with a comma where the point belongs.
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?")

#: An event number that was rounded to a few digits.
ROUNDED = re.compile(r"[+-]?[0-9]+[.,][0-9]+[eE]\+?[0-9]+")

HEXADECIMAL = re.compile(r"[+-]?0[xX][0-9a-fA-F.]+(?:[pP][+-]?[0-9]+)?")

#: Fields of an event, and values of an object with and without a decimal comma in each number.
N_FIELDS = 5
N_VALUES = 5
N_COMMA_VALUES = 9

DELETE = "delete the line, or leave out and count such lines with data.tolerant: true (--tolerant)"
POINT = "write numbers with a decimal point: set the language of the spreadsheet to English before it exports"


class Cause(NamedTuple):
    """Why a line is not read, and what to do about it."""

    problem: str
    remedy: str


def cause(text: str) -> Cause | None:
    """The cause for a line that is not of the format, or None where it is an error like any other.

    Args:
        text: the line, without its end.
    """
    shown = shorten(text.strip())
    fields = [field.strip() for field in text.split(";")]
    first = fields[0]
    if text.lstrip().startswith(("#", "//", "%")):
        return Cause(f"{shown} is a comment, and the format has none", DELETE)
    if "\r" in text.strip("\r"):
        return Cause(
            f"lines end with a carriage return alone: {shown}", "convert them: tr '\\r' '\\n' < FILE > NEW_FILE"
        )
    if '"' in text or text.lstrip().startswith("'"):
        return Cause(f"fields are in quotes: {shown}", "export the table without quotes around text")
    separator = next((name for mark, name in (("\t", "tabs"), (",", "commas")) if text.count(mark) >= 4), None)
    if len(fields) == 1 and separator:
        remedy = "separate the fields of an event by semicolons, and the five values of an object by commas"
        return Cause(f"fields are separated by {separator}: {shown}", remedy)
    if _is_header(fields):
        return Cause(f"{shown} looks like a header, and the format has none", DELETE)
    if HEXADECIMAL.search(text.replace(fields[1] if len(fields) > 1 else "", "", 1)):
        return Cause(f"a number is hexadecimal: {shown}", "write numbers in decimal digits")
    if ROUNDED.fullmatch(first):
        return Cause(f"event ID {shorten(first)} was rounded, as spreadsheets do", "export the column as text")
    if _has_decimal_comma(fields):
        return Cause(f"numbers have a decimal comma: {shown}", POINT)
    return None


def _is_header(fields: list[str]) -> bool:
    """Whether fields are names of columns: the first is a word, and no field is a number."""
    words = [field for field in fields if field]
    return len(words) > 1 and all(re.match(r"[A-Za-z_]", word) and "," not in word for word in words[:N_FIELDS])


def _has_decimal_comma(fields: list[str]) -> bool:
    """Whether a field of the event, or all numbers of an object, have a comma for the point."""
    if any(DECIMAL_COMMA.fullmatch(field) for field in fields[2:N_FIELDS]):
        return True
    values = [field.split(",") for field in fields[N_FIELDS:]]
    return any(
        N_VALUES < len(words) <= N_COMMA_VALUES and all(word.strip().lstrip("+-").isdigit() for word in words[1:])
        for words in values
    )
