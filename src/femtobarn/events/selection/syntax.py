"""The grammar of selections: text to a syntax tree, with errors that point at the place.

Python's grammar, of which `femtobarn.events.selection.expression` understands a part; nothing is ever run as Python.
The text is checked token by token first, so that what other languages write (`&&`, `=`, `AND`, `500 GeV`) gets its
remedy.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from typing import NamedTuple

#: Limits of a selection: characters, brackets or operations inside each other, operations in all.
MAX_CHARACTERS = 10_000
MAX_DEPTH = 100
MAX_OPERATIONS = 1000

#: Stands for a backslash, which Python would take for an escape; no control character is allowed in a selection.
BACKSLASH = "\x01"

TOKENS = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>'[^']*'|"[^"]*")
    |(?P<number>(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
    |(?P<word>[^\W\d]\w*)
    |(?P<symbol>===|!==|=!=|=~|<=>|&&|\|\||\*\*|//|<=|>=|==|!=|<>|=>|=<|=!|:=|->|::|.)""",
    re.VERBOSE | re.DOTALL,
)

#: Symbols of other languages, and what is written here.
SYMBOLS = {
    "=": "equality is written ==",
    "===": "equality is written ==",
    ":=": "equality is written ==",
    "=~": "names are compared with ==, != or in",
    "!==": "unequal is written !=",
    "=!": "unequal is written !=",
    "=!=": "unequal is written !=",
    "<>": "unequal is written !=",
    "≠": "unequal is written !=",
    "=>": "greater or equal is written >=",
    "≥": "greater or equal is written >=",
    "=<": "less or equal is written <=",
    "≤": "less or equal is written <=",
    "&&": "conditions are joined by the word and",
    "&": "conditions are joined by the word and",
    "∧": "conditions are joined by the word and",
    ";": "conditions are joined by the word and",
    "||": "conditions are joined by the word or",
    "|": "conditions are joined by the word or; an absolute value is abs(...)",
    "∨": "conditions are joined by the word or",
    "!": "a condition is reversed by the word not",
    "~": "a condition is reversed by the word not",
    "¬": "a condition is reversed by the word not",
    "^": "powers are written **",
    "×": "a product is written *",
    "·": "a product is written *",
    "−": "the minus sign is -",
    "–": "the minus sign is -",
    "÷": "a quotient is written /",
    "√": "a square root is written sqrt(...)",
    "#": "comments are not understood in a selection",
    "::": "functions have one word, as abs(...) or sqrt(...)",
    "\\": "a line needs no mark to go on in the next one",
    "$": "functions have one word, as sum(jet.pt) or count(jet.pt > 50)",
    **dict.fromkeys("“”„«»‘’´`", "names stand in plain quotes, as in 'tttt'"),
}

#: Words that Python writes in small letters.
WORDS = ("and", "or", "not", "in")

DEGREE = 0.017453292519943295  # in radians

#: Units behind a number, and what the number is multiplied by.
UNITS = {
    "gev": 1.0,
    "tev": 1e3,
    "mev": 1e-3,
    "kev": 1e-6,
    "ev": 1e-9,
    "rad": 1.0,
    "radian": 1.0,
    "radians": 1.0,
    "deg": DEGREE,
    "degree": DEGREE,
    "degrees": DEGREE,
}


class SelectionError(ValueError):
    """A selection that cannot be understood: shows the expression and points at the place.

    Args:
        expression: the selection.
        column: place of the trouble, from 0.
        what: what is wrong with it and what would be right.
    """

    def __init__(self, expression: str, column: int, problem: str) -> None:
        self.expression, self.column = expression, column
        line = "".join(letter if letter.isprintable() else " " for letter in expression)
        super().__init__(f"{problem}\n  {line}\n  {' ' * column}^")


class Token(NamedTuple):
    """A word, number, string or symbol of a selection."""

    category: str
    text: str
    column: int

    @property
    def end(self) -> int:
        return self.column + len(self.text)

    @property
    def closes(self) -> bool:
        """True where a number, name or condition can end."""
        if self.category == "word":
            return not keyword.iskeyword(self.text) or self.text in ("True", "False", "None")
        return self.category in ("number", "string") or self.text in (")", "]", "}")


