"""The language of selections: expressions on the numbers and objects of events, computed column by column."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.selection import hints as hints
from femtobarn.events.selection.functions import (
    CONDITIONS,
    EXAMPLES,
    FUNCTIONS,
    NEEDED_QUANTITIES,
    NUMBERS,
    OBJECTS,
    pair_quantity,
    reduced,
)
from femtobarn.events.selection.terms import Terms, a
from femtobarn.events.selection.values import (
    ATTRIBUTES,
    MISSING,
    MISSING_ATTRIBUTES,
    Momentum,
    Value,
    arithmetic,
    condition,
    contained,
    number,
    of,
    total,
)
from femtobarn.physics.angles import delta_phi

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Mod: np.remainder,
    ast.Pow: np.power,
}

Part = TypeVar("Part", Value, Momentum)


class Expression(Terms):
    """A selection on events with some numbers and objects; `mask` computes which events pass.

    Args:
        text: the selection.
        columns: the numbers and objects of the events.

    Raises:
        SelectionError: the text is not in the grammar of the language.
    """

    def mask(self) -> NDArray[np.bool_]:
        """True for the events that pass; a single value where the selection is the same for all.

        Raises:
            SelectionError: the expression is none of the language.
        """
        with np.errstate(all="ignore"):
            value = self._value(self.tree, 0)
        if not isinstance(value, Value) or value.category != "condition":
            problem = f"a selection is a condition, this is {a(value.category)}; compare it with something"
            raise self._error(self.tree, problem)
        if value.collection is not None:
            problem = f"this is a condition on each {value.collection}; put it into count(...), any(...) or all(...)"
            raise self._error(self.tree, problem)
        return np.asarray(value.values, dtype=np.bool_)

    # --- operations

    def _unaryop(self, node: ast.UnaryOp, depth: int) -> Value:
        value = self._value(node.operand, depth)
        if isinstance(node.op, ast.Not):
            value = self._expect(node.operand, value, "condition", "not")
            return of(~value.values, value.defined, value.collection)
        if isinstance(node.op, ast.USub | ast.UAdd):
            value = self._expect(node.operand, value, "number", "a sign")
            return value._replace(values=np.asarray(-value.values)) if isinstance(node.op, ast.USub) else value
        raise self._error(node, f"{self._shown(node)} is not understood in a selection")

    def _boolop(self, node: ast.BoolOp, depth: int) -> Value:
        word, work = ("and", np.logical_and) if isinstance(node.op, ast.And) else ("or", np.logical_or)
        parts = (self._expect(part, self._value(part, depth), "condition", word) for part in node.values)
        return self._folded(node, parts, work)

    def _folded(self, node: ast.AST, parts: Iterable[Value], work: Callable[[Any, Any], Any]) -> Value:
        """Many values made one, two at a time, so that not all of them are in memory at once."""
        folded: Value | None = None
        for part in parts:
            if folded is None:
                folded = part
                continue
            (left, right), collection = self._together(node, [folded, part])
            folded = of(work(left.values, right.values), left.defined & right.defined, collection)
        assert folded is not None
        return folded

    def _binop(self, node: ast.BinOp, depth: int) -> Value | Momentum:
        work = ARITHMETIC.get(type(node.op))
        if work is None:
            problem = f"{self._shown(node)}: the operations are + - * / % **, and/or/not for conditions"
            raise self._error(node, problem)
        first, second = self._value(node.left, depth), self._value(node.right, depth)
        if isinstance(first, Momentum) and isinstance(second, Momentum):
            if work is not np.add:
                raise self._error(node, "objects are added by +, as in (jet[0] + jet[1]).mass")
            return self._sum(node, [first, second])
        parts = [
            self._expect(part, value, "number", "arithmetic")
            for part, value in ((node.left, first), (node.right, second))
        ]
        (left, right), collection = self._together(node, parts)
        # a division by zero gives no number, and a comparison with it is false
        return number(arithmetic(work, left.values, right.values), left.defined & right.defined, collection)

    def _compare(self, node: ast.Compare, depth: int) -> Value:
        nodes = [node.left, *node.comparators]
        passed = (
            self._compared(node, operator, left, right, depth)
            for operator, left, right in zip(node.ops, nodes[:-1], nodes[1:], strict=True)
        )
        return self._folded(node, passed, np.logical_and)

    def _compared(self, node: ast.Compare, operator: ast.cmpop, left: ast.expr, right: ast.expr, depth: int) -> Value:
        self._unquoted(left, right)
        if isinstance(operator, ast.In | ast.NotIn):
            return self._in(left, right, isinstance(operator, ast.NotIn), depth)
        work = COMPARISONS.get(type(operator))
        if work is None:
            raise self._error(left, "comparisons are < <= > >= == != in, not in")
        values = [self._value(part, depth) for part in (left, right)]
        if momenta := [part for part, value in zip((left, right), values, strict=True) if isinstance(value, Momentum)]:
            raise self._bare(momenta[0])
        parts = [value for value in values if isinstance(value, Value)]
        categories = [part.category for part in parts]
        if categories[0] != categories[1] or "condition" in categories:
            problem = f"a {categories[0]} cannot be compared with a {categories[1]}"
            if "condition" in categories:
                problem += "; join conditions with and, or"
            elif any(isinstance(part, ast.Constant) for part in (left, right)):
                problem += "; numbers stand without quotes, names in quotes"
            raise self._error(left, problem)
        if "name" in categories and not isinstance(operator, ast.Eq | ast.NotEq):
            raise self._error(left, "names are compared with ==, != or in")
        (first, second), collection = self._together(node, parts)
        return condition(work(first.values, second.values) & first.defined & second.defined, collection)

    def _unquoted(self, left: ast.expr, right: ast.expr) -> None:
        """Complain about names without quotes beside `process`."""
        for side, other in ((left, right), (right, left)):
            if not (isinstance(side, ast.Name) and side.id == "process"):
                continue
            for item in other.elts if isinstance(other, ast.Tuple | ast.List | ast.Set) else [other]:
                words = [node for node in ast.walk(item) if isinstance(node, ast.Name)]
                calls = [node for node in ast.walk(item) if isinstance(node, ast.Call)]
                if words and not calls and not any(self._is_known(word) for word in words):
                    raise self._error(item, f"names stand in quotes: '{self._shown(item)}'")

    def _in(self, left: ast.expr, right: ast.expr, without: bool, depth: int) -> Value:
        if isinstance(right, ast.Constant):
            problem = f"as in process in ('ttW', 'ttZ'); a list of one has a comma: ({self._shown(right)},)"
            raise self._error(right, f"behind `in` stands a list in brackets, {problem}")
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise self._error(right, "behind `in` stands a list in brackets, as in process in ('ttW', 'ttZ')")
        value = self._value(left, depth)
        if isinstance(value, Momentum):
            raise self._bare(left)
        items = []
        for node in right.elts:
            item = self._value(node, depth)
            if not isinstance(item, Value) or item.values.ndim or item.category != value.category:
                raise self._error(node, f"in the list stand {value.category}s, and only constants")
            items.append(item.values)
        is_listed = contained(value.values, items)
        return condition((~is_listed if without else is_listed) & value.defined, value.collection)

    # --- functions

    def _call(self, node: ast.Call, depth: int) -> Value | Momentum:
        if not isinstance(node.func, ast.Name):
            raise self._error(node, hints.method(node, self._shown, FUNCTIONS))
        name = node.func.id
        if name not in FUNCTIONS:
            raise self._error(node, hints.unknown_function(name, node, self._shown, FUNCTIONS, ATTRIBUTES))
        if node.keywords or not node.args or any(isinstance(part, ast.Starred) for part in node.args):
            raise self._error(node, f"{name} takes arguments in brackets, as in {EXAMPLES[name]}")
        if name in OBJECTS:
            return self._of_objects(node, name, depth)
        if len(node.args) > 1 and name not in ("min", "max"):
            raise self._error(node, f"{name} takes one argument, as in {EXAMPLES[name]}")
        if len(node.args) > 1:
            work = np.minimum if name == "min" else np.maximum
            parts = (self._expect(part, self._value(part, depth), "number", name) for part in node.args)
            return self._folded(node, parts, work)
        argument = node.args[0]
        value = self._value(argument, depth)
        if name == "count" and isinstance(value, Momentum) and value.collection is not None:
            return number(self.columns.collection(value.collection).counts)
        value = self._expect(argument, value, "condition" if name in CONDITIONS else "number", name)
        if name in NUMBERS:
            return number(NUMBERS[name](value.values), value.defined, value.collection)
        return self._reduced(node, name, value)

    def _reduced(self, node: ast.Call, name: str, value: Value) -> Value:
        """One number or condition per event from the numbers or conditions of its objects."""
        if value.collection is None:
            raise self._error(node, f"{name} works on objects, as in {EXAMPLES[name]}")
        return reduced(name, value, self.columns.collection(value.collection))

    def _of_objects(self, node: ast.Call, name: str, depth: int) -> Value:
        """Mass of objects together; distances, angles and transverse mass of two."""
        if len(node.args) != 2 and name != "mass":
            raise self._error(node, f"{name} takes two objects, as in {EXAMPLES[name]}")
        parts = [self._momentum(part, name, depth) for part in node.args]
        if name == "delta_phi" and all(isinstance(part, Value) for part in parts):
            (first, second), collection = self._together(node, [part for part in parts if isinstance(part, Value)])
            return number(delta_phi(first.values, second.values), first.defined & second.defined, collection)
        momenta = []
        for part, momentum in zip(node.args, parts, strict=True):
            if isinstance(momentum, Value):
                angles = " or two angles" if name == "delta_phi" else ""
                raise self._error(part, f"{name} takes objects{angles}, as in {EXAMPLES[name]}")
            lacking = [quantity for quantity in NEEDED_QUANTITIES[name] if quantity not in momentum.quantities]
            if lacking:
                raise self._error(part, f"{MISSING} has pT and phi alone; {name} needs {lacking[0]} too")
            momenta.append(momentum)
        if name == "mass":
            momentum = momenta[0] if len(momenta) == 1 else self._sum(node, momenta)
            return number(momentum["mass"], momentum.defined, momentum.collection)
        (first_object, second_object), collection = self._paired(node, momenta)
        return pair_quantity(name, first_object, second_object, collection)

    def _momentum(self, node: ast.expr, name: str, depth: int) -> Value | Momentum:
        """An argument of a function of objects, of which MET is one."""
        if isinstance(node, ast.Name) and node.id == MISSING:
            met, phi = (self.columns.number(column) for column in (MISSING, f"phi_{MISSING}"))
            assert met is not None
            assert phi is not None
            columns = {"pt": np.asarray(met, dtype=np.float64), "phi": np.asarray(phi, dtype=np.float64)}
            is_finite = np.isfinite(columns["pt"]) & np.isfinite(columns["phi"])
            return Momentum(columns.__getitem__, is_finite, None, MISSING_ATTRIBUTES)
        value = self._value(node, depth)
        return value if isinstance(value, Momentum) else self._expect(node, value, "number", name)

    def _sum(self, node: ast.expr, momenta: list[Momentum]) -> Momentum:
        together, collection = self._paired(node, momenta)
        return total(together, collection)

    def _paired(self, node: ast.expr, momenta: list[Momentum]) -> tuple[list[Momentum], str | None]:
        """Momenta that can be combined: at most one of them stands for each object of a collection."""
        collections = [momentum.collection for momentum in momenta if momentum.collection is not None]
        if len(collections) > 1 and len(set(collections)) == 1:
            name = collections[0]
            problem = f"pairs of {name}s are not formed; give one an index, as in delta_r({name}, {name}[0])"
            raise self._error(node, f"{problem}, or use m_ll_os_sf, m_ll_ss, m_bb, dr_ll_min, dr_bb_min")
        return self._together(node, momenta)

    def _together(self, node: ast.AST, parts: Sequence[Part]) -> tuple[list[Part], str | None]:
        """Values that can be combined: those of events are repeated for the objects of one and the same collection."""
        collections = sorted({part.collection for part in parts if part.collection is not None})
        if len(collections) > 1:
            problem = f"{' and '.join(collections)} stand side by side; combine objects of one collection"
            raise self._error(node, f"{problem}, or give one an index, as {collections[1]}[0]")
        if not collections:
            return list(parts), None
        collection = self.columns.collection(collections[0])
        return [part.repeated(collection) for part in parts], collections[0]
