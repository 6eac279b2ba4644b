"""The terms of selections: constants, names, and objects with their quantities and indices."""

from __future__ import annotations

import ast

import numpy as np

from femtobarn.events.selection import hints as hints
from femtobarn.events.selection.functions import CONDITIONS, FUNCTIONS, QUANTITIES
from femtobarn.events.selection.syntax import BACKSLASH, MAX_DEPTH, SelectionError, column_of, parse, shown
from femtobarn.events.selection.values import (
    ATTRIBUTES,
    COLLECTIONS,
    Columns,
    Momentum,
    Value,
    number,
    of,
    place,
    taken,
)


class Terms:
    """What an expression computes with; `Expression` adds the operations and functions.

    Args:
        text: the selection.
        columns: the numbers and objects of the events.

    Raises:
        SelectionError: the text is not in the grammar of the language.
    """

    def __init__(self, text: str, columns: Columns) -> None:
        self.text, self.columns = text, columns
        self.tree = parse(text)

    def _error(self, node: ast.AST, problem: str) -> SelectionError:
        return SelectionError(self.text, column_of(self.text, node), problem)

    def _shown(self, node: ast.AST) -> str:
        return shown(self.text, node)

    def _value(self, node: ast.expr, depth: int) -> Value | Momentum:
        if depth > MAX_DEPTH:
            raise self._error(node, f"more than {MAX_DEPTH} brackets or operations inside each other")
        work = getattr(self, f"_{type(node).__name__.lower()}", None)
        if work is None:
            raise self._error(node, f"{self._shown(node)} is not understood in a selection")
        value: Value | Momentum = work(node, depth + 1)
        return value

    def _expect(self, node: ast.expr, value: Value | Momentum, category: str, user: str) -> Value:
        """A number or condition; anything else is an error."""
        if isinstance(value, Momentum):
            raise self._bare(node)
        if value.category == category:
            return value
        problem = f"{user} needs a {category}, {self._shown(node)} is a {value.category}"
        if value.category == "name" and user in ("and", "or"):
            problem += "; several names are compared by process in ('ttW', 'ttZ')"
        raise self._error(node, problem)

    def _bare(self, node: ast.expr) -> SelectionError:
        """An object where a number is needed."""
        name = self._shown(node)
        if isinstance(node, ast.Name):
            problem = f"{name} needs a quantity: {', '.join(f'{name}.{quantity}' for quantity in ATTRIBUTES)}"
            return self._error(node, f"{problem}; or count({name})")
        bare = f"({name})" if isinstance(node, ast.BinOp) else name
        return self._error(node, f"{name} needs a quantity, as {bare}.pt or {bare}.mass")

    # --- constants, names and objects

    def _constant(self, node: ast.Constant, depth: int) -> Value:
        value = node.value
        if isinstance(value, str):
            return of(np.array(value.replace(BACKSLASH, "\\"), dtype=np.str_), True)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(node, f"{self._shown(node)} is neither a number nor a name in quotes")
        try:
            fits_integer = isinstance(value, int) and abs(value) <= np.iinfo(np.int64).max
            constant = np.array(value, dtype=np.int64 if fits_integer else np.float64)
        except OverflowError:
            constant = np.array(np.inf)
        if not np.isfinite(constant):
            raise self._error(node, "the number is too large")
        return of(constant, True)

    def _name(self, node: ast.Name, depth: int) -> Value | Momentum:
        if node.id in COLLECTIONS:
            collection = self.columns.collection(node.id)
            return Momentum(collection.flat, np.ones(len(collection.rows), dtype=np.bool_), node.id)
        column = self.columns.number(node.id)
        if column is None:
            raise self._unknown_name(node, node.id)
        if column.ndim != 1 or column.dtype.kind not in "biufU":
            raise self._error(node, f"{node.id} is not one number or name per event")
        return number(column) if column.dtype.kind in "iuf" else of(column, np.ones(len(column), dtype=np.bool_))

    def _unknown_name(self, node: ast.expr, name: str, index: str = "") -> SelectionError:
        names = [*self.columns.names(), *COLLECTIONS]
        return self._error(node, hints.unknown_name(name, names, COLLECTIONS, ATTRIBUTES, FUNCTIONS, index=index))

    def _is_known(self, node: ast.Name) -> bool:
        return node.id in COLLECTIONS or node.id in self.columns.names()

    def _attribute(self, node: ast.Attribute, depth: int) -> Value:
        base, quantity = node.value, node.attr
        if isinstance(base, ast.Name) and base.id not in COLLECTIONS:
            raise self._error(node, hints.unknown_collection(base.id, quantity, COLLECTIONS))
        momentum = self._value(base, depth)
        if not isinstance(momentum, Momentum):
            if quantity in (*CONDITIONS, *QUANTITIES):
                raise self._error(node, f"a function stands in front: {quantity}({self._shown(base)})")
            raise self._error(node, f"quantities belong to {', '.join(COLLECTIONS)}, as in jet.pt or jet.pt[0]")
        if quantity not in momentum.quantities:
            if quantity in ATTRIBUTES:
                raise self._error(node, f"a sum of objects has {', '.join(momentum.quantities)}, no {quantity}")
            problem = hints.unknown_quantity(self._shown(base), quantity, ATTRIBUTES, isinstance(base, ast.Name))
            raise self._error(node, problem)
        return number(momentum[quantity], momentum.defined, momentum.collection)

    def _subscript(self, node: ast.Subscript, depth: int) -> Value | Momentum:
        index = node.slice
        if isinstance(node.value, ast.Name) and not self._is_known(node.value):
            raise self._unknown_name(node, node.value.id, f"[{self._shown(index)}]")
        value = self._value(node.value, depth)
        if value.collection is None or value.category not in ("number", "object"):
            raise self._error(node, "only a quantity of objects has an index, as in jet.pt[0]")
        sign = -1 if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub) else 1
        digit = index.operand if isinstance(index, ast.UnaryOp) and sign == -1 else index
        if not isinstance(digit, ast.Constant) or type(digit.value) is not int:
            raise self._error(index, "an index is a whole number: [0] is the hardest object, [-1] the softest")
        places, present = place(sign * digit.value, self.columns.collection(value.collection))
        defined = present & taken(value.defined, places, present)
        if isinstance(value, Momentum):
            momenta = value
            return Momentum(lambda name: taken(momenta[name], places, present), defined, None, momenta.quantities)
        return of(taken(value.values, places, present), defined)


def a(category: str) -> str:
    """A category of values with its article."""
    return f"an {category}" if category == "object" else f"a {category}"