def parse(text: str) -> ast.expr:
    """The syntax tree of a selection.

    Raises:
        SelectionError: the text is not in Python's grammar, or longer or deeper than any cut.
    """
    if len(text) > MAX_CHARACTERS:
        problem = f"a selection of {len(text)} characters, more than {MAX_CHARACTERS}"
        problem += "; select longer lists by an array in Python"
        raise SelectionError(text[:60], 0, problem)
    if not text.strip():
        raise SelectionError(text, 0, "the selection is empty; for all events leave it out")
    tokens = _tokens(text)
    _check(text, tokens)
    tree = _tree(text, tokens)
    operations = [node for node in ast.walk(tree) if isinstance(node, ast.expr) and not _is_leaf(node)]
    if len(operations) > MAX_OPERATIONS:
        raise SelectionError(text, 0, f"{len(operations)} operations in a selection, more than {MAX_OPERATIONS}")
    return tree


def column_of(text: str, node: ast.AST) -> int:
    """Place of a part of a selection."""
    # ast counts bytes, people count characters
    return len(text.encode(errors="replace")[: getattr(node, "col_offset", 0)].decode(errors="replace"))


def source_of(text: str, node: ast.AST) -> str:
    """A part of a selection as it was written."""
    start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None)
    return text.encode(errors="replace")[start:end].decode(errors="replace")


def shown(text: str, node: ast.AST) -> str:
    """A part of a selection as it was written, short."""
    source = " ".join(source_of(text, node).split())
    return source if len(source) <= 40 else f"{source[:37]}..."


def _is_leaf(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant | ast.Name | ast.Tuple | ast.List | ast.Set)


def _tokens(text: str) -> list[Token]:
    """Words, numbers, strings and symbols; what no selection holds is an error."""
    tokens = []
    for match in TOKENS.finditer(text):
        token = Token(str(match.lastgroup), match.group(), match.start())
        if token.category == "space":
            continue
        if token.category == "symbol" and token.text in ("'", '"'):
            raise SelectionError(text, token.column, "this quote is not closed")
        # lone surrogates have no bytes, and control characters look like nothing
        hidden = next((letter for letter in token.text if not letter.isprintable() and not letter.isspace()), None)
        if hidden is not None:
            column = token.column + token.text.index(hidden)
            raise SelectionError(text, column, f"the character U+{ord(hidden):04X} is not understood")
        tokens.append(token)
    return tokens


def _check(text: str, tokens: list[Token]) -> None:
    """Complain about what other languages write, and about brackets."""
    opened: list[tuple[Token, bool]] = []  # brackets, and whether commas are theirs
    prefixes = 0
    before: Token | None = None
    for at, token in enumerate(tokens):
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        problem = _foreign(token, before, after) or _neighbours(token, before)
        if problem is not None:
            raise SelectionError(text, token.column, problem)
        if token.text in ("(", "[", "{"):
            listed = token.text != "(" or (before is not None and (before.closes or before.text == "in"))
            opened.append((token, listed))
            if len(opened) > MAX_DEPTH:
                raise SelectionError(text, token.column, f"more than {MAX_DEPTH} brackets inside each other")
        elif token.text in (")", "]", "}"):
            if not opened or opened[-1][0].text + token.text not in ("()", "[]", "{}"):
                raise SelectionError(text, token.column, f"no bracket was opened for this {token.text}")
            opened.pop()
        elif token.text == "," and not (opened and opened[-1][1]):
            raise SelectionError(text, token.column, _comma(token, before, after))
        prefixes = prefixes + 1 if token.text in ("-", "+", "not") else 0
        if prefixes > MAX_DEPTH:
            raise SelectionError(text, token.column, f"more than {MAX_DEPTH} signs in a row")
        before = token
    if opened:
        raise SelectionError(text, opened[-1][0].column, f"this {opened[-1][0].text} is never closed")


