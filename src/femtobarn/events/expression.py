"""The language of selections: expressions on the numbers and objects of events, worked out column by column."""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from femtobarn.events.record import Padded
from femtobarn.physics.objects import BJET, CHARGES, ELECTRONS, JET, JETS, LEPTONS, MUONS, NAMES, PHOTON

#: Collections of objects by name.
COLLECTIONS: dict[str, tuple[int, ...]] = {
    "jet": JETS,
    "bjet": (BJET,),
    "ljet": (JET,),
    "electron": ELECTRONS,
    "muon": MUONS,
    "lepton": LEPTONS,
    "photon": (PHOTON,),
    "object": tuple(range(1, len(NAMES))),
}

#: What each object of a collection has.
ATTRIBUTES = ("pt", "eta", "phi", "E", "mass", "charge")

#: Functions of a condition on objects, of a quantity of objects, and of any number.
CONDITIONS, QUANTITIES, NUMBERS = ("count", "any", "all"), ("sum", "min", "max"), ("abs", "sqrt")

#: Longer or deeper expressions are nobody's cut.
LONGEST, DEEPEST = 10_000, 100

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
    ast.Pow: np.power,
}


class SelectionError(ValueError):
    """A selection that cannot be understood: shows the expression and points at the place.

    Args:
        expression: the selection.
        column: place of the trouble, from 0.
        what: what is wrong with it and what would be right.
    """

    def __init__(self, expression: str, column: int, what: str) -> None:
        self.expression, self.column = expression, column
        super().__init__(f"{what}\n  {_one_line(expression)}\n  {' ' * column}^")


class Value(NamedTuple):
    """Numbers, truths or names: of each event, of each object of a collection (then with a second axis), or a constant.

    `known` is False where there is no such number, as for the pT of a third lepton in an event with two.
    """

    values: NDArray[Any]
    known: NDArray[np.bool_]
    collection: str | None = None

    @property
    def kind(self) -> str:
        return {"b": "condition", "U": "name"}.get(self.values.dtype.kind, "number")


class Expression:
    """A selection on events with some numbers and objects; `mask` says which events pass.

    Args:
        text: the selection.
        number: the column of a name, or nothing where there is no such name.
        names: names that `number` knows, to suggest from.
        objects: the padded objects of the events, when they are needed.
    """

    def __init__(
        self,
        text: str,
        number: Callable[[str], NDArray[Any] | None],
        names: Callable[[], Iterable[str]],
        objects: Callable[[], Padded],
    ) -> None:
        self.text, self.number, self.names, self.objects = text, number, names, objects
        self.tree = _parse(text)

    def mask(self) -> NDArray[np.bool_]:
        """Which events pass; a single value where the selection is the same for all.

        Raises:
            SelectionError: the expression is none of the language.
        """
        with np.errstate(all="ignore"):
            value = self._value(self.tree, 0)
        if value.kind != "condition":
            raise self._error(
                self.tree, f"a selection is a condition, this is a {value.kind}; compare it with something"
            )
        if value.collection is not None:
            what = f"this is a condition on each {value.collection}; put it into count(...), any(...) or all(...)"
            raise self._error(self.tree, what)
        return np.asarray(value.values, dtype=np.bool_)

    def _error(self, node: ast.AST, what: str) -> SelectionError:
        # ast counts bytes, people count characters
        column = len(self.text.encode()[: getattr(node, "col_offset", 0)].decode(errors="replace"))
        return SelectionError(self.text, column, what)

    def _value(self, node: ast.expr, depth: int) -> Value:
        if depth > DEEPEST:
            raise self._error(node, f"more than {DEEPEST} brackets or operations inside each other")
        work = getattr(self, f"_{type(node).__name__.lower()}", None)
        if work is None:
            raise self._error(node, f"{shown(node)} is not understood in a selection")
        value: Value = work(node, depth + 1)
        return value

    def _constant(self, node: ast.Constant, depth: int) -> Value:
        value = node.value
        if isinstance(value, str):
            return _of(np.array(value, dtype=np.str_), np.True_)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(node, f"{shown(node)} is neither a number nor a name in quotes")
        try:
            number = np.array(value, dtype=np.int64 if isinstance(value, int) and abs(value) < 2**62 else np.float64)
        except OverflowError:
            raise self._error(node, "the number is too large") from None
        return _of(number, np.isfinite(number))

    def _name(self, node: ast.Name, depth: int) -> Value:
        if node.id in COLLECTIONS:
            what = f"{node.id} needs a quantity: {', '.join(f'{node.id}.{name}' for name in ATTRIBUTES)}"
            raise self._error(node, f"{what}; or count({node.id})")
        column = self.number(node.id)
        if column is None:
            raise self._unknown(node, node.id, [*self.names(), *COLLECTIONS], "name")
        known = np.isfinite(column) if column.dtype.kind == "f" else np.ones(len(column), dtype=np.bool_)
        return _of(column, known)

    def _unknown(self, node: ast.AST, name: str, names: Iterable[str], what: str) -> SelectionError:
        near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
        return self._error(node, f"no {what} {name!r}; {known}")

    def _attribute(self, node: ast.Attribute, depth: int) -> Value:
        if not isinstance(node.value, ast.Name) or node.value.id not in COLLECTIONS:
            if isinstance(node.value, ast.Name):
                raise self._unknown(node, node.value.id, COLLECTIONS, "collection of objects")
            raise self._error(node, f"quantities belong to {', '.join(COLLECTIONS)}, as in jet.pt or jet.pt[0]")
        if node.attr not in ATTRIBUTES:
            raise self._unknown(node, node.attr, ATTRIBUTES, f"quantity of {node.value.id},")
        values, mask = _quantity(self.objects(), node.value.id, node.attr)
        return _of(values, mask, node.value.id)

    def _subscript(self, node: ast.Subscript, depth: int) -> Value:
        value = self._value(node.value, depth)
        if value.collection is None or value.kind != "number":
            raise self._error(node, "only a quantity of objects has an index, as in jet.pt[0]")
        index = node.slice
        sign = -1 if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub) else 1
        digit = index.operand if isinstance(index, ast.UnaryOp) and sign == -1 else index
        if not isinstance(digit, ast.Constant) or type(digit.value) is not int:
            raise self._error(index, "an index is a whole number: [0] is the hardest object, [-1] the softest")
        counts = _chosen(self.objects(), value.collection).sum(axis=1)
        wanted = sign * min(digit.value, 2**31)
        place = wanted if wanted >= 0 else counts + wanted
        there = (place >= 0) & (place < counts)
        if not value.values.shape[1]:
            return _of(np.zeros(len(counts)), np.zeros(len(counts), dtype=np.bool_))
        column = np.where(there, place, 0).astype(np.int64)[:, None]
        return _of(
            np.take_along_axis(value.values, column, axis=1)[:, 0],
            there & np.take_along_axis(value.known, column, axis=1)[:, 0],
        )

    def _unaryop(self, node: ast.UnaryOp, depth: int) -> Value:
        value = self._value(node.operand, depth)
        if isinstance(node.op, ast.Not):
            self._expect(node.operand, value, "condition", "not")
            return _of(~value.values, value.known, value.collection)
        if isinstance(node.op, ast.USub | ast.UAdd):
            self._expect(node.operand, value, "number", "a sign")
            return _of(-value.values if isinstance(node.op, ast.USub) else value.values, value.known, value.collection)
        raise self._error(node, f"{shown(node)} is not understood in a selection")

    def _boolop(self, node: ast.BoolOp, depth: int) -> Value:
        word = "and" if isinstance(node.op, ast.And) else "or"
        parts = [self._value(part, depth) for part in node.values]
        for part, value in zip(node.values, parts, strict=True):
            self._expect(part, value, "condition", word)
        first, *others = self._together(node, parts)
        values = first.values
        for other in others:
            values = values & other.values if word == "and" else values | other.values
        return _of(values, np.ones_like(values), self._collection(parts))

    def _binop(self, node: ast.BinOp, depth: int) -> Value:
        work = ARITHMETIC.get(type(node.op))
        if work is None:
            raise self._error(node, f"{shown(node)}: the operations are + - * / **, and/or/not for conditions")
        parts = [self._value(part, depth) for part in (node.left, node.right)]
        for part, value in zip((node.left, node.right), parts, strict=True):
            self._expect(part, value, "number", "arithmetic")
        left, right = self._together(node, parts)
        values = work(left.values.astype(np.float64), right.values.astype(np.float64))
        # a division by zero gives no number, and a comparison with it is false
        return _of(values, left.known & right.known & np.isfinite(values), self._collection(parts))

    def _compare(self, node: ast.Compare, depth: int) -> Value:
        nodes = [node.left, *node.comparators]
        passed: list[Value] = []
        for operator, left, right in zip(node.ops, nodes[:-1], nodes[1:], strict=True):
            if isinstance(operator, ast.In | ast.NotIn):
                passed.append(self._in(left, right, isinstance(operator, ast.NotIn), depth))
                continue
            work = COMPARISONS.get(type(operator))
            if work is None:
                raise self._error(left, "comparisons are < <= > >= == != in, not in")
            parts = [self._value(part, depth) for part in (left, right)]
            kinds = {part.kind for part in parts}
            if len(kinds) > 1 or "condition" in kinds:
                what = f"a {parts[0].kind} cannot be compared with a {parts[1].kind}"
                raise self._error(left, what + ("; join conditions with and, or" if "condition" in kinds else ""))
            if "name" in kinds and not isinstance(operator, ast.Eq | ast.NotEq):
                raise self._error(left, "names are compared with ==, != or in")
            first, second = self._together(node, parts)
            values = np.asarray(work(first.values, second.values) & first.known & second.known)
            passed.append(_of(values, np.ones_like(values), self._collection(parts)))
        first, *others = self._together(node, passed)
        values = first.values
        for other in others:
            values = values & other.values
        return _of(values, np.ones_like(values), self._collection(passed))

    def _in(self, left: ast.expr, right: ast.expr, without: bool, depth: int) -> Value:
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise self._error(right, "behind `in` stands a list in brackets, as in process in ('ttW', 'ttZ')")
        value = self._value(left, depth)
        items = [self._value(item, depth) for item in right.elts]
        for item, node in zip(items, right.elts, strict=True):
            if item.values.ndim or item.kind != value.kind:
                raise self._error(node, f"in the list stand {value.kind}s, and only constants")
        found = np.zeros(value.values.shape, dtype=np.bool_)
        for item in items:
            found = found | (value.values == item.values)
        values = (~found if without else found) & value.known
        return _of(np.asarray(values), np.ones_like(values), value.collection)

    def _call(self, node: ast.Call, depth: int) -> Value:
        known = (*CONDITIONS, *QUANTITIES, *NUMBERS)
        if not isinstance(node.func, ast.Name):
            raise self._error(node, f"only functions can be called: {', '.join(known)}")
        name = node.func.id
        if name not in known:
            raise self._unknown(node, name, known, "function")
        if node.keywords or not node.args or (len(node.args) > 1 and name not in ("min", "max")):
            raise self._error(node, f"{name} takes one argument")
        argument = node.args[0]
        if name == "count" and isinstance(argument, ast.Name) and argument.id in COLLECTIONS:
            return _number(_chosen(self.objects(), argument.id).sum(axis=1))
        parts = [self._value(part, depth) for part in node.args]
        for part, value in zip(node.args, parts, strict=True):
            self._expect(part, value, "condition" if name in CONDITIONS else "number", name)
        if name in NUMBERS:
            values = {"abs": np.abs, "sqrt": np.sqrt}[name](parts[0].values)
            return _of(values, parts[0].known & np.isfinite(values), parts[0].collection)
        if len(parts) > 1:
            values, known_ = parts[0].values, parts[0].known
            for other in self._together(node, parts)[1:]:
                values = {"min": np.minimum, "max": np.maximum}[name](values, other.values)
                known_ = known_ & other.known
            return _of(values, known_, self._collection(parts))
        return self._reduced(node, name, parts[0])

    def _reduced(self, node: ast.Call, name: str, value: Value) -> Value:
        """One number or truth an event from those of its objects."""
        if value.collection is None:
            example = f"{name}(jet.pt > 50)" if name in CONDITIONS else f"{name}(jet.pt)"
            raise self._error(node, f"{name} works on objects, as in {example}")
        mask = _chosen(self.objects(), value.collection)
        if name == "count":
            return _number((value.values & mask).sum(axis=1))
        if name in CONDITIONS:
            truths = (value.values & mask).any(axis=1) if name == "any" else (value.values | ~mask).all(axis=1)
            return _of(truths, np.ones_like(truths))
        if name == "sum":
            return _number(np.where(value.known, value.values, 0).sum(axis=1))
        empty = np.inf if name == "min" else -np.inf
        filled = np.where(value.known, value.values, empty)
        values = filled.min(axis=1, initial=empty) if name == "min" else filled.max(axis=1, initial=empty)
        return _number(values)

    def _expect(self, node: ast.expr, value: Value, kind: str, user: str) -> None:
        if value.kind != kind:
            raise self._error(node, f"{user} needs a {kind}, {shown(node)} is a {value.kind}")

    def _collection(self, parts: list[Value]) -> str | None:
        return next((part.collection for part in parts if part.collection is not None), None)

    def _together(self, node: ast.AST, parts: list[Value]) -> list[Value]:
        """Values that can be combined: numbers of events are repeated for objects of one and the same collection."""
        collections = sorted({part.collection for part in parts if part.collection is not None})
        if len(collections) > 1:
            raise self._error(
                node, f"{' and '.join(collections)} stand side by side; combine objects of one collection"
            )
        if not collections:
            return parts
        return [
            part._replace(
                values=part.values[:, None] if part.collection is None and part.values.ndim else part.values,
                known=part.known[:, None] if part.collection is None and np.ndim(part.known) else part.known,
            )
            for part in parts
        ]