def _foreign(token: Token, before: Token | None, after: Token | None) -> str | None:
    """What is written here in place of a symbol, word or unit of another language; None where it is one of ours."""
    if token.category == "symbol" and token.text in SYMBOLS:
        if token.text == "=" and before is not None and before.text in ("<", ">", "!", "="):
            return f"{before.text}= is written without a space"
        if token.text == "!" and after is not None and after.text in ("=", "=="):
            return "!= is written without a space"
        return SYMBOLS[token.text]
    if token.category == "symbol" and not token.text.isascii():
        return "this sign is not understood in a selection"
    if token.category != "word":
        return None
    if token.text.lower() in WORDS and token.text not in WORDS:
        return f"the word is {token.text.lower()}, in small letters"
    factor = UNITS.get(token.text.lower())
    if before is not None and before.category == "number" and factor is not None:
        value = f"{float(before.text.replace('_', '')) * factor:.10g}"
        return f"units are GeV and radians, and are not written: {value}"
    return None


def _neighbours(token: Token, before: Token | None) -> str | None:
    """What is wrong with two tokens that stand behind each other."""
    if before is None or not before.closes:
        if before is not None and before.text in ("and", "or") and token.text in ("<", "<=", ">", ">=", "==", "!="):
            return f"on both sides of {before.text} stands a whole condition; a range is written 100 < x < 200"
        return None
    if token.category == "string" and before.category == "word" and token.column == before.end:
        return "letters in front of a quote are not understood"
    if token.category == "string" and before.category == "string":
        return "two names in a row; a comma is missing between them"
    if token.category == "number" and before.category == "number":
        if token.text.startswith("."):
            return "a number has one decimal point"
        return "two numbers in a row; a large number is written without spaces"
    if token.category == "word" and before.category == "number" and token.column == before.end and token.closes:
        return "a letter in a number; a product is written with *"
    if token.closes and token.text not in (")", "]", "}"):
        return f"an operator is missing in front of {_short(token.text)}"
    return None


def _comma(token: Token, before: Token | None, after: Token | None) -> str:
    """What is meant by a comma that separates nothing."""
    numbers = before is not None and after is not None and before.category == after.category == "number"
    if (
        numbers
        and before is not None
        and after is not None
        and before.end == token.column
        and after.column == token.end
    ):
        if len(after.text) == 3 and after.text.isdigit() and "." not in before.text:
            return f"a large number is written without commas: {before.text}{after.text}"
        return f"the decimal mark is a point: {before.text.replace('.', '')}.{after.text}"
    return "conditions are joined by the word and, not by a comma"


def _tree(text: str, tokens: list[Token]) -> ast.expr:
    letters = [" " if letter.isspace() else letter for letter in text]
    for token in tokens:
        if token.category == "string":
            letters[token.column : token.end] = [
                BACKSLASH if letter == "\\" else " " if letter.isspace() else letter for letter in token.text
            ]
    line = "".join(letters)
    start = len(line) - len(line.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(line[start:], mode="eval").body
    except SyntaxError as error:
        # an expression that stops too early has no place of its own
        column = min(start + error.offset - 1, len(text)) if error.offset else len(text.rstrip())
        raise SelectionError(text, column, _complaint(error, tokens, column)) from None
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        raise SelectionError(text, 0, f"cannot be read: {error or type(error).__name__}") from None
    shift = len(line[:start].encode())
    for node in ast.walk(tree):
        for name in ("col_offset", "end_col_offset"):
            if hasattr(node, name):
                setattr(node, name, getattr(node, name) + shift)
    return tree


def _complaint(error: SyntaxError, tokens: list[Token], column: int) -> str:
    """Python's complaint, in the words of selections where it speaks of programs."""
    last = tokens[-1]
    if column >= last.end:
        return f"cannot be read: something is missing behind {_short(last.text)}"
    if str(error.msg).startswith(("invalid syntax", "expected")):
        token = next((token for token in tokens if token.column <= column < token.end), last)
        return f"cannot be read: {_short(token.text)} cannot stand here"
    return f"cannot be read: {error.msg}"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