def shown(node: ast.AST) -> str:
    """Source of a part of an expression, short."""
    text = ast.unparse(node)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _parse(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise SelectionError(text[:60], 0, f"a selection of more than {LONGEST} characters")
    if not text.strip():
        raise SelectionError(text, 0, "the selection is empty; for all events leave it out")
    if "#" in text:
        raise SelectionError(text, text.index("#"), "comments are not understood in a selection")
    line = "".join(" " if letter.isspace() else letter for letter in text)
    start = len(line) - len(line.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(line[start:], mode="eval").body
    except SyntaxError as error:
        # an expression that stops too early has no place of its own
        column = min(start + error.offset - 1, len(text)) if error.offset else len(text.rstrip())
        raise SelectionError(text, column, f"cannot be read: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        raise SelectionError(text, 0, f"cannot be read: {error}") from None
    for node in ast.walk(tree):
        if hasattr(node, "col_offset"):
            node.col_offset += start
    return tree


def _of(values: Any, known: Any, collection: str | None = None) -> Value:
    """A value, its scalars wrapped up as arrays, which numpy's functions do not return for them."""
    return Value(np.asarray(values), np.asarray(known, dtype=np.bool_), collection)


def _number(values: NDArray[Any]) -> Value:
    return _of(values, np.isfinite(values))


def _chosen(objects: Padded, collection: str) -> NDArray[np.bool_]:
    """Which of the slots of a collection hold an object; the objects stand first."""
    counted = (np.isin(objects.kind, COLLECTIONS[collection]) & objects.mask).sum(axis=1)
    chosen: NDArray[np.bool_] = np.arange(int(counted.max(initial=0))) < counted[:, None]
    return chosen


def _quantity(objects: Padded, collection: str, name: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A quantity of the objects of a collection, hardest first, and where there is one."""
    wanted = np.isin(objects.kind, COLLECTIONS[collection]) & objects.mask
    mask = _chosen(objects, collection)
    order = np.argsort(~wanted, axis=1, kind="stable")[:, : mask.shape[1]]
    if name == "mass":
        along = objects.pt * np.sinh(objects.eta)
        values = np.sqrt(np.maximum((objects.E - along) * (objects.E + along) - objects.pt**2, 0))
    elif name == "charge":
        values = np.asarray(CHARGES)[objects.kind]
    else:
        values = getattr(objects, name)
    return np.where(mask, np.take_along_axis(values, order, axis=1), 0), mask
